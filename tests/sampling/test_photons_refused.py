"""What `fb.photons` refuses, before the network is called."""

import numpy as np
import pytest
import torch
from torch import nn

import fastblackout as fb
from support.machine import machine_with


class Never(nn.Module):
    """A network that must not be called."""

    forward = None


def model_of(max_count=20, input_="unit", head="beta-binomial", **how):
    return fb.BlackoutModel(Never(), fb.Schedule.cosine(50), max_count, input_, head=head, **how)


RIGHT = np.ones((2, 1, 6, 6))
RANGE, SHARE = "photons must be in 0..20, the most of the model", r"share: must lie in \(0, 1\]: .*"
UNFIT = "model: must have seen data by fit_input, got one of input 'log1p' that has not"
WRONG = {
    "fractional": ({"images": RIGHT / 2}, ValueError, "images: photons must be whole numbers, got 0.5"),
    "negative": ({"images": -RIGHT}, ValueError, f"images: {RANGE}, got -1.0"),
    "too many": ({"images": RIGHT * 21}, ValueError, f"images: {RANGE}, got 21.0"),
    "NaN": ({"images": RIGHT * np.nan}, ValueError, f"images: {RANGE}, got nan"),
    "bools": ({"images": RIGHT > 0}, TypeError, "images: must be real numbers, got dtype bool"),
    "a list": ({"images": [[1]]}, TypeError, "images: must be an array of counts of photons, got list"),
    "one image": ({"images": RIGHT[0, 0]}, ValueError, r"images: must have shape \(N, C, H, W\) or \(N, H, W\)"),
    "empty": ({"images": RIGHT[:0]}, ValueError, "images: must have shape"),
    "no dose": ({"share": 0.0}, ValueError, f"{SHARE}, got 0.0"),
    "above 1": ({"share": [0.5, 1.1]}, ValueError, f"{SHARE}, got 1.1"),
    "NaN dose": ({"share": np.nan}, ValueError, f"{SHARE}, got nan"),
    "shares": ({"share": [0.5] * 3}, ValueError, r"share: must be one number or one for each of 2 images, got shape"),
    "draws": ({"draws": -1}, ValueError, "draws: must be in 0..65536, got -1"),
    "steps": ({"steps": 0}, ValueError, "steps: must be in 1..50, got 0"),
    "more steps than the schedule's": ({"steps": 51}, ValueError, "steps: must be in 1..50, got 51"),
    "steps without draws": ({"draws": 0, "steps": 0}, ValueError, "steps: must be in 1..50, got 0"),
    "first_sample": (
        {"rng": fb.Philox(0, first_sample=(1 << 32) - 31), "draws": 16},
        ValueError, r"rng: first_sample \+ samples must be at most 2\^32, got 4294967265 \+ 32",
    ),
    "tile": ({"tile": 7}, ValueError, "tile: must be in 1..6, got 7"),
    "overlap": ({"tile": 4, "overlap": 4}, ValueError, "overlap: must be in 0..3, got 4"),
    "overlap alone": ({"overlap": 4}, ValueError, "overlap: must be given with tile, got 4 alone"),
    "batch": ({"batch": 0}, ValueError, "batch: must be in 1..2147483648, got 0"),
    "an option": ({"tiles": 4}, TypeError, "tiles: must be one of .*tile, overlap, batch, progress, got 4"),
    "a seed": ({"seed": 4}, TypeError, "seed: must be given as rng=, got 4"),
    "a model without data": ({"model": model_of(input_="log1p")}, ValueError, UNFIT),
    "a model": ({"model": nn.Identity()}, TypeError, "model: must be a BlackoutModel, got Identity"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_before_the_network_is_called(name):
    given, kind, words = WRONG[name]
    with pytest.raises(kind, match=f"^denoise: {words}"):
        fb.photons.denoise(**{"model": model_of(), "images": RIGHT, "share": 0.5, **given})
    if not given.keys() & {"draws", "steps", "rng", "seed"}:
        with pytest.raises(kind, match=f"^rate: {words}"):
            fb.photons.rate(**{"model": model_of(), "images": RIGHT, "share": 0.5, **given})


def test_draws_beyond_memory_are_refused_before_the_network_is_called():
    large = np.broadcast_to(np.uint8(1), (4, 1, 1 << 12, 1 << 12))  # 65,536 draws of them have 4 TB
    with pytest.raises(ValueError, match="^denoise: draws: 65536 draws of 4 images: must fit the .* bytes of memory"):
        fb.photons.denoise(model_of(), large, 0.5, draws=1 << 16)


def test_the_mean_counts_beside_the_draws(monkeypatch):
    machine_with(monkeypatch, 70 << 10)
    images = np.ones((1, 1, 64, 64), np.uint8)  # 16 draws have 64 KiB, their mean 48
    with pytest.raises(ValueError, match="^denoise: draws: 16 draws of 1 images: must fit the 71680 bytes of memory"):
        fb.photons.denoise(model_of(), images, 0.5, draws=16)
    machine_with(monkeypatch, 40 << 10)
    with pytest.raises(ValueError, match="^rate: images: the mean of 1 images: must fit the 40960 bytes of memory"):
        fb.photons.rate(model_of(), images, 0.5)


def test_joint_draws_have_no_mean():
    model, images = model_of(head="implicit", noise_channels=1), np.zeros((2, 1, 6, 6), int)
    with pytest.raises(ValueError, match="^denoise: draws: must be at least 1 for head 'implicit'"):
        fb.photons.denoise(model, images, 0.5, draws=0)
    with pytest.raises(ValueError, match="^rate: model: must have a head that gives a mean of births, got head 'impl"):
        fb.photons.rate(model, images, 0.5)


def test_a_model_with_numbers_of_each_pixel_takes_no_tiles():
    model = model_of(None, "log1p", "negative-binomial").fit_input(np.ones((9, 1, 1, 2), int))
    rule = "tile: must be left out for a model whose fit_input has numbers of each pixel, got 1"
    with pytest.raises(ValueError, match=f"^denoise: {rule}"):
        fb.photons.denoise(model, np.ones((1, 1, 1, 2), int), 0.5, tile=1)
    with pytest.raises(ValueError, match=f"^rate: {rule}"):
        fb.photons.rate(model, np.ones((1, 1, 1, 2), int), 0.5, tile=1)


class Even(nn.Module):
    """A network of three channels and an even number of rows."""

    def forward(self, given, time, labels=None):
        if given.shape[1] != 3:
            raise RuntimeError("three channels")
        if given.shape[2] % 2:
            raise ValueError("an even number of rows")
        return given


WRONG_SIZE = {"got 1x4x4: three channels": ((1, 4, 4), {}), "got 3x5x4: an even number of rows": ((3, 5, 4), {})}
WRONG_SIZE["got 3x3x3 of a tile: an even number of rows"] = (3, 4, 4), {"tile": 3}


@pytest.mark.parametrize("told", WRONG_SIZE)
def test_what_the_network_does_not_take_is_told_of_the_images(told):
    shape, how = WRONG_SIZE[told]
    model = fb.BlackoutModel(Even(), fb.Schedule.cosine(50), 20, "unit", head="mean")
    rule = "images: must have channels and a size that the network takes"
    for op, call in (("denoise", fb.photons.denoise), ("rate", fb.photons.rate)):
        with pytest.raises(ValueError, match=f"^{op}: {rule}, {told}$"):
            call(model, np.ones((2, *shape), int), 0.5, **how)


def test_errors_after_the_first_step_and_of_memory_are_left_as_they_are():
    class Later(nn.Module):
        calls = 0

        def forward(self, given, time, labels=None):
            self.calls += 1
            if self.calls == 3:
                raise RuntimeError("of something else")
            if self.calls > 3:
                raise torch.OutOfMemoryError("too large")
            return given

    model = fb.BlackoutModel(Later(), fb.Schedule.cosine(50), 20, "unit", head="mean")
    with fb.use_backend("cuda"), pytest.raises(ValueError, match="^thin: backend: "):  # of an op
        fb.photons.denoise(model, np.ones((2, 1, 4, 4), int), 0.5, draws=1)
    model.network.calls = 0
    for kind, words in ((RuntimeError, "of something else"), (torch.OutOfMemoryError, "too large")):
        with pytest.raises(kind, match=f"^{words}"):
            fb.photons.denoise(model, np.ones((2, 1, 4, 4), int), 0.5, draws=1)
