"""Categorical draws: the forward process of any Markov chain on states 0..S-1, and its bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backends.select import check_name
from ..call.arguments import Counts, Key
from ..call.operation import Operation
from ..call.outputs import OrGiven, Tables
from ..call.states import Matrices, MatrixPair, Prediction, Table, TableRows
from ..philox import Philox
from ..reference import categorical as reference

if TYPE_CHECKING:
    import torch

_CATEGORICAL = Operation(
    "categorical", Counts("state"), Matrices("probs"), Key(), outputs=OrGiven(), twin=reference.categorical
)
_CATEGORICAL_TABLE = Operation(
    "categorical_table",
    Counts("state"),
    Table("probs"),
    Key(),
    outputs=OrGiven(),
    twin=reference.categorical_table,
    of="categorical",
)
_BUILD_TABLE = Operation(
    "build_categorical_table",
    TableRows(),
    outputs=Tables(),
    twin=reference.build_table,
    of="CategoricalTable",
    ranked_as="categorical",
)
_CATEGORICAL_BRIDGE = Operation(
    "categorical_bridge",
    Counts("x_t"),
    Prediction(),
    MatrixPair(),
    Key(),
    outputs=OrGiven("x_s"),
    twin=reference.categorical_bridge,
)


class CategoricalTable:
    """Integer thresholds of fixed transition matrices, made once: fb.categorical draws the same through them, faster.

    probs: as in fb.categorical, (R, S) or (K, R, S), float64 or float32; every row must be at least 0 with sum 1 within
        1e-9 (float64) or 1e-4 (float32).
    thresholds: int64 (K, R, S), 48-bit cumulative probabilities; guide: uint16 (K, R, 256), where a search starts. Both
        in probs' library, on its device; they take 8 S + 512 bytes a row.
    Raises TypeError or ValueError naming op, argument, rule and value; on CUDA devices wrong rows are told by
    fb.check_values, and leave a state as it is.

        >>> table = fb.CategoricalTable(np.array([[0.9, 0.1], [0.2, 0.8]]))
        >>> fb.categorical(np.array([[0, 0, 1, 1]]), table, rng=fb.Philox(1))
        array([[0, 1, 1, 1]])
    """

    def __init__(self, probs: Any, *, backend: str = "auto") -> None:
        check_name("CategoricalTable", backend)
        self.thresholds: Any
        self.guide: Any
        self.shared: bool
        self.thresholds, self.guide, self.shared = _BUILD_TABLE((probs,), backend=backend)

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
    rng, generator: as in fb.thin. out: where to write, like state; it may be state itself.
    Returns state's dtype, memory order and library. Equal keys give equal states on every backend, through probs or a
    table. The law is within 0.5625 S 2^-48 total variation of the rows (8.2e-12 for S = 4096), and a state of
    probability 0 is never drawn (fastblackout/reference/categorical.py derives it).
    Raises TypeError or ValueError naming op, argument, rule and value, with nothing written; on CUDA devices wrong
    values are told by fb.check_values: states are clamped, and a row with nothing to draw leaves min(state, S - 1).
    Source: Austin et al., NeurIPS 2021, arXiv 2107.03006, section 3 (any transition matrix); inverse CDF.

        >>> fb.categorical(np.array([[0, 0, 1, 1]]), np.array([[0.9, 0.1], [0.2, 0.8]]), rng=fb.Philox(1))
        array([[0, 1, 1, 1]])
    """
    if isinstance(probs, CategoricalTable):
        table = probs.thresholds, probs.guide, probs.shared
        return _CATEGORICAL_TABLE((state, (table, index), (rng, generator)), (out,), backend)
    return _CATEGORICAL((state, (probs, index), (rng, generator)), (out,), backend)


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
    rng, generator: as in fb.thin. out: where to write, like x_t; it may be x_t itself.
    Returns x_t's dtype, memory order and library; equal keys give equal states on every backend, within
    0.5625 S 2^-48 total variation a draw. Raises TypeError or ValueError naming op, argument, rule and value, with
    nothing written, also where no path leads from x_0 to x_t; on CUDA devices wrong values are told by fb.check_values,
    and x_t stays where there is nothing to draw.
    Source: Austin et al., NeurIPS 2021, arXiv 2107.03006, equation 3.

        >>> p = np.array([[0.9, 0.1], [0.2, 0.8]])
        >>> fb.categorical_bridge(np.array([[0, 1, 1]]), np.array([[0, 0, 1]]), before=p, after=p, rng=fb.Philox(1))
        array([[0, 0, 1]])
    """
    values = x_t, (x_0, logits, probs), (before, after, index), (rng, generator)
    return _CATEGORICAL_BRIDGE(values, (out,), backend)
