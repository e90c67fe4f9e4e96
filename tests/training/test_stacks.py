"""TIFF stacks that other programs write, by tifffile, which comes with scikit-image."""

import tracemalloc

import numpy as np
import pytest
import tifffile
from PIL import Image

from fastblackout.data.files import read_stack
from support.machine import machine_with

IMAGES = np.arange(2 * 32 * 32).reshape(2, 32, 32)


@pytest.mark.parametrize("compressed", [{}, {"compression": "zlib"}, {"compression": "zlib", "tile": (16, 16)}])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i2", ">i2", "<i4", ">i4", "<u4", "<f4", ">f4"])
def test_both_orders_of_bytes(tmp_path, dtype, compressed):
    tifffile.imwrite(tmp_path / "a.tif", IMAGES.astype(dtype), byteorder=dtype[0], metadata=None, **compressed)
    assert np.array_equal(read_stack(tmp_path / "a.tif"), IMAGES)


def test_numbers_below_zero(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", -IMAGES.astype(">i2"), byteorder=">", compression="zlib")
    assert np.array_equal(read_stack(tmp_path / "a.tif"), -IMAGES)


@pytest.mark.parametrize("told, images", [(b"ImageJ=1.54f\nimages=5\nslices=5\n", 5), (b"ImageJ=1.54f\n", 1), (b"", 1)])
def test_images_of_imagej_without_a_page_are_not_dropped(tmp_path, told, images):
    tifffile.imwrite(tmp_path / "a.tif", IMAGES[0].astype(np.uint16), description=told, metadata=None)
    if images == 1:
        assert len(read_stack(tmp_path / "a.tif")) == 1
    else:
        with pytest.raises(ValueError, match=r"a.tif: must have a page for each of its 5 images: .*, got 1$"):
            read_stack(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "all.tif", IMAGES.astype(np.uint16), imagej=True)
    assert np.array_equal(read_stack(tmp_path / "all.tif"), IMAGES)


def test_large_images_are_bounded_by_their_file(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", IMAGES.astype(np.uint16))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 32 - 1)  # Pillow warns
    assert np.array_equal(read_stack(tmp_path / "a.tif"), IMAGES)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 32 // 2 - 1)
    with pytest.raises(ValueError, match=r"a.tif: not a readable image: Image size \(1024 pixels\) exceeds limit"):
        read_stack(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [">u4", "<f8", "<i8"])
def test_pixels_that_pillow_does_not_know(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", IMAGES.astype(dtype), byteorder=dtype[0])
    with pytest.raises(ValueError, match=r"Pillow must know its pixels, .* bits; a .npy file may hold others"):
        read_stack(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "zstd"])
def test_pixels_and_their_copies_must_fit_the_free_memory(tmp_path, monkeypatch, compression):
    pages = [Image.fromarray(np.zeros((64, 64), np.uint16))] * 3
    pages[0].save(tmp_path / "a.tif", compression=compression, save_all=True, append_images=pages[1:])
    machine_with(monkeypatch, 3 * 64 * 64 * 2)  # the pixels alone
    with pytest.raises(ValueError, match=r"a.tif: .*: its pixels and their copy: must fit the 24576 bytes of memory"):
        read_stack(tmp_path / "a.tif")
    machine_with(monkeypatch, 1 << 20)
    assert read_stack(tmp_path / "a.tif").shape == (3, 64, 64)


def test_floats_become_integers_image_by_image(tmp_path):
    images = np.zeros((32, 128, 256), np.float32)
    tifffile.imwrite(tmp_path / "a.tif", images)
    read_stack(tmp_path / "a.tif")  # which imports
    tracemalloc.start()
    try:
        found = read_stack(tmp_path / "a.tif")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.dtype == np.int32 and peak < 1.5 * images.nbytes
