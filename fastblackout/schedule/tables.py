"""Survival probabilities of the named schedules, computed in decimal so that every machine gets the same bits.

torch, NumPy and math disagree in the last bit of exp and log. Here p and q = 1 - p are evaluated with 45 digits and
each is rounded once to float64; no libm stands between the parameters of a schedule and the thresholds of a draw.
"""

from __future__ import annotations

import decimal
import functools
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends.float_mode import default_floats

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Five digits more than the 40 promised: the rotation of `cosine_table` loses one digit a factor of ten in steps.
_CONTEXT = decimal.Context(prec=45, Emin=-999_999, Emax=999_999, traps=[decimal.InvalidOperation])
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")

EARLY_TIMES = 1000  # points of `early_times`

Pair = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def _frozen(values: list[float]) -> NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


@functools.lru_cache(maxsize=16)
def logit_table(steps: int, t_end: float) -> Pair:
    """p_k uniform in logit from +L at k = 1 to -L at k = steps, L = -logit(exp(-t_end)) = log(exp(t_end) - 1); p_0 = 1.

    A single step goes straight to p_1 = exp(-t_end). Source: Santos et al., arXiv 2305.11089, observation times.
    """
    with decimal.localcontext(_CONTEXT):
        end = (Decimal(t_end).exp() - 1).ln()
        p, q = [1.0], [0.0]
        for k in range(1, steps + 1):
            level = end * (steps + 1 - 2 * k) / (steps - 1) if steps > 1 else -end
            odds = level.exp()
            p.append(float(odds / (1 + odds)))
            q.append(float(1 / (1 + odds)))
    return _frozen(p), _frozen(q)


@functools.lru_cache(maxsize=16)
def cosine_table(steps: int) -> Pair:
    """p_k = cos^2(pi k / (2 steps)), q_k = sin^2 of the same: the arc length of the binomial family; p_steps = 0."""
    with decimal.localcontext(_CONTEXT):
        angle = _PI / (2 * steps)
        cos_1, sin_1 = _cos_sin(angle)
        cos_k, sin_k = Decimal(1), Decimal(0)
        p, q = [1.0], [0.0]
        for _ in range(1, steps):
            cos_k, sin_k = cos_k * cos_1 - sin_k * sin_1, sin_k * cos_1 + cos_k * sin_1
            p.append(float(cos_k * cos_k))
            q.append(float(sin_k * sin_k))
    return _frozen([*p, 0.0]), _frozen([*q, 1.0])


@functools.lru_cache(maxsize=16)
def early_table(steps: int, max_count: int) -> NDArray[np.float64]:
    """p_i = cos^2(pi u^g / 2), u = i / steps, g = 1 / log2(max_count + 1); p_steps = 0."""
    with decimal.localcontext(_CONTEXT):
        power = Decimal(2).ln() / Decimal(max_count + 1).ln()
        shares = ((power * (Decimal(i) / steps).ln()).exp() for i in range(1, steps))
        p = [float(_cos_sin(_PI / 2 * share)[0] ** 2) for share in shares]
    return _frozen([1.0, *p, 0.0])


def _cos_sin(angle: Decimal) -> tuple[Decimal, Decimal]:
    # Taylor series; angle <= pi / 2, so the terms fall below 1e-45 within 40 orders.
    total, term, order = [Decimal(0)] * 2, Decimal(1), 0
    while abs(term) > Decimal("1e-50"):
        total[order % 2] += term if order % 4 < 2 else -term
        order += 1
        term = term * angle / order
    return total[0], total[1]


@functools.lru_cache(maxsize=16)
def linear_table(steps: int) -> Pair:
    """p_k = 1 - k / steps, q_k = k / steps."""
    # A quotient of Python integers is rounded once, so decimal has nothing to add.
    return (
        _frozen([(steps - k) / steps for k in range(steps + 1)]),
        _frozen([k / steps for k in range(steps + 1)]),
    )


def times(p: NDArray[np.float64], q: NDArray[np.float64]) -> Pair:
    """t = -log p as an unevaluated sum of two float64 arrays (high, low); p = 0 gives (inf, 0)."""
    high, low = [], []
    with decimal.localcontext(_CONTEXT):
        for p_k, q_k in zip(p.tolist(), q.tolist(), strict=True):
            if p_k == 0.0:
                high.append(float("inf"))
                low.append(0.0)
                continue
            t = _minus_log1m(Decimal(q_k)) if q_k < 0.5 else -Decimal(p_k).ln()
            high.append(float(t) + 0.0)  # adding 0.0 turns -0 into 0
            low.append(float(t - Decimal(high[-1])) + 0.0)
    return _frozen(high), _frozen(low)


def _minus_log1m(q: Decimal) -> Decimal:
    # -log(1 - q). For tiny q the digits of 1 - q run out, and five terms of the series leave a relative 1e-50.
    if q > Decimal("1e-10"):
        return -(1 - q).ln()
    return q * (1 + q * (Decimal(1) / 2 + q * (Decimal(1) / 3 + q * (Decimal(1) / 4 + q / 5))))


