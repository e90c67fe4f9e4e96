"""The law "bayes-logistic" of a head in Triton: the twin of csrc/include/fastblackout/bayes_logistic.h to the bit,
which has the same names. A component that a head does not have weighs 0 in every sum, which changes no bit of it."""

from __future__ import annotations

import triton
import triton.language as tl

from . import factorials
from . import portfloat as pf

# The constants of the reference, which says what they mean.
_LEAST = tl.constexpr(2.0**-84)
_CUT, _FAR, _WIDEST = tl.constexpr(40.0), tl.constexpr(64.0), tl.constexpr(5.0)
_NONE = tl.constexpr(-1e300)


@triton.jit
def _at_most(a, b):
    return tl.where(a < b, a, b)


@triton.jit
def at_least(a, b):
    return tl.where(a > b, a, b)


@triton.jit
def _positive_part(a):
    return tl.where(a > 0.0, a, 0.0)


@triton.jit
def _edge_e(t):
    far = tl.where(t < 0.0, 0.0 - t, t)
    return tl.where(far > _CUT, 0.0, pf.exp(0.0 - far))


@triton.jit
def _edge_at(t):
    """(exp(-|t|), 1 / (1 + exp(-|t|)))"""
    e = _edge_e(t)
    return e, 1.0 / (1.0 + e)


@triton.jit
def _below(t, e, inverse):
    return tl.where(t < 0.0, e * inverse, inverse)


@triton.jit
def _above(t, e, inverse):
    return tl.where(t < 0.0, inverse, e * inverse)


@triton.jit
def clamped_wide(wide):
    return tl.where(wide < -_WIDEST, -_WIDEST, tl.where(wide > _WIDEST, _WIDEST, wide))


@triton.jit
def _component(x, room, most, mean, wide, PLACE: tl.constexpr):
    """(t_0, d, narrow, drop, centre, moved_up, moved_down)"""
    mu = (0.5 * most) * ((1.0 + mean) + PLACE)
    narrow = pf.exp(0.0 - clamped_wide(wide))
    d = (32.0 * narrow) / most
    r = pf.exp(0.0 - d)
    near = (1.0 - r) * (d / (0.0 - pf.log(tl.where(d > 1.0, 0.5, r))))
    drop = tl.where(d > 1.0, 1.0 - r, near)
    t = ((x - 0.5) - mu) * d
    least = -_FAR - room * d
    t_0 = tl.where(t > _FAR, _FAR, tl.where(t < least, least, t))
    moved = t - t_0
    up, down = _positive_part(moved), tl.where(moved < 0.0, 0.0 - moved, 0.0)
    return t_0, d, narrow, drop, (mu - x) + 0.5, up, down


@triton.jit
def _clamped_edge(t_0, d, k):
    t, low = t_0 + k * d, 0.0 - d
    return tl.where(t < low, low, tl.where(t > d, d, t))


@triton.jit
def _ratios(room, offset, t_0, d, centre, sign):
    """(left, middle_0, middle_1, right, middle)"""
    kept = _at_most(tl.where(centre > -1.0, centre, -1.0), room)
    middle = (kept + 2.0).to(tl.int32).to(tl.float64) - 2.0
    left, right = pf.exp(sign * (offset + d)), pf.exp(sign * (offset - d))
    middle_0 = pf.exp(sign * (offset - _clamped_edge(t_0, d, middle)))
    middle_1 = pf.exp(sign * (offset - _clamped_edge(t_0, d, middle + 1.0)))
    return left, middle_0, middle_1, right, middle


@triton.jit
def _ratio(left, middle_0, middle_1, right, middle, k):
    at = k - middle
    outer = tl.where(at < 0.0, left, right)
    return tl.where(at == 0.0, middle_0, tl.where(at == 1.0, middle_1, outer))


@triton.jit
def _likely_from(x, y):
    return tl.where(y < 1.0, (x * y) / (1.0 - tl.where(y < 1.0, y, 0.0)), 1e300)


@triton.jit
def _mode(x, room, offset, t_0, d, centre, first):
    left, middle_0, middle_1, right, middle = _ratios(room, offset, t_0, d, centre, 1.0)
    last = room - 1.0
    n = at_least(_likely_from(x, right), _at_most(centre, _likely_from(x, left)))
    n = _positive_part(_at_most(at_least(n, first), last)).to(tl.int32).to(tl.float64)
    more = ((x + n) + 1.0) * _ratio(left, middle_0, middle_1, right, middle, n + 1.0)
    less = (x + n) * _ratio(left, middle_0, middle_1, right, middle, n)
    rises, falls = (more > n + 1.0) & (n < last), (less < n) & (n > first)
    return tl.where(rises, n + 1.0, tl.where(falls, n - 1.0, n))


