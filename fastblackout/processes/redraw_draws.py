"""Draws of the processes that draw their state anew from one law: by C++, or on a device by integers of torch.

reference/redraw.py says what is drawn, and defines the bits of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Array, is_traced, to_device
from ..backends import host, select, wrong_values
from ..backends.float_mode import default_floats
from ..backends.tensor_words import stream_words
from ..call.keys import key_of, late_key
from ..call.route import through_torch
from ..call.states import check_holds
from ..ops.transition import counts_of
from ..reference import redraw as reference
from .inputs import one_a_sample
from .redraw_laws import RedrawLaw

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..philox import Rng


@default_floats
def redraw(
    op: str,
    given: Mapping[str, Any],
    durations: Sequence[NDArray[np.float64]],
    law: RedrawLaw,
    keys: tuple[Rng, torch.Generator | None],
    backend: str,
) -> Any:
    """The state a time durations[0] after x_0, and where x_t is given, the second, a time durations[1] before it.

    given: the states by their names, of which the first says what the result is like. keys: rng and generator.
    """
    arrays = dict(zip(given, counts_of(op, dict(given)), strict=True))
    (name, like), *_ = arrays.items()
    check_holds(op, name, like.dtype, law.states)
    for times in durations:
        one_a_sample(op, times, like.shape)
    samples, elements = like.size(op, name)
    x_0, x_t = arrays["x_0"], arrays.get("x_t")
    spread = [each.reshape(each.shape + (1,) * (len(like.shape) - each.ndim)) for each in durations]
    if through_torch(like.value, backend):
        if select.asked(backend) != "auto":
            select.select(op, backend, like.device)  # whether it could run there
        return _by_tensors(op, like, (x_0, x_t), spread, law, key_of(op, *keys, like.value, samples))
    chosen = select.select_host(op, backend)
    before, *after = (np.broadcast_to(each, like.shape) for each in spread)
    key = late_key(*keys, op, samples)
    fields: dict[str, Any] = {"x_0": x_0, "x_t": x_t, "before": before, "after": after[0] if after else None}
    fields |= {"thresholds": law.thresholds, "inverse": None, "states": law.states, "mask": law.mask, "key": key}
    if x_t is not None and law.thresholds is not None:
        fields["inverse"] = np.asarray(law.inverse(x_t.numpy().clip(0, law.states - 1)))
    out = like.empty_like()
    try:
        host.run("redraw", reference.redraw, chosen, fields, {"out": out}, (samples, elements))
    except ValueError as wrong:
        raise ValueError(str(wrong).replace("redraw:", f"{op}:", 1)) from None
    return out.give()


def _by_tensors(
    op: str,
    like: Array,
    ends: tuple[Array, Array | None],
    times: Sequence[NDArray[np.float64]],
    law: RedrawLaw,
    key: torch.Tensor,
) -> torch.Tensor:
    """The same bits by operations on a device. Wrong states are clamped, and flagged as fb.check_values tells.

    exp(-t) and 1 - exp(-t) of each different time are made on the host.
    """
    import torch

    device, shape = like.value.device, like.size(op, "")
    flag = None if is_traced(like.value) else wrong_values.flag(op, device)

    def note(wrong: torch.Tensor, bit: int) -> None:
        if flag is not None:
            flag.bitwise_or_(wrong.any() * bit)

    def rows(array: Array) -> torch.Tensor:
        given = array.value.long().reshape(shape)
        inside = given.clamp(0, law.states - 1)
        note(given != inside, 1)
        return inside

    def there(values: NDArray[Any]) -> torch.Tensor:
        """Of times, one for each sample, or for each element where those differ."""
        one = all(size == 1 for size in values.shape[1:])
        flat = values.reshape(-1, 1) if one else np.broadcast_to(values, like.shape).reshape(shape)
        return to_device(torch.from_numpy(np.array(flat)), device)

    x_0, x_t = ends
    start = rows(x_0)
    words = [stream_words(shape, key, stream) for stream in reference.STREAMS[x_t is not None]]
    v, table = reference.wide(*words[:2]), law.thresholds
    thresholds = None if table is None else to_device(torch.from_numpy(table), device)
    drawn = reference.fresh_states(torch, words[2], words[3], thresholds, law.states, law.mask)
    if x_t is None:
        result = torch.where(v < there(reference.forward_threshold(times[0])), start, drawn)
    else:
        end = rows(x_t)
        before, after = (tuple(map(there, reference.chances(each))) for each in times)
        inverse = None if table is None else law.inverse(end)
        keep, other = reference.thresholds_at(torch, (start, end), before, after, inverse, law.states, law.mask)
        note(keep < 0, 8)
        result = torch.where(v < keep, start, torch.where((v < other) | (keep < 0), end, drawn))
    result = result.reshape(like.shape)
    # A tensor that torch.vmap does not map over cannot take results that it does.
    return result.to(like.value.dtype) if is_traced(like.value) else like.empty_like().value.copy_(result)
