"""Categorical draws: the forward process of any Markov chain on states 0..S-1, and its bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backends.select import check_name
from ..call.arguments import Counts, Key
from ..call.operation import Operation
from ..call.outputs import OrGiven, Tables
from ..call.states import Matrices, MatrixPair, Prediction, Table, TableRows
from ..reference import categorical as reference

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..philox import Rng
    from ..typing import Array, ArrayT, Backend

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
    """Integer thresholds of fixed transition matrices, made once.

    fb.categorical draws the same through them as through the matrices, faster.

    Parameters
    ----------
    probs : array (R, S) or (K, R, S)
        As in fb.categorical, of float64 or float32. Every row must be at least 0 with sum 1 within 1e-9 (float64) or
        1e-4 (float32).
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Attributes
    ----------
    thresholds : array of int64 (K, R, S)
        Cumulative probabilities in 48 bits, in the library and on the device of `probs`.
    guide : array of uint16 (K, R, 256)
        Where a search starts. Both arrays take 8 S + 512 bytes a row.
    shared : bool
        Whether one matrix serves all samples.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value.
        On CUDA devices fb.check_values tells of wrong rows, and they leave a state as it is.

    Examples
    --------
    >>> table = fb.CategoricalTable(np.array([[0.9, 0.1], [0.2, 0.8]]))
    >>> fb.categorical(np.array([[0, 0, 1, 1]]), table, rng=fb.Philox(1))
    array([[0, 1, 1, 1]])
    """

    def __init__(self, probs: Array, *, backend: Backend = "auto") -> None:
        check_name("CategoricalTable", backend)
        self.thresholds: Any
        self.guide: Any
        self.shared: bool
        self.thresholds, self.guide, self.shared = _BUILD_TABLE((probs,), backend=backend)

    def __repr__(self) -> str:
        return f"CategoricalTable({' x '.join(map(str, self.thresholds.shape))}, one for all: {self.shared})"


def categorical(
    state: ArrayT | NDArray[Any],
    probs: Array | CategoricalTable,
    *,
    index: Array | None = None,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    out: Array | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Draw the next state of every element from a row of its sample's transition matrix.

    ::

        Pr(j) = P[state, j],  P the matrix of the sample

    Parameters
    ----------
    state : array (B, ...)
        States in 0..R-1, of uint8, int16, int32 or int64. The dtype must hold S - 1.
    probs : array or CategoricalTable
        Of float64 or float32, R and S at most 65536. (R, S) is one matrix for all samples. (K, R, S) goes with `index`.
        (B, R, S) without `index` is a matrix for each sample, possibly expanded. The rows that occur must be at least 0
        with sum 1 within 1e-9 (float64) or 1e-4 (float32). A CategoricalTable of such matrices takes less time where
        they are used again.
    index : array of int64 (B,), optional
        The number of each sample's matrix, in 0..K-1.
    rng : Philox, Tensor or int, optional
        The key of the draw: a fb.Philox, its seed, or its tensor on the device of `state`, which the host does not
        read. Without one a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    out : array, optional
        Where to write, an array like `state`; it may be `state` itself.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array
        The states, in the dtype, the memory order and the library of `state`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value, and nothing has been written. On CUDA
        devices fb.check_values tells of wrong values. States are clamped, and a row with nothing to draw leaves
        min(state, S - 1).

    Notes
    -----
    Equal keys give equal states on every backend, through `probs` or a table. There is no gradient.

    The law is within 0.5625 S 2^-48 total variation of the rows, 8.2e-12 for S = 4096. A state of probability 0 is
    never drawn. fastblackout/reference/categorical.py derives both. The draw is by the inverse distribution function.

    References
    ----------
    Austin et al., Structured denoising diffusion models in discrete state-spaces, NeurIPS 2021, arXiv 2107.03006,
    section 3, for any transition matrix.

    Examples
    --------
    >>> fb.categorical(np.array([[0, 0, 1, 1]]), np.array([[0.9, 0.1], [0.2, 0.8]]), rng=fb.Philox(1))
    array([[0, 1, 1, 1]])
    """
    if isinstance(probs, CategoricalTable):
        table = probs.thresholds, probs.guide, probs.shared
        return _CATEGORICAL_TABLE((state, (table, index), (rng, generator)), (out,), backend)
    return _CATEGORICAL((state, (probs, index), (rng, generator)), (out,), backend)


def categorical_bridge(
    x_t: ArrayT | NDArray[Any],
    x_0: Array | None = None,
    *,
    logits: Array | None = None,
    probs: Array | None = None,
    before: Array,
    after: Array,
    index: Array | None = None,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    out: Array | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Draw x_s between x_0 and x_t, 0 < s < t, of any Markov chain on states 0..S-1.

    ::

        Pr(x_s = i | x_t, x_0) = P(s)[x_0, i] P(t - s)[i, x_t] / P(t)[x_0, x_t]

    With `logits` or `probs` in place of x_0 it is a reverse step: x_0 is drawn first from the predicted law of each
    element. So x_s follows the sum over x_0 of q(x_s given x_t, x_0) p(x_0 given x_t).

    Parameters
    ----------
    x_t : array (B, ...)
        States in 0..S-1, of uint8, int16, int32 or int64, S at most 65536.
    x_0 : array (B, ...), optional
        Known states, like `x_t` but for the dtype. Exactly one of `x_0`, `logits` and `probs` is given.
    logits : array (B, ..., S), optional
        p(x_0 = j) is in proportion to exp(logits). They are below infinity (-inf: never), of float32, float64 (rounded
        to float32), bfloat16 or float16.
    probs : array (B, ..., S), optional
        p(x_0 = j) itself, of float32 or float64, at least 0 with sum 1 within 1e-4 or 1e-9.
    before, after : array
        The matrices P(s) and P(t - s), of float64, in [0, 1]. (S, S) is one for all samples. (K, S, S) goes with
        `index`. (B, S, S) without `index` is one for each sample. One of them may be (S, S) while the other is not.
    index : array of int64 (B,), optional
        The number of each sample's matrix.
    rng : Philox, Tensor or int, optional
        The key of the draw: a fb.Philox, its seed, or its tensor on the device of `x_t`, which the host does not
        read. Without one a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    out : array, optional
        Where to write, an array like `x_t`; it may be `x_t` itself.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array
        The states x_s, in the dtype, the memory order and the library of `x_t`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value, and nothing has been written. It is an
        error, too, if no path leads from x_0 to x_t. On CUDA devices fb.check_values tells of wrong values, and x_t
        stays where there is nothing to draw.

    Notes
    -----
    Equal keys give equal states on every backend. The law is within 0.5625 S 2^-48 total variation for each draw. No
    array larger than the prediction itself is made. There is no gradient.

    References
    ----------
    Austin et al., NeurIPS 2021, arXiv 2107.03006, equation 3.

    Examples
    --------
    >>> p = np.array([[0.9, 0.1], [0.2, 0.8]])
    >>> fb.categorical_bridge(np.array([[0, 1, 1]]), np.array([[0, 0, 1]]), before=p, after=p, rng=fb.Philox(1))
    array([[0, 0, 1]])
    """
    values = x_t, (x_0, logits, probs), (before, after, index), (rng, generator)
    return _CATEGORICAL_BRIDGE(values, (out,), backend)