@triton.jit
def likelihood(x, n, offset):
    return (factorials.log_factorial(x + n) - factorials.log_factorial(n)) + n * offset


@triton.jit
def _pick(up, a, b, WAY: tl.constexpr):
    """a of a walk up, b of a walk down"""
    if WAY == 1:
        picked = a
    elif WAY == -1:
        picked = b
    else:
        picked = tl.where(up, a, b)
    return picked


@triton.jit
def walk(x, room, offset, t_0, d, centre, n_0, up, live, goal, WAY: tl.constexpr, SLOPES: tl.constexpr):
    """Of the walks that are `live`: (sum, means, scales, last n). WAY: 1 up, -1 down, 0 those up that `up` says, and
    until the sum is above the goal."""
    first = tl.where(x > 0.0, 0.0, 1.0)
    last = _pick(up, room - 1.0, first, WAY)
    one = tl.zeros_like(x) + 1.0
    sign = _pick(up, one, 0.0 - one, WAY)
    left, middle_0, middle_1, right, middle = _ratios(room, offset, t_0, d, centre, sign)
    t = t_0 + n_0 * d
    e, inverse = _edge_at(t)
    share = 1.0 / ((1.0 + e) * (x + n_0))
    h = (n_0 * (share * (1.0 + e))) * _ratio(left, middle_0, middle_1, right, middle, n_0)
    enough = (n_0 > first) & (h >= _LEAST)
    live = live & _pick(up, n_0 == n_0, enough, WAY)
    h = tl.where(live, _pick(up, one, h, WAY), 0.0)
    n = _pick(up, n_0, n_0 - 1.0, WAY)
    total, means, scales = tl.zeros_like(h), tl.zeros_like(h), tl.zeros_like(h)
    while tl.max((h > 0.0).to(tl.int32), 0) > 0:
        above_x = x + n
        k = _pick(up, n + 1.0, n, WAY)
        ahead = t_0 + k * d
        above, below = _pick(up, above_x + 1.0, n, WAY), _pick(up, n + 1.0, above_x, WAY)
        e_ahead = _edge_e(ahead)
        share = 1.0 / ((1.0 + e_ahead) * below)
        inverse_ahead = share * below
        weight = tl.where(h > 0.0, (h * inverse) * inverse_ahead, 0.0)
        total += weight
        if SLOPES:
            a, b = _pick(up, t, ahead, WAY), _pick(up, ahead, t, WAY)
            f_a = _pick(up, _below(t, e, inverse), _below(ahead, e_ahead, inverse_ahead), WAY)
            f_b = _pick(up, _above(ahead, e_ahead, inverse_ahead), _above(t, e, inverse), WAY)
            means += tl.where(h > 0.0, weight * (f_a - f_b), 0.0)
            scales += tl.where(h > 0.0, weight * (a * f_a - b * f_b), 0.0)
            t, e = ahead, e_ahead
        further = (h * (above * (share * (1.0 + e_ahead)))) * _ratio(left, middle_0, middle_1, right, middle, k)
        go_on = (further >= _LEAST) & (n != last)
        if WAY == 0:
            go_on = go_on & ((total > goal) == 0)
        inverse = inverse_ahead
        h = tl.where(go_on, further, 0.0)
        n = tl.where(go_on, _pick(up, n + 1.0, n - 1.0, WAY), n)
    return total, means, scales, n


@triton.jit
def component(x, room, most, offset, mean, wide, PLACE: tl.constexpr, SLOPES: tl.constexpr):
    """What a component is before it is compared with others: (t_0, d, narrow, drop, centre, moved_up, moved_down, n_0,
    the logs of its weights at n_0, at state M and at state 0 without the bases, the sums of its walks up and down,
    the sums of its slopes by mean and scale)."""
    t_0, d, narrow, drop, centre, moved_up, moved_down = _component(x, room, most, mean, wide, PLACE)
    first = tl.where(x > 0.0, 0.0, 1.0).to(tl.float64)
    n_0 = _mode(x, room, offset, t_0, d, centre, first)
    low, high = t_0 + n_0 * d, t_0 + (n_0 + 1.0) * d
    inner = likelihood(x, n_0, offset) - (_positive_part(low) + tl.where(high < 0.0, 0.0 - high, 0.0))
    at_most = likelihood(x, room, offset) - _positive_part(t_0 + room * d)
    at_zero = t_0 + d
    at_zero = tl.where(at_zero < 0.0, 0.0 - at_zero, 0.0)
    live = room - 1.0 >= first
    sum_up, means_up, scales_up, last = walk(x, room, offset, t_0, d, centre, n_0, None, live, None, 1, SLOPES)
    sum_down, means, scales, last = walk(x, room, offset, t_0, d, centre, n_0, None, live, None, -1, SLOPES)
    means, scales = means_up + means, scales_up + scales
    return (
        t_0, d, narrow, drop, centre, moved_up, moved_down, n_0, inner, at_most, at_zero, sum_up, sum_down, means,
        scales,
    )  # fmt: skip


