"""What the two reverse steps share: the arguments around the state, checked and described for the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..arrays import COUNTS, DTYPES, FLOATS, Array, adopt, store
from ..backends import select
from ..call import checks
from ..call.keys import resolve_rng
from ..philox import Philox

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTPUTS = ("x_s", "model_input")


class Step(NamedTuple):
    """Checked arguments of a reverse step."""

    op: str
    backend: str
    key: Philox
    size: tuple[int, int]
    x_t: Array
    logits: Array | None
    births: Array | None
    made: dict[str, Array | None]
    max_count: int
    gain: NDArray[Any]
    center: NDArray[Any]
    scale: NDArray[Any]
    input_dtype: str

    def head(self) -> tuple[Any, ...]:
        """The arguments both native steps begin with."""
        key = self.key
        return (
            self.size,
            (key.seed, key.first_sample, key.call),
            select.threads(),
            select.isa(),
            *[None if a is None else a.describe() for a in (self.x_t, self.logits, self.births, *self.made.values())],
            self.gain,
            self.center,
            self.scale,
            self.max_count,
        )

    def asked(self) -> set[str]:
        return {name for name, array in self.made.items() if array is not None}

    def numpy(self) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
        """x_t, logits and births for the reference."""
        logits, births = (None if array is None else array.numpy() for array in (self.logits, self.births))
        return self.x_t.numpy(), logits, births

    def store(self, results: Sequence[NDArray[Any] | None]) -> None:
        for array, result in zip(self.made.values(), results, strict=True):
            if array is not None and result is not None:
                store(result, array)

    def give(self) -> list[Any]:
        return [None if array is None else array.give() for array in self.made.values()]


def check_step(
    op: str, x_t: Any, logits: Any, births: Any, rng: Any, generator: Any, max_count: Any, gain: Any, center: Any,
    scale: Any, outputs: Any, input_dtype: Any, out: Any, backend: str, read: dict[str, Any],
) -> Step:  # fmt: skip
    """read: the arguments of the op that are not among the others."""
    x = adopt(x_t, op, "x_t", COUNTS)
    max_count = checks.max_count_of(op, max_count, x.dtype)
    if (logits is None) == (births is None):
        raise TypeError(
            f"{op}: logits: exactly one of logits and births must be given, got {'none' if births is None else 'both'}"
        )
    net = None if logits is None else adopt(logits, op, "logits", FLOATS)
    given = None if births is None else adopt(births, op, "births", DTYPES)
    for name, array in (("logits", net), ("births", given)):
        if array is not None:
            checks.same_shape(op, name, array, "x_t", x)
    wanted = checks.names_of(op, "outputs", outputs, OUTPUTS)
    input_dtype = checks.float_dtype(op, "input_dtype", input_dtype, x)
    chosen = select.select_host(op, backend)
    key = resolve_rng(rng, generator, op)
    size = checks.size_of(op, "x_t", x, key)
    read = {**read, "logits": logits, "births": births, "rng": rng, "gain": gain, "center": center, "scale": scale}
    gain = checks.per_sample(op, "gain", gain, size[0], np.float32, low=0.0)
    center = checks.per_sample(op, "center", center, size[0], np.float32)
    scale = checks.per_sample(op, "scale", scale, size[0], np.float32)
    made = checks.outputs_of(op, x, {"x_s": x.dtype, "model_input": input_dtype}, wanted, out, "x_s", read)
    return Step(op, chosen, key, size, x, net, given, made, max_count, gain, center, scale, input_dtype)
