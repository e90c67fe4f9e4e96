"""`fb.tune`: its distances, its search, what it keeps in a file, and `fastblackout tune`."""

import contextlib
import json

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.blackout import BlackoutModel
from fastblackout.cli.command_line import main
from fastblackout.data.dataset import make_dataset
from fastblackout.evaluation.samples import frechet_distance
from fastblackout.sampling.plan import tuned_from
from fastblackout.training.checkpoint import load_checkpoint
from fastblackout.tuning.even_times import Errors
from fastblackout.tuning.search import Point, Search, start_near, start_of
from fastblackout.tuning.tune import ByEnergy, Work, closeness_for

SCHEDULE = fb.Schedule.cosine(200)


def test_the_energy_distance_by_its_definition():
    rng = np.random.default_rng(0)
    x, y = rng.poisson(3, (7, 4, 1, 1)), rng.poisson(5, (5, 4, 1, 1))
    a, b = (np.log1p(rows.reshape(len(rows), -1)) for rows in (x, y))

    def mean(u, v):
        return np.mean([np.linalg.norm(p - q) for p in u for q in v])

    assert ByEnergy(y)(x) == pytest.approx(2 * mean(a, b) - mean(a, a) - mean(b, b))
    assert ByEnergy(y)(y[::-1]) == pytest.approx(0, abs=1e-12)


def data_of(classes=3, shape=(1, 4, 4), count=60):
    rng = np.random.default_rng(1)
    labels = np.arange(count) % (classes or 1)
    images = rng.poisson(3 + 5 * labels[:, None, None, None], (count, *shape)).clip(0, 40)
    return make_dataset("array", images, labels if classes else None, max_count=40)


def test_images_without_a_classifier_are_compared_by_their_pixels():
    data = data_of()
    distance, what = closeness_for(data, data.held_out)
    assert what == "Frechet distance of raw pixels"
    assert distance(data.train) == pytest.approx(frechet_distance(data.held_out, data.train))
    assert closeness_for(data_of(0, (5, 1, 1)), data_of(0, (5, 1, 1)).train)[1] == "energy distance of log(1 + count)"


GOAL = np.array([-1.5, -1.0, 0.5, 1.0]), np.array([0.6, 0.1, 0.3])


def valley(point, limits):
    """Least, 1, at GOAL and with the mean in the last step; of a third of the samples a tenth more."""
    off = np.concatenate([np.array(point.moves) - GOAL[0], 2 * (np.array(point.guidance) - GOAL[1])])
    value = (1 + (off**2).sum()) * (2 if point.last_step == "draw" else 1)
    found = [1.1 * value, value]
    return found[:1] if limits and found[0] > limits[0] else found


def searched(trials, kept=()):
    starts = [start_of(5, 0.25, "draw"), start_of(5, 0.25, "mean")]
    search = Search(starts, 255, True, 1, kept)
    while len(search.trials) < trials:
        point = search.next()
        search.add(point, valley(point, search.limits))
    return search


@pytest.mark.slow
def test_a_search_finds_the_valley():
    """By chance alone it would not: the best of 60 trials at random around the start has some 4."""
    search = searched(60)
    assert search.best.last_step == "mean"
    assert valley(search.best, [])[-1] < 1.3, search.best
    assert {len(found) for _, found in search.trials} == {1, 2}  # some were given up


def test_a_search_goes_on_where_it_was():
    whole, first = searched(14).trials, searched(9).trials
    assert searched(14, first).trials == whole
    assert searched(14, json.loads(json.dumps([]))).trials == whole


def test_times_never_coincide():
    search = Search([start_of(6, 0.0, "draw")], 255, False, 1)
    for _ in range(12):
        point = search.next()
        assert point.are_apart(255) and not any(point.guidance)
        search.add(point, [1.0 + len(search.trials)])
    assert not Point(4, (0.0, 3.0, 0.0), (0.0,), "draw").are_apart(255)


def test_a_search_starts_where_that_of_another_number_ended():
    tuned = fb.sampling.plan.Tuned(
        tuple(SCHEDULE.grid(8, "early", 40).tolist()), tuple(np.linspace(0, 0.7, 8)), "mean", 1.0, "2026-11-30"
    )
    point = start_near(5, tuned, SCHEDULE, 40)
    assert point.last_step == "mean" and np.abs(point.moves).max() < 0.2
    assert point.guidances() == pytest.approx([0.07, 0.21, 0.35, 0.49, 0.63], abs=0.03)


