"""Beta draws with both shapes for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..call.arguments import Key
from ..call.elements import ELEMENT_FLOATS, Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..reference.beta import beta_elements

if TYPE_CHECKING:
    import torch

    from ..philox import Rng
    from ..typing import ArrayT, Backend, NumpyLike


_BETA = Operation(
    "beta",
    Elements({"a": ELEMENT_FLOATS, "b": ELEMENT_FLOATS}),
    Key(),
    outputs=Single(like="dense"),
    twin=beta_elements,
)


def beta(
    a: ArrayT | NumpyLike,
    b: ArrayT | NumpyLike,
    *,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Draw from Beta(a, b), element by element.

    ::

        p ~ Beta(a, b),  density p^(a - 1) (1 - p)^(b - 1) / B(a, b)

    Parameters
    ----------
    a : array or number
        Array of float64, float32, bfloat16 or float16, or a Python number, in 1e-300..1e300.
    b : array or number
        The same. It broadcasts with `a` and may have another dtype.
    rng : Philox, Tensor or int, optional
        The key of the draw, or the seed of one. Without it a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array
        In the dtype of `a` (float64 for a Python number), in C order. All is computed in float64 and rounded once, to
        bfloat16 and float16 by way of float32. So results may be 0 or 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. For tensors on a GPU see fb.check_values.

    Notes
    -----
    The first dimension of the result is the sample of the key. Elements are counted in C order. Equal keys give equal
    results on every backend and for any split of the batch.

    p = g_a / (g_a + g_b) of two gamma draws, which are kept by their logarithms where a shape is below 1. So p is good
    relative to itself. Its distribution function is within 2e-14 + 8e-16 (sqrt(a) + sqrt(b)) of the exact one at values
    of at least 1e-290, as fastblackout/reference/beta.py derives. Smaller results may become 0. With a = 1e-3 this adds
    0.017 to the chance of 0. There is no gradient.

    References
    ----------
    G. Marsaglia, W. W. Tsang, A simple method for generating gamma variables, ACM TOMS 26 (2000).

    Examples
    --------
    >>> fb.beta(np.array([0.3, 20.0]), 2.0, rng=fb.Philox(1))
    array([0.34918752, 0.96694109])
    """
    return _BETA(((a, b), (rng, generator)), backend=backend)
