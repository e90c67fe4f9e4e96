"""Draws of Uniform and Absorbing: bits by plain loops, on every backend and through tensors; laws; times an element."""

import mpmath
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import fastblackout as fb
from fastblackout.reference import redraw as reference
from fastblackout.reference.philox import Stream, philox4x32
from support.arrays import LAYOUTS, NUMPY_ONLY, as_library, bits, lay
from support.helpers import BACKENDS, KEYS, chi_square_counts, pairwise, using

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
