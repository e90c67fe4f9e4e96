"""Samples of few elements, which the CPU's kernels draw together, have the bits of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastblackout as fb
from fastblackout.reference.philox import Stream, philox4x32
from support.helpers import BACKENDS, by_day, using

SHAPES = [(2600,), (1025, 1), (700, 3), (205, 5), (300, 8), (110, 12)]
SHAPES += [(40, 31), (53, 47), (10, 248), (9, 511), (6, 512), (300, 2, 5)]
LAST = fb.Philox(2**63 + 5, first_sample=2**32 - 2600, call=3)  # the last samples that a key has


def draws(shape: tuple[int, ...], strided: bool) -> dict[str, Any]:
    random = np.random.default_rng(list(shape))

    def lay(values: np.ndarray) -> np.ndarray:
        if not strided:
            return values
        room = np.zeros((*shape[:-1], 2 * shape[-1] + 1), values.dtype)
        room[..., ::2][..., : shape[-1]] = values
        return room[..., ::2][..., : shape[-1]]

    counts = lay(random.integers(0, 3000, shape))
    pixels = lay((counts % 256).astype(np.uint8))
    each = {"alive": np.linspace(1, 0, len(counts)), "center": np.arange(len(counts)), "max_count": 500, "rng": LAST}
    step = {"step": 0.3, "max_count": 3500, "rng": LAST, "outputs": ("x_s",)}
    some, more = (lay(random.gamma(0.7, 4.0, shape) + 1e-3) for _ in range(2))
    return {
        "binomial": lambda: fb.binomial(counts, lay(random.random(shape)), rng=LAST),
        "binomial, one p": lambda: fb.binomial(counts, 0.3, rng=LAST),
        "thin": lambda: fb.thin(pixels, 0.7, rng=LAST, outputs=("births",)).births,
        "thin, some above 255": lambda: fb.thin(counts // 6, 0.3, max_count=500, rng=LAST, scale=0.5).model_input,
        "thin, each": lambda: fb.thin(pixels, np.linspace(0, 1, len(pixels)), rng=LAST).x_t,
        "thin, each, some above 255": lambda: fb.thin(counts // 6, **each).model_input,
        "bridge_step": lambda: fb.bridge_step(pixels, some, 0.6, rng=LAST, gain=30.0, outputs=("x_s",)).x_s,
        "bridge_step, some above 255": lambda: fb.bridge_step(counts, births=50 * some, attrition=0.1, **step).x_s,
        "poisson": lambda: fb.poisson(some * 5, rng=LAST),
        "normal": lambda: fb.normal(some, 2.0, rng=LAST),
        "gamma": lambda: fb.gamma(some, scale=more, rng=LAST),
        "beta": lambda: fb.beta(some, more, rng=LAST),
        "beta_binomial": lambda: fb.beta_binomial(counts, some, more, rng=LAST),
        "negative_binomial": lambda: fb.negative_binomial(some, mean=3 * more, rng=LAST),
    }


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_short_samples_have_the_bits_of_the_reference(shape: tuple[int, ...], strided: bool) -> None:
    for name in draws(shape, strided):
        found = {}
        for backend in BACKENDS:
            with using(backend):
                found[backend] = draws(shape, strided)[name]()
        for backend, drawn in found.items():
            assert np.array_equal(drawn, found["reference"]), (name, backend)


@pytest.mark.parametrize("shape", by_day([(60_000,), (20_000, 3), (7_500, 8), (2_500, 24)], (20_000, 3), (2_500, 24)))
def test_ties_of_the_table_draw(shape: tuple[int, ...]) -> None:
    """Of so many uniforms some dozens begin with the 16 bits of a threshold."""
    counts = np.random.default_rng(5).integers(0, 256, shape, np.uint8)
    for p in (0.03, 0.37):
        drawn = {}
        for backend in BACKENDS:
            with using(backend):
                drawn[backend] = fb.thin(counts, p, rng=fb.Philox(1, first_sample=2**32 - 60_000)).x_t
        for backend, x_t in drawn.items():
            assert np.array_equal(x_t, drawn["reference"]), (p, backend)


@pytest.mark.parametrize("most", [127, 400])
@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_ties_of_short_samples(backend: str, most: int) -> None:
    """Of uniforms and thresholds, some hundred in so many draws; and of rounding's first 32 bits, made on purpose."""
    shape = (20_000, 3)
    counts = np.random.default_rng(most).integers(0, most + 1, shape, np.int32)
    block = philox4x32(np.zeros(len(counts), np.int64), np.arange(len(counts)), 0, Stream.ROUNDING.word(), 1, 0)
    births = np.stack([np.where(word < 2**23, (word + 0.5) / 2**32, 0.5) for word in block[:3]], axis=1)
    assert 60 < (births < 0.5).sum() < 200 and (births.astype(np.float32) == births).all()
    how = {"rng": fb.Philox(1), "max_count": 2 * most, "outputs": ("x_s",), "births": births}
    with using(backend, threads=1):
        thinned = fb.thin(counts, 0.37, rng=fb.Philox(1), max_count=most).x_t
        stepped = fb.bridge_step(counts, step=1.0, attrition=0.8, **how).x_s
        for i in range(0, len(counts), 3):
            at, key = slice(i, i + 1), fb.Philox(1, first_sample=i)
            assert (fb.thin(counts[at], 0.37, rng=key, max_count=most).x_t == thinned[at]).all()
            own = how | {"rng": key, "births": births[at]}
            assert (fb.bridge_step(counts[at], step=1.0, attrition=0.8, **own).x_s == stepped[at]).all()


