"""Thinning: the forward process of blackout diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..call import door
from ..call.arguments import Counts, Key
from ..call.numbers import MaxCount, PerSample, Probability
from ..call.operation import Operation
from ..call.outputs import Chosen
from ..philox import Philox
from ..reference import thin as reference
from . import per_element

if TYPE_CHECKING:
    import torch

OUTPUTS = ("x_t", "births", "model_input")


class Thinned(NamedTuple):
    """What thin returns; None for what was not asked for."""

    x_t: Any = None
    births: Any = None
    model_input: Any = None


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
    quick="quick_thin",
    cells=door.thinned,
)


def thin(
    x_0: Any,
    alive: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    max_count: Any = None,
    center: Any = 0.0,
    scale: Any = 1.0,
    mask: Any = None,
    outputs: Sequence[str] = OUTPUTS,
    input_dtype: Any = "float32",
    out: Thinned | None = None,
    backend: str = "auto",
) -> Thinned:
    """Thins counts: each of the x_0 particles of an element survives with one probability for its sample.

        x_t ~ Binomial(x_0, p),  births = x_0 - x_t,  model_input = (x_t - center) * scale

    x_0: counts (B, ...) in 0..max_count, uint8, int16, int32 or int64; any strides. Dimension 0 is the sample. Here and
        in the other ops counts may also be uint16, uint32, or whole numbers in float32 or float64: they are copied to
        int32 or int64, and results come back in their dtype; out is then not taken.
    alive: the survival probability p in [0, 1], per sample: a fb.Prob (from Schedule.survival), or p alone, taken
        exactly as it is (float32 is 1 - p to 6e-8 where p is next to 1), with 1 - p made in float64.
    Per sample, here and in the other ops: one number for all or one for each, as a Python number, a list, a NumPy array
        or a tensor of any real dtype, of shape (), (B,) or (B, 1, ..., 1), with x_0's dimensions. alive, center, scale
        and max_count may differ within a sample, too: every other array has x_0's dimensions and broadcasts to its
        shape, such as (1, D) for D features. With such an alive x_t is drawn by fb.binomial with a key made of rng
        (docs/draw.md), several times as slow and with other numbers; out is then not taken.
    mask: one bool, or bools with x_0's dimensions that broadcast to its shape, true where elements take part: one that
        does not keeps its count, whatever it is, with no births. out is then not taken.
    rng, generator: the key of the draw: a fb.Philox, or its tensor on x_0's device (fb.Philox.tensor), of which nothing
        is read on the host; neither: a fresh seed from torch's default generator. Equal keys give equal results,
        whatever the batch split, backend, thread count or strides.
    max_count: the largest count x_0 may hold (default 255 for uint8, else required), 0 where all counts must be 0: an
        integer, or whole numbers of the shapes above. It changes no bits: a count of at most 255 is drawn by a
        table of its sample's p, within 1e-13 total variation of the binomial, a larger one on its own, as near as
        fb.binomial.
    center, scale: what brings counts to a network's range, finite, per sample, rounded to float32; model_input is
        computed in float32 and rounded to input_dtype (float32, float64, bfloat16, float16).
    outputs: which of x_t, births, model_input to make, in one pass. out: a Thinned of arrays to write instead, which
        share no memory with each other or an argument, but x_t may be x_0 itself.
    scipy.sparse CSR and CSC, and AnnData, as in fb.binomial: x_t and births are made, with no model_input, center,
        scale, mask and out. The stored values are one sample of the key: with one alive for all they are drawn as by
        fb.thin(x_0.data[None], alive), with one for each row, or of another shape that broadcasts, by that of each.
    Returns Thinned(x_t, births, model_input) in x_0's library, memory order and (x_t, births) dtype.
    Raises TypeError or ValueError naming op, argument, rule and value, with nothing written; on CUDA devices wrong
    values in tensors are clamped and told by fb.check_values.
    Source: Santos et al., ICML 2023, arXiv 2305.11089, section 4.

        >>> x_0 = np.array([[0, 50, 100, 200]], np.uint8)
        >>> x_t, births, model_input = fb.thin(x_0, 0.5, rng=fb.Philox(1))
        >>> x_t
        array([[ 0, 25, 53, 97]], dtype=uint8)
        >>> births
        array([[  0,  25,  47, 103]], dtype=uint8)
    """
    values = x_0, alive, (rng, generator), max_count, center, scale
    how = values, (outputs, input_dtype, out), backend
    return _THIN(*how) if mask is None else per_element.masked(_THIN, *how, mask)
