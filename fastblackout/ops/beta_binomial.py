"""Beta-binomial draws: binomial ones whose probability is a beta draw, for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..call.arguments import Key
from ..call.elements import ELEMENT_COUNTS, ELEMENT_FLOATS, Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..reference.beta_binomial import beta_binomial_elements

if TYPE_CHECKING:
    import torch

    from ..philox import Rng
    from ..typing import ArrayT, Backend, NumpyLike


_BETA_BINOMIAL = Operation(
    "beta_binomial",
    Elements({"n": ELEMENT_COUNTS, "a": ELEMENT_FLOATS, "b": ELEMENT_FLOATS}),
    Key(),
    outputs=Single(like="dense"),
    twin=beta_binomial_elements,
)


def beta_binomial(
    n: ArrayT | NumpyLike,
    a: ArrayT | NumpyLike,
    b: ArrayT | NumpyLike,
    *,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Draw from the beta-binomial law, element by element.

    ::

        Binomial(n, f),  f ~ Beta(a, b),  Pr(k) = C(n, k) B(k + a, n - k + b) / B(a, b)

    Parameters
    ----------
    n : array or number
        Whole numbers in 0..2^53: an array of uint8, int16, int32, int64 or float64, or a Python number. An array of
        float32 has whole numbers in 0..2^24, beyond which its whole numbers have gaps.
    a : array or number
        Array of float64, float32, bfloat16 or float16, or a Python number, in 1e-300..1e300.
    b : array or number
        The same. All three broadcast, and `a` and `b` may have other dtypes.
    rng : Philox, Tensor or int, optional
        The key of the draw, or the seed of one. Without it a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array
        In the dtype of `n`, in C order.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. For tensors on a GPU see fb.check_values.

    Notes
    -----
    The first dimension of the result is the sample of the key. Elements are counted in C order. Equal keys give equal
    results on every backend and for any split of the batch.

    f and 1 - f each keep all their digits, so shapes may be tiny or huge. The distribution function of a draw is within
    6e-14 + 8e-16 (sqrt(a) + sqrt(b)) + 1.2e-15 sqrt(n) of the exact one everywhere, as
    fastblackout/reference/beta_binomial.py derives. There is no gradient. fb.beta_binomial_log_prob has the
    log-probabilities, for a and b up to 2^53.

    References
    ----------
    As of fb.beta and fb.binomial. This op is both in one pass.

    Examples
    --------
    >>> fb.beta_binomial(np.array([100, 100]), np.array([0.5, 50.0]), np.array([0.5, 150.0]), rng=fb.Philox(1))
    array([97, 30])
    """
    return _BETA_BINOMIAL(((n, a, b), (rng, generator)), backend=backend)
