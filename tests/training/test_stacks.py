"""TIFF stacks that other programs write, by tifffile, which comes with scikit-image."""

import numpy as np
import pytest
import tifffile

from fastblackout.data.files import read_stack

IMAGES = np.arange(2 * 32 * 32).reshape(2, 32, 32)


@pytest.mark.parametrize("compressed", [{}, {"compression": "zlib"}, {"compression": "zlib", "tile": (16, 16)}])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i2", ">i2", "<i4", ">i4", "<u4", "<f4", ">f4"])
def test_both_orders_of_bytes(tmp_path, dtype, compressed):
    tifffile.imwrite(tmp_path / "a.tif", IMAGES.astype(dtype), byteorder=dtype[0], metadata=None, **compressed)
    assert np.array_equal(read_stack(tmp_path / "a.tif"), IMAGES)


def test_numbers_below_zero(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", -IMAGES.astype(">i2"), byteorder=">", compression="zlib")
    assert np.array_equal(read_stack(tmp_path / "a.tif"), -IMAGES)
