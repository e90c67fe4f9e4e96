"""The film that `fastblackout sample` writes: a few states of the sampler, from black to the image."""

from itertools import pairwise

import numpy as np
import pytest

from fastblackout import Schedule
from fastblackout.cli.film import frames_of


@pytest.mark.parametrize("grid", ["cosine", "early", "index"])
def test_a_film_shows_the_image_emerge_whatever_the_grid(grid):
    schedule = Schedule.cosine(1000)
    for steps in (1, 5, 11, 12, 40, 1000):
        alive = schedule.p[schedule.grid(steps, grid, 255)]
        frames = frames_of(alive)
        assert (frames[0], frames[-1], len(frames)) == (0, steps, min(12, steps + 1))
        assert all(a < b for a, b in pairwise(frames))
    # Of 1,000 steps some are at all angles, where the last twelfth of the steps is all that is bright of "early".
    assert np.diff(np.arcsin(np.sqrt(alive[frames]))).max() < 0.2
