"""Categorical draws: the forward process of any Markov chain on states 0..S-1, and its bridge."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import COUNTS, FLOATS, Array, adopt, store
from ..backends import select
from ..call import checks, matrices
from ..call.keys import resolve_rng
from ..call.route import readable, through_torch
from ..philox import Philox
from ..reference import categorical as reference

if TYPE_CHECKING:
    import torch

PROBS = ("float64", "float32")


class CategoricalTable:
    """Integer thresholds of fixed transition matrices, made once: fb.categorical draws the same through them, faster.

    probs: as in fb.categorical, (R, S) or (K, R, S), float64 or float32; every row must be at least 0 with sum 1 within
        1e-9 (float64) or 1e-4 (float32).
    thresholds: int64 (K, R, S), 48-bit cumulative probabilities; guide: uint16 (K, R, 256), where a search starts. Both
        in probs' library, on its device; they take 8 S + 512 bytes a row.
    Raises TypeError or ValueError naming op, argument, rule and value; on CUDA devices wrong rows are told by
    fb.check_values, and leave a state as it is.
    """

    def __init__(self, probs: Any, *, backend: str = "auto") -> None:
        op = "CategoricalTable"
        select.check_name(op, backend)
        self.thresholds: Any
        self.guide: Any
        (probs,) = readable(op, probs, probs=probs)
        if through_torch(probs, backend):
            from .. import torch_state_calls

            self.thresholds, self.guide, self.shared = torch_state_calls.build_table(probs, backend)
            return
        given, self.shared = matrices.matrices_of(op, "probs", probs, PROBS)
        chosen = select.select_host("categorical", backend)
        thresholds, guide = build_on_host(chosen, given)
        self.thresholds, self.guide = (given.like(_in_library(made, given)).give() for made in (thresholds, guide))

    def __repr__(self) -> str:
        return f"CategoricalTable({' x '.join(map(str, self.thresholds.shape))}, one for all: {self.shared})"


def categorical(
    state: Any,
    probs: Any,
    *,
    index: Any = None,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    out: Any = None,
    backend: str = "auto",
) -> Any:
    """Draws the next state of every element: j with probability P[state, j], P its sample's transition matrix.

    state: (B, ...), uint8, int16, int32 or int64, in 0..R-1; the dtype must hold S - 1.
    probs: float64 or float32, R and S at most 65536: (R, S), one matrix for all samples; (K, R, S) with index, int64
        (B,) in 0..K-1, the matrix of each sample; (B, R, S) without, possibly expanded. Or a CategoricalTable of such
        matrices, which takes less time where they are used again. The rows that occur must be at least 0 with sum 1
        within 1e-9 (float64) or 1e-4 (float32).
    rng, generator: see fb.Philox. out: where to write, like state; it may be state itself.
    Returns state's dtype, memory order and library. Equal keys give equal states on every backend, through probs or a
    table. The law is within 0.5625 S 2^-48 total variation of the rows (8.2e-12 for S = 4096), and a state of
    probability 0 is never drawn (fastblackout/reference/categorical.py derives it).
    Raises TypeError or ValueError naming op, argument, rule and value, with nothing written; on CUDA devices wrong
    values are told by fb.check_values: states are clamped, and a row with nothing to draw leaves min(state, S - 1).
    Source: Austin et al., NeurIPS 2021, arXiv 2107.03006, section 3 (any transition matrix); inverse CDF.
    """
    op = "categorical"
    state, probs, index, rng = readable(op, state, state=state, probs=probs, index=index, rng=rng)
    if through_torch(state, backend):
        from .. import torch_state_calls

        return torch_state_calls.categorical(state, probs, index, rng, generator, out, backend)
    x = adopt(state, op, "state", COUNTS)
    table = probs if isinstance(probs, CategoricalTable) else None
    if table is None:
        given, shared = matrices.matrices_of(op, "probs", probs, PROBS)
    else:
        thresholds, guide = readable(op, state, probs=table.thresholds, guide=table.guide)
        given, shared = Array(thresholds, op, "probs"), table.shared
    checks.same_device(op, "probs", given, "state", x)
    matrices.check_index_use(op, index, shared)
    matrices.check_holds(op, "state", x.dtype, given.shape[-1])
    chosen = select.select_host(op, backend)
    key = resolve_rng(rng, generator, op)
    size = checks.size_of(op, "state", x, key)
    which = matrices.index_on_host(op, index, size[0])
    matrices.check_samples(op, "probs", given, shared, which is not None, size[0])
    into = checks.out_of(op, out, x, "state", {"probs": given.value, "index": index, "rng": rng})
    made = x.empty_like()
    run(chosen, x, given, None if table is None else Array(guide, op, "probs"), which, key, size, made)
    return _given_back(made, into)


def categorical_bridge(
    x_t: Any,
    x_0: Any = None,
    *,
    logits: Any = None,
    probs: Any = None,
    before: Any,
    after: Any,
    index: Any = None,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    out: Any = None,
    backend: str = "auto",
) -> Any:
    """Draws x_s between x_0 and x_t, 0 < s < t: the reverse step of any Markov chain on states 0..S-1.

        Pr(x_s = i | x_t, x_0) = P(s)[x_0, i] P(t - s)[i, x_t] / P(t)[x_0, x_t]

    With logits or probs, x_0 is drawn first from the predicted law of each element, so that x_s follows
    sum over x_0 of q(x_s | x_t, x_0) p(x_0 | x_t); no array larger than the prediction itself is made.
    x_t: (B, ...), uint8, int16, int32 or int64, in 0..S-1, S at most 65536.
    Exactly one of x_0: known states, like x_t but for the dtype; logits: (B, ..., S), float32, float64 (rounded to
        float32), bfloat16 or float16, below infinity (-inf: never), p(x_0 = j) proportional to exp(logits); probs:
        (B, ..., S), float32 or float64, at least 0 with sum 1 within 1e-4 or 1e-9.
    before, after: P(s) and P(t - s), float64, in [0, 1]: (S, S), one for all samples; (K, S, S) with index, int64 (B,);
        (B, S, S) without. One of them may be (S, S) while the other is not.
    rng, generator: see fb.Philox. out: where to write, like x_t; it may be x_t itself.
    Returns x_t's dtype, memory order and library; equal keys give equal states on every backend, within
    0.5625 S 2^-48 total variation a draw. Raises TypeError or ValueError naming op, argument, rule and value, with
    nothing written, also where no path leads from x_0 to x_t; on CUDA devices wrong values are told by fb.check_values,
    and x_t stays where there is nothing to draw.
    Source: Austin et al., NeurIPS 2021, arXiv 2107.03006, equation 3.
    """
    op = "categorical_bridge"
    x_t, x_0, logits, probs, before, after, index, rng = readable(
        op, x_t, x_t=x_t, x_0=x_0, logits=logits, probs=probs, before=before, after=after, index=index, rng=rng
    )
    if through_torch(x_t, backend):
        from .. import torch_state_calls

        return torch_state_calls.categorical_bridge(
            x_t, x_0, logits, probs, before, after, index, rng, generator, out, backend
        )
    x = adopt(x_t, op, "x_t", COUNTS)
    source, weights = prediction_of(op, x, x_0, logits, probs)
    first, second, shared = pair_of_matrices(op, before, after)
    for name, array in (("before", first), ("after", second)):
        checks.same_device(op, name, array, "x_t", x)
    matrices.check_index_use(op, index, shared)
    states = first.shape[-1]
    matrices.check_holds(op, "x_t", x.dtype, states)
    check_classes(op, weights, x, states, "probs" if logits is None else "logits")
    chosen = select.select_host(op, backend)
    key = resolve_rng(rng, generator, op)
    size = checks.size_of(op, "x_t", x, key)
    which = matrices.index_on_host(op, index, size[0])
    first, second = spread(op, first, second, which is not None, size[0])
    read = {"x_0": x_0, "logits": logits, "probs": probs, "before": before, "after": after, "index": index, "rng": rng}
    into = checks.out_of(op, out, x, "x_t", read)
    made = x.empty_like()
    run_bridge(chosen, x, source, weights, logits is not None, first, second, which, key, size, made)
    return _given_back(made, into)


def prediction_of(op: str, x: Array, x_0: Any, logits: Any, probs: Any) -> tuple[Array | None, Array | None]:
    """(x_0, weights), one of them None."""
    given = [name for name, value in (("x_0", x_0), ("logits", logits), ("probs", probs)) if value is not None]
    if len(given) != 1:
        raise TypeError(f"{op}: x_0: exactly one of x_0, logits and probs must be given, got {given or 'none'}")
    if x_0 is not None:
        source = adopt(x_0, op, "x_0", COUNTS)
        checks.same_shape(op, "x_0", source, "x_t", x)
        _same_library(op, "x_0", source, x)
        return source, None
    name, dtypes = ("probs", PROBS) if logits is None else ("logits", FLOATS)
    weights = adopt(probs if logits is None else logits, op, name, dtypes)
    _same_library(op, name, weights, x)
    checks.same_device(op, name, weights, "x_t", x)
    return None, weights


def _same_library(op: str, name: str, array: Array, x: Array) -> None:
    if array.is_tensor != x.is_tensor:
        raise TypeError(f"{op}: {name}: must be of the library of x_t, got {type(array.value).__name__}")


def check_classes(op: str, weights: Array | None, x: Array, states: int, name: str) -> None:
    if weights is not None and weights.shape != (*x.shape, states):
        raise ValueError(f"{op}: {name}: shape must be that of x_t and S, {(*x.shape, states)}, got {weights.shape}")


def pair_of_matrices(op: str, before: Any, after: Any) -> tuple[Array, Array, bool]:
    """P(s) and P(t - s) as (K, S, S), and whether both are one for all."""
    pair = [matrices.matrices_of(op, name, m, ("float64",)) for name, m in (("before", before), ("after", after))]
    for (made, _), name in zip(pair, ("before", "after"), strict=True):
        square = (pair[0][0].shape[-1],) * 2
        if made.shape[1:] != square:
            raise ValueError(f"{op}: {name}: shape must end in {square}, got {made.shape}")
    (first, one), (second, other) = pair
    if not one and not other and first.shape[0] != second.shape[0]:
        raise ValueError(f"{op}: after: must hold as many matrices as before, {first.shape[0]}, got {second.shape[0]}")
    return first, second, one and other


def spread(op: str, before: Array, after: Array, indexed: bool, samples: int) -> tuple[Array, Array]:
    """Both with the same number of matrices, without a copy; ValueError unless every sample has its own."""
    count = max(before.shape[0], after.shape[0])
    for name, array in (("before", before), ("after", after)):
        matrices.check_samples(op, name, array, array.shape[0] == 1 or count == 1, indexed, samples)
    shape = (count, *before.shape[1:])
    made = []
    for array in (before, after):
        wide = array.value.expand(shape) if array.is_tensor else np.broadcast_to(array.value, shape)
        made.append(array.like(wide))
    return made[0], made[1]


def _in_library(made: np.ndarray, like: Array) -> Any:
    return sys.modules["torch"].from_numpy(made) if like.is_tensor else made


def _given_back(made: Array, into: Array | None) -> Any:
    """The result, in `out` where one was given: it is drawn elsewhere, so that an error leaves `out` alone."""
    if into is None:
        return made.give()
    if into.is_tensor:
        into.value.copy_(made.value)
    else:
        into.value[...] = made.value
    return into.give()


def build_on_host(chosen: str, probs: Array) -> tuple[np.ndarray, np.ndarray]:
    """(thresholds, guide) of probs (K, R, S)."""
    if chosen == "reference":
        return reference.build_table(probs.numpy())
    thresholds = np.empty(probs.shape, np.int64)
    guide = np.empty((*probs.shape[:2], reference.GUIDE), np.uint16)
    select.cpu_module("CategoricalTable").categorical_table(
        probs.shape[:2], select.threads(), select.isa(), probs.describe(), reference.TOLERANCE[probs.dtype],
        thresholds, guide,
    )  # fmt: skip
    return thresholds, guide


def run(
    chosen: str, x: Array, probs: Array, guide: Array | None, index: np.ndarray | None, key: Philox,
    size: tuple[int, int], made: Array,
) -> None:  # fmt: skip
    """The "cpu" or "reference" kernel; probs (K, R, S) are probabilities, or with a guide thresholds. Writes `made`."""
    if chosen == "cpu":
        select.cpu_module("categorical").categorical(
            size, (key.seed, key.first_sample, key.call), select.threads(), select.isa(), x.describe(),
            made.describe(), probs.describe() if guide is None else None, None if guide is None else probs.describe(),
            None if guide is None else (guide.address(), 0, guide.shape, guide.strides()), index,
            reference.TOLERANCE.get(probs.dtype, 0.0),
        )  # fmt: skip
        return
    _check_index_values("categorical", index, probs.shape[0])
    draw = reference.categorical if guide is None else reference.categorical_table
    store(draw(x.numpy(), probs.numpy(), index, key), made)


def run_bridge(
    chosen: str, x: Array, source: Array | None, weights: Array | None, is_logits: bool, before: Array, after: Array,
    index: np.ndarray | None, key: Philox, size: tuple[int, int], made: Array,
) -> None:  # fmt: skip
    """The "cpu" or "reference" kernel; writes `made`."""
    if weights is not None and not x.shape:
        weights = weights.like(weights.value[None])  # its first dimension is the sample's
    if chosen == "cpu":
        tolerance = 0.0 if weights is None or is_logits else reference.TOLERANCE[weights.dtype]
        select.cpu_module("categorical_bridge").categorical_bridge(
            size, (key.seed, key.first_sample, key.call), select.threads(), select.isa(), x.describe(),
            *(None if array is None else array.describe() for array in (source, weights)), is_logits, made.describe(),
            before.describe(), after.describe(), index, tolerance,
        )  # fmt: skip
        return
    _check_index_values("categorical_bridge", index, before.shape[0])
    known, predicted = (None if array is None else array.numpy() for array in (source, weights))
    pair = before.numpy(), after.numpy()
    store(reference.categorical_bridge(x.numpy(), known, predicted, is_logits, *pair, index, key), made)


def _check_index_values(op: str, index: np.ndarray | None, count: int) -> None:
    if index is not None and not ((index >= 0) & (index < count)).all():
        wrong = index[~((index >= 0) & (index < count))]
        raise ValueError(f"{op}: index: must be in 0..{count - 1}, got {wrong[0]}")