@triton.jit
def base_top(x, logit, moved_up, moved_down):
    most = logit - moved_up
    return tl.where(x == 0.0, at_least(most, logit - moved_down), most)


@triton.jit
def logs(x, room, logit, moved_up, moved_down, inner, at_most, at_zero, top):
    """The logs of a component's weights, at n_0, at state M and at state 0."""
    first = tl.where(x > 0.0, 0.0, 1.0)
    most, zero = logit - moved_up, logit - moved_down
    s_inner = tl.where(room - 1.0 >= first, ((most - moved_down) - top) + inner, _NONE)
    return s_inner, (most - top) + at_most, tl.where(x == 0.0, (zero - top) - at_zero, _NONE)


@triton.jit
def weights(x, room, t_0, d, drop, s_inner, s_most, s_zero, top):
    """The factor of inner states, and the weights of the states M and 0."""
    first = tl.where(x > 0.0, 0.0, 1.0)
    e, most = _edge_at(t_0 + room * d)
    e, zero = _edge_at(t_0 + d)
    factor = tl.where(room - 1.0 >= first, pf.exp(s_inner - top) * drop, 0.0)
    return factor, pf.exp(s_most - top) * most, tl.where(x == 0.0, pf.exp(s_zero - top) * zero, 0.0)


@triton.jit
def _kappa(d, drop):
    return (d * pf.exp(0.0 - d)) / drop


@triton.jit
def seen(x, room, n, logit, t_0, d, drop, moved_up, moved_down, top):
    """(log mass, its factor, slope by mean, by scale) of births n for a component."""
    is_most, is_zero = n == room, (n == 0.0) & (x == 0.0)
    t_a, t_b = t_0 + n * d, t_0 + (n + 1.0) * d
    e_a, low = _edge_at(t_a)
    e_b, high = _edge_at(t_b)
    under = tl.where(is_zero, 0.0, _positive_part(t_a))
    over = tl.where(is_most, 0.0, tl.where(t_b < 0.0, 0.0 - t_b, 0.0))
    most, zero = logit - moved_up, logit - moved_down
    base = tl.where(is_most, most - top, tl.where(is_zero, zero - top, (most - moved_down) - top))
    factor = tl.where(is_most, low, tl.where(is_zero, high, (low * high) * drop))
    f_a = tl.where(is_zero, 0.0, _below(t_a, e_a, low))
    f_b = tl.where(is_most, 0.0, _above(t_b, e_b, high))
    scale = (t_a * f_a - t_b * f_b) - tl.where(is_most | is_zero, 0.0, _kappa(d, drop))
    return base - (under + over), factor, f_a - f_b, scale


@triton.jit
def slopes(
    x, room, n, wide, t_0, d, narrow, drop, moved_up, moved_down, factor, w_most, w_zero, total, means, scales, inverse,
    share, seen_mean, seen_scale,
):  # fmt: skip
    """The derivatives of -log P(n) by the mean, the log of the scale and the logit of a component."""
    is_most, is_zero = n == room, (n == 0.0) & (x == 0.0)
    t_a, t_b = t_0 + room * d, t_0 + d
    e_a, low = _edge_at(t_a)
    e_b, high = _edge_at(t_b)
    factor = factor * inverse
    inner, q_most, q_zero = factor * total, w_most * inverse, w_zero * inverse
    f_a, f_b = _below(t_a, e_a, low), _above(t_b, e_b, high)
    mean = (factor * means + q_most * f_a) - q_zero * f_b
    scale = factor * scales - _kappa(d, drop) * inner
    scale = (scale + q_most * (t_a * f_a)) - q_zero * (t_b * f_b)
    shifted_up = (inner + q_most) - tl.where(is_zero, 0.0, share)
    shifted_down = (inner + q_zero) - tl.where(is_most, 0.0, share)
    scale = (scale - share * seen_scale) + (moved_up * shifted_up + moved_down * shifted_down)
    by_mean = (16.0 * narrow) * (mean - share * seen_mean)
    by_logit = ((inner + q_most) + q_zero) - share
    free = (wide == clamped_wide(wide)) & (room > 0.0)
    return (
        tl.where(room > 0.0, by_mean, 0.0), tl.where(free, scale, 0.0), tl.where(room > 0.0, by_logit, 0.0),
    )  # fmt: skip
