"""An element of the law "bayes-logistic" in Triton: its loss, the slopes of its head, or a draw, all made of the
same numbers of up to three components.

Of a component: t, d, narrow, drop, centre, up, down as law.component() makes them; n, where its walks begin; w, h, z,
the factor of its inner states, and the weights of the states M and 0; rise and fall, what its walks up and down sum up
to, and m and v, what its slopes by mean and scale do."""

from __future__ import annotations

import triton
import triton.language as tl

from ..reference.philox import Stream
from . import bayes_logistic as law
from . import portfloat as pf
from .bayes_parts import seen_births
from .checks import report
from .heads import law_births
from .weights import first_word

_STATE, _REFINE = tl.constexpr(int(Stream.POSTERIOR_STATE)), tl.constexpr(int(Stream.POSTERIOR_STATE_REFINE))
LOSS, SLOPES, DRAW = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


@triton.jit
def _look(target, before, factor, part, found):
    """(the sum up to a part, whether the target lies in it, what of the target is left, in the units of its walk)"""
    after = before + factor * part
    here = (found == 0) & (target < after)
    return after, here, (target - before) / factor


@triton.jit
def bayes_element(
    x, room, most, shift, o_0, s_0, a_0, o_1, s_1, a_1, o_2, s_2, a_2, births_at, i, key, row, valid, flag,
    COMPONENTS: tl.constexpr, ASKED: tl.constexpr,
):  # fmt: skip
    """LOSS: -log P(births). SLOPES: its derivatives by mean, scale and logit of three components, those that are not
    there all 0. DRAW: x_0 - x_t, drawn for the element i of sample `row`. Births are read and random words made after
    the walks, when few registers are in use."""
    SLOPED: tl.constexpr = ASKED == SLOPES
    none = tl.zeros_like(x)
    (
        t_0, d_0, narrow_0, drop_0, centre_0, up_0, down_0, n_0, in_0, most_0, zero_0, rise_0, fall_0, m_0, v_0,
    ) = law.component(x, room, most, shift, o_0, s_0, 0.6 * (0 - (COMPONENTS - 1) * 0.5), SLOPED)  # fmt: skip
    t_1, d_1, narrow_1, drop_1, centre_1, up_1, down_1, n_1 = none, none, none, none, none, none, none, none
    t_2, d_2, narrow_2, drop_2, centre_2, up_2, down_2, n_2 = none, none, none, none, none, none, none, none
    w_1, h_1, z_1, rise_1, fall_1, m_1, v_1 = none, none, none, none, none, none, none
    w_2, h_2, z_2, rise_2, fall_2, m_2, v_2 = none, none, none, none, none, none, none
    base = law.base_top(x, a_0, up_0, down_0)
    if COMPONENTS > 1:
        (
            t_1, d_1, narrow_1, drop_1, centre_1, up_1, down_1, n_1, in_1, most_1, zero_1, rise_1, fall_1, m_1, v_1,
        ) = law.component(x, room, most, shift, o_1, s_1, 0.6 * (1 - (COMPONENTS - 1) * 0.5), SLOPED)  # fmt: skip
        base = law.at_least(base, law.base_top(x, a_1, up_1, down_1))
    if COMPONENTS > 2:
        (
            t_2, d_2, narrow_2, drop_2, centre_2, up_2, down_2, n_2, in_2, most_2, zero_2, rise_2, fall_2, m_2, v_2,
        ) = law.component(x, room, most, shift, o_2, s_2, 0.6 * (2 - (COMPONENTS - 1) * 0.5), SLOPED)  # fmt: skip
        base = law.at_least(base, law.base_top(x, a_2, up_2, down_2))
    in_0, most_0, zero_0 = law.logs(x, room, a_0, up_0, down_0, in_0, most_0, zero_0, base)
    top = law.at_least(in_0, law.at_least(most_0, zero_0))
    if COMPONENTS > 1:
        in_1, most_1, zero_1 = law.logs(x, room, a_1, up_1, down_1, in_1, most_1, zero_1, base)
        top = law.at_least(top, law.at_least(in_1, law.at_least(most_1, zero_1)))
    if COMPONENTS > 2:
        in_2, most_2, zero_2 = law.logs(x, room, a_2, up_2, down_2, in_2, most_2, zero_2, base)
        top = law.at_least(top, law.at_least(in_2, law.at_least(most_2, zero_2)))
    w_0, h_0, z_0 = law.weights(x, room, t_0, d_0, drop_0, in_0, most_0, zero_0, top)
    if COMPONENTS > 1:
        w_1, h_1, z_1 = law.weights(x, room, t_1, d_1, drop_1, in_1, most_1, zero_1, top)
    if COMPONENTS > 2:
        w_2, h_2, z_2 = law.weights(x, room, t_2, d_2, drop_2, in_2, most_2, zero_2, top)
    zeros, mosts = (z_0 + z_1) + z_2, (h_0 + h_1) + h_2
    total = (zeros + w_0 * rise_0) + w_0 * fall_0
    total = (total + w_1 * rise_1) + w_1 * fall_1
    total = ((total + w_2 * rise_2) + w_2 * fall_2) + mosts
    if ASKED == DRAW:
        high, low = first_word(i, key, row, _STATE), first_word(i, key, row, _REFINE)
        target = pf.uniform_from_zero(pf.bits53(high, low)) * total
        is_zero = target < zeros
        # The walk that holds the target: its component, its way, and what it sums up to.
        rises = target >= 0.0
        before, here, goal = _look(target, zeros, w_0, rise_0, is_zero)
        found, up, walked = is_zero | here, rises, here
        before, here, left = _look(target, before, w_0, fall_0, found)
        found, up, walked, goal = found | here, up & (here == 0), walked | here, tl.where(here, left, goal)
        t, d, centre, start = t_0, d_0, centre_0, n_0
        if COMPONENTS > 1:
            before, here, left = _look(target, before, w_1, rise_1, found)
            other, found, walked, goal = here, found | here, walked | here, tl.where(here, left, goal)
            before, here, left = _look(target, before, w_1, fall_1, found)
            found, up, walked, goal = found | here, up & (here == 0), walked | here, tl.where(here, left, goal)
            other = other | here
            t, d = tl.where(other, t_1, t), tl.where(other, d_1, d)
            centre, start = tl.where(other, centre_1, centre), tl.where(other, n_1, start)
        if COMPONENTS > 2:
            before, here, left = _look(target, before, w_2, rise_2, found)
            other, found, walked, goal = here, found | here, walked | here, tl.where(here, left, goal)
            before, here, left = _look(target, before, w_2, fall_2, found)
            found, up, walked, goal = found | here, up & (here == 0), walked | here, tl.where(here, left, goal)
            other = other | here
            t, d = tl.where(other, t_2, t), tl.where(other, d_2, d)
            centre, start = tl.where(other, centre_2, centre), tl.where(other, n_2, start)
        all_of_it, by_mean, by_scale, last = law.walk(x, room, shift, t, d, centre, start, up, walked, goal, 0, False)
        return tl.where(walked, last, tl.where(is_zero, 0.0, room))
    else:
        n, bits = law_births(births_at, valid, room)
        report(flag, tl.where(valid, bits, 0))
        seen_top, seen_sum, mass_0, g_0, c_0, mass_1, g_1, c_1, mass_2, g_2, c_2 = seen_births(
            x, room, n, base, a_0, t_0, d_0, drop_0, up_0, down_0, a_1, t_1, d_1, drop_1, up_1, down_1,
            a_2, t_2, d_2, drop_2, up_2, down_2, COMPONENTS,
        )  # fmt: skip
        if ASKED == LOSS:
            loss = ((top - law.likelihood(x, n, shift)) - seen_top) + (pf.log(total) - pf.log(seen_sum))
            return tl.where((loss > 0.0) & (room > 0.0), loss, 0.0)
        else:
            inverse, of_all = 1.0 / total, 1.0 / seen_sum
            mean_1, scale_1, logit_1, mean_2, scale_2, logit_2 = none, none, none, none, none, none
            mean_0, scale_0, logit_0 = law.slopes(
                x, room, n, s_0, t_0, d_0, narrow_0, drop_0, up_0, down_0, w_0, h_0, z_0, rise_0 + fall_0, m_0, v_0,
                inverse, mass_0 * of_all, g_0, c_0,
            )  # fmt: skip
            if COMPONENTS > 1:
                mean_1, scale_1, logit_1 = law.slopes(
                    x, room, n, s_1, t_1, d_1, narrow_1, drop_1, up_1, down_1, w_1, h_1, z_1, rise_1 + fall_1, m_1, v_1,
                    inverse, mass_1 * of_all, g_1, c_1,
                )  # fmt: skip
            if COMPONENTS > 2:
                mean_2, scale_2, logit_2 = law.slopes(
                    x, room, n, s_2, t_2, d_2, narrow_2, drop_2, up_2, down_2, w_2, h_2, z_2, rise_2 + fall_2, m_2, v_2,
                    inverse, mass_2 * of_all, g_2, c_2,
                )  # fmt: skip
            return mean_0, scale_0, logit_0, mean_1, scale_1, logit_1, mean_2, scale_2, logit_2
