"""benchmarks/photons: what it makes of images, what it measures, and that a run goes on where it was ended."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import fastblackout as fb


@pytest.fixture
def run(script):
    return script("photons.run")


def test_seen_images_are_thinned_ones_of_ten_times_the_dose(run):
    pixels = np.full((400, 1, 28, 28), 255, np.uint8)
    task, rates = run.task_of(pixels, pixels[:50], 5.0, 1, 1.0)
    assert (rates == 1).all() and (task.noisy <= task.high).all() and (task.seen <= task.truth).all()
    assert abs(task.noisy.double().mean() - 5) < 6 * (5 / task.noisy.numel()) ** 0.5
    assert abs(task.truth.double().mean() - 50) < 6 * (50 / task.truth.numel()) ** 0.5
    again, _ = run.task_of(pixels, pixels[:50], 5.0, 1, 1.0)
    assert (again.noisy == task.noisy).all()


def test_intervals_hold_as_many_counts_as_they_should_where_draws_have_the_right_law(run):
    random, rates = np.random.default_rng(0), np.ones((8, 1, 28, 28))
    rates[:, :, :4] = 0
    draws, truth = random.poisson(2, (16, *rates.shape)), random.poisson(2, rates.shape)
    row = SimpleNamespace(rate=5.0 * rates + 0.5, calls=3, draws=draws, of=truth)
    figures = run.measured(row, rates, 5.0, 0)
    assert figures["psnr"] == pytest.approx(20.0) and figures["calls"] == 3
    spread = 0.5 / (rates > 0).sum() ** 0.5  # one in a billion beyond six of them
    assert abs(figures["coverage_50"] - 0.5) < 6 * spread and abs(figures["coverage_90"] - 0.9) < 6 * spread
    narrow = run.measured(SimpleNamespace(**{**vars(row), "draws": draws * 0 + 2}), rates, 5.0, 0)
    assert narrow["coverage_50"] < 0.4


def test_grey_images_are_as_bright_as_coloured_ones(run):
    pixels = np.zeros((2, 3, 4, 4), np.uint8)
    pixels[0], pixels[1, 0] = 100, 255
    assert (run.grey(pixels) == np.array([100, 76])[:, None, None, None]).all()  # 76: 0.299 of pure red
    assert (run.grey(pixels[:, :1]) == pixels[:, :1]).all()


def test_a_run_goes_on_where_it_was_ended(run, tmp_path, monkeypatch, capsys):
    pixels, asked = np.random.default_rng(0).integers(0, 256, (8, 1, 28, 28), dtype=np.uint8), []
    data = SimpleNamespace(train=pixels, held_out=pixels)
    monkeypatch.setattr(fb.data, "load", lambda *name: data)
    methods = sys.modules["photons.methods"]

    def one(task):
        asked.append((task.dose, task.seed))
        yield methods.Row("one", task.seen.numpy(), 0)

    monkeypatch.setitem(methods.METHODS, "as_it_is", one)
    words = ["--data=x", f"--out={tmp_path / 'out'}", "--judged=4", "--methods=as_it_is", "--doses", "1", "5"]
    for seeds in ("1", "2"):
        assert run.main([*words, f"--seeds={seeds}"]) == 0
    assert asked == [(1, 0), (5, 0), (1, 1), (5, 1)]
    assert run.main([*words, "--seeds=1", "--seconds=7"]) == 0 and len(asked) == 6  # other options are other results
    assert run.main([*words, "--seeds=1", "--images=cifar10"]) == 0 and len(asked) == 8
    capsys.readouterr()
    assert run.main([*words, "--seeds=2"]) == 0 and len(asked) == 8
    assert capsys.readouterr().out.count("| 2 |") == 2  # of two seeds, none of the other options
    assert len([json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]) == 8
