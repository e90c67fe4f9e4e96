"""`fastblackout denoise`: from a TIFF stack to a mean, draws and a picture; a training on a stack; what is refused."""

import contextlib
import json
import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

import fastblackout as fb
from fastblackout.cli import main
from fastblackout.data.files import read_stack, write_stack

TRAIN = "train array --data=long.tif --out=run --steps=2 --batch=8 --channels=8 --head=beta-binomial --threads=1"
FEW = ["--sample-every=0", "--schedule-steps=60", "--quiet"]


def write(file, images, **how):
    first, *others = (Image.fromarray(image) for image in images)
    first.save(file, save_all=True, append_images=others, **how)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    random = np.random.default_rng(0)
    long = random.poisson(400, (30, 8, 8)).astype(np.uint16)
    with contextlib.chdir(folder):
        write("long.tif", long)
        write("short.tif", random.binomial(long[:3], 0.2).astype(np.uint16))
        assert main([*TRAIN.split(), *FEW]) == 0
    return folder


def line_of(image, words):
    return ["denoise", image, "--model=run", "--device=cpu", "--quiet", *words.split()]


def test_a_stack_comes_back_as_the_library_denoises_it(place, capsys, fails):
    words = "--share=.2,.3,1 --draws=2 --steps=3 --seed=7 --out=new.tif --json=new.json"
    assert main(line_of("short.tif", words)) == 0
    given, run = read_stack(place / "short.tif"), fb.load_run("run", device="cpu")
    found = fb.photons.denoise(run.model, given, [0.2, 0.3, 1.0], draws=2, steps=3, rng=7)
    with Image.open("new.tif") as stack:
        assert stack.n_frames == 3 and stack.mode == "F"
    assert np.array_equal(tiff("new.tif"), found.mean)
    assert np.array_equal(np.load("new-draws.npy"), found.draws[:, :, None])
    told = json.loads((place / "new.json").read_text())
    assert (told["draws"], told["steps"], told["draws_file"]) == (2, 3, "new-draws.npy")
    with Image.open("new.png") as picture:
        assert picture.size[0] > 3 * 64 and "new.png" in capsys.readouterr().out
    fails(line_of("short.tif", "--share=.2 --draws=0 --out=new.tif"), "new.tif exists")


def tiff(file):
    with Image.open(file) as stack:
        return np.stack([(stack.seek(n), np.asarray(stack))[1] for n in range(stack.n_frames)])


def test_rates_and_arrays_of_channels(place):
    given, model = read_stack(place / "short.tif"), fb.load_run("run", device="cpu").model
    np.save("short.npy", given[:, None])
    assert main(line_of("short.npy", "--share=.2 --rate --out=rate.npy")) == 0
    assert np.array_equal(np.load("rate.npy"), fb.photons.rate(model, given[:, None], 0.2))
    write_stack(place / "large.tif", np.tile(given[:1], (1, 2, 3)).astype(np.float32))
    assert main(line_of("large.tif", "--share=.2 --draws=1 --steps=2 --out=large-new.tif")) == 0
    expected = fb.photons.denoise(model, read_stack(place / "large.tif"), 0.2, draws=1, steps=2, tile=8)
    assert np.array_equal(np.load("large-new-draws.npy")[:, :, 0], expected.draws)


def test_names_in_capitals_and_the_middle_of_large_images(place):
    large = np.ones((1, 8, 600), np.float32)
    large[:, :, :44] = 3
    write("LARGE.TIF", large, format="TIFF")
    assert main(line_of("LARGE.TIF", "--share=1 --draws=0 --out=LARGE-NEW.TIFF")) == 0
    assert np.array_equal(read_stack(place / "LARGE-NEW.TIFF"), large)
    with Image.open("LARGE-NEW.png") as picture:
        assert 2 * 8 * 512 <= max(picture.size) < 2 * 8 * 600  # image and mean, each pixel as 8 x 8


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--share=0", "share: must lie in (0, 1]"),
        ("--share=.1,.2", "share: must be one number or one for each of 3 images, got shape (2,)"),
        ("--share=.1 --out=a.png", "out: must end in .tif, .tiff or .npy, got a.png"),
        ("--share=.1 --model=none", "run: there is no folder none"),
        ("--share=.1 --out=./short.tif --force", "out: must write other files than the image itself, got"),
        ("--share=.1 --json=./short.tif --force",
         "json: must be another file than the image and what is made of it, got ./short.tif"),
        ("--share=.1 --out=a.tif --json=a.png", "json: must be another file than the"),
        ("--share=.1 --rate --draws=16", "draws: must be left out with --rate, got 16"),
        ("--share=.1 --rate --steps=20", "steps: must be left out with --rate, got 20"),
        ("--share=.1 --steps=0", "steps: must be in 1..60, got 0"),
        ("--share=.1 --tile=9", "tile: must be in 1..8, got 9"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_written(place, fails, words, told):
    fails(line_of("short.tif", words), told)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.full((1, 8, 8), 0.5, np.float32), "floats must be whole numbers of at most 2^24, got 0.5"),
        (np.full((1, 8, 8), np.nan, np.float32), "floats must be whole numbers of at most 2^24, got nan"),
        (np.full((1, 8, 8), -3, np.int32), "images: photons must be in 0.."),
        (np.full((1, 7, 9), 3, np.int32), "image: must be at least as large as the training images, 8x8, got 7x9"),
        (np.zeros((1, 8, 8, 3), np.uint8), "must be of one channel of 8, 16 or 32 bits, got mode RGB"),
    ],
)
def test_images_that_do_not_fit(place, fails, images, told):
    write("wrong.tif", images)
    fails(line_of("wrong.tif", "--share=.5"), told)


