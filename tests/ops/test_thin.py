"""fb.thin as a caller sees it: kinds of arrays, memory order, out=, keys, law, and the bugs of other libraries."""

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from fastblackout.backends.select import cpu_module
from support.arrays import DLPackOnly, same
from support.helpers import chi_square

RNG = fb.Philox(seed=11, first_sample=2, call=3)
FALSE_ALARM = 1e-6  # of each chi-square, seeds fixed; 36 of them: 4e-5


def images(shape=(4, 3, 8, 8), dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def test_results_are_one_consistent_draw(backend):
    x = images()
    p = np.array([0.1, 0.5, 0.9, 0.3])
    center, scale = 255 * p, np.array([0.5, 1.0, 2.0, 1 / 127.5])
    thinned = fb.thin(x, p, rng=RNG, center=center, scale=scale)
    assert isinstance(thinned, fb.Thinned)
    x_t, births, value = thinned
    assert x_t.dtype == births.dtype == np.uint8 and value.dtype == np.float32
    assert (x_t.astype(int) + births == x).all() and (x_t > 0).any() and (x_t < x).any()
    c, s = (v.astype(np.float32)[:, None, None, None] for v in (center, scale))
    assert np.array_equal(value, (x_t.astype(np.float32) - c) * s)
    for name in thinned._fields:
        only = fb.thin(x, p, rng=RNG, center=center, scale=scale, outputs=(name,))
        assert [getattr(only, other) is not None for other in thinned._fields] == [o == name for o in thinned._fields]
        assert np.array_equal(getattr(only, name), getattr(thinned, name))


def test_library_dtype_and_memory_order(backend):
    x = images()
    thinned = fb.thin(x, 0.4, rng=RNG)
    tensor = torch.from_numpy(x)
    for memory in (torch.contiguous_format, torch.channels_last):
        given = tensor.contiguous(memory_format=memory)
        got = fb.thin(given, 0.4, rng=RNG)
        assert all(isinstance(v, torch.Tensor) and v.stride() == given.stride() for v in got)
        same(fb.Thinned(*(v.numpy() for v in got)), thinned, str(memory))
    fortran = fb.thin(np.asfortranarray(x), 0.4, rng=RNG)
    assert fortran.x_t.flags.f_contiguous
    same(fortran, thinned)
    exported = fb.thin(DLPackOnly(x), 0.4, rng=RNG)
    assert all(isinstance(v, np.ndarray) for v in exported)
    same(exported, thinned)
    namespaced = fb.thin(DLPackOnly(x, namespace=True), 0.4, rng=RNG)
    assert all(isinstance(v, DLPackOnly) for v in namespaced)
    same(fb.Thinned(*(v.array for v in namespaced)), thinned)


@pytest.mark.parametrize("isa, instruction", [("avx512", "vbmi"), ("avx2", "gathers")])
@pytest.mark.parametrize("max_count, elements", [(255, 3072), (255, 700), (255, 50), (15, 3072), (15, 700)])
def test_processors_draw_the_same(max_count, elements, isa, instruction):
    """VBMI2 and fast gathers are not everywhere: every number of levels, with and without an end, by both ways."""
    x = torch.randint(0, max_count + 1, (24, elements), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    p = torch.logspace(-7, np.log10(0.5), len(x), dtype=torch.float64)
    native = cpu_module("test")
    if isa not in native.isas():
        pytest.skip(f"needs {isa}")
    with fb.use_backend("reference"):
        expected = fb.thin(x, p, rng=RNG, max_count=max_count)
    use = getattr(native, f"use_{instruction}")
    had = use(False)
    try:
        for way in (False, had or isa == "avx2"):
            use(way)
            with fb.use_backend("cpu", isa=isa):
                for got, right in zip(fb.thin(x, p, rng=RNG, max_count=max_count), expected, strict=True):
                    assert torch.equal(got, right)
    finally:
        use(had)


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64"])
def test_count_dtypes_draw_the_same(dtype, backend):
    x = images()
    got = fb.thin(x.astype(dtype), 0.4, rng=RNG, max_count=255)
    assert got.x_t.dtype == got.births.dtype == dtype
    assert np.array_equal(got.x_t, fb.thin(x, 0.4, rng=RNG).x_t)


@pytest.mark.parametrize("asked", ["float32", "float64", "float16", "bfloat16"])
def test_input_dtypes(asked, backend):
    x = torch.from_numpy(images())
    dtype = getattr(torch, asked)
    exact = fb.thin(x, 0.4, rng=RNG, center=100.3, scale=0.37).model_input
    for name in (asked, dtype) if asked == "bfloat16" else (asked, dtype, np.dtype(asked), getattr(np, asked)):
        got = fb.thin(x, 0.4, rng=RNG, center=100.3, scale=0.37, input_dtype=name).model_input
        assert got.dtype == dtype and torch.equal(got, exact.to(dtype))


def test_out_is_written_and_given_back(backend):
    x = torch.from_numpy(images())
    expected = fb.thin(x, 0.4, rng=RNG)
    out = fb.Thinned(*(torch.full_like(v, 77) for v in expected))
    got = fb.thin(x, 0.4, rng=RNG, out=out)
    assert all(a is b for a, b in zip(got, out, strict=True))
    same(out, expected)
    part = fb.Thinned(births=torch.empty_like(x))
    got = fb.thin(x, 0.4, rng=RNG, out=part)
    assert got.x_t is None and got.model_input is None and torch.equal(got.births, expected.births)


@pytest.mark.parametrize("max_count", [255, 1000])
@pytest.mark.parametrize("order", ["C", "F", "step"])
def test_in_place(order, max_count, backend):
    x = images(dtype=np.int16)
    if order == "step":
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    x = x.copy(order="F") if order == "F" else x
    expected = fb.thin(x.copy(), 0.4, rng=RNG, max_count=max_count)
    births, value = np.empty(x.shape, np.int16), np.empty(x.shape, np.float32)
    fb.thin(x, 0.4, rng=RNG, max_count=max_count, out=fb.Thinned(x, births, value))
    same(fb.Thinned(x, births, value), expected)


def test_batch_split(backend):
    x, p = images((6, 5, 5)), np.linspace(0, 1, 6)
    whole = fb.thin(x, p, rng=RNG)
    for first, last in ((0, 1), (1, 4), (4, 6)):
        rng = RNG.at(first_sample=RNG.first_sample + first)
        part = fb.thin(x[first:last], p[first:last], rng=rng)
        same(part, fb.Thinned(*(v[first:last] for v in whole)), f"rows {first} to {last}")
    assert not np.array_equal(fb.thin(x[1:], p[1:], rng=RNG).x_t, whole.x_t[1:])


def test_keys_and_generators(backend):
    x = torch.from_numpy(images((2, 1000)))
    torch.manual_seed(5)
    first, second = fb.thin(x, 0.5).x_t, fb.thin(x, 0.5).x_t
    torch.manual_seed(5)
    assert torch.equal(fb.thin(x, 0.5).x_t, first) and not torch.equal(first, second)
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(fb.thin(x, 0.5, generator=generator).x_t, first)
    assert torch.equal(fb.thin(x, 0.5, generator=generator).x_t, second)
    drawn = [fb.thin(x, 0.5, rng=rng).x_t for rng in (RNG, RNG.at(call=4), RNG.at(first_sample=9), fb.Philox(11))]
    assert len({t.numpy().tobytes() for t in drawn}) == 4


@pytest.mark.parametrize(
    "n, p, dtype, max_count",
    [
        (255, 0.5, np.uint8, 255), (100, 0.03, np.uint8, 255), (16, 0.97, np.uint8, 16), (200, 0.3, np.int16, 256),
        (1000, 0.3, np.int32, 1000), (100_000, 0.75, np.int32, 100_000), (301, 0.7, np.int64, 1 << 40),
    ],
)  # fmt: skip
def test_law(n, p, dtype, max_count, backend):
    x = np.full((2, 100_000), n, dtype)
    x_t = fb.thin(x, p, rng=fb.Philox(n), max_count=max_count, outputs="x_t").x_t
    assert x_t.max() <= n and chi_square(x_t, stats.binom(n, p)) > FALSE_ALARM


def test_samples_keep_their_own_probability(backend):
    x = np.full((5, 50_000), 200, np.uint8)
    p = np.array([0.0, 0.02, 0.5, 0.98, 1.0])
    x_t = fb.thin(x, p, rng=RNG, outputs="x_t").x_t
    assert (x_t[0] == 0).all() and (x_t[4] == 200).all()
    for row in (1, 2, 3):
        assert chi_square(x_t[row], stats.binom(200, p[row])) > FALSE_ALARM


def test_both_tails_of_a_pair(backend):
    """q = 1e-9 is lost in a float32 p and kept by the pair: 2e9 deaths in expectation 2, not 0 or 4."""
    x = np.full((1, 200_000), 2_000_000_000, np.int64)
    births = fb.thin(x, fb.Prob(1.0 - 1e-9, 1e-9), rng=RNG, max_count=1 << 31, outputs="births").births
    assert chi_square(births, stats.poisson(2.0), 0, 15) > FALSE_ALARM


def test_survival_of_a_schedule(backend):
    schedule = fb.Schedule.logit(steps=100)
    x = torch.from_numpy(images())
    k = torch.tensor([1, 10, 50, 100])
    thinned = fb.thin(x, schedule.survival(k), rng=RNG)
    assert thinned.x_t[0].sum() > thinned.x_t[3].sum()
    same(fb.thin(x, fb.Prob(*(v.numpy() for v in schedule.survival(k))), rng=RNG), thinned)


def test_neighbours_are_independent(backend):
    """cupy #7164, torch #136750: z scores of elements, samples, calls and streams do not correlate (bound 5, 6e-6)."""
    x = np.full((2, 1 << 17), 200, np.uint8)
    a = fb.thin(x, 0.3, rng=fb.Philox(7)).x_t.astype(float)
    b = fb.thin(x, 0.3, rng=fb.Philox(7, call=1)).x_t.astype(float)
    c = fb.bridge_step(np.zeros_like(x), births=x, step=0.3, rng=fb.Philox(7)).x_s.astype(float)
    lanes = [a[0], a[1], b[0], c[0], np.roll(a[0], 1), np.roll(a[0], 8)]
    z = np.corrcoef(lanes)[np.triu_indices(len(lanes), 1)] * np.sqrt(a.shape[1])
    assert np.abs(z).max() < 5


def test_empty_and_scalar(backend):
    for shape in ((0, 4), (3, 0), (0,), (0, 0)):
        got = fb.thin(np.empty(shape, np.uint8), 0.5, rng=RNG)
        assert all(v.shape == shape for v in got)
    point = fb.thin(np.array(200, np.uint8), 0.5, rng=RNG)
    assert point.x_t.shape == () and point.x_t == fb.thin(np.array([200], np.uint8), 0.5, rng=RNG).x_t[0]


def test_an_unaligned_output_is_refused():
    x_0 = np.full((2, 3), 7, np.int32)
    out = np.zeros(25, np.uint8)[1:].view(np.int32).reshape(2, 3)
    assert not out.flags.aligned
    with pytest.raises(ValueError, match="thin: out.x_t: must be aligned to its elements, got address"):
        fb.thin(x_0, 0.5, max_count=7, out=fb.Thinned(x_t=out))
    assert not out.any()
