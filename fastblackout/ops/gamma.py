"""Gamma draws with a shape and a scale for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..call.arguments import Key
from ..call.elements import ELEMENT_FLOATS, Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..reference.gamma import gamma_elements

if TYPE_CHECKING:
    import torch

    from ..philox import Rng
    from ..typing import ArrayT, Backend, NumpyLike


_GAMMA = Operation(
    "gamma",
    Elements({"shape": ELEMENT_FLOATS, "scale": ELEMENT_FLOATS}),
    Key(),
    outputs=Single(like="dense"),
    twin=gamma_elements,
)


def gamma(
    shape: ArrayT | NumpyLike,
    *,
    scale: ArrayT | NumpyLike,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Draw from a gamma law, element by element.

    ::

        scale g,  g ~ Gamma(shape, 1),  density of g: g^(shape - 1) exp(-g) / Gamma(shape)

    Parameters
    ----------
    shape : array or number
        Array of float64, float32, bfloat16 or float16, or a Python number, in 1e-300..1e300.
    scale : array or number
        The same, but finite and at least 0. It broadcasts with `shape` and may have another dtype.
    rng : Philox, Tensor or int, optional
        The key of the draw, or the seed of one. Without it a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array
        In the dtype of `shape` (float64 for a Python number), in C order. All is computed in float64 and rounded once,
        to bfloat16 and float16 by way of float32. What is too large for its dtype becomes infinite, what is too small
        becomes 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. For tensors on a GPU see fb.check_values.

    Notes
    -----
    The first dimension of the result is the sample of the key. Elements are counted in C order. Equal keys give equal
    results on every backend and for any split of the batch.

    The distribution function of a draw is within 1e-14 + 5e-16 sqrt(shape) of the exact one everywhere. This says
    little above 1e28, where the whole law lies within some hundred neighbouring floats. In the lower tail of a small
    shape it is good relative to itself. fastblackout/reference/gamma.py derives both. There is no gradient.

    References
    ----------
    G. Marsaglia, W. W. Tsang, A simple method for generating gamma variables, ACM TOMS 26 (2000).

    Examples
    --------
    >>> fb.gamma(np.array([0.5, 20.0]), scale=2.0, rng=fb.Philox(1))
    array([ 4.88803858, 47.66527444])
    """
    return _GAMMA(((shape, scale), (rng, generator)), backend=backend)
