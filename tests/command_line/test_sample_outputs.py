"""`fastblackout sample`: parts of a sequence, the files that the samples are written to, and the film of their way."""

import contextlib
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image

import fastblackout as fb
from fastblackout.atomic_files import atomic_file
from fastblackout.cli.command_line import main
from fastblackout.cli.runs import Film, frames_of
from fastblackout.evaluation.plots import Frame, film_gif, film_strip, sample_grid
from fastblackout.evaluation.sample_files import FORMATS
from fastblackout.training.execution import execution_for

TRAIN = ["--steps=4", "--batch=8", "--channels=8", "--threads=1", "--sample-every=0", "--quiet"]
SAMPLE = ["--steps=4", "--threads=1", "--batch=5", "--quiet"]
HEADS = ("mean", "implicit", "beta-binomial")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Runs of three heads, with labels and without, one of colour images and one of a table."""
    folder, rng = tmp_path_factory.mktemp("home"), np.random.default_rng(0)
    np.savez(folder / "grey.npz", images=rng.integers(0, 12, (40, 8, 8)), labels=np.arange(40) % 3)
    np.savez(folder / "colour.npz", images=rng.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8))
    np.savez(folder / "table.npz", counts=rng.integers(0, 9, (40, 4)))
    runs = {name: (name, []) for name in ("colour", "table")}
    for head in HEADS:
        runs |= {head: ("grey", [f"--head={head}"]), f"{head}-labels": ("grey", [f"--head={head}", "--conditional"])}
    with contextlib.chdir(folder):
        for run, (data, more) in runs.items():
            assert main(["train", "array", f"--data={data}.npz", f"--out=runs/{run}", *TRAIN, *more]) == 0
    return folder


@pytest.fixture(autouse=True)
def place(home, tmp_path, monkeypatch):
    """A folder of the test's own, with the runs beside it."""
    (tmp_path / "runs").symlink_to(home / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def drawn(run, name, *more):
    assert main(["sample", f"runs/{run}", f"--out={name}.npz", *SAMPLE, *more]) == 0
    return dict(np.load(f"{name}.npz"))


@pytest.mark.parametrize(("head", "grid"), [("mean", "cosine"), ("implicit", "early"), ("beta-binomial", "early")])
def test_python_draws_what_the_command_draws(head, grid):
    """Where nothing says at which times, or in how many steps, both go by the head."""
    run, seen = fb.load_run(f"runs/{head}", device="cpu"), []

    def by_python(**how):
        return run.model.sample((6, *run.shape), rng=1, **how).numpy()

    images = drawn(head, head, "--num=6", "--batch=6")["images"]
    assert np.array_equal(by_python(steps=4), images) and np.array_equal(by_python(steps=4, grid=grid), images)
    assert np.array_equal(by_python(steps=4, grid="cosine"), images) == (grid == "cosine")
    by_python(callback=lambda n, k, x: seen.append(n))
    assert seen[-1] == (10 if head == "implicit" else 100)


def test_a_guided_step_is_two_calls(monkeypatch):
    """In what is told of the calls, and in the work by which "auto" compiles."""
    worth = []

    def execution(*given):
        worth.append(given[-1])
        return execution_for(*given)

    monkeypatch.setattr("fastblackout.cli.runs.execution_for", execution)
    drawn("mean-labels", "guided", "--num=3", "--guidance=.5,0,.5,.5", "--json=guided.json")
    assert json.loads(Path("guided.json").read_text())["network_calls"] == 7 and worth == [3 * 7]


@pytest.mark.parametrize("run", [*HEADS, *(f"{head}-labels" for head in HEADS)])
def test_two_halves_are_the_bytes_of_one(run):
    whole = drawn(run, "whole", "--num=11")
    parts = drawn(run, "a", "--num=5"), drawn(run, "b", "--num=6", "--first=5")
    assert whole.keys() == parts[0].keys()
    for name, array in whole.items():
        assert np.concatenate([part[name] for part in parts]).tobytes() == array.tobytes()
    assert len(np.unique(whole["images"], axis=0)) > 1
    if run.endswith("labels"):
        assert whole["labels"].tolist() == [n % 3 for n in range(11)]
        asked = drawn(run, "asked", "--num=2", "--first=4", "--label=1")
        assert asked["labels"].tolist() == [1, 1]
        assert np.array_equal(asked["images"][0], whole["images"][4])  # sample 4 is of class 1 in turn, too


def test_the_parts_of_a_run_have_names_of_their_own(home):
    for more in ([], ["--first=3"]):
        assert main(["sample", "runs/colour", "--num=3", *SAMPLE, *more]) == 0
    files = {path.name for path in (home / "runs/colour").glob("samples*")}
    assert files == {f"samples{part}{end}" for part in ("", "-3") for end in (".npz", ".png", "-film.png")}


def test_the_file_of_adm(capsys):
    counts = drawn("colour", "counts", "--num=6")["images"]
    assert "6 samples in" in (out := capsys.readouterr().out) and "a second, 4 network calls each" in out
    adm = drawn("colour", "adm", "--num=6", "--format=adm")
    assert list(adm) == ["arr_0"] and adm["arr_0"].dtype == np.uint8
    assert np.array_equal(adm["arr_0"], counts.transpose(0, 2, 3, 1))
    grey = drawn("mean-labels", "grey", "--num=6")
    adm = drawn("mean-labels", "grey-adm", "--num=6", "--format=adm", "--guidance=0")
    scaled = np.rint(grey["images"][:, 0].astype(float) * 255 / 11)  # counts 0..11
    assert scaled.max() > 11 and np.array_equal(adm["arr_0"], np.stack([scaled] * 3, axis=-1))
    assert adm["arr_1"].tolist() == [0, 1, 2, 0, 1, 2]


def test_two_processes_fill_one_folder_of_pictures(capsys, fails):
    counts = drawn("colour", "counts", "--num=7")["images"]
    for more in (["--num=4"], ["--num=3", "--first=4"]):
        assert main(["sample", "runs/colour", "--format=png", "--out=pictures", *SAMPLE, *more]) == 0
    assert sorted(os.listdir("pictures")) == [f"{n:06d}.png" for n in range(7)]
    for n, image in enumerate(counts):
        with Image.open(f"pictures/{n:06d}.png") as picture:
            assert np.array_equal(np.array(picture), image.transpose(1, 2, 0))
    assert {"pictures.png", "pictures-film.png", "pictures-4.png", "pictures-4-film.png"} <= set(os.listdir())
    again = ["sample", "runs/colour", "--format=png", "--out=pictures", "--num=2", "--first=6", *SAMPLE]
    fails(again, "pictures/000006.png exists; overwrite it with --force")
    assert main([*again, "--force"]) == 0
    assert len(os.listdir("pictures")) == 8
    assert "pictures also holds other pictures: 6\n" in capsys.readouterr().out
    assert main(["sample", "runs/mean", "--format=png", "--out=grey", "--num=1", *SAMPLE]) == 0
    assert "other pictures" not in capsys.readouterr().out
    with Image.open("grey/000000.png") as picture:
        assert picture.mode == "L" and np.array(picture).max() > 11


@pytest.mark.parametrize("images", [3, 24])
def test_a_gif_shows_the_first_samples_emerge(images, capsys):
    counts = drawn("colour", "counts", f"--num={images}", "--gif")["images"]
    with Image.open("counts.gif") as film:
        assert (film.n_frames, film.info["loop"]) == (5, 0)  # black, and the states after 4 steps
        columns, rows = (2, 2) if images == 3 else (5, 4)
        assert film.size == (columns * 66 + 2, rows * 66 + 2)
        assert np.array(film.convert("RGB"))[2:66, 2:66].max() == 0
        film.seek(4)
        last = np.array(film.convert("RGB")).astype(int)
        assert film.info["duration"] > 2000
    capsys.readouterr()
    drawn("colour", "counts", "--num=2", "--force")
    assert "counts.gif is of earlier samples; --gif --force makes it anew\n" in capsys.readouterr().out
    for n in range(min(images, 20)):
        top, left = 2 + n // columns * 66, 2 + n % columns * 66
        seen = last[top : top + 64 : 8, left : left + 64 : 8]
        assert np.abs(seen - counts[n].transpose(1, 2, 0)).mean() < 25  # 256 colours for all of them


def test_the_grids_of_a_conditional_run_have_a_column_for_each_class_in_turn(home):
    trained = ["train", "array", f"--data={home}/grey.npz", "--out=new", "--conditional", *TRAIN, "--sample-every=4"]
    assert main(trained) == 0
    Path("new/samples-00000004.png").rename("training.png")  # 64 samples
    drawn("mean-labels", "turn", "--num=12", "--gif")  # of 3 classes
    drawn("mean-labels", "one", "--num=12", "--label=1")
    for name, columns, rows in (("turn.png", 3, 4), ("turn.gif", 3, 4), ("one.png", 4, 3), ("training.png", 9, 8)):
        with Image.open(name) as picture:
            assert picture.size == (columns * 66 + 2, rows * 66 + 2)


def test_the_film_is_of_the_samples_whatever_the_batch():
    drawn("colour", "counts", "--num=6")
    drawn("colour", "few", "--num=6", "--batch=2")
    for end in (".png", "-film.png"):
        with Image.open(f"counts{end}") as one, Image.open(f"few{end}") as other:
            assert np.array_equal(np.array(one), np.array(other))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("runs/colour --first=-1", "first: must be in 0..2^32 - 64 (num), got -1"),
        ("runs/colour --num=2 --first=4294967295", "first: must be in 0..2^32 - 2 (num), got 4294967295"),
        ("runs/colour --format=png --out=a.npz", "out: must be a folder for format png, got a.npz"),
        ("runs/colour --format=png --out=a/b", "out: no such folder: a"),
        ("runs/colour --format=adm --out=a", "out: must end in .npz, got a"),
        ("runs/table --format=adm", "format: must be npz, or h5ad of a table, but for images of 1 or 3 channels"),
        ("runs/table --gif", "gif: needs images, got a table"),
        ("runs/mean-labels --num=1 --guidance=-1", "sample: guidance: must be finite and at least 0, got -1.0\n"),
        *(
            (f"runs/mean --num=1 --{name}=2", f"sample: {name}: needs a run trained with --conditional (cells: --la")
            for name in ("label", "guidance")
        ),
    ],
)
def test_refused_before_any_work(fails, line, words):
    fails(["sample", *line.split(), *SAMPLE], words)


