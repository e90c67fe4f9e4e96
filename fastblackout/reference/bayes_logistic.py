"""The law "bayes-logistic" of a head in NumPy: the twin of csrc/include/fastblackout/bayes_logistic.h to the bit.

x = x_t, M = max_count, R = M - x, L = offset. The head gives pi, a mixture of K logistic laws of x_0, each rounded to
the whole numbers 0..M, with all that lies beyond them given to 0 and to M:

    w(n) = pi(x + n) C(x + n, x) exp(n L),  n in 0..R,   P(n) = w(n) / (w(0) + .. + w(R))

Edge k lies below state n = k, at x + k - 1/2; for component j, with d = 1 / s_j, at t = (x + k - 1/2 - mu_j) d, which
is t_0 + k d. A state between edges a and b has the mass F(b) - F(a) = F(b) F(-a) (1 - exp(-d)), without a difference.
With I(t) = 1 / (1 + exp(-|t|)) that is exp(-g) I(a) I(b) (1 - exp(-d)), g = max(a, 0) + max(-b, 0). The state M has the
mass exp(-max(a, 0)) I(a), the state 0 exp(-max(-b, 0)) I(b). Beyond |t| = 40, exp(-|t|) is 0 beside 1.

The sum, part by part. A component's states apart from 0 and M, its inner ones, have weights h(n) I(a) I(b), where h is
exp(-g) C(x + n, x) exp(n L) but for a factor. It is log-concave: with t the edge between n and n + 1, it grows by
(x + n + 1) / (n + 1) exp(L - clamp(t, -d, d)), which falls. So its largest state n_0 is known in closed form, and h is
walked from there, h(n_0) = 1, up and then down, by that quotient or its inverse, until h < 2^-84. The parts are, in
this order: state 0, where x is 0; of each component in turn its walk up and its walk down; state M. The weight of each
part is an exponential of what is known at n_0: no state is reached by way of another that underflows. The states 0 and
M are parts of their own because pi may jump there.

A mean further than 64 s outside x..M is moved to there, and the log of the weight of all states but 0 (or M) is less by
the way it was moved, so that what all states share cancels before anything is added to it.

A draw takes the part that holds u times the sum of all, and walks it again, by the same floats, until the sum of its
states passes what is left of it.

Error, derived; u = 2^-53. The exact law is the law of the head in float32 and the offset. D = M d <= 32 exp(5),
E = |mu| d, l = log(M + 1).
* Edges: t is off by at most 4 u (E + D + |t|), and so the log of h, before the walk, by 9 u (E + D) + 6 u.
* A step of the walk rounds 8 times, and its exponential has an argument of |L| + d: (10 + |L| + d) u. Where |L| is
  large a walk is short: n_0 <= M / (exp(|L|) - 1), and k steps on h is below exp(-k (|L| - l)). So k |L| counts up to
  M + 60 or so, and a walk is off by u (11 R + D + M + 60).
* States left out: h < 2^-84 and falls, so that they are below 2^-66 of the sum, as R < 2^16.
* Weights of parts: four log-factorials within 64 u (1 + M l), exponentials and sums within u (20 + 4 M l), and what
  cancels 2 u (|logit| + E).
* The uniform has steps of u, and the sums of a part round off R u at most.
So the distribution function of N is within u (13 R + 12 D + 12 E + 270 (1 + M l) + 2 |logit|) of the exact one: for
M = 255, a mean in 0..M and |logit| < 1000 within 6e-11, of which 4e-11 are the bound of log-factorials, which are ten
times better in truth. -log P(n) is within twice that and u |log P(n)|.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import portfloat as pf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .dtypes import F32, F64, Array, Bools


MOST_COUNT = 65_535  # of the counts of this law, which a walk may visit one by one
_LEAST = 2.0**-84  # of h, where a walk stops
_CUT = 40.0  # from here on an edge's exp(-|t|) is taken for 0
_FAR = 64.0  # how far outside, in s, a mean may lie
_NONE = -1e300  # the log of the weight of a part that is not there
_WIDEST = 5.0  # the log of a scale is taken within this of 0


class Edges(NamedTuple):
    """Edges at t: e = exp(-|t|) and 1 / (1 + e), and from them F(t) and F(-t)."""

    t: F64
    e: F64
    inverse: F64

    @staticmethod
    def at(t: F64) -> Edges:
        far = np.abs(t)
        e = np.where(far > _CUT, 0.0, pf.exp(-far))
        return Edges(t, e, 1.0 / (1.0 + e))

    def below(self) -> F64:
        return np.where(self.t < 0.0, self.e * self.inverse, self.inverse)

    def above(self) -> F64:
        return np.where(self.t < 0.0, self.inverse, self.e * self.inverse)


class Law:
    """The law of elements (B, n), of its components (K, B, n), and the weights of its parts."""

    def __init__(self, head: Sequence[Array], offset: F32, room: F64, most: float) -> None:
        rows = [each.reshape(room.shape).astype(np.float64) for each in head]
        k = self.components = (len(rows) + 1) // 3
        self.most, self.room, self.x = most, room, most - room
        self.offset = np.broadcast_to(offset.astype(np.float64)[:, None], room.shape)
        self._components(np.stack(rows[:k]), np.stack(rows[k : 2 * k]))
        self.logit = np.stack([*rows[2 * k :], np.zeros_like(room)])
        self.first = np.where(self.x > 0.0, 0.0, 1.0)  # of the inner states; the last is R - 1
        self.inner, self.zero = room - 1.0 >= self.first, self.x == 0.0
        self._bases()
        self._mode()
        self._parts()

    def _components(self, mean: F64, wide: F64) -> None:
        k = self.components
        place = np.array([0.6 * (j - (k - 1) * 0.5) for j in range(k)])[:, None, None]
        mu = (0.5 * self.most) * ((1.0 + mean) + place)
        clamped = np.where(wide < -_WIDEST, -_WIDEST, np.where(wide > _WIDEST, _WIDEST, wide))
        self.free = clamped == wide
        self.narrow = pf.exp(0.0 - clamped)
        self.d = (32.0 * self.narrow) / self.most
        r = pf.exp(0.0 - self.d)
        near = (1.0 - r) * (self.d / (0.0 - pf.log(np.where(self.d > 1.0, 0.5, r))))
        self.drop = np.where(self.d > 1.0, 1.0 - r, near)  # 1 - exp(-d)
        self.kappa = (self.d * r) / self.drop
        self.centre = (mu - self.x) + 0.5
        t_0 = ((self.x - 0.5) - mu) * self.d
        least = (0.0 - _FAR) - self.room * self.d
        self.t_0 = np.where(t_0 > _FAR, _FAR, np.where(t_0 < least, least, t_0))
        moved = t_0 - self.t_0
        self.moved_up = np.where(moved > 0.0, moved, 0.0)
        self.moved_down = np.where(moved < 0.0, 0.0 - moved, 0.0)

    def _bases(self) -> None:
        """What the logs of weights have beside numbers of the size of counts, less the most of it."""
        at_most, at_zero = self.logit - self.moved_up, self.logit - self.moved_down
        inner = at_most - self.moved_down
        high = np.where(self.zero, np.maximum(at_most, at_zero), at_most)
        top = high[0]
        for each in high[1:]:
            top = np.maximum(top, each)
        self.base, self.base_most, self.base_zero = inner - top, at_most - top, at_zero - top

    def edge(self, k: F64) -> F64:
        return self.t_0 + k * self.d

    def _ratios(self, sign: float) -> dict[str, F64]:
        """exp(sign (L - clamp(t, -d, d))) at the edge `middle` below the mean, the next, those before and after."""
        made = {"left": self.offset + self.d, "right": self.offset - self.d}
        for name, k in (("middle_0", self.middle), ("middle_1", self.middle + 1.0)):
            t = self.edge(k)
            made[name] = self.offset - np.where(t < -self.d, -self.d, np.where(t > self.d, self.d, t))
        return {name: pf.exp(sign * each) for name, each in made.items()} | {"middle": self.middle}

    def _mode(self) -> None:
        """n_0: between the most likely states on either side of the mean, and then one up or down, if that is more."""
        last = self.room - 1.0
        kept = np.minimum(np.maximum(self.centre, -1.0), self.room)
        self.middle = np.floor(kept + 2.0) - 2.0
        self.ratios = {sign: self._ratios(sign) for sign in (1.0, -1.0)}
        up = self.ratios[1.0]
        from_right, from_left = (
            np.where(y < 1.0, (self.x * y) / (1.0 - np.where(y < 1.0, y, 0.0)), 1e300)
            for y in (up["right"], up["left"])
        )
        n = np.maximum(from_right, np.minimum(self.centre, from_left))
        n = np.minimum(np.maximum(n, self.first), last)
        n = np.floor(np.where(n > 0.0, n, 0.0))
        more = ((self.x + n) + 1.0) * _ratio(up, n + 1.0)
        less = (self.x + n) * _ratio(up, n)
        rises, falls = (more > n + 1.0) & (n < last), (less < n) & (n > self.first)
        self.n_0 = np.where(rises, n + 1.0, np.where(falls, n - 1.0, n))

    def likelihood(self, n: F64) -> F64:
        """log(C(x + n, x) exp(n L)) but for log x!"""
        return (pf.log_factorial(self.x + n) - pf.log_factorial(n)) + n * self.offset

    def _parts(self) -> None:
        """Of the largest weight of any state, its log `top`, and the factors of the parts over it."""
        low, high = self.edge(self.n_0), self.edge(self.n_0 + 1.0)
        s = np.where(self.inner, self.base + (self.likelihood(self.n_0) - _over(low, high)), _NONE)
        self.at_most, self.at_zero = Edges.at(self.edge(self.room)), Edges.at(self.edge(np.ones_like(self.room)))
        s_most = self.base_most + (self.likelihood(self.room) - np.where(self.at_most.t > 0.0, self.at_most.t, 0.0))
        s_zero = self.base_zero - np.where(self.at_zero.t < 0.0, 0.0 - self.at_zero.t, 0.0)
        # The likelihood of state 0 is 1, its log 0 - log x!, where x is 0.
        s_zero = np.where(self.zero, s_zero, _NONE)
        top = np.full_like(self.room, _NONE)
        for each in (*s, *s_most, *s_zero):
            top = np.maximum(top, each)
        self.top = top
        self.factor = np.where(self.inner, pf.exp(s - top) * self.drop, 0.0)
        self.weight_most = pf.exp(s_most - top) * self.at_most.inverse
        self.weight_zero = np.where(self.zero, pf.exp(s_zero - top) * self.at_zero.inverse, 0.0)

    def walks(self, slopes: bool = False) -> tuple[Walked, Walked]:
        """Up and down from n_0, of all components."""
        up, down = (_walk(*self._start(sign), slopes) for sign in (1.0, -1.0))
        return up, down

    def walk_to(self, j: int, sign: float, chosen: Bools, goal: F64) -> F64:
        """Where the sum of a walk of component j passes `goal`, of the elements that are `chosen`."""
        given, live = self._start(sign)
        one = {name: each[j] for name, each in given.items()} | {"goal": goal}
        return _walk(one, live[j] & chosen, False).n

    def _start(self, sign: float) -> tuple[dict[str, F64], Bools]:
        """What walks begin with, and which of them have a state."""
        start, last = Edges.at(self.edge(self.n_0)), self.room - 1.0 if sign > 0.0 else self.first
        if sign > 0.0:
            n, h, live = self.n_0, np.ones_like(self.n_0), self.inner
        else:
            share = 1.0 / ((1.0 + start.e) * (self.x + self.n_0))
            n, h = self.n_0 - 1.0, (self.n_0 * (share * (1.0 + start.e))) * _ratio(self.ratios[sign], self.n_0)
            live = self.inner & (self.n_0 > self.first) & (h >= _LEAST)
        given: dict[str, F64 | float] = {"n": n, "h": h, "t": start.t, "e": start.e, "inverse": start.inverse}
        given |= {"d": self.d, "t_0": self.t_0, "x": self.x, "last": last, "sign": sign, "goal": np.inf}
        given |= self.ratios[sign]
        return {name: np.broadcast_to(each, h.shape) for name, each in given.items()}, np.broadcast_to(live, h.shape)


class Walked(NamedTuple):
    """Of each walk: the sums of its weights, of weight (F(a) - F(-b)), of weight (a F(a) - b F(-b)), and its last n."""

    sum: F64
    means: F64
    scales: F64
    n: F64


def _ratio(ratios: dict[str, F64], k: F64) -> F64:
    """The ratio at edge k."""
    at = k - ratios["middle"]
    outer = np.where(at < 0.0, ratios["left"], ratios["right"])
    return np.where(at == 0.0, ratios["middle_0"], np.where(at == 1.0, ratios["middle_1"], outer))


def _over(low: F64, high: F64) -> F64:
    """g of the edges of an inner state."""
    return np.where(low > 0.0, low, 0.0) + np.where(high < 0.0, 0.0 - high, 0.0)


def _walk(given: dict[str, F64], live: Bools, slopes: bool) -> Walked:
    """The walks that are `live`, each from n with h(n) and the edge behind it, to `last` or until its sum > goal."""
    made = Walked(*(np.zeros(live.size) for _ in range(4)))
    at = np.flatnonzero(live)
    g = {name: each[live] for name, each in given.items()}
    g |= dict.fromkeys(("sum", "means", "scales"), np.zeros(at.size))
    while at.size:
        up, n = g["sign"] > 0.0, g["n"]
        k = np.where(up, n + 1.0, n)
        t = g["t_0"] + k * g["d"]
        above, below = np.where(up, (g["x"] + n) + 1.0, n), np.where(up, n + 1.0, g["x"] + n)
        far = np.abs(t)
        e = np.where(far > _CUT, 0.0, pf.exp(-far))
        share = 1.0 / ((1.0 + e) * below)
        inverse = share * below
        weight = (g["h"] * g["inverse"]) * inverse
        g["sum"] = g["sum"] + weight
        if slopes:
            behind, ahead = Edges(g["t"], g["e"], g["inverse"]), Edges(t, e, inverse)
            f_a = np.where(up, behind.below(), ahead.below())
            f_b = np.where(up, ahead.above(), behind.above())
            a, b = np.where(up, g["t"], t), np.where(up, t, g["t"])
            g["means"] = g["means"] + weight * (f_a - f_b)
            g["scales"] = g["scales"] + weight * (a * f_a - b * f_b)
        h = (g["h"] * (above * (share * (1.0 + e)))) * _ratio(g, k)
        go_on = (h >= _LEAST) & (n != g["last"]) & ~(g["sum"] > g["goal"])
        done = ~go_on
        for name in Walked._fields:
            getattr(made, name)[at[done]] = g[name][done]
        g |= {"n": n + g["sign"], "h": h, "t": t, "e": e, "inverse": inverse}
        g, at = {name: each[go_on] for name, each in g.items()}, at[go_on]
    return Walked(*(each.reshape(live.shape) for each in made))


def totals_of(law: Law, up: Walked, down: Walked) -> list[F64]:
    """The sums of all parts up to each, in their order."""
    total = law.weight_zero[0]
    for each in law.weight_zero[1:]:
        total = total + each
    totals = [total]
    for j in range(law.components):
        for part in (up, down):
            totals.append(totals[-1] + law.factor[j] * part.sum[j])
    most = law.weight_most[0]
    for each in law.weight_most[1:]:
        most = most + each
    return [*totals, totals[-1] + most]