class Nothing(torch.nn.Module):
    """Expects no births: what is not known yet is x_0 - x_t itself."""

    def forward(self, x, time, labels=None):
        return torch.full_like(x, -50.0)


@pytest.mark.parametrize("most", [16, 255])
def test_even_times_leave_the_same_share_of_the_error(most):
    """Of counts c the error is c^2 q^2 + c p q: of an image of one count alone, so that it is known."""
    schedule = fb.Schedule.cosine(4000)
    model = BlackoutModel(Nothing(), schedule, max_count=most)
    x_0 = torch.full((40, 1, 16, 16), most, dtype=torch.uint8)
    errors = Errors(model, schedule, x_0, None, fb.Philox(2))
    p, q = schedule.p[errors.times], schedule.q[errors.times]
    assert errors.logs == pytest.approx(np.log(most**2 * q**2 + most * p * q), abs=0.1)
    for steps in (2, 5, 12):
        times = errors.even(steps)[:-1]
        p, q = schedule.p[times], schedule.q[times]
        logs = np.log(most**2 * q**2 + most * p * q)
        fall = 2 * np.log(most) - np.log(most**2 * 0.6**2 + most * 0.24)  # where 40% are alive it is less than 3.5
        assert np.diff(logs) == pytest.approx(-fall / steps, abs=0.15)


class Births(torch.nn.Module):
    """A beta-binomial law about the mean of the label's images."""

    num_classes = 3

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, time, labels=None):
        mean = torch.full((len(x), 1, 1, 1), -1.0) if labels is None else labels.view(-1, 1, 1, 1) * 0.7 - 2
        return torch.cat([mean.expand_as(x), torch.full_like(x, -2.0)], dim=1)


def births_model():
    return BlackoutModel(Births(), SCHEDULE, max_count=40, head="beta-binomial")


def test_tune_fills_the_model_and_its_file_goes_on(tmp_path):
    state, told = tmp_path / "state.json", []
    given = {"num": 30, "state": state, "tell": told.append}
    model = births_model()
    judged = fb.tune(model, SCHEDULE, data_of(), [2, 4], minutes=0.02, **given)
    assert list(judged) == list(model.tuned) == [2, 4]
    assert tuned_from(json.loads(json.dumps(fb.sampling.plan.to_json(model.tuned))), SCHEDULE) == model.tuned
    one = model.tuned[4]
    assert one.distance == pytest.approx(np.mean(judged[4].after)) and len(judged[4].after) == 2
    kept = json.loads(state.read_text())["steps"]
    assert [len(kept[n]["trials"]) for n in ("2", "4")] == [max(t.trials for t in told if t.steps == n) for n in (2, 4)]
    again, count = births_model(), len(told)
    assert fb.tune(again, SCHEDULE, data_of(), [2, 4], minutes=0.02, **given) == judged
    assert len(told) == count and again.tuned == model.tuned  # the minutes are over
    with pytest.raises(ValueError, match="is of another model, other data, or another num or rng"):
        fb.tune(model, SCHEDULE, data_of(), [2], minutes=0.02, **{**given, "num": 12})
    state.write_text("{}")
    with pytest.raises(ValueError, match="was not written by tune"):
        fb.tune(model, SCHEDULE, data_of(), [2], minutes=0.02, **given)


@pytest.mark.parametrize("found", [1.0, 3.0])
def test_what_is_no_better_than_the_grid_early_is_not_kept(found):
    """Judged with distances of 2 for the grid early and `found` for what a search found, for each of two keys."""
    model = births_model()
    work = Work(model, model.head_object, SCHEDULE, data_of(), 12, 1, None)
    distances = iter([2.0, found] * 2)
    work.__dict__["_unseen"] = (6, lambda images: next(distances), 1.0)
    best = Point(3, (-1.0, -1.0), (0.7, 0.7, 0.7), "draw")
    judged = work.judge(3, best)
    assert judged.before == [2.0, 2.0] and judged.tuned.distance == min(found, 2.0)
    early = SCHEDULE.grid(3, "early", 40).tolist()
    assert list(judged.tuned.times) == (best.times(SCHEDULE, 40) if found < 2 else early)