@pytest.mark.parametrize("shape", [(3, 2500), (900, 3), (2000,)])
@pytest.mark.parametrize("zeros", [0.2, 0.3, 0.9, 0.999, 1.0])
def test_counts_of_zero_are_left_out(shape: tuple[int, ...], zeros: float) -> None:
    random = np.random.default_rng([*shape, int(1000 * zeros)])
    counts = random.integers(1, 3000, shape) * (random.random(shape) >= zeros)
    prob = random.random(shape)
    found = {}
    for backend in BACKENDS:
        with using(backend):
            found[backend] = fb.binomial(counts, prob, rng=LAST.at(first_sample=5))
    for backend, drawn in found.items():
        assert np.array_equal(drawn, found["reference"]), backend


def test_a_sample_draws_the_same_alone() -> None:
    rates = np.random.default_rng(1).gamma(1.0, 9.0, (1100, 2))
    for of, at in ((fb.poisson, 1099), (fb.poisson, 511), (fb.normal, 700)):
        arguments = (rates,) if of is fb.poisson else (rates, 1.0)
        alone = (arguments[0][at : at + 1], *arguments[1:])
        assert np.array_equal(of(*arguments, rng=fb.Philox(5))[at], of(*alone, rng=fb.Philox(5, first_sample=at))[0])


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_a_wrong_value_is_told_with_its_sample(backend: str) -> None:
    prob = np.full((700, 3), 0.5)
    prob[512, 2] = 2.0
    wrong = {"prob": prob, "pair": fb.Prob(np.full((700, 3), 0.5), 0.5 + 0.1 * (prob > 1))}
    for given in wrong.values():
        with using(backend), pytest.raises(ValueError, match=r"binomial: prob: .*sample 512, element 2"):
            fb.binomial(np.ones((700, 3), np.int64), given, rng=fb.Philox(1))


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_one_wrong_number_of_a_sample_is_told(backend: str) -> None:
    deviation = np.ones((600, 1))
    deviation[550] = np.nan
    with using(backend), pytest.raises(ValueError, match=r"normal: std: .*sample 550, element 0"):
        fb.normal(np.zeros((600, 3)), np.broadcast_to(deviation, (600, 3)), rng=fb.Philox(1))
