"""Binomial draws with a count and a probability for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..call import foreign
from ..call.arguments import Key
from ..call.elements import ELEMENT_COUNTS, ELEMENT_FLOATS, Elements
from ..call.foreign import of_layer
from ..call.operation import Operation
from ..call.outputs import Single
from ..reference.binomial import binomial_elements

if TYPE_CHECKING:
    import torch

    from ..philox import Rng
    from ..probability import Prob
    from ..typing import Backend, CountsT, NumpyLike


_BINOMIAL = Operation(
    "binomial",
    Elements({"count": ELEMENT_COUNTS, "prob": ELEMENT_FLOATS}, prob="prob"),
    Key(),
    outputs=Single(like="dense"),
    twin=binomial_elements,
    cells=foreign.elements,
)


def binomial(
    count: CountsT | NumpyLike,
    prob: CountsT | NumpyLike | Prob[CountsT | NumpyLike],
    *,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    layer: str | None = None,
    backend: Backend = "auto",
) -> CountsT:
    """Draw from Binomial(count, prob), element by element.

    ::

        Pr(k) = C(n, k) p^k (1 - p)^(n - k),  n = count, p = prob

    Parameters
    ----------
    count : array, number, sparse matrix or AnnData
        Whole numbers in 0..2^53: an array of uint8, int16, int32, int64 or float64, or a Python number. An array of
        float32 has whole numbers in 0..2^24, beyond which its whole numbers have gaps.
        See the notes for scipy.sparse and AnnData.
    prob : array, number or Prob
        In [0, 1]. An array of float64, float32, bfloat16 or float16 is taken exactly as it is. A fb.Prob has two arrays
        of float64 or numbers, p and q with p + q = 1 within 1e-9. Give it where p is next to 1, since 1 - p rounds.
        `prob` broadcasts with `count`.
    rng : Philox, Tensor or int, optional
        The key of the draw, or the seed of one. Without it a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    layer : str, optional
        Of an AnnData, the layer that holds the counts. By default X does.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array, sparse matrix or AnnData
        In the dtype of `count`, in C order.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. For tensors on a GPU see fb.check_values.

    Notes
    -----
    The first dimension of the result is the sample of the key. Elements are counted in C order. Equal keys give equal
    results on every backend and for any split of the batch.

    The law is within 4e-14 + 2e-15 sqrt(n p q) total variation of the binomial: 2e-13 for counts up to 1e4, 5e-11 up to
    2^31. fastblackout/reference/binomial.py derives it. There is no gradient.

    Of a matrix of scipy.sparse, in CSR or CSC format, only the stored values are drawn, as by
    fb.binomial(count.data, ...). `prob` broadcasts to its shape. Each stored value is a sample of the key, by its place
    in canonical order (indices sorted, duplicates summed). The result is of the same kind and dtype, with the indices
    of `count`. What is drawn as 0 stays stored, as in scipy's own functions, until .eliminate_zeros().

    Of an AnnData X or a layer is drawn, sparse or dense. The result is a new AnnData with the draws in X, and with obs
    and var alone. These come without columns of numbers, which may be figures of the counts before the draw.

    References
    ----------
    W. Hormann, The generation of binomial random variates, J. Stat. Comput. Simul. 46 (1993): BTRS. It draws where
    n min(p, q) is at least 10; below inversion does.

    Examples
    --------
    >>> fb.binomial(np.array([10, 1000]), np.array([0.5, 0.1]), rng=fb.Philox(1))
    array([ 6, 98])
    """
    if layer is not None:
        count = of_layer("binomial", "count", count, layer)
    return _BINOMIAL(((count, prob), (rng, generator)), backend=backend)
