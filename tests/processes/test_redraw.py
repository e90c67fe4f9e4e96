"""Uniform, Absorbing and Redraw: bits by plain loops on every backend, laws without a matrix, times an element."""

import tracemalloc

import mpmath
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import fastblackout as fb
from fastblackout import processes as on
from fastblackout.processes import conversion as to
from fastblackout.reference import redraw as reference
from fastblackout.reference.philox import Stream, philox4x32
from support.arrays import LAYOUTS, NUMPY_ONLY, as_library, bits, lay
from support.helpers import BACKENDS, KEYS, assert_named, chi_square_counts, pairwise, using

torch.set_num_threads(1)

FALSE_ALARM = 1e-6  # of each chi-square test, with fixed seeds
VOCABULARY = 50_258  # of GPT-2 and a mask
PROCESSES = {
    "uniform, 256": fb.Uniform(256),
    "uniform, words": fb.Uniform(VOCABULARY),
    "uniform, most": fb.Uniform(2**31),
    "uniform, below most": fb.Uniform(2**31 - 5),
    "absorbing, 2": fb.Absorbing(2, 0),
    "absorbing, 256": fb.Absorbing(256),
    "absorbing, words": fb.Absorbing(VOCABULARY, 7),
    "any law": fb.Redraw(np.array([0.1, 0.0, 0.2, 0.3, 0.0, 0.4, 0.0])),
    "any law, words": fb.Redraw(np.random.default_rng(5).dirichlet(np.ones(VOCABULARY) * 0.3)),
}
TIMES = ("number", "sample", "element", "between")


