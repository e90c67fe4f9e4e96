"""How the CUDA kernels keep tables of thresholds in a device's memory (csrc/cuda/kept.cuh), run by the SIMT shim.

`build_tables` launches a block for each probability; there is room for 4 tables, in the real kernels for 1,024.
"""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.backends import cuda
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
    _simt.build_tables(*(each.ctypes.data for each in (p, q, limit)), p.size, words.ctypes.data, actions.ctypes.data)
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
