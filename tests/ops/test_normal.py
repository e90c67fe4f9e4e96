"""fb.normal: z beside mpmath, the law, the far tails on every backend, keys, layouts and dtypes."""

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import special, stats

import fastblackout as fb
from fastblackout.reference import normal as module
from fastblackout.reference.normal import standard_normal
from fastblackout.reference.philox import Stream, philox4x32
from fastblackout.reference.portfloat import round_to_bfloat16
from support.arrays import DLPackOnly, bits
from support.helpers import chi_square_counts

RNG = fb.Philox(seed=61, first_sample=2, call=5)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 30 of them a run
TOP = 2**63 - 1
BORDER = module._CENTRE_FROM << 32  # k from which on the centre is
FAR = 25.0  # -log v from which on the far tail is
DRAWS = 1_000_000


def z_of(k, sign=0):
    """z of the 63-bit whole numbers k."""
    k = np.asarray(k, dtype=np.uint64)
    high = (k >> np.uint64(32)).astype(np.uint32) | np.uint32(sign << 31)
    return standard_normal(high.ravel(), k.astype(np.uint32).ravel())


def exact_z(k):
    """-Phi^-1((k + 1/2) 2^-64) to 40 digits."""
    with mp.workdps(40):
        v = (mp.mpf(int(k)) + mp.mpf(1) / 2) / mp.mpf(2) ** 64
        t = mp.mpf(float(-special.ndtri(float(v))))
        for _ in range(4):
            t += (mp.erfc(t / mp.sqrt(2)) / 2 - v) / mp.npdf(t)
        return t


def relative_errors(k):
    with mp.workdps(40):
        exact = [exact_z(each) for each in k]
        return [float(abs(z - t) / t) for z, t in zip(map(mp.mpf, z_of(k).tolist()), exact, strict=True)]


def chosen():
    """Both ends, powers of 2 and their neighbours, both borders from both sides, and k spread over all sizes."""
    far = int(mp.exp(-FAR) * 2**64)
    k = [0, 1, 2, 3, TOP, TOP - 1, TOP - 2, TOP // 2, TOP // 3]
    k += [2**e + d for e in range(2, 63) for d in (-1, 0, 1)] + [TOP - 2**e for e in range(0, 62, 2)]
    k += [edge + d for edge in (BORDER, far) for d in (-(2**33), -1, 0, 1, 2**33, 12345)]
    random = np.random.default_rng(0)
    k += [int(TOP * u) for u in random.random(300)] + [int(2**e) for e in random.uniform(0, 63, 300)]
    return [each for each in k if 0 <= each <= TOP]


def test_z_beside_mpmath():
    """The bound derived is 4.8e-15; what is found stays far below it."""
    errors = relative_errors(chosen())
    assert max(errors) < 1e-15


def test_z_beside_scipy():
    """ndtri in float64, of the same v, on a million words: the two agree to their rounding."""
    k = np.random.default_rng(1).integers(0, TOP, 10**6, dtype=np.uint64, endpoint=True)
    v = (k.astype(np.float64) + 0.5) * 2.0**-64
    assert np.abs(z_of(k) + special.ndtri(v)).max() < 4e-15


def test_ends_and_borders():
    assert z_of([0])[0] == pytest.approx(9.155293772686074, abs=0) and z_of([0], 1)[0] == -z_of([0])[0]
    smallest = z_of([TOP])[0]
    assert smallest == pytest.approx(np.sqrt(2 * np.pi) * 2.0**-65, rel=1e-15), "q = 2^-65, not 0"
    k = np.array(sorted({*chosen(), *range(BORDER - 50, BORDER + 50)}), dtype=np.uint64)
    z = z_of(k)
    assert (z > 0).all() and np.array_equal(z_of(k, 1), -z)
    steps = np.diff(z)
    assert (steps <= 4e-15 * z[1:]).all(), "z falls as k grows, but for its rounding"


# Found by search: (seed, sample, call, element, z). All but the last have one of the 3 words in 10^11 that are of the
# far tail, |z| > 6.66.
RARE = (
    (1, 2476028646, 6, 0, 6.721803179661936),
    (2, 470821952, 0, 0, -6.7567440217427475),
    (2, 4225658017, 0, 0, -7.041671437624311),
    (1, 1422859752, 0, 1, 6.377939079711633),
)
rare = pytest.mark.parametrize(("seed", "sample", "call", "element", "z"), RARE)


@rare
def test_far_tails(seed, sample, call, element, z, backend):
    drawn = fb.normal(np.zeros((1, 7)), 1.0, rng=fb.Philox(seed, first_sample=sample, call=call))
    assert drawn[0, element] == z and np.count_nonzero(np.abs(drawn) > 5) == 1


@rare
def test_far_tails_on_the_cuda_kernel(seed, sample, call, element, z):
    simt = pytest.importorskip("fastblackout._simt", reason="the SIMT shim is not built")
    from fastblackout.backends import cuda

    zero, out = torch.zeros(1, 7, dtype=torch.float64), torch.empty(1, 7, dtype=torch.float64)
    flag = torch.zeros(1, dtype=torch.int32)
    cuda.normal(zero, zero + 1, fb.Philox(seed, first_sample=sample, call=call).tensor(), out, flag, module=simt)
    assert out[0, element] == z and flag.item() == 0


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-3.0, 0.25), (1e6, 1e-3)])
def test_law(mean, std, backend):
    """A million draws: 1,000 cells of equal probability, and Kolmogorov and Smirnov's distance."""
    z = (fb.normal(np.full((1, DRAWS), mean), std, rng=RNG)[0] - mean) / std
    u = special.ndtr(z)
    seen = np.bincount(np.minimum((u * 1000).astype(int), 999), minlength=1000)
    assert chi_square_counts(seen, np.full(1000, DRAWS / 1000)) > FALSE_ALARM
    assert stats.kstest(u, "uniform").pvalue > FALSE_ALARM
    assert abs(z.mean()) * np.sqrt(DRAWS) < 5 and abs((z**2).mean() - 1) * np.sqrt(DRAWS / 2) < 5  # 6e-7 each


