"""`fastblackout plot`: which pictures it draws and leaves out, and that they show what they say."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fastblackout as fb
from fastblackout.blackout import BlackoutModel
from fastblackout.call.head import FAMILIES
from fastblackout.cli import main
from fastblackout.evaluation import charts
from fastblackout.evaluation.charts import pixel_laws, spread_pixels
from fastblackout.evaluation.plots import Frame
from fastblackout.heads import head_named

TINY = ["--steps=4", "--batch=8", "--channels=8", "--threads=1", "--sample-every=0", "--schedule-steps=60", "--quiet"]
PLOT = ["plot", "--steps=5", "--threads=1", "--quiet"]
ALL = ["film.png", "laws.png", "loss.png", "schedule.png"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Data, and runs of a law, of the mean, and of a table."""
    folder, rng = tmp_path_factory.mktemp("home"), np.random.default_rng(0)
    np.savez(folder / "counts.npz", images=rng.integers(0, 12, (60, 8, 8)), labels=np.arange(60) % 3)
    np.savez(folder / "table.npz", counts=rng.poisson(5, (60, 4)))
    with contextlib.chdir(folder):
        for name, data, *more in (
            ("law", "counts", "--conditional", "--head=beta-binomial"),
            ("mean", "counts"),
            ("table", "table"),
        ):
            assert main(["train", "array", f"--data={data}.npz", f"--out=runs/{name}", *more, *TINY]) == 0
    return folder


@pytest.fixture
def figures(monkeypatch):
    """The figures drawn, in order."""
    drawn, save = [], charts.save_figure
    monkeypatch.setattr(charts, "save_figure", lambda figure, path: (drawn.append(figure), save(figure, path))[1])
    return drawn


def pictures(folder):
    return sorted(os.listdir(folder))


def test_all_pictures_of_a_law(place, capsys, fails):
    line = [*PLOT, "runs/law", "--data=counts.npz"]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert pictures("runs/law/plots") == ALL
    assert "laws.png: of the first held-out image\n" in out and "left out" not in out
    for name in ALL:
        with Image.open(Path("runs/law/plots", name)) as picture:
            assert picture.format == "PNG" and min(picture.size) > 300
            assert len(np.unique(np.asarray(picture))) > 20
    before = {name: Path("runs/law/plots", name).read_bytes() for name in ALL}
    os.remove("runs/law/plots/film.png")
    fails(line, "loss.png exists; overwrite it with --force")
    assert main([*line, "--force"]) == 0
    assert {name: Path("runs/law/plots", name).read_bytes() for name in ALL} == before


def test_what_is_left_out_is_said(place, capsys):
    assert main([*PLOT, "runs/mean"]) == 0
    assert "left out: laws.png: head mean gives one number of births" in capsys.readouterr().out
    os.remove("runs/table/log.jsonl")
    assert main([*PLOT, "runs/table"]) == 0
    out = capsys.readouterr().out
    assert "left out: loss.png: the run has no log.jsonl" in out
    assert "left out: film.png: the run's data are a table" in out
    assert "laws.png: of the first sampled row (this machine has no record" in out  # of a copied run
    assert pictures("runs/mean/plots") == ["film.png", "loss.png", "schedule.png"]
    assert pictures("runs/table/plots") == ["laws.png", "schedule.png"]
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--data=nothing.npz", "nothing.npz"),
        ("--data=table.npz", "data: must have the run's shape (1, 8, 8), got (4, 1, 1)"),
        ("--out=no/such", "no such folder: no"),
        ("--out=counts.npz", "out: must be a folder, got counts.npz"),
        ("--steps=61", "steps"),
        ("--sampler=tau-leap", "sampler"),
    ],
)
def test_a_refusal_comes_before_any_picture(place, fails, options, words):
    fails([*PLOT, "runs/law", options], words)


def test_the_schedule_chart_marks_the_times_of_every_grid(figures, tmp_path):
    schedule = fb.Schedule.cosine(100)
    charts.schedule_chart(schedule, 16, 10, "early", tmp_path / "schedule.png")
    curve, by_p, by_k, _ = figures[0].axes
    assert np.array_equal(curve.lines[0].get_ydata(), schedule.p)
    for row, kind in enumerate(("cosine", "index", "early")):
        times = schedule.grid(10, kind, 16)
        assert sorted(by_k.collections[row].get_positions()) == sorted(times)
        assert sorted(by_p.collections[row].get_positions()) == sorted(schedule.p[times])
    assert [text.get_text() for text in curve.get_legend().get_texts()] == ["states of grid early"]
    assert np.array_equal(curve.lines[1].get_xdata(), schedule.grid(10, "early", 16))


def test_the_loss_curve_has_a_panel_of_bits_where_the_log_has_them(figures, tmp_path):
    records = [{"step": step, "loss": 1.0 / step} for step in (1, 2, 3)]
    assert charts.loss_curve([], tmp_path / "none.png") is None
    charts.loss_curve(records, tmp_path / "loss.png")
    bits = [{"step": step, "bits_per_dim": value, "bits_error": 0.1} for step, value in ((2, 3.0), (3, float("inf")))]
    charts.loss_curve([*records, *bits], tmp_path / "both.png")
    assert [len(figure.axes) for figure in figures] == [1, 2]
    assert figures[0].axes[0].lines[0].get_marker() == "."  # a line of one point is nothing without
    lower = figures[1].axes[1]
    assert "bits per dimension" in lower.get_ylabel()
    assert lower.lines[0].get_xydata()[0].tolist() == [2, 3.0]


