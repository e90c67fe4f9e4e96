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
DENOISE = "denoise short.tif --model=run --device=cpu --quiet"


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


@pytest.fixture
def place(home, monkeypatch):
    monkeypatch.chdir(home)
    return home


def test_a_stack_comes_back_as_the_library_denoises_it(place, capsys):
    words = "--share=.2,.3,1 --draws=2 --steps=3 --seed=7 --out=new.tif --json=new.json"
    assert main([*DENOISE.split(), *words.split()]) == 0
    given, run = read_stack(place / "short.tif"), fb.load_run("run", device="cpu")
    found = fb.photons.denoise(run.model, given, [0.2, 0.3, 1.0], draws=2, steps=3, rng=7)
    with Image.open("new.tif") as stack:
        assert stack.n_frames == 3 and stack.mode == "F"
        for n in range(3):
            stack.seek(n)
            assert np.array_equal(np.asarray(stack), found.mean[n])
    assert np.array_equal(np.load("new-draws.npy"), found.draws[:, :, None])
    told = json.loads((place / "new.json").read_text())
    assert (told["draws"], told["steps"], told["draws_file"]) == (2, 3, "new-draws.npy")
    with Image.open("new.png") as picture:
        assert picture.size[0] > 3 * 64 and "new.png" in capsys.readouterr().out
    assert main([*DENOISE.split(), "--share=.2", "--draws=0", "--out=new.tif"]) == 1
    assert "new.tif exists" in capsys.readouterr().err


def test_rates_and_arrays_of_channels(place):
    given = read_stack(place / "short.tif")
    np.save("short.npy", given[:, None])
    words = "denoise short.npy --model=run --device=cpu --quiet --share=.2 --rate --out=rate.npy"
    assert main(words.split()) == 0
    model = fb.load_run("run", device="cpu").model
    assert np.array_equal(np.load("rate.npy"), fb.photons.rate(model, given[:, None], 0.2))
    write_stack(place / "large.tif", np.tile(given[:1], (1, 2, 3)).astype(np.float32))
    words = "denoise large.tif --model=run --device=cpu --quiet --share=.2 --draws=1 --steps=2 --out=large-new.tif"
    assert main(words.split()) == 0
    expected = fb.photons.denoise(model, read_stack(place / "large.tif"), 0.2, draws=1, steps=2, tile=8)
    assert np.array_equal(np.load("large-new-draws.npy")[:, :, 0], expected.draws)


