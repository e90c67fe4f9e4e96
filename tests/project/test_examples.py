"""The examples, small: a learnt law passes a two-sample test that is seen to reject worse models; pictures come out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fastblackout as fb
from support import ROOT
from support.helpers import load_example as example
from support.today import NIGHT, of_today

torch.set_num_threads(1)
COUNT = 2000  # samples whose law is tested: of 1,000 the test misses 5 % of the points anywhere two times in three


PROCESSES = ("pure death", "immigration-death", "Ehrenfest", "random walk", "uniform", "absorbing")


@pytest.mark.slow
@pytest.mark.parametrize("name", of_today(PROCESSES, 2))
def test_a_small_network_learns_a_law_of_two_counts(name):
    # At level 1 %, keyed: the same verdict every time on one build of torch, else 1 % false alarms.
    toy = example("toy_2d")
    law = toy.spiral(8)
    process, gap = toy.processes(8)[name]
    times = toy.time_grid(gap, 64)
    network = toy.train(process, times, law, updates=3000, width=128, batch=512)
    drawn = toy.sample(network, process, times, COUNT)
    data = toy.draw(law, COUNT, np.random.default_rng(7))
    assert drawn.max() <= 7
    assert toy.two_sample_p_value(data, drawn, states=8) > 0.01
    untrained = toy.sample(toy.train(process, times, law, updates=20, width=64, batch=256), process, times, COUNT)
    assert toy.two_sample_p_value(data, untrained, states=8) < 1e-6


def test_the_two_sample_test_has_its_level_and_its_power():
    toy = example("toy_2d")
    law = toy.spiral(8)
    assert law.sum() == pytest.approx(1)
    assert toy.power(law, law, count=COUNT, repeats=200) < 0.04  # of 200 at 1 %: over 8 with a chance of 1e-4
    worse = toy.worse_models(law)
    assert toy.power(law, worse["x and y independent"], count=COUNT, repeats=50) == 1.0
    assert toy.power(law, worse["the spiral moved by one count"], count=COUNT, repeats=50) == 1.0
    # 94.5 % measured: below 85 % of 200 with a chance of 1e-7.
    assert toy.power(law, worse["5 % of the points anywhere"], count=COUNT, repeats=200) > 0.85


@pytest.mark.slow
def test_a_head_that_draws_jointly_is_nearest_to_two_pixels(tmp_path):
    """By day every head is trained a little."""
    heads = example("heads")
    exact = heads.posterior(heads.images())
    assert exact.sum() == pytest.approx(1) and exact[3, 3] == exact.max() and exact[3, 12] == 0
    laws = {"exact": exact} | {name: head(500 if NIGHT else 20) for name, head in heads.HEADS.items()}
    assert all(law.sum() == pytest.approx(1) for law in laws.values())
    heads.picture(laws, tmp_path / "heads.png")
    with Image.open(tmp_path / "heads.png") as image:
        assert image.width > 500
    if not NIGHT:
        return
    # After 500 updates 1.00, 0.93, 0.54, 0.93 and 0.60 (keyed: the same on one build of torch), after the 3,000 of main
    # the last is 0.41. No law of one pixel on its own comes nearer than half.
    away = {name: heads.distance(law, exact) for name, law in laws.items()}
    assert 0.5 < away["bayes-logistic"] < 0.6 and away["implicit"] < 0.75
    assert 0.75 < away["beta-binomial"] < 0.97 < away["mean"]
    assert 0.75 < away["negative-binomial"] < 0.97
    assert max(away.values()) == away["mean"]
    ones = {name: heads.distance(law.sum(1), exact.sum(1)) for name, law in laws.items()}
    assert ones["bayes-logistic"] < 0.2 < ones["implicit"] < ones["beta-binomial"]
    assert ones["implicit"] < ones["negative-binomial"]


def test_pictures(tmp_path):
    pictures = example("process_pictures")
    law = np.array([0.1, 0.6, 0.3, 0.0])
    pictures.draw("absorbing", fb.Absorbing(4), law, 2.0, 1, 3, tmp_path)
    toy = example("toy_2d")
    toy.picture({"data": toy.draw(toy.spiral(), 500, np.random.default_rng(0))}, tmp_path / "toy.png")
    relations = example("relations")
    relations.papers_picture(tmp_path / "papers.png")
    for file in sorted(tmp_path.iterdir()):
        with Image.open(file) as image:
            assert min(image.size) > 200
            assert np.asarray(image.convert("L")).std() > 10


def test_pictures_go_into_the_working_folder_or_where_out_says(tmp_path, monkeypatch):
    """The examples as users run them, but for what takes long; only where a figure would go is noted."""
    written = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **how: written.append(Path(path)))
    short = {
        "heads": {"HEADS": {"none": lambda updates: np.full((17, 17), 1 / 289)}},
        "process_pictures": {"cases": lambda: {"absorbing": (fb.Absorbing(4), np.full(4, 0.25), 2.0, 1, 3)}},
        "relations": {f"{name}_picture": written.append for name in ("gaussian", "discrete", "papers")},
        "tuned_steps": {"MODELS": ("digits",)},
        "toy_2d": {"processes": dict, "power": lambda law, other: 0.0},
    }
    for name in sorted(path.stem for path in (ROOT / "examples").glob("*.py") if "savefig(" in path.read_text()):
        module = example(name)
        for attribute, value in short[name].items():
            setattr(module, attribute, value)
        for folder, options in ((tmp_path, []), (tmp_path / "new", ["--out", "new"])):
            monkeypatch.setattr("sys.argv", [name, *options])
            written.clear()
            module.main()
            assert written and {path.resolve().parent for path in written} == {folder}
            assert folder.is_dir()


def test_the_numbers_of_the_relations():
    relations = example("relations")
    coarse, fine = (relations.compare(relations.ehrenfest(balls)) for balls in (36, 144))
    assert fine["law_error"] < 0.6 * coarse["law_error"]
    assert fine["score_error"] < 0.6 * coarse["score_error"]
    assert fine["drift_error"] < 0.6 * coarse["drift_error"]
    for kind in ("uniform", "absorbing"):
        ours, theirs = relations.beside_sedd(kind, 0.5, np.array([0.1, 1.0]))
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)
        exact, _ = relations.beside_sedd(kind, 0.0, np.array([0.1, 1.0]))
        assert (exact < ours).all()
    lambdas = np.arange(-40, 40, 0.1)
    entropy = -(relations.DATA[relations.DATA > 0] * np.log(relations.DATA[relations.DATA > 0])).sum()
    assert relations.integrand(1.0, lambdas).sum() * 0.1 == pytest.approx(entropy, abs=1e-10)
    errors = relations.map_errors(fb.Uniform(4), np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.02, 0.01]))
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.05)