class Traced(TorchDispatchMode):
    """Calls under it go through tensors, as on a device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def times_of(kind, shape, seed=0):
    """Times up to about 3, 0 among them where there are several."""
    shape = {"number": (), "sample": shape[:1], "element": shape, "between": shape[:1] + (1,) * (len(shape) - 1)}[kind]
    t = np.random.default_rng(seed).random(shape) * 3
    return np.where(np.random.default_rng(seed + 1).random(shape) < 0.1, 0.0, t) if shape else t


def states_of(process, shape, dtype, seed=0):
    """Few different ones, the mask and the last among them, so that x_0 often is x_t."""
    some = [0, process.states - 1, process.states // 2, getattr(process, "mask", 1)]
    return np.random.default_rng(seed).choice(np.array(some), shape).astype(dtype)


def word(key, stream, sample, i):
    return int(philox4x32(i // 4, key.first_sample + sample, key.call, stream.word(), *key.key)[i % 4])


def plainly(process, x_0, t, key):
    """One sample of sample_forward, from integers of Python and exponentials to 40 digits."""
    drawn = []
    with mpmath.workdps(40):
        keep = mpmath.floor(mpmath.exp(-mpmath.mpf(t)) * 2**48)
        for i, x in enumerate(x_0.tolist()):
            v = word(key, Stream.REDRAW, 0, i) << 16 | word(key, Stream.REDRAW_REFINE, 0, i) >> 16
            assert abs(v - keep) > 2  # decided in spite of rounding
            u = word(key, Stream.REDRAW_STATE, 0, i) << 32 | word(key, Stream.REDRAW_STATE_REFINE, 0, i)
            fresh = u * process.states >> 64
            if type(process) is fb.Redraw:
                fresh = int((process.stationary().cumsum() <= u / 2**64).sum())
            drawn.append(x if v < keep else getattr(process, "mask", fresh))
    return drawn


@pytest.mark.parametrize("name", PROCESSES)
def test_the_reference_is_what_it_says(name):
    process, key = PROCESSES[name], fb.Philox(2**63 + 5, first_sample=11, call=3)
    x_0 = states_of(process, (1, 90), np.int64)
    for t in (0.5, 1e-3):
        got = process.sample_forward(x_0, t, rng=key, backend="reference")
        assert got[0].tolist() == plainly(process, x_0[0], t, key)
    assert (process.sample_forward(x_0, 0.5, rng=key, backend="reference") != x_0).mean() > 0.1


CASES = pairwise(
    name=tuple(PROCESSES),
    shape=((), (3,), (5, 7, 3), (2, 17), (3, 1023), (2, 1025), (0, 3), (3, 0)),
    dtype=("uint8", "int16", "int32", "int64"),
    times=TIMES,
    layout=LAYOUTS,
    library=("numpy", "torch"),
    threads=(1, 3),
    key=range(0, len(KEYS), 3),
    backend=BACKENDS[1:],
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c.values())).replace(" ", ""))
def test_every_way_equals_the_reference(case):
    process, shape = PROCESSES[case["name"]], case["shape"]
    layout, dtype = case["layout"], case["dtype"]
    if case["library"] == "torch" and layout in NUMPY_ONLY:
        layout = "inner"
    if process.states - 1 > np.iinfo(dtype).max:
        dtype = "int64"
    t = times_of(case["times"] if shape else "number", shape)
    s = t * 0.4
    key = KEYS[case["key"]].at(first_sample=0) if shape[:1] == (5,) else KEYS[case["key"]]
    x_0 = lay(states_of(process, shape, dtype), layout)
    x_t = process.sample_forward(x_0, t, rng=fb.Philox(8), backend="reference")
    forward = process.sample_forward(x_0, t, rng=key, backend="reference")
    between = process.sample_bridge(x_t, x_0, s, t, rng=key, backend="reference")
    assert forward.dtype == between.dtype == dtype
    x_t = lay(x_t, layout if layout != "expanded" else "contiguous")
    a, b = (as_library(x, case["library"]) for x in (x_0, x_t))
    with using(case["backend"], case["threads"]):
        assert bits(process.sample_forward(a, t, rng=key)) == bits(forward)
        assert bits(process.sample_bridge(b, a, s, t, rng=key)) == bits(between)
    a, b = (torch.from_numpy(x.copy(order="C")) for x in (x_0, x_t))
    with Traced():
        assert bits(process.sample_forward(a, t, rng=key)) == bits(forward)
        assert bits(process.sample_bridge(b, a, s, t, rng=key.tensor())) == bits(between)


def test_parts_of_a_batch_and_keys_in_tensors(backend):
    for process in (PROCESSES["uniform, words"], PROCESSES["absorbing, 256"]):
        x_0, key = states_of(process, (6, 50), np.int32), fb.Philox(9)
        for t in (times_of("sample", (6,)), times_of("element", (6, 50))):
            x_t = process.sample_forward(x_0, t, rng=key)
            x_s = process.sample_bridge(x_t, x_0, t / 2, t, rng=key)
            later = key.at(first_sample=4).tensor()
            assert (process.sample_forward(x_0[4:], t[4:], rng=later) == x_t[4:]).all()
            assert (process.sample_bridge(x_t[4:], x_0[4:], t[4:] / 2, t[4:], rng=later) == x_s[4:]).all()


def test_words_that_do_not_decide_at_once(backend):
    """A choice almost never needs the second word, and a state of 2^31 - 5 in nearly every chunk: here t of a choice
    is chosen so that the first 32 bits of an element tie with the threshold."""
    process, key, x_0 = PROCESSES["absorbing, words"], fb.Philox(4), np.full((1, 64), 9)
    words = [word(key, Stream.REDRAW, 0, i) for i in range(64)]
    i = int(np.argmax(words))
    low = word(key, Stream.REDRAW_REFINE, 0, i) >> 16
    for limit, kept in ((low - 2, False), (low + 3, True)):
        t = float(-mpmath.log(mpmath.mpf(words[i] << 16 | limit) / 2**48))
        (keep,) = reference.forward_threshold(np.array([t]))
        assert keep >> 16 == words[i] and abs((keep & 0xFFFF) - limit) <= 1
        assert (process.sample_forward(x_0, t, rng=key)[0, i] == 9) == kept


@pytest.mark.parametrize("shift", [1e-13, 1e-6, 0.3, 40.0, 800.0])
@pytest.mark.parametrize("inverse", [9.0, 1.0])
def test_thresholds_of_bridges_are_exact_to_rounding(inverse, shift):
    """Also where nearly nothing has happened yet, and where everything has."""
    s, gap = np.array([0.0, 0.25, 1.0]) * shift, np.array([1.0, 0.75, 0.0]) * shift
    with mpmath.workdps(60):
        for equal in (True, False):
            before, after = reference.chances(s), reference.chances(gap)
            keep, other = reference.bridge_thresholds(np, before, after, inverse, equal)
            for n in range(3):
                a, b = mpmath.exp(-mpmath.mpf(s[n])), mpmath.exp(-mpmath.mpf(gap[n]))
                first, second, third = a * (b * inverse * equal + 1 - b), (1 - a) * b, (1 - a) * (1 - b)
                unit = (first + second + third) / 2**48
                assert abs(int(keep[n]) - first / unit) <= 2
                assert abs(int(other[n]) - (first + second) / unit) <= 2
                assert other[n] == 2**48 or third > 0


def test_uniform_states_are_whole_parts_of_wide_products():
    random = np.random.default_rng(0)
    high, low = (np.append(random.integers(0, 2**32, 1000), [0, 2**32 - 1, 2**31]) for _ in range(2))
    for states in (2, 3, VOCABULARY, 2**31 - 1, 2**31):
        expected = [(int(a) << 32 | int(b)) * states >> 64 for a, b in zip(high, low, strict=True)]
        assert reference.uniform_state(high, low, states).tolist() == expected


def test_a_weight_whose_inverse_is_not_finite(backend):
    """A state that hardly anything leads to has been there all along; one that nothing leads to must have been."""
    law, x_t = fb.Redraw(np.array([1e-310, 0.5, 0.5, 5e-324, 0.0])), np.array([[0, 0, 3, 3, 4]])
    same = law.sample_bridge(x_t, x_t, 0.4, 1.0, rng=KEYS[0])
    np.testing.assert_array_equal(same, x_t)
    assert torch.equal(
        law.sample_bridge(*map(torch.from_numpy, (x_t, x_t)), 0.4, 1.0, rng=KEYS[0]), torch.from_numpy(x_t)
    )
    x_t, x_0 = np.zeros((1, 4000), int), np.ones((1, 4000), int)
    x_s = law.sample_bridge(x_t, x_0, 0.4, 1.0, rng=KEYS[0])
    wanted = law.bridge(x_t[:, :1], x_0[:, :1], 0.4, 1.0)[0, 0]
    assert chi_square_counts(np.bincount(x_s[0], minlength=5)[:3], 4000 * wanted[:3]) > FALSE_ALARM
    with pytest.raises(ValueError, match="must be reachable"):
        law.sample_bridge(np.array([4]), np.array([1]), 0.4, 1.0, rng=KEYS[0])


FEW = {
    "uniform": fb.Uniform(6),
    "absorbing": fb.Absorbing(6, 2),
    "any": fb.Redraw(np.array([0.1, 0.0, 0.2, 0.3, 0.0, 0.4])),
    "sped up": fb.Uniform(5).time_change(lambda t: t * t, lambda t: 2 * t),
}
every = pytest.mark.parametrize("name", FEW)


def arguments(process, t):
    """x_0, a possible x_t, a law of x_0 for each element that is 0 where x_t is out of reach, and a score."""
    random = np.random.default_rng(0)
    x_0 = random.integers(0, process.states, (4, 3))
    x_t = process.sample_forward(x_0, t, rng=fb.Philox(1))
    probs = random.random((4, 3, process.states)) * to.reachable_from(process, x_t, t)
    return x_0, x_t, probs / probs.sum(-1, keepdims=True), random.normal(size=probs.shape)


def results(process, t, x_0, x_t, probs, log_score):
    s = t * 0.3
    prior = np.full(process.states, 1 / process.states)
    jumps = to.jumps_into(process, x_t, t)
    return {
        "log_prob": process.log_prob(x_t, x_0, t),
        "cdf": process.cdf(x_t, x_0, t),
        "bridge": process.bridge(x_t, x_0, s, t),
        "reverse_rate": process.reverse_rate(x_t, x_0, t),
        "score": process.score(x_t, probs, t),
        "reverse_law": process.reverse_law(x_t, probs, s, t),
        "posterior": process.posterior(x_t, prior, t),
        "jumps": jumps,
        "reachable": to.reachable_from(process, x_t, t),
        "rates": to.rates_from_score(process, x_t, np.exp(log_score), t),
        "ratios": to.score_from_rates(process, x_t, jumps * np.exp(log_score), t),
        "rate_loss": on.rate_loss(process, x_t, x_0, t, np.exp(log_score)),
        "score_entropy": on.score_entropy(process, x_t, x_0, t, log_score),
    }


@every
def test_equals_the_matrices_of_its_generator(name):
    process = FEW[name]
    dense = fb.MarkovProcess(process.generator())
    if name == "sped up":
        dense = dense.time_change(lambda t: t * t, lambda t: 2 * t)
    for t in (np.array([0.05, 0.4, 1.3, 3.0]), 0.7):
        given = arguments(process, t)
        expected = results(dense, t, *given)
        for key, found in results(process, t, *given).items():
            np.testing.assert_allclose(found, expected[key], rtol=2e-10, atol=1e-13, err_msg=key)
    for end, law in ((1.7, np.array([0.4, 0.1, 0.3, 0.05, 0.15, 0.0])), (2.0, process.stationary())):
        law = law[: process.states] / law[: process.states].sum()
        found, expected = (on.prior_divergence(p, np.arange(process.states), end, law) for p in (process, dense))
        np.testing.assert_allclose(found, expected, rtol=1e-11)


@every
def test_times_of_elements_are_those_of_samples_of_one_element(name):
    process = FEW[name]
    t = np.random.default_rng(3).random((4, 3)) + 0.2
    given = arguments(process, t)
    apart = [x.reshape(12, 1, *x.shape[2:]) for x in given]
    single = results(process, t.reshape(12), *apart)
    for key, found in results(process, t, *given).items():
        expected = single[key]
        expected = expected.reshape(4, 3).sum(1) if key in ("rate_loss", "score_entropy") else expected
        np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-13, err_msg=key)
    column = np.random.default_rng(4).random((4, 1)) + 0.2
    for key, found in results(process, column, *given).items():
        np.testing.assert_array_equal(found, results(process, column[:, 0], *given)[key], err_msg=key)
    tensors = [torch.from_numpy(x) for x in (given[1], given[0])]
    found = process.log_prob(*tensors, torch.from_numpy(t))
    np.testing.assert_allclose(found.numpy(), process.log_prob(given[1], given[0], t), rtol=1e-13)


@pytest.mark.parametrize("process", [fb.Uniform(VOCABULARY), fb.Absorbing(VOCABULARY)], ids=["uniform", "absorbing"])
def test_words_take_no_memory_of_pairs(process):
    """All results of 6 tokens, of 2.4 MB each, within 60 MB; a matrix would take 20 GB."""
    t = np.array([0.4, 1.3])
    tracemalloc.start()
    try:
        random = np.random.default_rng(0)
        x_0 = random.integers(0, VOCABULARY - 1, (2, 3))
        x_t = process.sample_forward(x_0, t, rng=fb.Philox(1))
        x_s = process.sample_bridge(x_t, x_0, t / 2, t, rng=fb.Philox(2))
        probs = random.random((2, 3, VOCABULARY)) * to.reachable_from(process, x_t, t)
        probs /= probs.sum(-1, keepdims=True)
        for key, found in results(process, t, x_0, x_t, probs, np.log(probs + 1e-9)).items():
            assert np.isfinite(found[found == found]).all() or key == "log_prob"
        np.testing.assert_allclose(process.bridge(x_t, x_0, t / 2, t).sum(-1), 1.0, rtol=1e-9)
        assert (process.bridge(x_t, x_0, t / 2, t)[np.arange(2)[:, None], np.arange(3), x_s] > 0).all()
        on.prior_divergence(process, x_0, 9.0, process.stationary())
        model = {"model": lambda x, now: probs, "shape": (2, 3), "times": [40.0, 1.0, 0.0], "kind": "probs"}
        start = None if isinstance(process, fb.Absorbing) else x_t
        if start is None:  # at a mask every word is possible
            probs = np.full((2, 3, VOCABULARY), 1 / VOCABULARY)
            model["times"] = [40.0, 0.0]
        drawn = on.sample_reverse(process, **model, start=start, rng=fb.Philox(3))
        assert drawn.shape == (2, 3) and len(np.unique(drawn)) > 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6


@pytest.mark.parametrize("process", [fb.Uniform(5), fb.Absorbing(5)], ids=["uniform", "absorbing"])
def test_sample_reverse_gives_the_law_of_the_data(process):
    """One variable of a known law, exactly, in four steps: by probabilities and by logits. 2 tests at 1e-6."""
    law, count = np.array([0.1, 0.4, 0.0, 0.3, 0.2]), 40_000
    if isinstance(process, fb.Absorbing):
        law = np.array([0.1, 0.4, 0.2, 0.3, 0.0])  # no mask

    def model(x, t):
        return process.posterior(x, law, t)

    def logits(x, t):
        with np.errstate(divide="ignore"):
            return np.log(model(x, t)) + 3.0

    for kind, rule in (("probs", model), ("logits", logits)):
        x = on.sample_reverse(process, rule, (4, count // 4), [30.0, 1.5, 0.6, 0.2, 0.0], kind=kind, rng=fb.Philox(2))
        seen = np.bincount(x.ravel(), minlength=5)
        assert (seen[law == 0] == 0).all()
        assert chi_square_counts(seen[law > 0], law[law > 0] * count) > 1e-6


X, SMALL = np.array([[1, 2]]), fb.Absorbing(5)
OUTSIDE = "must be whole numbers in 0..4"
NO_WAY = "sample_bridge: x_t: must be reachable from x_0 at these times"
ERRORS = {
    "dtype": (lambda: fb.Uniform(300).sample_forward(X.astype(np.uint8), 1.0), "x_0: dtype must hold states", "uint8"),
    "state": (lambda: SMALL.sample_forward(X + 3, 1.0), f"Absorbing.sample_forward: x_0: {OUTSIDE}", "5"),
    "state below": (lambda: SMALL.sample_forward(X - 2, 1.0), f"x_0: {OUTSIDE}", "-1"),
    "x_t": (lambda: SMALL.sample_bridge(X + 3, X, 0.5, 1.0), f"Absorbing.sample_bridge: x_t: {OUTSIDE}", "5"),
    "no way": (lambda: SMALL.sample_bridge(X + 1, X + 2, 0.5, 1.0), f"Absorbing.{NO_WAY}", "x_t = 2 and x_0 = 3"),
    "no time": (lambda: fb.Uniform(3).sample_bridge(X, X - 1, 0.0, 0.0), f"Uniform.{NO_WAY}", "x_t = 1 and x_0 = 0"),
    "backend": (lambda: SMALL.sample_forward(X, 1.0, backend="cuda"), "sample_forward: backend: ", "cuda"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_named(case, backend):
    call, text, value = ERRORS[case]
    assert_named(call, TypeError if case == "dtype" else ValueError, text, value)