WRONG = {
    "share": (["--share=0"], "share: must lie in (0, 1]"),
    "shares": (["--share=.1,.2"], "share: must be one number or one for each of 3 images, got shape (2,)"),
    "out": (["--share=.1", "--out=a.png"], "out: must end in .tif, .tiff or .npy, got a.png"),
    "no run": (["--share=.1", "--model=none"], "run: there is no folder none"),
    "itself": (
        ["--share=.1", "--out=./short.tif", "--force"],
        "out: must write other files than the image itself, got",
    ),
    "numbers over the image": (
        ["--share=.1", "--json=./short.tif", "--force"],
        "json: must be another file than the image and what is made of it, got ./short.tif",
    ),
    "numbers over the picture": (["--share=.1", "--out=a.tif", "--json=a.png"], "json: must be another file than the"),
    "draws of a rate": (["--share=.1", "--rate", "--draws=16"], "draws: must be left out with --rate, got 16"),
    "steps of a rate": (["--share=.1", "--rate", "--steps=20"], "steps: must be left out with --rate, got 20"),
    "steps": (["--share=.1", "--steps=0"], "steps: must be in 1..60, got 0"),
    "tile": (["--share=.1", "--tile=9"], "tile: must be in 1..8, got 9"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_and_nothing_written(place, capsys, name):
    before = sorted(place.iterdir())
    words, told = WRONG[name]
    assert main([*DENOISE.split(), *words]) == 1
    assert told in capsys.readouterr().err and sorted(place.iterdir()) == before


@pytest.mark.parametrize(
    "images, told",
    [
        (np.full((1, 8, 8), 0.5, np.float32), "floats must be whole numbers of at most 2^24, got 0.5"),
        (np.full((1, 8, 8), np.nan, np.float32), "floats must be whole numbers of at most 2^24, got nan"),
        (np.full((1, 8, 8), -3, np.int32), "images: photons must be in 0.."),
        (np.full((1, 7, 9), 3, np.int32), "image: must be at least as large as the training images, 8x8, got 7x9"),
        (np.zeros((1, 8, 8, 3), np.uint8), "must be of one channel of 8, 16 or 32 bits, got mode RGB"),
    ],
)
def test_images_that_do_not_fit(place, capsys, tmp_path, images, told):
    write(tmp_path / "wrong.tif", images)
    words = ["denoise", str(tmp_path / "wrong.tif"), "--model=run", "--share=.5", f"--out={tmp_path / 'out.tif'}"]
    assert main([*words, "--quiet"]) == 1
    assert told in capsys.readouterr().err and not (tmp_path / "out.tif").exists()


def test_images_larger_than_a_model_with_fit_input(place, capsys, tmp_path):
    assert main([*TRAIN.replace("run", str(tmp_path / "run")).split(), "--input=log1p", *FEW]) == 0
    write(tmp_path / "large.tif", np.ones((1, 8, 16), np.uint8))
    words = [f"--model={tmp_path / 'run'}", "--share=.5", f"--out={tmp_path / 'out.tif'}", "--quiet"]
    assert main(["denoise", str(tmp_path / "large.tif"), *words]) == 1
    told = "denoise: image: must be as large as the training images, 8x8, for a model with fit_input, got 8x16"
    assert told in capsys.readouterr().err and not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_stacks_of_every_kind_are_read(tmp_path, dtype, compression):
    images = np.arange(48).reshape(2, 4, 6).astype(dtype)
    write(tmp_path / "a.tif", images, **({} if compression is None else {"compression": compression}))
    found = read_stack(tmp_path / "a.tif")
    assert np.array_equal(found, images) and found.dtype.kind in "iu"


def test_a_stack_that_lies_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    write(path, np.zeros((2, 4, 4), np.uint16))
    right = path.read_bytes()
    path.write_bytes(right[: len(right) // 2])
    with pytest.raises(ValueError, match=r"^load: .*a.tif: not a readable image: "):
        read_stack(path)
    first, second = Image.fromarray(np.zeros((4, 4), np.uint16)), Image.fromarray(np.zeros((5, 4), np.uint16))
    first.save(path, save_all=True, append_images=[second])
    with pytest.raises(ValueError, match=r"^load: .*a.tif: image 1 must be like the first, I;16 4x4, got I;16 4x5"):
        read_stack(path)
    wide = right
    for tag in (256, 257):  # 8,000 x 8,000 pixels in some hundred bytes
        at = wide.find(struct.pack("<HH", tag, 4))
        wide = wide[: at + 8] + struct.pack("<L", 8000) + wide[at + 12 :]
    path.write_bytes(wide)
    with pytest.raises(ValueError, match=r"not a readable image: it must hold \d+ bytes of pixels, got \d+ at most"):
        read_stack(path)


def patched(path, tag, value):
    """A TIFF file of one image in which a tag has another number."""
    content = path.read_bytes()
    at = content.index(struct.pack("<HHL", tag, 3, 1))
    path.write_bytes(content[: at + 8] + struct.pack("<L", value) + content[at + 12 :])


def test_pixels_that_are_no_counts_as_they_are_read_are_refused(tmp_path):
    path, images = tmp_path / "a.tif", np.full((1, 4, 4), 200, np.uint8)
    write(path, images)
    patched(path, 262, 0)
    with pytest.raises(ValueError, match=r"^load: .*a.tif: black must be zero, got a file in which white is zero"):
        read_stack(path)
    write(path, images, tiffinfo={339: 2})
    with pytest.raises(ValueError, match=r"^load: .*a.tif: numbers of 8 bits must be unsigned, got signed ones"):
        read_stack(path)


def test_unsigned_numbers_of_32_bits_and_a_suffix_in_capitals(tmp_path):
    images = np.array([[[0, 1], [1 << 31, (1 << 32) - 1]]], np.uint32)
    path = tmp_path / "a.TIFF"
    write(path, images.view(np.int32), format="TIFF")
    assert np.array_equal(read_stack(path), images.view(np.int32))
    patched(path, 339, 1)
    assert np.array_equal(read_stack(path), images) and read_stack(path).dtype == np.uint32
    write(path, np.ones((2, 2, 2), np.uint16), format="TIFF")
    assert fb.data.load("array", path).max_count == 1


def test_well_compressed_stacks_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(TiffImagePlugin, "STRIP_SIZE", 1 << 26)
    images = np.zeros((1, 2000, 6000), np.uint8)
    write(tmp_path / "a.tif", images, compression="tiff_lzw")
    lzw = (tmp_path / "a.tif").stat().st_size
    assert images.nbytes > lzw * 1032 and np.array_equal(read_stack(tmp_path / "a.tif"), images)


def test_more_than_a_tiff_file_holds_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a.tif: a TIFF file must hold at most 4294967295 bytes, got 4294967808"):
        write_stack(tmp_path / "a.tif", np.broadcast_to(np.float32(0), (1, 1 << 15, 1 << 15)))


def test_names_in_capitals_and_the_middle_of_large_images(place):
    large = np.ones((1, 8, 600), np.float32)
    large[:, :, :44] = 3
    write("LARGE.TIF", large, format="TIFF")
    words = "denoise LARGE.TIF --model=run --device=cpu --quiet --share=1 --draws=0 --out=LARGE-NEW.TIFF"
    assert main(words.split()) == 0
    assert np.array_equal(read_stack(place / "LARGE-NEW.TIFF"), large)
    with Image.open("LARGE-NEW.png") as picture:
        assert 2 * 8 * 512 <= max(picture.size) < 2 * 8 * 600  # image and mean, each pixel as 8 x 8
