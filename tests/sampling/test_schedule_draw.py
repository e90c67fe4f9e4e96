"""Schedule.draw, draw_continuous and grid: low discrepancy, equality over ranks, exact uniformity, strict grids."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats

from fastblackout.heads import HEADS, head_named
from fastblackout.philox import Philox
from fastblackout.reference.philox import philox4x32
from fastblackout.schedule.schedule import Schedule
from fastblackout.schedule.times import GRIDS


def test_draw_is_one_per_stratum_and_splits_over_ranks():
    schedule, total = Schedule.logit(), 250
    whole = schedule.draw(total, Philox(5, call=3))
    assert whole.dtype == torch.int64 and whole.shape == (total,)
    # 1000 / 250: every run of four neighbouring steps (from one offset) is hit exactly once.
    k = np.sort(whole.numpy())
    assert (np.diff(k) == 4).all() and k[0] >= 1 and k[-1] <= 1000
    parts = [
        schedule.draw(b, Philox(5, first_sample=f, call=3), global_batch=total)
        for f, b in ((0, 100), (100, 1), (101, 149))
    ]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(schedule.draw(total, Philox(5, call=4)), whole)
    u = schedule.draw_continuous(total, Philox(5, call=3))
    parts = [
        schedule.draw_continuous(b, Philox(5, first_sample=f, call=3), global_batch=total)
        for f, b in ((0, 100), (100, 150))
    ]
    assert u.dtype == torch.float64 and torch.equal(torch.cat(parts), u)
    np.testing.assert_allclose(np.diff(np.sort(u.numpy())), 1 / total, rtol=1e-12)


@pytest.mark.parametrize("batch", [1, 3, 64, 1500])
def test_draw_matches_fractions(batch):
    # The definition in rational numbers: k = 1 + floor(steps frac(U + g / G)).
    schedule, rng = Schedule.linear(37), Philox(2**64 - 3, call=9)
    for stream, method in ((15, schedule.draw), (16, schedule.draw_continuous)):
        low, high, _, _ = (int(w) for w in philox4x32(0, 0, 9, stream << 24, *rng.key))
        u = [(Fraction(high << 32 | low, 2**64) + Fraction(g, batch)) % 1 for g in range(batch)]
        drawn = method(batch, rng, like=np.empty(0))
        if stream == 15:
            assert drawn.dtype == np.int64 and drawn.tolist() == [1 + math.floor(37 * value) for value in u]
        else:
            np.testing.assert_allclose(drawn, [float(value) for value in u], rtol=0, atol=1e-15)
            assert (drawn > 0).all() and (drawn < 1).all()


def test_draw_is_uniform():
    # One k a call: 4,000 calls are independent uniforms over 20 steps. False alarm 1e-6, and the seed is fixed.
    schedule = Schedule.linear(20)
    like = np.empty(0)
    k = np.array([schedule.draw(1, Philox(1, call=call), like=like)[0] for call in range(4_000)])
    assert stats.chisquare(np.bincount(k, minlength=21)[1:]).pvalue > 1e-6
    row = np.array([schedule.draw(3, Philox(1, call=call), like=like)[2] for call in range(4_000)])
    assert stats.chisquare(np.bincount(row, minlength=21)[1:]).pvalue > 1e-6
    u = [schedule.draw_continuous(1, Philox(1, call=call), like=like)[0] for call in range(2_000)]
    assert stats.kstest(u, "uniform").pvalue > 1e-6


def test_early_times_by_their_definition():
    # Rows whose g + call is odd take the j-th of 1,000 places along the grid "early"; doubles suffice to find the k.
    schedule, power = Schedule.cosine(400), 1 / np.log2(256)
    place = np.cos(np.pi / 2 * ((2 * np.arange(1000) + 1) / 2000) ** power) ** 2
    nearest = np.maximum(np.abs(schedule.p - place[:, None]).argmin(axis=1), 1)
    for call in (4, 5):
        even = schedule.draw(64, Philox(7, call=call)).numpy()
        drawn = schedule.draw(64, Philox(7, call=call), times="early", max_count=255).numpy()
        moved = (np.arange(64) + call) % 2 == 1
        assert (drawn[~moved] == even[~moved]).all()
        assert (drawn[moved] == nearest[(2 * even[moved] - 1) * 1000 // 800]).all()
        parts = [
            schedule.draw(b, Philox(7, first_sample=f, call=call), global_batch=64, times="early", max_count=255)
            for f, b in ((0, 31), (31, 33))
        ]
        assert torch.equal(torch.cat(parts), torch.from_numpy(drawn))


def test_draw_without_key_and_errors():
    schedule = Schedule.linear(10**6)
    torch.manual_seed(4)
    first = schedule.draw(4)
    torch.manual_seed(4)
    assert torch.equal(schedule.draw(4), first) and not torch.equal(schedule.draw(4), first)
    with pytest.raises(ValueError, match=r"Schedule.draw: global_batch: must be at least first_sample \+ batch, got 4"):
        schedule.draw(4, Philox(first_sample=4))
    with pytest.raises(ValueError, match=r"Schedule.draw: batch: must be in 1\.\.4294967295, got 0"):
        schedule.draw(0)
    with pytest.raises(ValueError, match=r"Schedule.draw: times: must be one of uniform, early, got 'late'"):
        schedule.draw(4, times="late")
    with pytest.raises(TypeError, match=r"Schedule.draw: max_count: must be an integer, got None"):
        schedule.draw(4, times="early")
    with pytest.raises(TypeError, match="Schedule.draw: batch: must be an integer, got 2.0"):
        schedule.draw(2.0)
    with pytest.raises(TypeError, match="Schedule.draw_continuous: like: must be a NumPy array or .* got str"):
        schedule.draw_continuous(2, like="cpu")


@pytest.mark.parametrize("schedule", [Schedule.logit(), Schedule.cosine(40), Schedule.linear(9)], ids=repr)
def test_grid(schedule):
    for steps in range(1, schedule.steps + 1, max(1, schedule.steps // 15)):
        for kind in GRIDS:
            grid = schedule.grid(steps, kind, 255)
            assert grid.dtype == np.int64 and grid.shape == (steps + 1,)
            assert grid[0] == schedule.steps and grid[-1] == 0 and (np.diff(grid) < 0).all()
    for kind in GRIDS:
        assert (schedule.grid(schedule.steps, kind, 16) == np.arange(schedule.steps, -1, -1)).all()


def test_grid_values():
    schedule = Schedule.logit()
    assert schedule.grid(4, "index").tolist() == [1000, 750, 500, 250, 0]
    assert schedule.grid(3, "index").tolist() == [1000, 667, 333, 0]
    grid = schedule.grid(20, "cosine")[1:-1]
    target = np.cos(np.pi / 2 * np.arange(19, 0, -1) / 20) ** 2
    best = np.abs(schedule.p[None, :] - target[:, None]).min(axis=1)
    np.testing.assert_allclose(np.abs(schedule.p[grid] - target), best, atol=1e-15)
    assert (Schedule.cosine(100).grid(10) == np.arange(100, -1, -10)).all()
    for of in (schedule, Schedule.cosine(1000)):
        for max_count in (1, 16, 255, 65535):
            grid = of.grid(10, "early", max_count)[1:-1]
            target = np.cos(np.pi / 2 * (np.arange(9, 0, -1) / 10) ** (1 / np.log2(max_count + 1))) ** 2
            best = np.abs(of.p[None, :] - target[:, None]).min(axis=1)
            np.testing.assert_allclose(np.abs(of.p[grid] - target), best, atol=1e-14)
    assert (schedule.grid(10, "early", 1) == schedule.grid(10)).all()
    with pytest.raises(ValueError, match=r"^Schedule.grid: max_count: must be in 1\.\..*, got 0$"):
        schedule.grid(10, "early", 0)
    with pytest.raises(TypeError, match=r"^Schedule.grid: max_count: must be an integer, got None$"):
        schedule.grid(10, "early")


def test_samples_of_a_mean_head_keep_their_grid():
    grids = {head: head_named(head).grid for head in HEADS}
    assert grids == {**dict.fromkeys(HEADS, "early"), "mean": "cosine"}


def test_only_images_of_eight_bits_by_a_law_end_with_the_mean():
    for head in HEADS:
        wanted = "draw" if head in ("mean", "implicit") else "mean"
        last_step = head_named(head).last_step
        assert last_step((3, 32, 32), 255) == last_step((1, 28, 28), 65535) == wanted
        assert last_step((1, 8, 8), 16) == last_step((30, 1, 1), 1000) == "draw"
