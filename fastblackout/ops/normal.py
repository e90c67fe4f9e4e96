"""Normal draws with a mean and a standard deviation for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..call.arguments import Key
from ..call.elements import ELEMENT_FLOATS, Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..reference.normal import normal_elements

if TYPE_CHECKING:
    import torch

    from ..philox import Rng
    from ..typing import ArrayT, Backend, NumpyLike


_NORMAL = Operation(
    "normal",
    Elements({"mean": ELEMENT_FLOATS, "std": ELEMENT_FLOATS}),
    Key(),
    outputs=Single(like="dense"),
    twin=normal_elements,
)


def normal(
    mean: ArrayT | NumpyLike,
    std: ArrayT | NumpyLike,
    *,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Draw from a normal law, element by element.

    ::

        mean + std z,  z ~ Normal(0, 1)

    Parameters
    ----------
    mean : array or number
        Array of float64, float32, bfloat16 or float16, or a Python number, finite.
    std : array or number
        The same, and at least 0. It broadcasts with `mean` and may have another dtype.
    rng : Philox, Tensor or int, optional
        The key of the draw, or the seed of one. Without it a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array
        In the dtype of `mean` (float64 for a Python number), in C order. The product and the sum are made in float64.
        The result is rounded once, to bfloat16 and float16 by way of float32. What is too large for its dtype becomes
        infinite.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. For tensors on a GPU see fb.check_values.

    Notes
    -----
    The first dimension of the result is the sample of the key. Elements are counted in C order. Equal keys give equal
    results on every backend and for any split of the batch.

    z is made of 64 bits by the inverse distribution function. Its distribution function is within 1.2e-15 of the normal
    one everywhere, and ``|z|`` is at most 9.16. fastblackout/reference/normal.py derives both. There is no gradient.

    References
    ----------
    M. J. Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37 (1988).

    Examples
    --------
    >>> fb.normal(np.array([0.0, 10.0]), 0.5, rng=fb.Philox(1))
    array([ 0.4103447 , 10.22269471])
    """
    return _NORMAL(((mean, std), (rng, generator)), backend=backend)
