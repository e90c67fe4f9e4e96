"""The law "bayes-logistic" of up to three components in Triton: their head, and the masses of births.
Components that a head does not have weigh 0."""

from __future__ import annotations

import triton
import triton.language as tl

from . import bayes_logistic as law
from . import portfloat as pf
from .draw import place
from .heads import load_head


@triton.jit
def _component_head(
    mean, wide, logit, row, first, lane, elements, layout, valid,
    COLUMN: tl.constexpr, LOGIT: tl.constexpr, COLUMNS: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    """(mean, scale, logit, bits) of a component; logit None: 0."""
    o, bits = load_head(place(mean, row, first, lane, elements, layout, COLUMN, COLUMNS, DIMS), valid)
    s, bits_s = load_head(place(wide, row, first, lane, elements, layout, COLUMN + 1, COLUMNS, DIMS), valid)
    bits = bits | bits_s
    if logit is None:
        a = tl.zeros_like(o)
    else:
        a, bits_a = load_head(place(logit, row, first, lane, elements, layout, LOGIT, COLUMNS, DIMS), valid)
        bits = bits | bits_a
    return o, s, a, bits


@triton.jit
def three_components(
    mean_0, wide_0, mean_1, wide_1, logit_0, mean_2, wide_2, logit_1, row, first, lane, elements, layout, valid,
    COMPONENTS: tl.constexpr, COLUMN: tl.constexpr, COLUMNS: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    """(mean, scale, logit) of three components, those that are not there all 0, and the bits of what is wrong."""
    o_0, s_0, a_0, bits = _component_head(
        mean_0, wide_0, logit_0, row, first, lane, elements, layout, valid, COLUMN, COLUMN + 4, COLUMNS, DIMS
    )
    o_1, s_1, a_1 = tl.zeros_like(o_0), tl.zeros_like(o_0), tl.zeros_like(o_0)
    o_2, s_2, a_2 = o_1, o_1, o_1
    if COMPONENTS > 1:
        o_1, s_1, a_1, bits_1 = _component_head(
            mean_1, wide_1, logit_1, row, first, lane, elements, layout, valid, COLUMN + 2, COLUMN + 7, COLUMNS, DIMS
        )
        bits = bits | bits_1
    if COMPONENTS > 2:
        o_2, s_2, a_2, bits_2 = _component_head(
            mean_2, wide_2, None, row, first, lane, elements, layout, valid, COLUMN + 5, 0, COLUMNS, DIMS
        )
        bits = bits | bits_2
    return o_0, s_0, a_0, o_1, s_1, a_1, o_2, s_2, a_2, bits


@triton.jit
def seen_births(
    x, room, n, base, a_0, t_0, d_0, drop_0, up_0, down_0, a_1, t_1, d_1, drop_1, up_1, down_1,
    a_2, t_2, d_2, drop_2, up_2, down_2, COMPONENTS: tl.constexpr,
):  # fmt: skip
    """(log of the largest mass of births n, sum of all masses over it), then of each component its mass, and its slopes
    by mean and scale."""
    none = tl.zeros_like(x)
    mass_1, mean_1, scale_1, mass_2, mean_2, scale_2 = none, none, none, none, none, none
    mass_0, factor_0, mean_0, scale_0 = law.seen(x, room, n, a_0, t_0, d_0, drop_0, up_0, down_0, base)
    top = mass_0
    if COMPONENTS > 1:
        mass_1, factor_1, mean_1, scale_1 = law.seen(x, room, n, a_1, t_1, d_1, drop_1, up_1, down_1, base)
        top = law.at_least(top, mass_1)
    if COMPONENTS > 2:
        mass_2, factor_2, mean_2, scale_2 = law.seen(x, room, n, a_2, t_2, d_2, drop_2, up_2, down_2, base)
        top = law.at_least(top, mass_2)
    mass_0 = pf.exp(mass_0 - top) * factor_0
    total = mass_0
    if COMPONENTS > 1:
        mass_1 = pf.exp(mass_1 - top) * factor_1
        total = total + mass_1
    if COMPONENTS > 2:
        mass_2 = pf.exp(mass_2 - top) * factor_2
        total = total + mass_2
    return top, total, mass_0, mean_0, scale_0, mass_1, mean_1, scale_1, mass_2, mean_2, scale_2