def test_a_failure_leaves_no_picture(place, monkeypatch):
    def break_off(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("fastblackout.evaluation.sample_files.sync_directory", lambda path: None)
    monkeypatch.setattr("fastblackout.cli.runs.Film.see", break_off)
    os.mkdir("kept")
    for out in ("new", "kept"):
        assert main(["sample", "runs/colour", "--format=png", f"--out={out}", *SAMPLE]) == 1
    assert not os.path.exists("new") and os.listdir("kept") == []
    with pytest.raises(OSError, match="disk full"), atomic_file(place / "half.bin") as file:
        file.write(b"half")
        break_off()
    assert "half.bin" not in " ".join(os.listdir())


@pytest.mark.parametrize("kind", FORMATS)
def test_writing_many_samples_needs_little_memory(kind, place):
    """Beside the samples themselves; of 50,000 CIFAR-10 images these are 150 MB."""
    number = 300 if kind == "png" else 20_000
    part = np.zeros((100, 3, 32, 32), np.uint8)
    tracemalloc.start()
    with FORMATS[kind](place / f"many{FORMATS[kind].suffix}", number, (3, 32, 32), 255) as files:
        for _ in range(number // 100):
            files.add(part)
        files.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (0 if kind == "png" else number * 3072) + 40e6  # NumPy writes 16 MB at a time


@pytest.mark.parametrize(
    ("run", "more", "told"),
    [
        ("mean", "", "4 steps (cosine grid), seed 1"),
        ("mean", "--sampler=tau-leap --grid=index --seed=7", "4 steps (index grid), seed 7"),
        ("implicit-labels", "", "4 steps (early grid), guidance 0, seed 1"),
        ("beta-binomial-labels", "--guidance=0.5", "4 steps (early grid), guidance 0.5, seed 1"),
        ("beta-binomial", "--last-step=mean", "4 steps (early grid), the last to the mean, seed 1"),
    ],
)
def test_it_says_how_it_draws(capsys, run, more, told):
    assert main(["sample", f"runs/{run}", "--out=a.npz", "--num=1", *SAMPLE, *more.split()]) == 0
    out, err = capsys.readouterr()
    sampler = "tau-leap" if "tau-leap" in more else "bridge"
    assert f"sampler: {sampler}, {told}" in out.splitlines() and err == ""


def test_an_untrained_network_is_told(home, capsys):
    assert main(["train", "array", f"--data={home / 'grey.npz'}", "--out=new", *TRAIN, "--steps=0"]) == 0
    capsys.readouterr()
    assert main(["sample", "new", "--num=1", *SAMPLE]) == 0
    told = capsys.readouterr().err
    assert max(map(len, told.splitlines())) <= 80
    said = "fastblackout sample: warning: new/checkpoints/step-00000000 is of step 0: its network is not trained"
    assert " ".join(told.split()) == said


@pytest.mark.parametrize("most", [1, 16, 255])
@pytest.mark.parametrize("grid", ["cosine", "early"])
def test_the_frames_of_a_film_brighten_evenly(grid, most):
    """What is shown of a pixel with the largest count, counts / p cut at white, is known: n ~ Binomial(most, p)."""
    schedule = fb.Schedule.cosine(1000)
    alive = schedule.p[schedule.grid(500, grid, most)]
    frames = frames_of(alive, most, 12)
    assert (frames[0], frames[-1], len(frames)) == (0, 500, 12)
    n = np.arange(most + 1)
    cut = [(scipy.stats.binom.pmf(n, most, p) * np.minimum(n / max(p, 1e-9), most)).sum() for p in alive[frames]]
    brighter = np.diff(cut) / most
    assert min(brighter[:5]) > 0.08 and max(brighter) < 0.13
    for steps in (1, 5, 11):  # of few steps it has them all
        assert frames_of(np.linspace(0, 1, steps + 1), 255, 12) == list(range(steps + 1))


@pytest.mark.parametrize("grid", ["cosine", "early", "index"])
@pytest.mark.parametrize("steps", [10, 20, 100])
def test_a_film_shows_the_image_emerge_whatever_the_grid(tmp_path, grid, steps):
    """A bright square in the dark, of 8 bits, whose states a perfect network makes."""
    image = np.zeros((1, 28, 28), np.uint8)
    image[:, 8:20, 8:20] = 200
    schedule = fb.Schedule.cosine(1000)
    alive = schedule.p[schedule.grid(steps, grid, 255)]
    film = Film(alive, 255, num=1, gif=False)
    for n, p in enumerate(alive):
        film.see(n, fb.thin(torch.from_numpy(image)[None], float(p), rng=fb.Philox(3)).x_t)
    film_strip(film.strip, 255, tmp_path / "film.png")
    with Image.open(tmp_path / "film.png") as picture:
        strip = np.asarray(picture).astype(float)
    side = 28 * 3 + 2
    frames = [strip[2 : 2 + 84, 2 + n * side : 2 + n * side + 84] for n in range(len(film.strip))]
    inside = [frame[8 * 3 : 20 * 3, 8 * 3 : 20 * 3].mean() for frame in frames]
    assert inside[0] == 0 and inside[-1] == 200
    assert sum(light > 64 for light in inside) >= len(frames) - 4  # of the first, single particles alone are seen
    assert all(frame.max() > 64 for frame in frames[2:])
    for frame, shown in zip(film.strip, frames, strict=True):  # brightness is all that is changed
        dark = np.where(shown[::3, ::3] == 0, frame.counts[0, 0], 0)
        assert frame.alive == alive[frame.steps] and not dark.any()


def test_a_frame_is_divided_by_the_share_alive_and_cut_at_white():
    counts = np.array([0, 1, 2, 4, 8], np.uint8).reshape(1, 1, 1, 5)
    assert Frame(3, 0.25, counts).as_bytes(16).ravel().tolist() == [0, 64, 128, 255, 255]
    assert Frame(4, 1.0, counts).as_bytes(16).ravel().tolist() == [0, 16, 32, 64, 128]
    assert not Frame(0, 0.0, 0 * counts).as_bytes(16).any()


@pytest.mark.parametrize(
    ("images", "classes", "columns"),
    [(64, 10, 10), (64, 1, 8), (16, 10, 10), (20, 10, 10), (7, 10, 3), (64, 2, 8), (64, 3, 9), (64, 40, 40), (6, 1, 3)],
)
def test_each_class_has_columns_of_its_own(tmp_path, images, classes, columns):
    """Images of one pixel, whose brightness is their class."""
    labels = np.arange(images) % classes
    pixels = (labels * (255 // classes)).astype(np.uint8).reshape(-1, 1, 1, 1)
    sample_grid(pixels, 255, tmp_path / "grid.png", classes)
    film_gif([Frame(0, 1.0, pixels)], 255, tmp_path / "film.gif", classes)
    for name in ("grid.png", "film.gif"):
        with Image.open(tmp_path / name) as picture:
            cells = np.asarray(picture.convert("L"))[3::66, 3::66]
        assert cells.shape == (-(-images // columns), columns)
        assert cells.ravel()[:images].tolist() == pixels.ravel().tolist()
