"""Whether draws know of one another: of other elements, samples, calls, seeds and ops."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special, stats

import fastblackout as fb
from battery.draws import seed_of
from battery.results import Row

Sample = Callable[[fb.Philox, tuple[int, int]], np.ndarray]
CLASSES = 8
LAGS = (1, 2, 3, 4, 5, 7, 8, 16, 32, 64)
SHAPE = 64, 2048
ONE_STREAM = {  # two laws of one op
    ("poisson", "poisson, inverted"),
    ("gamma", "gamma, boosted"),
    ("posterior_step, shares", "posterior_step, states"),
}


def samples() -> dict[str, Sample]:
    """Draws of one law each, of a shape (samples, elements)."""
    uniform = np.full((CLASSES, CLASSES), 1 / CLASSES)
    mixed, weights = np.linspace(0.5, 1.5, 32) / 32, np.array([2.0, 1.0, 1.0])

    def full(shape: tuple[int, int], value: float, dtype: str = "int64") -> np.ndarray:
        return np.full(shape, value, dtype=dtype)

    def stepped(family: str, head: list[float]) -> Sample:
        def draw(key: fb.Philox, shape: tuple[int, int]) -> np.ndarray:
            given: Any = np.broadcast_to(np.array(head, np.float32), (*shape, len(head)))
            arrays = tuple(np.moveaxis(given, -1, 0))
            how = {"family": family, "rng": key, "max_count": 200}
            return fb.posterior_step(full(shape, 0, "uint8"), arrays, 0.5, **how).x_s

        return draw

    return {
        "binomial": lambda key, shape: fb.binomial(full(shape, 1000), 0.3, rng=key),
        "poisson": lambda key, shape: fb.poisson(full(shape, 50, "float64"), rng=key),
        "poisson, inverted": lambda key, shape: fb.poisson(full(shape, 8, "float64"), rng=key),
        "normal": lambda key, shape: fb.normal(full(shape, 0, "float64"), 1.0, rng=key),
        "gamma": lambda key, shape: fb.gamma(full(shape, 2.5, "float64"), scale=1.0, rng=key),
        "gamma, boosted": lambda key, shape: fb.gamma(full(shape, 0.5, "float64"), scale=1.0, rng=key),
        "beta": lambda key, shape: fb.beta(full(shape, 0.75, "float64"), 3.0, rng=key),
        "beta_binomial": lambda key, shape: fb.beta_binomial(full(shape, 200), 0.75, 3.0, rng=key),
        "negative_binomial": lambda key, shape: fb.negative_binomial(full(shape, 0.75, "float64"), mean=40.0, rng=key),
        "hypergeometric": lambda key, shape: fb.hypergeometric(full(shape, 500), bad=600, draws=300, rng=key),
        "bessel": lambda key, shape: fb.bessel(full(shape, 3), 90.0, rng=key),
        "skellam": lambda key, shape: fb.skellam(full(shape, 20, "float64"), 30.0, rng=key),
        "split": lambda key, shape: fb.split(full(shape, 300), (0.4, 0.6), rng=key)[0],
        "multinomial": lambda key, shape: fb.multinomial(full(shape, 300), weights, rng=key)[..., 0],
        "thin, a table": lambda key, shape: fb.thin(full(shape, 240, "uint8"), 0.4, rng=key).x_t,
        "thin, large": lambda key, shape: fb.thin(full(shape, 900), 0.4, rng=key, max_count=900).x_t,
        "bridge_step": lambda key, shape: fb.bridge_step(
            full(shape, 0, "uint8"), births=full(shape, 200, "float32"), step=0.4, rng=key
        ).x_s,
        "bridge_step, deaths": lambda key, shape: fb.bridge_step(
            full(shape, 240, "uint8"), births=full(shape, 0, "float32"), step=0.4, attrition=0.5, rng=key
        ).x_s,
        "bridge_step, rounding": lambda key, shape: fb.bridge_step(
            full(shape, 0, "uint8"), births=full(shape, 0.5, "float32"), step=1.0, rng=key
        ).x_s,
        "tau_leap_step": lambda key, shape: fb.tau_leap_step(
            full(shape, 0, "uint8"), births=full(shape, 80, "float32"), step=0.5, rng=key
        ).x_s,
        "posterior_step, shares": stepped("beta-binomial", [0.0, 0.0]),
        "categorical": lambda key, shape: fb.categorical(full(shape, 0), uniform, rng=key),
        "categorical_bridge": lambda key, shape: fb.categorical_bridge(
            full(shape, 0), full(shape, 0), before=uniform, after=uniform, rng=key
        ),
        "categorical_rows": lambda key, shape: fb.categorical_rows(np.broadcast_to(mixed, (*shape, 32)), rng=key),
    }  # fmt: skip


def classes(values: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    return np.searchsorted(cuts, values, side="right")


def dependence(table: np.ndarray) -> float | None:
    """The p value of a table of two classes by the likelihood ratio, given its margins; None where one is constant."""
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    if freedom == 0:
        return None
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    ratio = 2 * special.xlogy(table, table / expected).sum()
    return float(stats.chi2.sf(max(ratio, 0.0), freedom))


def joint(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    pairs = first.ravel().astype(np.int64) * CLASSES + second.ravel()
    return np.bincount(pairs, minlength=CLASSES * CLASSES).reshape(CLASSES, CLASSES)


def relations(classed: Callable[[fb.Philox], np.ndarray], key: fb.Philox) -> dict[str, np.ndarray]:
    """Tables of the classes of elements of one op beside the classes of others."""
    here = classed(key)
    others = {
        "next call": key.at(call=key.call + 1),
        "next seed": fb.Philox(key.seed ^ 1, first_sample=key.first_sample, call=key.call),
        "upper seed": fb.Philox(key.seed ^ 1 << 32, first_sample=key.first_sample, call=key.call),
        "far seed": fb.Philox(key.seed ^ 1 << 63, first_sample=key.first_sample, call=key.call),
        "call for seed": fb.Philox(key.seed ^ 3, first_sample=key.first_sample, call=key.call ^ 3),
        "next batch": key.at(first_sample=key.first_sample + len(here)),
    }
    found = {name: joint(here, classed(other)) for name, other in others.items()}
    found |= {f"element + {lag}": joint(here[:, :-lag], here[:, lag:]) for lag in LAGS}
    found |= {f"sample + {lag}": joint(here[:-lag], here[lag:]) for lag in (1, 2, 4)}
    found["sample + 1, element + 1"] = joint(here[:-1, :-1], here[1:, 1:])
    return found


def check(
    drawn: dict[str, Sample], seed: int, rounds: int, deadline: float, shape: tuple[int, int] = SHAPE
) -> list[Row]:
    """Two rows: within each op, and between any two ops with one key."""
    started, done = time.monotonic(), 0
    random = np.random.default_rng(seed_of(seed, "independence"))
    pilot = fb.Philox(seed_of(seed, "cuts"))
    cuts = {}
    for name, sample in drawn.items():
        values = np.asarray(sample(pilot, shape)).ravel()
        cuts[name] = np.unique(np.quantile(values, np.arange(1, CLASSES) / CLASSES))
    within: dict[str, np.ndarray] = {}
    between: dict[str, np.ndarray] = {}
    while done < rounds and (done == 0 or time.monotonic() < deadline):
        words = random.integers(0, 1 << 32, 4).tolist()
        key = fb.Philox(words[0] << 32 | words[1], first_sample=words[2] >> 1, call=words[3] >> 1)
        at_once = {}
        for name, sample in drawn.items():

            def classed(key: fb.Philox, sample: Sample = sample, name: str = name) -> np.ndarray:
                return classes(np.asarray(sample(key, shape)), cuts[name])

            for relation, table in relations(classed, key).items():
                place = f"{name}, {relation}"
                within[place] = within.get(place, 0) + table
            at_once[name] = classed(key)
        for first, second in itertools.combinations(at_once, 2):
            if (first, second) in ONE_STREAM:
                continue
            a, b = at_once[first], at_once[second]
            for lag, table in ((0, joint(a, b)), (1, joint(a[:, :-1], b[:, 1:]))):
                place = f"{first} beside {second} + {lag}"
                between[place] = between.get(place, 0) + table
        done += 1
    seconds, size = time.monotonic() - started, done * shape[0] * shape[1]
    return [
        _row(what, tables, size * len(drawn), share * seconds)
        for what, tables, share in (
            ("elements, samples, calls, seeds", within, 0.75),
            ("ops with one key", between, 0.25),
        )
        if tables
    ]


def _row(what: str, tables: dict[str, np.ndarray], draws: int, seconds: float) -> Row:
    found = {name: p for name, table in tables.items() if (p := dependence(table)) is not None}
    return Row(what, draws, len(found), seconds, list(found.values()), worst=min(found, key=found.__getitem__))
