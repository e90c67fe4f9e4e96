"""How the table look-ups of the CUDA kernels meet in the banks of shared memory, simulated with their own layout.

Shared memory has 32 banks, each a word (4 bytes) wide. It serves the 32 lanes of a warp in one turn, a wavefront, if no
bank has to give two words, else in as many as the busiest bank has words to give; lanes that read one word share it.
"""

import numpy as np
import pytest

from support import cuda_counts
from support.simt import _simt

pytestmark = pytest.mark.skipif(_simt is None, reason="the SIMT shim is not built: FASTBLACKOUT_SIMT=1")
WARPS = 4000


def places(counts, u1, u2):
    """Bytes at which the draws look up their buckets, among the upper ones and among the lower ones."""
    given = [np.ascontiguousarray(each, dtype=np.uint32) for each in np.broadcast_arrays(counts, u1, u2)]
    made = np.empty_like(given[0]), np.empty_like(given[0])
    addresses = [each.ctypes.data for each in (*given, *made)]
    _simt.bucket_places(*addresses[:3], given[0].size, *addresses[3:])
    return made


def wavefronts(at):
    """A warp's, on average. at: (warps, 32) in bytes."""
    words = np.sort(at // 4, axis=1)
    first = np.concatenate([np.ones((len(at), 1), bool), words[:, 1:] != words[:, :-1]], axis=1)
    of_bank = np.zeros((len(at), 32), int)
    warp, lane = np.nonzero(first)
    np.add.at(of_bank, (warp, words[warp, lane] % 32), 1)
    return of_bank.max(axis=1).mean()


def uniforms(seed):
    return np.random.default_rng(seed).integers(0, 65536, (WARPS, 32))


def counts_of(kind):
    random = np.random.default_rng(3)
    if kind == "uniform":
        return random.integers(0, 256, (WARPS, 32))
    if kind == "smooth":
        return np.clip(random.integers(0, 256, (WARPS, 1)) + random.integers(-8, 9, (WARPS, 32)), 0, 255)
    return np.repeat(random.integers(0, 256, (WARPS, 1)), 32, axis=1)


def test_wavefronts_of_known_places():
    lanes = np.arange(32)
    for at, want in ((4 * lanes, 1), (0 * lanes, 1), (8 * lanes, 2), (128 * lanes, 32), (16 * (lanes // 2), 2)):
        assert wavefronts(at[None].astype(np.uint32)) == want


@pytest.mark.parametrize("kind, most", [("uniform", (3.5, 3.4)), ("smooth", (3.0, 3.4)), ("one", (2.6, 2.2))])
def test_wavefronts_of_the_look_ups(kind, most):
    """32 random words of as many meet in 3.5 wavefronts; the same word of several lanes takes one."""
    found = tuple(map(wavefronts, places(counts_of(kind), uniforms(1), uniforms(2))))
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
