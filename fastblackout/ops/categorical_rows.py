"""A state from each row of weights that need not sum to 1, or of logits: what a network gives, drawn in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import COUNTS, FLOATS, Array, adopt_settled, empty_tensor, is_traced
from ..backends import host, select, wrong_values
from ..call.arguments import through_torch
from ..call.keys import key_of, late_key
from ..call.states import check_holds
from ..ground.values import check_name
from ..reference import categorical_rows as reference

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..philox import Rng
    from ..typing import ArrayT, Backend, CountDtype

_OP = "categorical_rows"


def categorical_rows(
    weights: ArrayT | NDArray[Any] | None = None,
    *,
    logits: ArrayT | NDArray[Any] | None = None,
    dtype: CountDtype = "int64",
    rng: Rng = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Draw a state from each row of weights or logits.

    ::

        Pr(j) = w_j / (w_0 + ... + w_{S-1}),  or softmax(logits)_j

    Parameters
    ----------
    weights : array (B, ..., S), optional
        Of float64, float32, bfloat16 or float16, finite and at least 0, at least one of each row above 0. They need
        not sum to 1. S is at most 262,144. Exactly one of `weights` and `logits` is given.
    logits : array (B, ..., S), optional
        Of the same dtypes (float64 is rounded to float32), below infinity, at least one of each row finite. A state
        whose logit is -inf is never drawn.
    dtype : {"int64", "int32", "int16", "uint8"}, optional
        The dtype of the result, which must hold S - 1.
    rng : Philox, Tensor or int, optional
        The key of the draw: a fb.Philox, its seed, or its tensor on the device of the rows, which the host does not
        read. Without one a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array (B, ...)
        The states, in the library of the rows.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. On a device fb.check_values tells of
        wrong rows, and a row with nothing to draw gives 0.

    Notes
    -----
    Dimension 0 is the sample of the key. Elements are counted over the rows. Equal keys give equal results on every
    backend and for any split of the batch. There is no gradient.

    The law is within S 2^-(b + 1) + 1e-15 total variation, b = min(52, 62 - ceil(log2 S)): 3e-14 for S = 256, 3.6e-10
    for S = 50,258. fastblackout/reference/categorical_rows.py derives it. The draw is by the inverse distribution
    function. It does the work of sample_categorical of Lou et al., which takes a uniform, a logarithm and a division
    for each weight.

    On the CPU nothing of the size of the rows is made. On a device operations of torch draw them, whatever backend is
    named, at most 2^22 weights at once. A compiled graph takes all rows at once.

    References
    ----------
    Lou et al., Discrete diffusion modeling by estimating the ratios of the data distribution, arXiv 2310.16834.

    Examples
    --------
    >>> fb.categorical_rows(np.array([[1.0, 3.0, 0.0], [0.0, 0.0, 2.0]]), rng=fb.Philox(1))
    array([1, 2])
    """
    if (weights is None) == (logits is None):
        got = "none" if logits is None else "both"
        raise TypeError(f"{_OP}: weights: exactly one of weights and logits must be given, got {got}")
    name, is_logits = ("logits", True) if weights is None else ("weights", False)
    rows = adopt_settled(logits if is_logits else weights, _OP, name, FLOATS)
    check_name(_OP, "dtype", dtype, COUNTS)
    if len(rows.shape) < 2 or not 1 <= rows.shape[-1] <= reference.MAX_STATES:
        rule = f"shape must be (B, ..., S) with S in 1..{reference.MAX_STATES}"
        raise ValueError(f"{_OP}: {name}: {rule}, got {rows.shape}")
    states, shape = rows.shape[-1], rows.shape[:-1]
    check_holds(_OP, "dtype", dtype, states)
    through = through_torch(rows.value, backend)
    made: Any = empty_tensor(rows.value, dtype, shape) if rows.is_tensor else np.empty(shape, dtype)
    out = rows.like(made)
    size = out.size(_OP, name)
    if through:
        return _by_tensors(rows, is_logits, out, size, (rng, generator), backend)
    chosen = select.select_host(_OP, backend)
    key = late_key(rng, generator, _OP, size[0])
    fields = {"weights": rows, "is_logits": is_logits, "states": states, "key": key}
    host.run(_OP, reference.categorical_rows, chosen, fields, {"out": out}, size)
    return made if out.namespace is None else out.give()


def _by_tensors(
    rows: Array, is_logits: bool, out: Array, size: tuple[int, int], keys: tuple[Any, Any], backend: Backend
) -> Any:
    from ..backends.tensors import draw_rows

    if select.asked(backend) != "auto":
        select.select(_OP, backend, rows.device)  # whether it could run there
    key = key_of(_OP, *keys, rows.value, size[0])
    given = rows.value.reshape(*size, rows.shape[-1])
    drawn, right = draw_rows(given, is_logits, key)
    if not is_traced(rows.value):
        wrong_values.flag(_OP, rows.value.device).bitwise_or_((~right).any() * (2 if is_logits else 8))
    return drawn.reshape(out.shape).to(out.value.dtype)
