"""Tables of thresholds of the CUDA kernels, run by the SIMT shim: how they are kept in a device's memory
(csrc/cuda/kept.cuh), that a bucket holds one threshold (csrc/cuda/buckets.cuh), and how look-ups meet in the banks of
shared memory.

`build_tables` launches a block for each probability. It keeps 4 tables, and the kernels themselves 1,024.
"""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.backends import cuda
from support import cuda_counts
from support.simt import _simt

pytestmark = pytest.mark.skipif(_simt is None, reason="the SIMT shim is not built: FASTBLACKOUT_SIMT=1")
LEFT, COPIED, STORED = range(3)
ROOM = 4
SCHEDULES = (("forward", 1), ("reverse", 1), ("random", 4))


def tables(p, max_count=255, q=None):
    """(tables as rows of words, what each block did with its own)"""
    p = np.array(p, dtype=np.float64)
    q = 1.0 - p if q is None else np.array(q, dtype=np.float64)
    limit = np.ascontiguousarray(np.broadcast_to(np.int64(max_count), p.shape))
    words, actions = np.zeros((p.size, _simt.table_words()), np.uint32), np.zeros(p.size, np.uint8)
    _simt.build_tables(*(x.ctypes.data for x in (p, q, limit)), p.size, words.ctypes.data, actions.ctypes.data)
    return words, actions.tolist()


@pytest.fixture(params=SCHEDULES, ids=str)
def schedule(request):
    _simt.forget_tables()
    _simt.configure(request.param[0], 5, request.param[1])
    yield request.param
    _simt.configure("forward", 0, 1)


def test_a_table_that_comes_again_is_copied(schedule):
    words, actions = tables([0.3] * 6)
    assert actions.count(STORED) == 1 and np.array_equal(words, np.repeat(words[:1], 6, axis=0))
    if schedule[1] == 1:
        assert sorted(actions) == [LEFT, *[COPIED] * 4, STORED], "noticed, stored, then copied"
    again, actions = tables([0.3] * 3)
    assert actions == [COPIED] * 3 and np.array_equal(again, words[:3])


def test_a_table_has_its_own_probability_complement_and_limit(schedule):
    p, q, limits = [0.25, 0.25, 0.75, 0.25], [0.75, np.nextafter(0.75, 1), 0.25, 0.75], [255, 255, 255, 100]
    fresh, actions = tables(p, limits, q)
    assert actions == [LEFT] * 4
    _, actions = tables(p, limits, q)
    assert actions == [STORED] * 4
    kept, actions = tables(p, limits, q)
    assert actions == [COPIED] * 4 and np.array_equal(kept, fresh)
    assert not np.array_equal(fresh[0], fresh[3])


def test_what_comes_once_takes_no_room(schedule):
    assert tables(np.linspace(0.01, 0.99, 100))[1] == [LEFT] * 100
    assert tables([0.5] * 3)[1].count(STORED) == 1


@pytest.mark.parametrize("other", ["p", "q", "max_count"])
def test_others_at_a_place_are_not_taken_for_the_one_that_is_kept(other):
    """There are 32 places, so that some of 100 share the one of 0.5."""
    _simt.forget_tables()
    tables([0.5] * 2)
    half, step = np.full(100, 0.5), np.arange(1, 101)
    p, q = (half + step * 2.0**-53 if other == name else half for name in ("p", "q"))
    assert tables(p, step if other == "max_count" else 255, q)[1] == [LEFT] * 100


def test_there_is_an_end_to_what_is_kept(schedule):
    """More probabilities than there is room for: the first keep their tables, the others' are made."""
    p = np.repeat(np.linspace(0.1, 0.9, 9), 3)
    words, actions = tables(p)
    again, more = tables(p)
    last, actions_last = tables(p)
    assert actions.count(STORED) + more.count(STORED) + actions_last.count(STORED) == ROOM
    assert set(actions_last) == {LEFT, COPIED}
    assert np.array_equal(words, again) and np.array_equal(words, last)
    _simt.forget_tables()
    assert np.array_equal(words, tables(p)[0])


def test_draws_by_kept_tables_have_the_bits_of_the_cpu():
    """thin of a probability of each sample, then of the same ones again and again."""
    x = torch.randint(0, 256, (4, 1000), dtype=torch.uint8)
    p = torch.tensor([0.123, 0.0, 1.0, 0.877], dtype=torch.float64)
    for call in range(4):
        rng, flag, out = fb.Philox(8, call=call), torch.zeros(1, dtype=torch.int32), torch.empty_like(x)
        cuda.thin(x, p, 1 - p, rng.tensor(), 255, torch.zeros(4), torch.ones(4), out, None, None, flag, module=_simt)
        assert torch.equal(out, fb.thin(x, fb.Prob(p, 1 - p), rng=rng, outputs="x_t", backend="cpu").x_t)


WARPS = 4000


def places(counts, u1, u2):
    """Bytes at which the draws look up their buckets, among the upper ones and among the lower ones."""
    asked = [np.ascontiguousarray(array, dtype=np.uint32) for array in np.broadcast_arrays(counts, u1, u2)]
    upper, lower = np.empty_like(asked[0]), np.empty_like(asked[0])
    addresses = [array.ctypes.data for array in (*asked, upper, lower)]
    _simt.bucket_places(*addresses[:3], upper.size, *addresses[3:])
    return upper, lower


