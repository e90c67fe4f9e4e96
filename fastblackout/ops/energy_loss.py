"""The loss of a network whose outputs are draws: the energy score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..call import short
from ..call.arguments import Births, Counts, Draws
from ..call.numbers import KeptNumbers, MaxCount, PerSample
from ..call.outputs import LikeDraws, LossAndNorms
from ..reference import energy_loss as reference
from .loss_declaration import WEIGHT, Loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..typing import Array, ArrayT, Backend, Numbers


def _finish(memory: Any, upstream: Any, values: Sequence[Any], norms: Any) -> Any:
    """The gradient by the logits, in the memory where the loss has left what it is made of."""
    return short.special("quick_energy_gradient", tuple(values), norms, upstream, memory, _ENERGY_LOSS.forward.spec)


_ENERGY_LOSS = Loss(
    "energy_loss",
    Counts("x_t"),
    Draws("logits"),
    Births("births"),
    WEIGHT,
    PerSample("offset"),
    MaxCount(),
    loss=(LossAndNorms(), reference.energy_loss),
    gradient=(LikeDraws(), reference.energy_loss_backward),
    finish=_finish,
    kept=[KeptNumbers("norms")],
)


def energy_loss(
    logits: Array,
    x_t: ArrayT | NDArray[Any],
    births: Array,
    weight: Numbers,
    *,
    offset: Numbers = 0.0,
    max_count: int | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Score S joint draws of a network against the births: the energy score.

    ::

        y_s = (max_count - x_t) * sigmoid(2 * logits_s + offset_b),  s = 0..S-1
        loss_b = weight_b * (mean over s of |y_s - births| - 1/2 mean over s != r of |y_s - y_r|)

    The bars are the Euclidean norm over the elements of a sample. The first term pulls the draws to the births, and the
    second keeps them apart.

    Parameters
    ----------
    logits : array (S, B, ...)
        S = 2..8 draws for the same `x_t`, of float32, float64, bfloat16 or float16, finite in float32. They
        are computed in float32. The draws need different noise: keys of their own, not one key S times. A torch tensor
        has a gradient, see the notes.
    x_t : array of counts (B, ...)
        Counts in 0..max_count, as in fb.thin.
    births : array
        x_0 - x_t, in the shape of `x_t` and any integer or float dtype, finite and at least 0.
    weight : number or array
        Finite, per sample: Schedule.weight("energy", k).
    offset : number or array, optional
        Finite, per sample: log(1 - p_k), as BlackoutModel.offset gives it. 0 is the offset of p = 0.
    max_count : integer, optional
        As in fb.thin, and it is the scale of y: the max_count of the model.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array of float32 (B,)
        The loss of each sample, in the library of `x_t`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. On CUDA devices fb.check_values tells of
        wrong values in tensors.
    RuntimeError
        If the gradient is differentiated.

    Notes
    -----
    The score is strictly proper. Its expectation is least when y has the law of the births given x_t, all elements
    jointly. So a network that is given noise learns to draw from this law.

    The gradient by the logits is in their dtype, under torch.func too. There is no second derivative. A distance of 0
    has gradient 0. Under autocast the loss runs in float32, too.

    The result is equal to the bit on every backend. Differences and squares are float32. Their sums run in a fixed
    order: trees of 1,024 in float32, added in float64. What follows is float64. Squares or sums of them beyond float32
    (births above 1e19) make the loss infinite.

    References
    ----------
    Gneiting and Raftery, Strictly proper scoring rules, prediction, and estimation, J. Am. Stat. Assoc. 102 (2007),
    section 4.3, for the score.

    De Bortoli et al., 2025, arXiv 2502.02483, for its use in diffusion models.

    Examples
    --------
    >>> x_t, births = np.array([[0, 5]], np.uint8), np.array([[4, 5]])
    >>> logits = np.array([[[0.0, 0]], [[1, -1]]], np.float32)
    >>> fb.energy_loss(logits, x_t, births, weight=1.0, max_count=10)
    array([2.4776196], dtype=float32)
    """
    return _ENERGY_LOSS((x_t, logits, births, weight, offset, max_count), backend)