@pytest.mark.parametrize(
    ("change", "error", "rule"),
    [
        ({"data": "digits"}, TypeError, "data: must be a fastblackout.data.Dataset, got str"),
        ({"steps": 5}, TypeError, "steps: must be a list of numbers of steps, got 5"),
        ({"steps": [1]}, ValueError, r"steps: must be in 2\.\.200, got 1"),
        ({"seed": 1}, TypeError, "seed: must be given as rng=, got 1"),
        ({"steps": [2.5]}, TypeError, "steps: must be an integer, got 2.5"),
        ({"minutes": -1}, ValueError, "minutes: must be at least 0, got -1"),
        ({"num": 1}, ValueError, "num: must be in 6.."),
        ({"schedule": fb.Schedule.linear(9)}, ValueError, "schedule: must be the one of the model"),
        ({"model": None}, TypeError, "model: must be a BlackoutModel"),
    ],
)
def test_wrong_arguments_are_refused(change, error, rule):
    given = {"model": births_model(), "schedule": SCHEDULE, "data": data_of(), "steps": [2], "minutes": 0.01, **change}
    with pytest.raises(error, match=f"^tune: {rule}"):
        fb.tune(**given)


TRAIN = "train array --data=a.npz --out=runs/a --steps=2 --batch=8 --channels=8 --threads=1 --conditional --quiet"


def test_the_command_keeps_what_it_found_in_the_run(tmp_path, monkeypatch, capsys, recwarn):
    monkeypatch.chdir(tmp_path)
    data = data_of(shape=(1, 8, 8), count=80)
    np.savez("a.npz", images=np.concatenate([data.train, data.held_out]), labels=np.arange(80) % 3)
    assert main([*TRAIN.split(), "--head=beta-binomial", "--sample-every=0"]) == 0
    tune = ["tune", "runs/a", "--steps=2,3", "--minutes=0.02", "--num=24", "--json=t.json"]
    assert main(tune) == 0
    told = capsys.readouterr()
    assert "2 steps, trial 1: distance" in told.err and "  3  " in told.out
    assert all("lower is better" in " ".join(text.split()) for text in told)
    assert all(len(line) <= 80 for text in told for line in text.splitlines())
    checkpoint = load_checkpoint("runs/a")  # its digest of itself is right
    written = json.loads((tmp_path / "t.json").read_text())
    assert list(checkpoint.config["model"]["tuned"]) == list(written["steps"]) == ["2", "3"]
    assert main(["sample", "runs/a", "--num=4", "--steps=3", "--out=x.npz", "--json=s.json", "--quiet"]) == 0
    day = checkpoint.config["model"]["tuned"]["3"]["day"]
    assert f"bridge, 3 steps (times tuned on {day})" in capsys.readouterr().out
    assert json.loads((tmp_path / "s.json").read_text())["grid"] == checkpoint.config["model"]["tuned"]["3"]["times"]
    assert main(["sample", "runs/a", "--num=4", "--grid=0,.1,.5,1", "--guidance=.5,0,1", "--out=y.npz"]) == 0
    assert "bridge, 3 steps (times as given), guidance 0.5 0 1, seed 1" in capsys.readouterr().out
    assert main(["evaluate", "runs/a", "--num=9", "--seeds=1", "--bits=0", "--quiet"]) == 0
    assert "These times were chosen by the held-out images" in capsys.readouterr().out
    assert main(["export", "runs/a", "b"]) == 0
    assert "tuned" in load_checkpoint("b").config["model"]
    assert not [warning for warning in recwarn if "digest" in str(warning.message)]


def test_what_the_command_refuses(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["tune", "digits"]) == 1
    assert "tune: run: must be a folder" in capsys.readouterr().err
    for wrong in ("--steps=2,a", "--guidance=.5,a", "--grid=0,a,1"):
        with contextlib.suppress(SystemExit):
            main(["tune" if "steps" in wrong else "sample", "digits", wrong])
            raise AssertionError
        assert wrong.partition("=")[0] in capsys.readouterr().err