def wavefronts(at):
    """A warp's, on average. at: (warps, 32) in bytes.

    Shared memory has 32 banks, each a word (4 bytes) wide. It serves the 32 lanes of a warp in as many turns, called
    wavefronts, as the busiest bank has words to give. Lanes may share a word.
    """
    words = np.sort(at // 4, axis=1)
    first = np.concatenate([np.ones((len(at), 1), bool), words[:, 1:] != words[:, :-1]], axis=1)
    of_bank = np.zeros((len(at), 32), int)
    warp, lane = np.nonzero(first)
    np.add.at(of_bank, (warp, words[warp, lane] % 32), 1)
    return of_bank.max(axis=1).mean()


def test_wavefronts_of_known_places():
    lanes = np.arange(32)
    for at, want in ((4 * lanes, 1), (0 * lanes, 1), (8 * lanes, 2), (128 * lanes, 32), (16 * (lanes // 2), 2)):
        assert wavefronts(at[None].astype(np.uint32)) == want


@pytest.mark.parametrize("kind, most", [("uniform", (3.5, 3.4)), ("smooth", (3.0, 3.4)), ("one", (2.6, 2.2))])
def test_wavefronts_of_the_look_ups(kind, most):
    """32 random words of as many meet in 3.5 wavefronts; the same word of several lanes takes one."""
    random = np.random.default_rng(3)
    counts = random.integers(0, 256, (WARPS, 32 if kind == "uniform" else 1))
    if kind == "smooth":
        counts = np.clip(counts + random.integers(-8, 9, (WARPS, 32)), 0, 255)
    found = tuple(map(wavefronts, places(counts, *random.integers(0, 65536, (2, WARPS, 32)))))
    assert found[0] < most[0] and found[1] < most[1], found
    if kind == "uniform":
        assert sum(found) == pytest.approx(cuda_counts.LOOK_UPS, abs=0.05), "benchmarks/gpu/predicted.py takes these"


def test_every_bucket_of_every_row_has_a_place_of_its_own():
    """As many places as rows have buckets: 16 narrow ones at each end and 2 x 88 wide ones, and 8 and 2 x 48."""
    u, rows = np.arange(65536)[None], np.arange(16)[:, None]
    for number, (buckets, room) in enumerate(((32 + 176, 16 << 8), (16 + 96, 16 << 7))):
        at = places(rows * 17, u, u)[number]  # 17: of count 17 a, upper and lower row are a
        assert at.max() < 4 * room and np.all(at % 4 == 0)
        assert [len(np.unique(row)) for row in at] == [buckets] * 16
        assert len(np.unique(at)) == 16 * buckets


def test_counts_of_one_row_look_up_one_place():
    u = np.arange(0, 65536, 7)[None]
    upper, lower = places(np.arange(256)[:, None], u, u)
    for row in range(16):
        assert np.all(upper[16 * row : 16 * row + 16] == upper[16 * row])
        assert np.all(lower[row::16] == lower[row])


def buckets(u, bits):
    """The number of each 16-bit uniform's bucket: 2^bits equal parts of an octave of its distance to the nearer end."""
    mantissa, exponent = np.frexp(np.where(u < 32768, u + 0.5, 65535.5 - u))
    part = np.floor((2 * mantissa - 1) * 2**bits).astype(int)
    return np.where(u < 32768, 1, -1) * ((exponent + 1) * 2**bits + part)


def crowded(n, p, bits, off=0.0):
    """Whether a bucket of several uniforms holds two thresholds floor(2^16 CDF(j)) of Binomial(n, p); p: an array.

    off: p + q - 1, as far as q stays at most 1. Buckets of one uniform may hold several: a tie is drawn again exactly.
    """
    numbers, sizes = np.unique(buckets(np.arange(65536), bits), return_counts=True)
    q = np.minimum(1 - p + off, 1)
    pm = np.array(q**n)
    cdf, before, seen = pm.copy(), np.zeros(p.shape, int), False
    for j in range(n):
        here = buckets(np.minimum(np.floor(65536 * cdf), 65535).astype(int), bits)
        seen |= bool(((here == before) & np.isin(here, numbers[sizes > 1])).any())
        pm = pm * ((n - j) * ((p / q) / (j + 1)))
        cdf, before = cdf + pm, here
    return seen


def test_no_bucket_holds_two_thresholds_of_a_row():
    """On which the search with one load rests, also where p and q sum to 1 as badly as they may."""
    p = np.concatenate([np.linspace(0.5, 0, 2500, endpoint=False), np.geomspace(1e-12, 0.5, 1500)])
    assert not any(crowded(n, p, 3) for n in range(16, 256, 16))
    assert not any(crowded(n, p, 2) for n in range(1, 16))
    assert not any(crowded(n, p[::4], bits, off) for n, bits in ((240, 3), (15, 2)) for off in (1e-9, -1e-9))
    assert crowded(240, p, 2), "half as many buckets would not do"
    assert crowded(240, np.array([0.5]), 3, -1e-4), "nor a pair that is none, which csrc/cuda/checks.cuh replaces"
