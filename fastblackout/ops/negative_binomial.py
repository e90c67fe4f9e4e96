"""Negative binomial draws: Poisson ones whose rate is a gamma draw, for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..call.arguments import Key
from ..call.elements import ELEMENT_FLOATS, Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..reference.negative_binomial import negative_binomial_elements

if TYPE_CHECKING:
    import torch

    from ..philox import Rng
    from ..typing import ArrayT, Backend, NumpyLike


_NEGATIVE_BINOMIAL = Operation(
    "negative_binomial",
    Elements({"r": ELEMENT_FLOATS, "mean": ELEMENT_FLOATS}),
    Key(),
    outputs=Single(dtype="int64", like="dense"),
    twin=negative_binomial_elements,
)


def negative_binomial(
    r: ArrayT | NumpyLike,
    *,
    mean: ArrayT | NumpyLike,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Draw from a negative binomial law, element by element.

    ::

        Poisson(mean g / r),  g ~ Gamma(r),  variance mean + mean^2 / r
        Pr(k) = Gamma(k + r) / (k! Gamma(r)) (r / (r + mean))^r (mean / (r + mean))^k

    Parameters
    ----------
    r : array or number
        Array of float64, float32, bfloat16 or float16, or a Python number, in 1e-300..1e300. As r grows, the law
        tends to Poisson(mean).
    mean : array or number
        The same, but in 0..2^52. It broadcasts with `r` and may have another dtype.
    rng : Philox, Tensor or int, optional
        The key of the draw, or the seed of one. Without it a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array of int64
        One draw for each element, in C order.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. For tensors on a GPU see fb.check_values.

    Notes
    -----
    The first dimension of the result is the sample of the key. Elements are counted in C order. Equal keys give equal
    results on every backend and for any split of the batch.

    Rates mean g / r above 2^52 count as 2^52. But for these, the distribution function of a draw is within 5e-14 +
    6e-16 sqrt(r) + 2e-15 sqrt(mean) of the exact one everywhere, as fastblackout/reference/negative_binomial.py
    derives. There is no gradient.

    References
    ----------
    As of fb.gamma and fb.poisson. This op is both in one pass.

    Examples
    --------
    >>> fb.negative_binomial(np.array([0.5, 1e6]), mean=20.0, rng=fb.Philox(1))
    array([48, 18])
    """
    return _NEGATIVE_BINOMIAL(((r, mean), (rng, generator)), backend=backend)