def early_times(p: NDArray[np.float64], max_count: int) -> NDArray[np.int64]:
    """The k of 1..steps whose p_k are nearest to EARLY_TIMES points spread evenly along the grid "early"."""
    return np.maximum(nearest(p, early_table(2 * EARLY_TIMES, max_count)[1::2]), 1)


def nearest_steps(p: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.int64]:
    """The k whose p_k are nearest to `target`, decreasing from the last step to 0; those that coincide move apart."""
    steps, i = len(p) - 1, np.arange(len(target), dtype=np.int64)
    k = nearest(p, target)
    k[0], k[-1] = 0, steps
    k = np.maximum.accumulate(k - i) + i  # Each k is at least one more than the k before it, beginning at p = 1.
    return np.minimum(k, steps - i[::-1])[::-1].astype(np.int64)


def nearest(p: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.int64]:
    """The k whose p_k are nearest to `target`; of two that are equally near the smaller."""
    right = np.clip(np.searchsorted(-p, -target), 1, len(p) - 1)  # the first k with p_k <= target
    return np.where(p[right - 1] - target <= target - p[right], right - 1, right)


def quiet(library: Any) -> AbstractContextManager[Any]:
    """Without NumPy's warnings, as of divisions by 0. Torch has none, nor does torch.compile trace NumPy's context."""
    return np.errstate(all="ignore") if library is np else nullcontext()


def death(library: Any, p_s: Any, q_s: Any, p_t: Any, q_t: Any) -> Any:
    """p_s - p_t, from the side of the pairs on which the numbers are small, so that nothing cancels."""
    return library.where(p_t < 0.5, p_s - p_t, q_t - q_s)


@default_floats
def birth(library: Any, p_s: Any, q_s: Any, p_t: Any, q_t: Any) -> tuple[Any, Any]:
    """The bridge's pair ((p_s - p_t) / (1 - p_t), (1 - p_s) / (1 - p_t)), float64 + - * / only; s = 0 gives (1, 0)."""
    p = death(library, p_s, q_s, p_t, q_t) / q_t
    # Exactly 1 at s = 0, where 1 - p_t and q_t may differ in the last bit; never above 1 by rounding.
    return library.where((q_s == 0.0) | (p > 1.0), 1.0, p), q_s / q_t


@default_floats
def birth_with_attrition(
    library: Any, p_s: Any, q_s: Any, p_t: Any, q_t: Any, sigma: Any
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """((beta, 1 - beta), (sigma', 1 - sigma')), sigma' = min(sigma, 1, (1 - p_s) / p_t).

    beta = (p_s - (1 - sigma') p_t) / (1 - p_t) is the plain birth probability plus sigma' p_t / (1 - p_t).
    """
    with quiet(library):
        limit = library.where(q_s >= p_t, 1.0, q_s / p_t)
    limit = library.where(q_s == 0.0, 0.0, limit)
    capped = sigma >= limit
    sigma = library.where(capped, limit, sigma)
    p, _ = birth(library, p_s, q_s, p_t, q_t)
    beta = p + sigma * p_t / q_t
    rest = (q_s - sigma * p_t) / q_t
    # At the limit (1 - p_s) / p_t every missing count is born: exactly 1 and 0, not rounding noise.
    full = (capped & (limit < 1.0)) | (beta > 1.0) | (rest < 0.0)
    return (library.where(full, 1.0, beta), library.where(full, 0.0, rest)), (sigma, 1.0 - sigma)


@default_floats
def weights(p: NDArray[np.float64], q: NDArray[np.float64], elapsed: NDArray[np.float64]) -> dict[str, Any]:
    """Loss weights of steps 1..T by name, float64 (T + 1,); entry 0 belongs to no step and is NaN.

    elapsed: t_k - t_{k-1}, (T,). See Schedule.weight for the equations.
    """
    pairs = p[:-1], q[:-1], p[1:], q[1:]
    likelihood, _ = birth(np, *pairs)
    likelihood[0] = likelihood[min(1, len(likelihood) - 1)]
    with np.errstate(invalid="ignore"):
        instantaneous = np.where(p[1:] > 0.0, elapsed * p[1:], 0.0)
    named = {"likelihood": likelihood, "finite-time": death(np, *pairs), "instantaneous": instantaneous}
    named["energy"] = 1.0 / np.sqrt(q[1:])
    named["uniform"] = np.ones_like(q[1:])
    return {name: np.concatenate([[np.nan], values]) for name, values in named.items()}


class Arrays:
    """The tables of a schedule by name; what takes long, the logarithms of p, is made when it is first asked for."""

    def __init__(self, p: NDArray[np.float64], q: NDArray[np.float64]) -> None:
        self._pair = {"p": p, "q": q}

    @functools.cached_property
    def _others(self) -> dict[str, NDArray[np.float64]]:
        p, q = self._pair.values()
        high, low = times(p, q)
        return {"high": high, "low": low, **weights(p, q, np.diff(high) + np.diff(low))}

    def __call__(self, name: str) -> NDArray[np.float64]:
        return self._pair[name] if name in self._pair else self._others[name]
