"""Poisson draws with a rate for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..call.arguments import Key
from ..call.elements import ELEMENT_FLOATS, Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..reference.poisson import poisson_elements

if TYPE_CHECKING:
    import torch

    from ..philox import Rng
    from ..typing import ArrayT, Backend, NumpyLike


_POISSON = Operation(
    "poisson",
    Elements({"rate": ELEMENT_FLOATS}),
    Key(),
    outputs=Single(dtype="int64", like="dense"),
    twin=poisson_elements,
)


def poisson(
    rate: ArrayT | NumpyLike,
    *,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Draw from Poisson(rate), element by element.

    ::

        Pr(k) = rate^k exp(-rate) / k!

    Parameters
    ----------
    rate : array or number
        In 0..2^52. An array of float64, float32, bfloat16 or float16 is taken exactly as it is.
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

    The law is within 4e-14 + 2e-15 sqrt(rate) total variation of the Poisson law: 2.4e-13 for rates up to 1e4, 1e-10
    up to 2^31. fastblackout/reference/poisson.py derives it. There is no gradient.

    References
    ----------
    W. Hormann, The transformed rejection method for generating Poisson random variables, Insurance: Mathematics and
    Economics 12 (1993): PTRS, with corrected constants. It draws rates of at least 10; below inversion does.

    Examples
    --------
    >>> fb.poisson(np.array([0.5, 10.0, 1e6]), rng=fb.Philox(1))
    array([      0,      12, 1001359])
    """
    return _POISSON(((rate,), (rng, generator)), backend=backend)
