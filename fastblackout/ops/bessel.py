"""Draws of the Bessel law: the smaller of two Poisson numbers whose difference is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..call.arguments import Key
from ..call.elements import ELEMENT_COUNTS, ELEMENT_FLOATS, Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..reference import log_prob as reference
from ..reference.bessel import MOST, bessel_elements
from .log_probs import Law, Range, log_prob

if TYPE_CHECKING:
    import torch

    from ..philox import Rng
    from ..typing import ArrayT, Backend, NumpyLike, RealLike, TensorT

_BESSEL = Operation(
    "bessel",
    Elements({"order": ELEMENT_COUNTS, "argument": ELEMENT_FLOATS}),
    Key(),
    outputs=Single(dtype="int64", like="dense"),
    twin=bessel_elements,
)


def bessel(
    order: ArrayT | NumpyLike,
    argument: ArrayT | NumpyLike,
    *,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Draw the smaller of two Poisson numbers, given their difference.

    ::

        Pr(k) = (a / 2)^(2 k + n) / (k! (k + n)! I_n(a)),  n = order, a = argument, I_n a Bessel function

    Parameters
    ----------
    order : array or number
        Whole numbers in 0..2^52: an array of uint8, int16, int32, int64 or float64, or a Python number. An array of
        float32 has whole numbers in 0..2^24.
    argument : array or number
        Array of float64, float32, bfloat16 or float16, or a Python number, in 0..2^52. It broadcasts with `order`.
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
    Two states of a birth and death process differ by d, and births and deaths are Poisson numbers of rates rate_1 and
    rate_2. The smaller of the two numbers is fb.bessel(abs(d), 2 sqrt(rate_1 rate_2)). The larger one is abs(d) more.

    The first dimension of the result is the sample of the key. Elements are counted in C order. Equal keys give equal
    results on every backend and for any split of the batch.

    The law is within 2e-13 + 1e-14 sqrt(argument / 2) total variation of the exact one, as
    fastblackout/reference/bessel.py derives. A Poisson draw is accepted with the ratio of another Poisson probability
    to its largest value. There is no gradient.

    References
    ----------
    L. Yuan, J. D. Kalbfleisch, On the Bessel distribution and related problems, Ann. Inst. Statist. Math. 52 (2000).

    L. Devroye, Simulating Bessel random variables, Statist. Probab. Lett. 57 (2002), for the law.

    Examples
    --------
    >>> fb.bessel(np.array([0, 3, 100]), np.array([1.0, 50.0, 1e6]), rng=fb.Philox(1))
    array([     0,     18, 500178])
    """
    return _BESSEL(((order, argument), (rng, generator)), backend=backend)


def bessel_log_prob(x: TensorT | RealLike, order: TensorT | RealLike, argument: TensorT | RealLike) -> TensorT:
    """Log-probability of what fb.bessel draws.

    ::

        (2 x + order) log(argument / 2) - log x! - log (x + order)! - log I_order(argument)

    Parameters
    ----------
    x : array or number
        Whole numbers of any integer or float dtype. The three arguments broadcast.
    order : array or number
        Whole numbers in 0..2^52, of any integer or float dtype.
    argument : array or number
        In 0..2^52.

    Returns
    -------
    array of float64
        The logarithm of Pr(X = x). It is -inf where x is no whole number in 0..2^53.
        Torch tensors give a tensor on their device, all else an array of NumPy.

    Raises
    ------
    ValueError
        If `order` or `argument` is outside its range. Values are checked in NumPy arrays and CPU tensors.

    Notes
    -----
    The error is within ``2e-14 (1 + |log argument| + log(1 + x + order) + |result|) + 2e-15 |x - m|``, m the mean, for
    NumPy arrays and plain CPU tensors. They take two Poisson probabilities over one of fb.skellam_log_prob. Tensors
    that need a gradient, are traced or lie on a device take the equation as it stands. The gradient is by `argument`.

    References
    ----------
    As of fb.bessel and fb.skellam_log_prob.

    Examples
    --------
    >>> fb.bessel_log_prob(2, 1, 4.0)
    array(-1.29740835)
    """
    return log_prob("bessel_log_prob", {"x": x, "order": order, "argument": argument}, _LAW)


_LAW = Law(
    {"order": Range(0, MOST, "whole numbers in 0..2^52", True), "argument": Range(0, MOST, "in 0..2^52")},
    reference.bessel_log_pmf,
)
