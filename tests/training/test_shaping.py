"""crop, resize and binarize: their law, their errors, and that a checkpoint remembers them; class folders."""

import json

import numpy as np
import pytest
from PIL import Image

from fastblackout.cli import main
from fastblackout.data import Dataset, load
from fastblackout.data.files import shaped

TINY = ["--steps=2", "--batch=8", "--channels=8", "--threads=1", "--sample-every=0", "--held-out-every=0", "--quiet"]
EVALUATE = ["evaluate", "--num=4", "--steps=2", "--bits=0", "--threads=1", "--quiet", "--seeds=1"]


def triangle(old, new):
    """The weights (new, old) of the antialiased bilinear filter, by its definition."""
    width = max(old / new, 1.0)
    centers = (np.arange(new)[:, None] + 0.5) * old / new
    weights = np.maximum(0, 1 - np.abs(np.arange(old) + 0.5 - centers) / width)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize(("height", "width", "new"), [(28, 28, 32), (14, 14, 6), (9, 14, 5), (14, 9, 5), (5, 5, 5)])
def test_resizing_is_the_antialiased_triangle(height, width, new):
    counts = np.random.default_rng(0).integers(0, 1000, (3, 2, height, width)).astype(np.int16)
    got = shaped(counts, None, new)
    short = min(height, width)
    tall, wide = new * height // short, new * width // short
    exact = triangle(height, tall) @ counts.astype(float) @ triangle(width, wide).T
    assert got.shape == (3, 2, tall, wide) and got.dtype == np.int16
    assert np.abs(got - exact).max() < 0.5 + 1e-3  # the nearest integer
    assert np.array_equal(shaped(counts.astype(np.uint8), None, short), counts.astype(np.uint8))


def test_resizing_mnist_and_its_threshold_are_exact():
    """28 to 32: all weights are multiples of 1/16, so a threshold at one half is exact too, but for ties."""
    counts = np.random.default_rng(1).integers(0, 256, (50, 28, 28)).astype(np.uint8)
    exact = triangle(28, 32) @ counts.astype(float) @ triangle(28, 32).T
    assert np.array_equal(shaped(counts, None, 32), np.rint(exact))
    clear = exact != 127.5
    assert np.array_equal((shaped(counts, None, 32) >= 128)[clear], (exact > 127.5)[clear])


@pytest.mark.parametrize(
    ("height", "width", "crop"), [(218, 178, 140), (218, 178, 148), (8, 6, 3), (7, 8, 6), (6, 7, 6)]
)
def test_crop_is_the_middle(height, width, crop):
    counts = np.arange(height * width).reshape(1, height, width)
    top, left = (height - crop) // 2, (width - crop) // 2
    assert np.array_equal(shaped(counts, crop, None)[0], counts[0, top : top + crop, left : left + crop])


def test_every_image_data_set_takes_them():
    plain, made = load("digits"), load("digits", crop=6, resize=9, binarize=5)
    assert made.shape == (1, 9, 9) and made.max_count == 1 and made.train.dtype == np.uint8
    assert made.shaping == {"crop": 6, "resize": 9, "binarize": 5} and plain.shaping == {}
    assert np.array_equal(made.train, shaped(plain.train, 6, 9) >= 5)
    assert np.array_equal(made.held_out_labels, plain.held_out_labels)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"crop": 9}, ValueError, "load: crop: must be at most 8, the shorter side of an image of 8x8, got 9"),
        ({"crop": 0}, ValueError, "load: crop: must be in 1..16384, got 0"),
        ({"resize": -3}, ValueError, "load: resize: must be in 1..16384, got -3"),
        ({"resize": 8.0}, TypeError, "load: resize: must be an integer, got 8.0"),
        ({"binarize": True}, TypeError, "load: binarize: must be an integer, got True"),
        ({"binarize": 17}, ValueError, "load: binarize: must be in 1..16, the largest count, got 17"),
    ],
)
def test_wrong_options(options, error, words):
    with pytest.raises(error) as raised:
        load("digits", **options)
    assert str(raised.value) == words


