"""fb.categorical_bridge: bits against the reference, and the law of x_s given x_t against enumeration."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.arrays import LAYOUTS, NUMPY_ONLY, DLPackOnly, as_library, bits, lay
from support.helpers import BACKENDS, KEYS, chi_square_counts, pairwise, using

FALSE_ALARM = 1e-9  # of each chi-square test, with fixed seeds
RNG = fb.Philox(seed=22, first_sample=3, call=4)


def matrices(count, states, seed, zeros=0.3):
    """(count, S, S) transition matrices with zeros; every state has a path to every other through state 0."""
    random = np.random.default_rng(seed)
    weights = random.random((count, states, states)) ** 3
    weights[random.random(weights.shape) < zeros] = 0
    weights[..., 0] += 0.05
    weights[:, 0, :] += 0.01
    return weights / weights.sum(-1, keepdims=True)


def prediction(kind, shape, states, seed=5):
    """Arguments of the op that say what x_0 is: known, logits or probabilities."""
    random = np.random.default_rng(seed)
    if kind == "x_0":
        return {"x_0": random.integers(0, states, shape).astype(np.int16)}
    if kind.startswith("probs"):
        weights = random.random((*shape, states)) * (random.random((*shape, states)) < 0.7) + 1e-3
        return {"probs": (weights / weights.sum(-1, keepdims=True)).astype(kind.removeprefix("probs "))}
    logits = random.normal(0, 3, (*shape, states))
    logits[random.random(logits.shape) < 0.1] = -np.inf
    logits[..., 0] = 300.0 * (random.random(shape) < 0.1)
    return {"logits": logits.astype(kind)}


CASES = pairwise(
    # around a group (8), and a block (16,384) of elements
    shape=((), (3,), (2, 1), (5, 7, 3), (2, 17), (4, 2, 3, 5), (1, 300)),
    states=(1, 2, 7, 8, 9, 33, 256),
    kind=("x_0", "float32", "float64", "float16", "probs float32", "probs float64"),
    which=("one", "index", "each", "mixed"),
    dtype=("uint8", "int16", "int32", "int64"),
    layout=LAYOUTS,
    library=("numpy", "torch"),
    threads=(1, 3),
    key=range(1, len(KEYS), 3),
    backend=BACKENDS[1:],
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c.values())).replace(" ", ""))
def test_equals_the_reference(case):
    layout = case["layout"]
    if case["library"] == "torch" and layout in NUMPY_ONLY:
        layout = "inner"
    shape, states = case["shape"], case["states"]
    samples = shape[0] if shape else 1
    before, after = matrices(samples, states, 1), matrices(samples, states, 2)
    index = None
    if case["which"] in ("one", "mixed"):
        before = before[0]
    if case["which"] == "one":
        after = after[0]
    if case["which"] in ("index", "mixed"):
        index = np.random.default_rng(3).integers(0, samples, samples)
    given = {}
    for name, value in prediction(case["kind"], shape, states).items():
        laid = layout if name == "x_0" or layout != "expanded" else "transposed"  # repeated classes would be no law
        given[name] = lay(value, laid)
    x_t = lay(np.random.default_rng(6).integers(0, states, shape).astype(case["dtype"]), layout)
    key = KEYS[case["key"]]
    if key.first_sample + samples > 2**32:
        key = key.at(first_sample=0)
    rest = {"before": before, "after": after, "index": index, "rng": key}
    expected = fb.categorical_bridge(x_t, **given, **rest, backend="reference")
    kinds = {name: as_library(value, case["library"]) for name, value in given.items()}
    with using(case["backend"], case["threads"]):
        got = fb.categorical_bridge(as_library(x_t, case["library"]), **kinds, **rest)
    assert bits(got) == bits(expected)


def test_a_block_of_many_elements_and_the_next(backend):
    """16,384 elements are drawn together; those beyond them must not differ."""
    x_t = np.random.default_rng(1).integers(0, 5, (2, 16_400)).astype(np.uint8)
    x_0 = np.random.default_rng(2).integers(0, 5, x_t.shape)
    rest = {"before": matrices(1, 5, 1)[0], "after": matrices(1, 5, 2)[0], "rng": RNG}
    whole = fb.categorical_bridge(x_t, x_0, **rest)
    assert bits(whole) == bits(fb.categorical_bridge(x_t, x_0, **rest, backend="reference"))


def test_bfloat16_logits(backend):
    logits = torch.from_numpy(prediction("float32", (3, 20), 9)["logits"]).bfloat16()
    x_t = torch.zeros((3, 20), dtype=torch.uint8)
    rest = {"before": matrices(1, 9, 1)[0], "after": matrices(1, 9, 2)[0], "rng": RNG}
    expected = fb.categorical_bridge(x_t, logits=logits.float(), **rest)
    assert bits(fb.categorical_bridge(x_t, logits=logits, **rest)) == bits(expected)
    assert bits(fb.categorical_bridge(x_t, logits=logits.requires_grad_(), **rest)) == bits(expected)


def test_known_start_follows_the_bridge(backend):
    """q(x_s | x_t, x_0) for every pair of 5 states, 40,000 draws each; 75 tests at 1e-9."""
    before, after = matrices(1, 5, 1)[0], matrices(1, 5, 2)[0]
    pairs = [(a, b) for a in range(5) for b in range(5)]
    x_0, x_t = (np.repeat([[p[side]] for p in pairs], 40_000, axis=1).astype(np.uint8) for side in (0, 1))
    drawn = fb.categorical_bridge(x_t, x_0, before=before, after=after, rng=RNG)
    for (a, b), result in zip(pairs, drawn, strict=True):
        law = before[a] * after[:, b]
        law = law / law.sum()
        seen = np.bincount(result, minlength=5)
        assert (seen[law == 0] == 0).all()
        assert chi_square_counts(seen[law > 0], law[law > 0] * 40_000) > FALSE_ALARM


@pytest.mark.parametrize("kind", ["float32", "probs float64"])
def test_predicted_start_is_summed_over(kind, backend):
    """x_s follows sum over x_0 of q(x_s | x_t, x_0) p(x_0 | x_t), x_0 never seen; 3 tests at 1e-9 a backend."""
    states, draws = 6, 200_000
    before, after = matrices(1, states, 1)[0], matrices(1, states, 2)[0]
    ((name, given),) = prediction(kind, (3, 1), states).items()
    weights = np.exp(given - given.max(-1, keepdims=True)).astype(np.float64) if name == "logits" else given
    predicted = weights[:, 0] / weights[:, 0].sum(-1, keepdims=True)
    x_t = np.repeat([[0], [2], [5]], draws, axis=1).astype(np.uint8)
    wide = np.broadcast_to(given, (3, draws, states))
    drawn = fb.categorical_bridge(x_t, **{name: wide}, before=before, after=after, rng=RNG)
    for sample, target in enumerate((0, 2, 5)):
        paths = before * after[:, target]
        law = predicted[sample] @ (paths / paths.sum(1, keepdims=True))
        seen = np.bincount(drawn[sample], minlength=states)
        assert chi_square_counts(seen[law > 0], law[law > 0] * draws) > FALSE_ALARM


def test_thinning_is_a_special_case(backend):
    """By the matrices of thinning the bridge is x_t + Binomial(x_0 - x_t, p), as fb.schedule says it."""
    schedule = fb.Schedule.logit(steps=100)
    s, t = schedule.survival(30), schedule.survival(60)
    between = fb.Prob(t.p / s.p, 1 - t.p / s.p)
    before, after = fb.transition_rows(s, 50), fb.transition_rows(between, 50)
    x_0, x_t = np.full((1, 100_000), 45, np.uint8), np.full((1, 100_000), 12, np.uint8)
    drawn = fb.categorical_bridge(x_t, x_0, before=before, after=after, rng=RNG)
    law = np.exp(fb.bridge_log_prob(np.arange(51), np.full(51, 12), np.full(51, 45), schedule.bridge(60, 30)))
    seen = np.bincount(drawn[0], minlength=51)
    assert (seen[law == 0] == 0).all()
    assert chi_square_counts(seen[law > 0], law[law > 0] * drawn.size) > FALSE_ALARM


def test_the_two_draws_have_streams_of_their_own(backend):
    """With no information in x_t, x_s follows x_0's draw and not its uniform: the states do not correlate."""
    states = 16
    same = np.full((states, states), 1.0 / states)
    logits = np.zeros((1, 50_000, states), np.float32)
    x_t = np.zeros((1, 50_000), np.uint8)
    x_0 = fb.categorical_bridge(x_t, logits=logits, before=np.eye(states), after=same, rng=RNG)
    x_s = fb.categorical_bridge(x_t, x_0, before=same, after=same, rng=RNG)
    forward = fb.categorical(x_t, same, rng=RNG)
    correlation = np.corrcoef([x_0[0], x_s[0], forward[0]])[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 6 / np.sqrt(50_000)  # 6 standard errors


def test_batch_split_out_and_kinds(backend):
    before, after = matrices(6, 7, 1), matrices(6, 7, 2)
    x_t = np.random.default_rng(1).integers(0, 7, (6, 3, 5)).astype(np.uint8)
    logits = prediction("float32", x_t.shape, 7)["logits"]
    whole = fb.categorical_bridge(x_t, logits=logits, before=before, after=after, rng=RNG)
    for rows in (slice(0, 2), slice(2, 3), slice(3, 6)):
        rng = RNG.at(first_sample=RNG.first_sample + rows.start)
        part = fb.categorical_bridge(x_t[rows], logits=logits[rows], before=before[rows], after=after[rows], rng=rng)
        assert bits(part) == bits(whole[rows])
    rest = {"before": before, "after": after, "rng": RNG}
    assert bits(fb.categorical_bridge(DLPackOnly(x_t), logits=DLPackOnly(logits), **rest)) == bits(whole)
    got = fb.categorical_bridge(x_t, logits=logits, **rest, out=x_t)
    assert got is x_t and bits(x_t) == bits(whole)


def test_empty(backend):
    for shape in ((0, 3), (3, 0)):
        x_t, logits = np.empty(shape, np.uint8), np.empty((*shape, 4), np.float32)
        assert fb.categorical_bridge(x_t, logits=logits, before=np.eye(4), after=np.eye(4), rng=RNG).shape == shape