@pytest.mark.slow
def test_law_of_tails_and_signs():
    """4e6 draws: the tails by cells of 0.1 from 3 on, and signs and sizes independent of one another."""
    z = fb.normal(np.zeros((4, 1_000_000), np.float32), 1.0, rng=RNG).astype(np.float64).ravel()
    edges = np.append(np.arange(3.0, 4.7, 0.1), np.inf)
    expected = z.size * -np.diff(stats.norm.sf(edges))
    for side in (z, -z):
        assert chi_square_counts(np.histogram(side[side >= 3], edges)[0], expected) > FALSE_ALARM
    assert abs(np.count_nonzero(z < 0) - z.size / 2) < 5 * np.sqrt(z.size / 4)
    assert abs(np.corrcoef(np.signbit(z), np.abs(z))[0, 1]) * np.sqrt(z.size) < 5
    lags = [np.corrcoef(z[:-lag], z[lag:])[0, 1] * np.sqrt(z.size) for lag in (1, 2, 3, 4, 8, 1024, 1_000_000)]
    assert np.abs(lags).max() < 5.5  # 7 lags: 3e-7


def test_bits_of_an_element(backend):
    """Word i % 4 of block i / 4 of two streams, sign first."""
    drawn = fb.normal(np.zeros((3, 11)), 1.0, rng=RNG)
    for row, i in ((0, 0), (1, 6), (2, 10)):
        high, low = (
            philox4x32(i // 4, RNG.first_sample + row, RNG.call, stream.word(), *RNG.key)[i % 4].reshape(1)
            for stream in (Stream.NORMAL, Stream.NORMAL_REFINE)
        )
        k = int(high[0] & 0x7FFFFFFF) << 32 | int(low[0])
        z = float(exact_z(k)) * (-1 if high[0] >> 31 else 1)
        assert drawn[row, i] == pytest.approx(z, rel=1e-15)


def test_batch_split_and_keys(backend):
    mean, std = np.linspace(-5, 5, 3000).reshape(6, 500), np.linspace(0, 2, 500)
    whole = fb.normal(mean, std, rng=RNG)
    for size in (1, 2, 3):
        parts = [
            fb.normal(mean[r : r + size], std, rng=RNG.at(first_sample=RNG.first_sample + r)) for r in range(0, 6, size)
        ]
        assert bits(np.concatenate(parts)) == bits(whole)
    assert not np.array_equal(fb.normal(mean, std, rng=RNG.at(call=6)), whole)
    torch.manual_seed(3)
    first, second = fb.normal(mean, std), fb.normal(mean, std)
    torch.manual_seed(3)
    assert bits(fb.normal(mean, std)) == bits(first) != bits(second)


def test_kinds_and_layouts(backend):
    mean, std = np.random.default_rng(0).normal(size=(4, 5, 6)), np.random.default_rng(1).random((5, 1))
    expected = fb.normal(mean, std, rng=RNG)
    assert expected.flags.c_contiguous and expected.dtype == np.float64 and expected.shape == (4, 5, 6)
    for other in (np.asfortranarray(mean), np.repeat(mean, 2, 2)[..., ::2], DLPackOnly(mean)):
        assert bits(fb.normal(other, std, rng=RNG)) == bits(expected)
    assert bits(fb.normal(torch.from_numpy(mean), torch.from_numpy(std), rng=RNG)) == bits(expected)
    shifted = fb.normal(mean, 0.5, rng=RNG) - fb.normal(0.0, np.full((4, 5, 6), 0.5), rng=RNG)
    assert np.abs(shifted - mean).max() < 1e-14, "what is broadcast draws for every element"
    spread = fb.normal(torch.tensor(3.0).expand(4, 5), torch.ones(4, 1), rng=RNG)
    assert spread.is_contiguous() and torch.equal(spread, fb.normal(torch.full((4, 5), 3.0), 1, rng=RNG))
    assert fb.normal(0, 1, rng=RNG).shape == () and fb.normal(0, 1, rng=RNG).dtype == np.float64
    assert fb.normal(np.float32(0.5), 1.0, rng=RNG).dtype == np.float32
    for shape in ((0, 3), (3, 0)):
        assert fb.normal(np.empty(shape), 1.0, rng=RNG).shape == shape


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_and_rounding(dtype, backend):
    """Values are taken exactly, the result is rounded once, to 16 bits by way of float32."""
    mean = (torch.arange(-500, 500).reshape(4, 250) / 7).to(dtype)
    std = (torch.arange(1000).reshape(4, 250) / 300).to(torch.float32)
    drawn, wide = fb.normal(mean, std, rng=RNG), fb.normal(mean.double(), std.double(), rng=RNG)
    assert drawn.dtype == dtype
    if dtype == torch.bfloat16:
        rounded = torch.from_numpy(round_to_bfloat16(wide.float().numpy()).view(np.int16)).view(dtype)
    else:
        rounded = wide.to(torch.float32 if dtype == torch.float16 else dtype).to(dtype)
    assert torch.equal(drawn, rounded)


def test_no_spread_and_too_much(backend):
    mean = np.array([[1.5, -0.0, 5e-324, 1e308]])
    assert np.array_equal(fb.normal(mean, 0.0, rng=RNG), mean)
    huge = fb.normal(np.full((1, 1000), 1e308), 1.7e308, rng=RNG)
    assert not np.isnan(huge).any() and np.isposinf(huge).any() and np.isfinite(huge).any()
    for dtype, most in ((np.float16, 6e4), (np.float32, 3e38)):
        drawn = fb.normal(np.full((1, 1000), most, dtype), most, rng=RNG)
        assert drawn.dtype == dtype and np.isposinf(drawn).any() and not np.isnan(drawn).any()


def test_known_answers(backend):
    """Frozen draws."""
    expected = [0.6839748941597174, 1.320988530514607, 1.1408185246431188, 2.515504587879876]
    assert fb.normal(np.arange(4.0), 0.5, rng=fb.Philox(7, first_sample=1, call=2)).tolist() == expected