def write(path, height, width, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_class_folders_are_labels(tmp_path):
    pixels = {
        write(tmp_path / f"{'cab'[i % 3]}/x/{i:02d}.png", 4, 4, i).tobytes(): "abc".index("cab"[i % 3])
        for i in range(30)
    }
    (tmp_path / "0-empty").mkdir()
    data = load("folder", tmp_path)
    assert data.classes == 3
    for images, labels in ((data.train, data.train_labels), (data.held_out, data.held_out_labels)):
        found = [pixels[np.ascontiguousarray(np.moveaxis(image, 0, -1)).tobytes()] for image in images]
        assert found == labels.tolist()
    write(tmp_path / "flat.png", 4, 4, 99)
    assert load("folder", tmp_path).classes is None  # an image beside the folders: these are no classes


def test_folders_of_single_images_stay_without_labels(tmp_path):
    for i in range(11):
        write(tmp_path / f"{i:02d}/image.png", 4, 4, i)
    assert load("folder", tmp_path).classes is None


def test_images_need_one_size_after_shaping_only(tmp_path):
    pixels = [write(tmp_path / f"{i}.png", 6 + i, 9, i) for i in range(4)]
    data = load("folder", tmp_path, crop=6, resize=3)
    both = {image.tobytes() for image in (*data.train, *data.held_out)}
    assert both == {shaped(np.moveaxis(image, -1, 0), 6, 3).tobytes() for image in pixels}
    for options, words in (
        ({"resize": 3}, "1.png: every image must be RGB 4x3 like 0.png once cut out and resized, got RGB 3x3"),
        ({"crop": 7}, "0.png: crop: must be at most 6, the shorter side of an image of 6x9, got 7"),
    ):
        with pytest.raises(ValueError, match="^load: ") as error:
            load("folder", tmp_path, **options)
        assert words in str(error.value)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with images, where one trains and evaluates."""
    for i in range(12):
        write(tmp_path / f"pictures/{'ab'[i % 2]}/{i:02d}.png", 12, 10, i)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_checkpoints_remember_them(place, capsys):
    train = ["train", "folder", "--data=pictures"]
    assert main([*train, "--crop=9", "--resize=8", "--binarize=100", *TINY]) == 0
    (file,) = place.glob("runs/folder/checkpoints/step-00000002/config.json")
    about = json.loads(file.read_text())["config"]["dataset"]
    assert {name: about[name] for name in ("crop", "resize", "binarize", "classes", "shape")} == {
        "crop": 9, "resize": 8, "binarize": 100, "classes": 2, "shape": [3, 8, 8],
    }  # fmt: skip
    assert main(EVALUATE) == 0
    (place / "grey").mkdir()
    for n in range(20):
        Image.new("L", (9, 9), n).save(place / "grey" / f"{n}.png")
    assert main([*train, "--resume", "--steps=3", "--quiet"]) == 0
    capsys.readouterr()
    assert main([*EVALUATE, "--data=grey"]) == 1  # before anything is drawn
    assert "evaluate: data: must have samples of shape (3, 8, 8), as the run has, got (1, 8, 8)" in " ".join(
        capsys.readouterr().err.split()
    )
    for wrong, kept in (("--crop=8", 9), ("--binarize=101", 100)):
        assert main([*train, "--resume", wrong, "--steps=4", "--quiet"]) == 1
        assert f"a resumed run keeps {kept}, got" in capsys.readouterr().err


def test_a_run_without_them_says_nothing_of_them(place, capsys):
    """What a checkpoint says of such a run is what it said before there were any."""
    assert main(["train", "folder", "--data=pictures", *TINY]) == 0
    (file,) = place.glob("runs/folder/checkpoints/step-00000002/config.json")
    about = json.loads(file.read_text())["config"]["dataset"]
    assert list(about) == ["name", "shape", "classes", "sha256", "channels_at"]
    assert Dataset("x", np.zeros(1), np.zeros(1), 1).shaping == {}
    assert main(["train", "folder", "--data=pictures", "--resume", "--crop=4", "--steps=3", "--quiet"]) == 1
    assert "crop: a resumed run keeps none, got 4" in capsys.readouterr().err
