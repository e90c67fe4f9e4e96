"""Images in tiles that overlap: how they are cut, and how what is said of them is put together."""

import numpy as np
import pytest
import torch

from fastblackout.photons import Tiled, axis_of


@pytest.mark.parametrize(
    "length, tile, overlap", [(9, 5, 2), (13, 5, 4), (64, 28, 7), (28, 28, 0), (30, 28, 20), (5, 1, 0)]
)
def test_tiles_cover_an_axis_and_their_weights_sum_to_1(length, tile, overlap):
    starts, weights = axis_of(length, tile, overlap)
    total = np.zeros(length)
    for start, each in zip(starts, weights.numpy(), strict=True):
        assert (each > 0).all()
        total[start : start + tile] += each
    assert np.allclose(total, 1, rtol=1e-14) and starts[0] == 0 and starts[-1] == length - tile
    assert all(a < b <= a + tile - overlap for a, b in zip(starts, starts[1:], strict=False))
    ends = weights[0][-1].item(), weights[-1][0].item()
    assert len(starts) == 1 or max(ends) <= 1 / (1 + overlap)  # a tile fades out where it ends within the image
    assert weights[0][0] == weights[-1][-1] == 1 or overlap > tile / 2


def test_outputs_of_tiles_are_averaged_as_their_weights_say():
    class Corner:
        max_count = 9

        def __call__(self, given, time, labels=None):
            return given + torch.arange(4.0)[:, None] * 100 + torch.arange(4.0) + time.view(-1, 1, 1, 1) * 1000

    axes = axis_of(7, 4, 1), axis_of(6, 4, 2)
    images, times = torch.arange(84.0).view(2, 1, 7, 6), torch.tensor([3, 5])
    expected = np.zeros((2, 1, 7, 6))
    for top, rows in zip(axes[0].starts, axes[0].weights.numpy(), strict=True):
        for left, columns in zip(axes[1].starts, axes[1].weights.numpy(), strict=True):
            for i in range(2):
                for row in range(4):
                    for column in range(4):
                        value = (
                            images[i, 0, top + row, left + column].item() + 100 * row + column + 1000 * times[i].item()
                        )
                        expected[i, 0, top + row, left + column] += rows[row] * columns[column] * value
    for batch in (1, 3, 100):
        tiled = Tiled(Corner(), axes, batch)
        assert tiled.max_count == 9 and tiled.tiles == 4
        assert np.allclose(tiled(images, times), expected, rtol=1e-6)