def test_images_larger_than_a_model_with_fit_input(place, fails):
    assert main([*TRAIN.replace("run", "fitted").split(), "--input=log1p", *FEW]) == 0
    write("large.tif", np.ones((1, 8, 16), np.uint8))
    told = "denoise: image: must be as large as the training images, 8x8, for a model with fit_input, got 8x16"
    fails(line_of("large.tif", "--share=.5 --model=fitted"), told)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_stacks_of_every_kind_are_read(tmp_path, dtype, compression):
    images = np.arange(48).reshape(2, 4, 6).astype(dtype)
    write(tmp_path / "a.tif", images, **({} if compression is None else {"compression": compression}))
    found = read_stack(tmp_path / "a.tif")
    assert np.array_equal(found, images) and found.dtype.kind in "iu"


def patched(content, tag, kind, value):
    """A TIFF file of one image, or more, in whose first a tag has another number."""
    at = content.index(struct.pack("<HH", tag, kind))
    return content[: at + 8] + struct.pack("<L", value) + content[at + 12 :]


def test_a_stack_that_lies_or_holds_no_counts_is_refused(tmp_path):
    path, images = tmp_path / "a.tif", np.full((1, 4, 4), 200, np.uint8)
    write(path, np.zeros((2, 4, 4), np.uint16))
    right = path.read_bytes()
    first, second = Image.fromarray(np.zeros((4, 4), np.uint16)), Image.fromarray(np.zeros((5, 4), np.uint16))
    first.save(path, save_all=True, append_images=[second])
    unequal = path.read_bytes()
    write(path, images)
    white = patched(path.read_bytes(), 262, 3, 0)
    write(path, images, tiffinfo={339: 2})
    wide = patched(patched(right, 256, 4, 8000), 257, 4, 8000)  # 8,000 x 8,000 pixels in some hundred bytes
    for content, rule in (
        (right[: len(right) // 2], "not a readable image: "),
        (unequal, "image 1 must be like the first, I;16 4x4, got I;16 4x5"),
        (wide, r"not a readable image: it must hold \d+ bytes of pixels, got \d+ at most"),
        (white, "black must be zero, got a file in which white is zero"),
        (path.read_bytes(), "numbers of 8 bits must be unsigned, got signed ones"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^load: .*a.tif: {rule}"):
            read_stack(path)


def test_unsigned_numbers_of_32_bits_and_a_suffix_in_capitals(tmp_path):
    images = np.array([[[0, 1], [1 << 31, (1 << 32) - 1]]], np.uint32)
    path = tmp_path / "a.TIFF"
    write(path, images.view(np.int32), format="TIFF")
    assert np.array_equal(read_stack(path), images.view(np.int32))
    path.write_bytes(patched(path.read_bytes(), 339, 3, 1))
    assert np.array_equal(read_stack(path), images) and read_stack(path).dtype == np.uint32
    write(path, np.ones((2, 2, 2), np.uint16), format="TIFF")
    assert fb.data.load("array", path).max_count == 1


def test_sizes_of_stacks(tmp_path, monkeypatch):
    """One that is well compressed is read, and more than a TIFF file holds is refused."""
    monkeypatch.setattr(TiffImagePlugin, "STRIP_SIZE", 1 << 26)
    images = np.zeros((1, 2000, 6000), np.uint8)
    write(tmp_path / "a.tif", images, compression="tiff_lzw")
    lzw = (tmp_path / "a.tif").stat().st_size
    assert images.nbytes > lzw * 1032 and np.array_equal(read_stack(tmp_path / "a.tif"), images)
    with pytest.raises(ValueError, match=r"a.tif: a TIFF file must hold at most 4294967295 bytes, got 4294967808"):
        write_stack(tmp_path / "a.tif", np.broadcast_to(np.float32(0), (1, 1 << 15, 1 << 15)))
