"""The film that `fastblackout sample` writes: a few states of the sampler, from black to the image."""

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image

import fastblackout as fb
from fastblackout.cli.runs import Film, frames_of
from fastblackout.evaluation.plots import Frame, film_gif, film_strip, sample_grid


@pytest.mark.parametrize("most", [1, 16, 255])
@pytest.mark.parametrize("grid", ["cosine", "early"])
def test_the_frames_of_a_film_brighten_evenly(grid, most):
    """What is shown of a pixel with the largest count, counts / p cut at white, is known: n ~ Binomial(most, p)."""
    schedule = fb.Schedule.cosine(1000)
    alive = schedule.p[schedule.grid(500, grid, most)]
    frames = frames_of(alive, most, 12)
    assert (frames[0], frames[-1], len(frames)) == (0, 500, 12)
    n = np.arange(most + 1)
    shown = [
        (scipy.stats.binom.pmf(n, most, p) * np.minimum(n / max(p, 1e-9), most)).sum() / most for p in alive[frames]
    ]
    assert min(np.diff(shown)[:5]) > 0.08 and max(np.diff(shown)) < 0.13


def test_a_film_of_few_steps_has_them_all():
    for steps in (1, 5, 11):
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
        assert columns % classes == 0 or classes > images
