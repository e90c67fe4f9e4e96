"""Thinning: the forward process of blackout diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..call import foreign
from ..call.arguments import Counts, Key
from ..call.foreign import of_layer
from ..call.numbers import MaxCount, PerSample, Probability
from ..call.operation import Operation
from ..call.outputs import Chosen
from ..reference import thin as reference
from ..typing import Generic, T_co
from . import per_element

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..philox import Rng
    from ..probability import ProbLike
    from ..typing import Array, Backend, CountsT, FloatDtypeLike, Numbers, ThinOutput

OUTPUTS: tuple[ThinOutput, ...] = ("x_t", "births", "model_input")


class Thinned(NamedTuple, Generic[T_co]):
    """What fb.thin returns.

    Parameters
    ----------
    x_t : array
        The counts that are left.
    births : array
        The counts that are gone, x_0 - x_t.
    model_input : array
        The input of a network. Each of the three is None if it was not asked for.
    """

    x_t: T_co = None  # type: ignore[assignment]  # as if all were made: who reads one has asked for it
    births: T_co = None  # type: ignore[assignment]
    model_input: T_co = None  # type: ignore[assignment]


_THIN = Operation(
    "thin",
    Counts("x_0"),
    Probability("alive"),
    Key(),
    MaxCount(low=0),
    PerSample("center"),
    PerSample("scale"),
    outputs=Chosen("x_t", "births", result=Thinned),
    twin=reference.thin,
    per_element=per_element.thin,
    cells=foreign.thinned,
)


def thin(
    x_0: CountsT | NDArray[Any],
    alive: ProbLike,
    *,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    max_count: Numbers | None = None,
    center: Numbers = 0.0,
    scale: Numbers = 1.0,
    mask: Array | None = None,
    layer: str | None = None,
    outputs: ThinOutput | Sequence[ThinOutput] = OUTPUTS,
    input_dtype: FloatDtypeLike = "float32",
    out: Thinned[Any] | None = None,
    backend: Backend = "auto",
) -> Thinned[CountsT]:
    """Thin counts: each particle of a count survives with its sample's probability.

    ::

        x_t ~ Binomial(x_0, p),  births = x_0 - x_t,  model_input = (x_t - center) * scale

    Parameters
    ----------
    x_0 : array of counts (B, ...), sparse matrix or AnnData
        Counts in 0..max_count, of uint8, int16, int32 or int64, with any strides. Dimension 0 is the sample. Counts of
        uint16 and uint32, and whole numbers of float32 and float64, are copied to int32 or int64 first. Results come
        back in their dtype. See the notes for scipy.sparse and AnnData.
    alive : number, array or Prob
        The survival probability p in [0, 1], per sample or within a sample. A fb.Prob has p and 1 - p (from
        Schedule.survival). p alone is taken exactly as it is, with 1 - p made in float64. A float32 p next to 1 knows
        1 - p only to 6e-8.
    rng : Philox, Tensor or int, optional
        The key of the draw: a fb.Philox, its seed, or its tensor on the device of `x_0`, which the host does not
        read. Without one a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    max_count : integer or array, optional
        The largest count that `x_0` may hold, per sample or within a sample. The default is 255 for uint8, and of
        scipy.sparse and AnnData the largest that they hold. Other arrays must be given one. It changes no bits.
    center, scale : number or array, optional
        They bring counts to a network's range. They are finite, per sample or within a sample, and rounded to float32.
        model_input is computed in float32 and rounded to `input_dtype`.
    mask : array of bool, optional
        True where elements take part. It has no dimensions, or as many as `x_0`, and broadcasts. Other elements keep
        their count, whatever it is, with no births.
    layer : str, optional
        Of an AnnData, the layer that holds the counts. By default X does.
    outputs : {"x_t", "births", "model_input"} or a sequence of these, optional
        What to make, in one pass. What is not named is None in the result.
    input_dtype : {"float32", "float64", "bfloat16", "float16"} or dtype, optional
        The dtype of model_input.
    out : Thinned, optional
        Arrays to write to instead of new ones, None for what is not wanted. They share no memory with each other or an
        argument, but x_t may be x_0 itself. Counts that are copied, numbers within a sample and `mask` take none.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    Thinned
        The counts x_t and births, and model_input, in the library and the memory order of `x_0`. x_t and births are in
        its dtype.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value, and nothing has been written. On a GPU
        wrong values in tensors are clamped, and fb.check_values tells of them.

    Notes
    -----
    Equal keys give equal results, whatever the batch split, backend, thread count or strides. There is no gradient.

    A count of at most 255 is drawn by a table of its sample's p, within 4e-13 of the binomial in total variation. A
    larger one is drawn on its own, as exactly as by fb.binomial.

    With an `alive` that differs within a sample x_t is drawn by fb.binomial, with a key made of `rng`
    (https://github.com/fastblackout/fastblackout/blob/main/docs/draw.md). That is several times as slow, and gives
    other numbers than one probability for a sample does.

    https://github.com/fastblackout/fastblackout/blob/main/docs/ops.md, "Arrays and types", has the rule for numbers per
    sample and within a sample, and all libraries and dtypes that are taken. "Numbers that differ within a sample" there
    says what such numbers cost.

    Of scipy.sparse CSR and CSC, and AnnData, x_t and births are made as by fb.binomial. There is no model_input, and
    `center`, `scale`, `mask` and `out` are not taken. The stored values are one sample of the key. One `alive` for all
    draws them as fb.thin(x_0.data[None], alive) does. One for each row, or of another shape that broadcasts, draws them
    by the probability of each.

    References
    ----------
    Santos et al., Blackout Diffusion, ICML 2023, arXiv 2305.11089, section 4.

    Examples
    --------
    >>> x_0 = np.array([[0, 50, 100, 200]], np.uint8)
    >>> x_t, births, model_input = fb.thin(x_0, 0.5, rng=fb.Philox(1))
    >>> x_t
    array([[ 0, 25, 53, 97]], dtype=uint8)
    >>> births
    array([[  0,  25,  47, 103]], dtype=uint8)
    """
    if layer is not None:
        x_0 = of_layer("thin", "x_0", x_0, layer)
    values = x_0, alive, (rng, generator), max_count, center, scale
    how = values, (outputs, input_dtype, out), backend
    return _THIN(*how) if mask is None else per_element.masked(_THIN, *how, mask)