@pytest.mark.parametrize(("constant", "where"), [(3.0755, "above"), (-9.0, "below"), (1.2, "")])
def test_the_loss_curve_fills_its_axis_wherever_the_loss_without_a_network_lies(figures, tmp_path, constant, where):
    steps = range(50, 1201, 50)  # losses such as digits has: 2.05, 1.37, 1.23, ... 1.14
    records = [{"step": step, "loss": 1.14 + 0.9 * (50 / step) ** 2 + 0.2 * np.exp(-step / 300)} for step in steps]
    judged = {"step": 1200, "held_out_loss": 1.18, "constant_loss": constant}
    charts.loss_curve([*records, judged], tmp_path / "loss.png")
    (axes,) = figures[0].axes
    low, high = axes.get_ylim()
    late = np.array([record["loss"] for record in records if record["step"] > 120])
    assert late.max() < high and low < late.min() and low < 1.18 < high
    assert late.max() - late.min() > 0.6 * (high - low)
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    said = f", {where} this picture" if where else ""
    assert legend == ["training", "held out", f"held out, without a network: {constant:.4f}{said}"]
    assert (low < constant < high) == (not where)


def test_the_film_chart_names_steps_and_shares(figures, tmp_path):
    given = zip((0, 3, 5), (0.0, 0.123, 1.0), strict=True)
    frames = [Frame(n, alive, np.full((2, 1, 4, 4), n)) for n, alive in given]
    charts.film_chart(frames, 5, tmp_path / "film.png")
    (axes,) = figures[0].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0\n0%", "3\n12%", "5\n100%"]
    assert axes.images[0].get_array().shape == (2 * 66 + 2, 3 * 66 + 2)
    assert "by which counts are divided" in axes.get_xlabel()


class Given(torch.nn.Module):
    """Outputs that differ by channel and by pixel."""

    def __init__(self, outputs):
        super().__init__()
        self.shift = torch.linspace(-1.2, 1.1, outputs)[None, :, None, None]

    def forward(self, x, time):
        return self.shift + 0.3 * x


@pytest.mark.parametrize("head", FAMILIES)
def test_the_laws_drawn_are_those_of_the_training_loss(figures, tmp_path, head):
    most, schedule = 9, fb.Schedule.cosine(50)
    outputs = FAMILIES[head].arrays[-1]
    model = BlackoutModel(Given(outputs), schedule, most, input="unit", head=head).eval()
    x_0 = torch.tensor([[[0, 5, 9], [2, 9, 7]]], dtype=torch.uint8)
    laws = pixel_laws(model, schedule, x_0, None, fb.Philox(4))
    assert laws.laws.shape == (4, 4, most + 1) and np.allclose(laws.laws.sum(-1), 1, atol=1e-9)
    assert np.all(np.diff(laws.alive) > 0) and np.all(laws.x_t <= laws.x_0)
    for row, (alive, x_t) in enumerate(zip(laws.alive, laws.x_t, strict=True)):
        k = int(np.abs(schedule.p - alive).argmin())
        seen = torch.from_numpy(x_t)[None]
        network = model((seen - model.center(k)).float() * model.scale(k), k)
        for column, pixel in enumerate(laws.pixels):
            room = most - int(x_t.flat[pixel])
            assert not laws.laws[row, column, : most - room].any()
            n = torch.arange(room if head == "negative-binomial" else room + 1)  # whose loss knows of no largest count
            all_seen = torch.full((len(n), 1), most - room, dtype=torch.uint8)
            given = network.flatten(2)[0, :, int(pixel)].expand(len(n), outputs)
            how = {"family": head, "offset": model.offset(k), "max_count": most}
            loss = fb.posterior_loss(
                tuple(each[:, None].contiguous() for each in given.unbind(1)), all_seen, n[:, None].int(), 1.0, **how
            )
            drawn = laws.laws[row, column, most - room :][: len(n)]
            assert np.allclose(np.exp(-loss.numpy()), drawn, rtol=2e-4, atol=1e-7)
    if head != "bayes-logistic":  # one picture is enough
        return
    charts.laws_chart(laws, "an image", tmp_path / "laws.png")
    cell = figures[0].axes[2]
    assert cell.lines[0].get_xdata()[0] == laws.x_0.flat[laws.pixels[1]]
    assert cell.lines[1].get_xdata()[0] == laws.x_t[0].flat[laws.pixels[1]]
    assert np.array_equal(cell.patches[0].get_data().values, laws.laws[0, 1])


def test_the_law_of_a_head_without_a_largest_count_ends_at_the_room():
    arrays = [torch.full((2, 1), value, dtype=torch.float64) for value in (1.0, 0.5)]
    room = torch.tensor([[3.0], [0.0]], dtype=torch.float64)
    law = head_named("negative-binomial").log_law(arrays, room, torch.full_like(room, -0.1), 9).exp()
    assert law.shape == (2, 10)
    assert torch.allclose(law.sum(1), torch.ones(2, dtype=torch.float64), atol=1e-9)
    assert not law[0, 4:].any() and law[0, :4].all() and law[1, 0] == 1


def test_pixels_are_spread_over_the_counts_and_near_the_middle():
    image = np.zeros((1, 5, 5), dtype=np.uint8)
    image[0, 0, 0] = image[0, 2, 3] = 9
    image[0, 4, 4], image[0, 1, 1] = 3, 6
    assert spread_pixels(image).tolist() == [12, 24, 6, 13]
    assert len(set(spread_pixels(np.zeros((1, 5, 5))).tolist())) == 4
    assert spread_pixels(np.arange(3).reshape(3, 1, 1)).tolist() == [0, 1, 2]
