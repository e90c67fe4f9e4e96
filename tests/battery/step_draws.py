"""Thinning and the reverse steps, whose probabilities belong to samples: a case for every sample and count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

import fastblackout as fb
from battery import birth_laws
from battery.cells import Cells, of_masses
from battery.element_draws import Draw, beta_binomial, binomial

SMALL, LARGE = [1, 5, 16, 37, 128, 240, 255], [3, 255, 256, 1000, 65_535, 2**31 - 1]
CHANCES = [1e-8, 1e-3, 0.1, 0.499, 0.5, 0.75, 1 - 1e-3, 1 - 2.0**-40]


def by_samples(
    op: Callable[[np.ndarray, fb.Philox], Any], samples: int, counts: list[int], dtype: str
) -> Callable[[fb.Philox, int], np.ndarray]:
    """A draw whose cases are the samples times the counts, which are neighbouring elements."""

    def draw(key: fb.Philox, m: int) -> np.ndarray:
        given = np.broadcast_to(np.array(counts, dtype=dtype), (samples, m, len(counts)))
        return np.asarray(op(given, key)).transpose(1, 0, 2).reshape(m, -1)

    return draw


def thinnings() -> list[Draw]:
    made = []
    for name, counts, dtype in (("thin, a table", SMALL, "uint8"), ("thin, larger counts", LARGE, "int64")):

        def op(x: np.ndarray, key: fb.Philox) -> Any:
            return fb.thin(x, CHANCES, rng=key, max_count=int(x.max()), outputs=("x_t",)).x_t

        laws = [(n, p) for p in CHANCES for n in counts]
        draw = by_samples(op, len(CHANCES), counts, dtype)
        made.append(Draw(name, draw, lambda laws=laws: [binomial(*law) for law in laws]))
    each = np.array([0.01, 0.3, 0.5, 0.9, 1 - 1e-8])
    counts = [255, 255, 37, 255, 1000]

    def spread(x: np.ndarray, key: fb.Philox) -> Any:
        return fb.thin(x, each[None, None], rng=key, max_count=1000, outputs=("x_t",)).x_t

    pairs, draw = list(zip(counts, each.tolist(), strict=True)) * 2, by_samples(spread, 2, counts, "int32")
    made.append(Draw("thin, each its own", draw, lambda: [binomial(*pair) for pair in pairs]))
    return made


def bridges() -> list[Draw]:
    """(x_t, births) are the elements; step, attrition and rounding the samples."""
    pairs = [(0, 1e-6), (0, 0.75), (40, 20.5), (200, 54.984375), (200, 400.0), (255, 3.0), (7, 0.0)]
    samples = [(1e-8, 0.0), (0.25, 0.0), (0.5, 0.01), (0.9, 0.5), (1.0, 1e-3), (1 - 2.0**-40, 1.0)]
    x, y = ([pair[at] for pair in pairs] for at in range(2))
    steps, deaths = ([sample[at] for sample in samples] for at in range(2))
    made = []
    for rounding in ("stochastic", "nearest"):

        def op(given: np.ndarray, key: fb.Philox, rounding: str = rounding) -> Any:
            births = np.broadcast_to(np.array(y, np.float32), given.shape)
            how = {"rng": key, "rounding": rounding, "outputs": ("x_s",)}
            return fb.bridge_step(given, births=births, step=steps, attrition=deaths, **how).x_s

        laws = [(*pair, *sample, rounding) for sample in samples for pair in pairs]
        draw = by_samples(op, len(samples), x, "uint8")
        made.append(Draw(f"bridge_step, {rounding}", draw, lambda laws=laws: [bridge(*law) for law in laws]))
    return made


def bridge(x: int, y: float, step: float, attrition: float, rounding: str) -> Cells:
    y = float(np.float32(y))
    least, fraction = int(y), y - int(y)
    ways = [(least, 1 - fraction), (least + 1, fraction)] if rounding == "stochastic" else [(int(y + 0.5), 1.0)]
    born = np.zeros(256 - x)
    for n, chance in ways:
        n = min(n, 255 - x)
        born[: n + 1] += chance * stats.binom.pmf(np.arange(n + 1), n, step)
    died = stats.binom.pmf(np.arange(x + 1), x, attrition)
    return of_masses(0, np.convolve(born, died[::-1]))


def leaps() -> list[Draw]:
    pairs = [(0, 0.5), (0, 100.0), (100, 10.0), (200, 1000.0), (254, 2.0), (255, 3.0), (0, 1e-6)]
    steps = [1e-6, 0.3, 1.0, 1.75]
    x, y = ([pair[at] for pair in pairs] for at in range(2))

    def op(given: np.ndarray, key: fb.Philox) -> Any:
        births = np.broadcast_to(np.array(y, np.float32), given.shape)
        return fb.tau_leap_step(given, births=births, step=steps, rng=key, outputs=("x_s",)).x_s

    def law(count: int, mean: float, step: float) -> Cells:
        return of_masses(count, birth_laws.cut(stats.poisson(float(np.float32(mean)) * step), 255 - count))

    draw = by_samples(op, len(steps), x, "uint8")
    return [Draw("tau_leap_step", draw, lambda: [law(*pair, step) for step in steps for pair in pairs])]


HEADS: dict[str, list[list[float]]] = {
    "beta-binomial": [[0.3, -2.0], [0.0, -0.3], [1.2, 2.5], [0.5, -9.0], [-9.0, 1.0], [7.0, 50.0]],
    "negative-binomial": [[0.3, -2.0], [0.0, 1.0], [1.0, 3.0], [-3.0, 0.0], [-9.0, -9.0], [2.0, 20.0]],
}  # fmt: skip


MOST, STEPS, OFFSETS = 60, [1e-3, 0.3, 0.875, 1.0], [0.0, -0.5, -2.0, -4.0]


def posterior_step(family: str, heads: list[list[float]]) -> Draw:
    """(x_t, head) are the elements; step and offset the samples."""
    pairs = [(x, head) for head in heads for x in (0, 17, MOST - 1)]
    table = np.array([head for _, head in pairs], np.float32)

    def op(given: np.ndarray, key: fb.Philox) -> Any:
        head = np.broadcast_to(table, (*given.shape, table.shape[1]))
        arrays = tuple(np.moveaxis(head, -1, 0))
        how = {"family": family, "offset": OFFSETS, "rng": key, "max_count": MOST, "outputs": ("x_s",)}
        return fb.posterior_step(given, arrays, STEPS, **how).x_s

    def laws() -> list[Cells]:
        return [
            of_masses(x, birth_laws.births_of_step(family, head, x, MOST, offset, step))
            for step, offset in zip(STEPS, OFFSETS, strict=True)
            for x, head in pairs
        ]

    draw = by_samples(op, len(STEPS), [x for x, _ in pairs], "uint8")
    return Draw(f"posterior_step, {family}", draw, laws)


def posterior_steps() -> list[Draw]:
    return [posterior_step(family, heads) for family, heads in HEADS.items()]


def splits() -> list[Draw]:
    """Parts of a count and, of a small one, all parts together as one number."""
    shares, counts = (0.2, 0.3, 0.5), [1, 6, 255, 256, 10**6, 2**31 - 1]

    def parts(overdispersion: float | None) -> Callable[[fb.Philox, int], np.ndarray]:
        def draw(key: fb.Philox, m: int) -> np.ndarray:
            given = np.broadcast_to(np.array(counts), (8, max(1, m // 8), len(counts)))
            found = [np.asarray(part) for part in fb.split(given, shares, overdispersion, rng=key)]
            joint = found[0][..., 1] * 7 + found[1][..., 1]
            return np.concatenate([*found, joint[..., None]], -1).reshape(-1, 3 * len(counts) + 1)

        return draw

    def together(overdispersion: float | None) -> Cells:
        mass = np.zeros(49)
        for a in range(7):
            for b in range(7 - a):
                seen = [a, b, 6 - a - b]
                law = (
                    stats.multinomial(6, shares)
                    if overdispersion is None
                    else stats.dirichlet_multinomial(overdispersion * np.array(shares), 6)
                )
                mass[7 * a + b] = law.pmf(seen)
        return of_masses(0, mass)

    def laws(b: float | None) -> list[Cells]:
        each = [binomial(n, e) if b is None else beta_binomial(n, b * e, b * (1 - e)) for e in shares for n in counts]
        return [*each, together(b)]

    return [
        Draw("split", parts(None), lambda: laws(None)),
        Draw("split, overdispersion", parts(2.5), lambda: laws(2.5)),
    ]


def multinomials() -> list[Draw]:
    weights = np.array([0.5, 1e-6, 3.0, 0.0, 1.5, 2.0, 0.25])
    shares, counts = weights / weights.sum(), [1, 255, 256, 10**6, 2**31 - 1]

    def draw(key: fb.Philox, m: int) -> np.ndarray:
        given = np.broadcast_to(np.array(counts), (8, max(1, m // 8), len(counts)))
        found = np.asarray(fb.multinomial(given, weights, rng=key))
        pairs = found[..., 0, 2:3] * 2 + found[..., 0, 4:5]  # of one ball: where it fell
        return np.concatenate([found.reshape(*given.shape[:2], -1), pairs], -1).reshape(-1, len(counts) * 7 + 1)

    def laws() -> list[Cells]:
        one = of_masses(0, [1 - shares[2] - shares[4], shares[4], shares[2]])
        return [*(binomial(n, p) for n in counts for p in shares.tolist()), one]

    return [Draw("multinomial", draw, laws)]


def step_draws() -> list[Draw]:
    return [*thinnings(), *bridges(), *leaps(), *posterior_steps(), *splits(), *multinomials()]
