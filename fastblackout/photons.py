"""Photons: images of few photons given more, because a noisy image of counts is a thinned one.

Draws and means of images of photons at the dose of a training, given images of fewer photons.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypedDict, TypeVar, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .blackout import BlackoutModel
from .call.keys import late_key, resolve_rng
from .data.dataset import count_dtype
from .ground.named import right_name
from .ground.values import check_integer, check_memory, real_array, shown
from .heads.head import rows_of
from .philox import Philox
from .sampling.rules import Bridge
from .sampling.sampler import evaluating
from .sampling.steps import Setting
from .sampling.thinned_start import births_expected, draw_from, stages
from .training.progress import Progress

if TYPE_CHECKING:

    class Options(TypedDict, total=False):
        """The keywords that `denoise` and `rate` share."""

        tile: int | None
        overlap: int | None
        batch: int
        progress: bool


__all__ = ["Denoised", "denoise", "rate"]

T = TypeVar("T", NDArray[Any], Tensor)
_OPTIONS = ("tile", "overlap", "batch", "progress")
_MOST_DRAWS = 1 << 16
_OF_NUMBER = 12  # bytes: it is summed in float64 and given as float32
_STEPS = 20  # of a draw, unless the schedule has fewer
_SHARE = "must lie in (0, 1]: the share of the training dose that the image was taken at"


class Denoised(NamedTuple, Generic[T]):
    """Images at the dose of the training, which `denoise` returns.

    Parameters
    ----------
    draws : array of int
        Draws given the images, (draws, N, C, H, W).
    mean : array of float32
        Their mean, of the shape of the images; without draws the mean that the network gives in one call.
    """

    draws: T
    mean: T


def denoise(
    model: BlackoutModel,
    images: T,
    share: float | NDArray[Any] | Tensor,
    draws: int = 16,
    steps: int | None = None,
    rng: Philox | int = 0,
    **options: Unpack[Options],
) -> Denoised[T]:
    """Draw images at the dose of the training, given images that were taken at a share p of it.

    ::

        y | x ~ Binomial(x, p)                                 the image y that is seen, of the image x that is drawn
        x ~ p(x | y):    x_t = y where p_t = p,    x <- x + Binomial(b, (p_s - p_t) / (1 - p_t))    until p_s = 1

    At time t a share p_t is there, p_s is the next and larger share, and b are the photons of which the model says that
    they still lack. Each photon of an image x at the dose of the training would have been seen at the dose p with
    chance p. This is what Blackout Diffusion does to its data
    (https://github.com/fastblackout/fastblackout/blob/main/docs/theory.md). So its reverse process, begun at y where
    the survival probability is p, draws the image x given y.

    Parameters
    ----------
    model : BlackoutModel
        A model of images at the dose of its training, such as `fb.load_run(folder).model`.
    images : array of int
        Counts of photons, (N, C, H, W), or (N, H, W) of one channel. NumPy or torch, of any integer dtype; floats must
        be whole numbers.
    share : float or array
        The share p in (0, 1], one number or one for each image: its exposure time, divided by the exposure time of the
        training images.
    draws : int, default 16
        How many draws of each image. With 0 there are none, and the mean comes from one call of the network.
    steps : int, optional
        The steps of each draw, a call of the network each. At most as many as the model's schedule has; by default 20,
        or all of a schedule of fewer.
    rng : Philox or int, default 0
        The key, or the seed of one. Draw d of image i is sample rng.first_sample + d N + i. Step n draws with call=n,
        so the call of a key makes no difference: take another seed or first_sample for other images.
    **options : object
        tile: the side of the squares that the network is asked about, in pixels, for images that are larger than it
        takes; by default it is asked about whole images. overlap: how many pixels tiles have in common at least, by
        default a quarter of their side. batch: the most tiles in a call of the network, 64 by default. progress:
        whether a bar is shown.

    Returns
    -------
    Denoised
        draws, integers of the model's dtype; and mean, float32. Each is of the library of `images`.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If counts are no whole numbers in 0..max_count, a share lies outside (0, 1], shapes do not fit, or the draws do
        not fit memory.

    Notes
    -----
    What is drawn depends on what the model was trained on:

    - Images of a higher dose: draws are images of that dose.
    - Noisy images alone: draws are images as noisy as those, so a share below 1 is filled up to the dose of the
      training. **Neither the rate behind them nor an image of a higher dose can be drawn**: the training has seen
      neither. The mean of the rate can be told: see `rate`.

    A share of 1 leaves an image as it is.

    Head "mean" gives a mean and no law, so its draws differ too little from one another. By the exact mean of
    gamma-Poisson counts their standard deviation was 0.6 of the true one in 5 steps, 0.9 in 20 and 0.97 in 100. For
    intervals train a head that gives a law, such as "beta-binomial".

    The steps are equal in the angle arccos sqrt(p), from each image's own p to 1, at the nearest times of the schedule.
    Between two times the network is asked about the nearest one, and its law is taken at p itself. Head "mean"
    speaks of the time asked about alone: its births divided by 1 - p are taken to be the same at p.

    Of an image in tiles every step is taken as a whole: the network's outputs for its tiles are averaged where they
    overlap, and then one draw is made of all pixels. So no draw has a seam. The counts do not depend on `batch`,
    wherever the network's outputs do not. A model after `fit_input` takes no tiles, as it has numbers of each pixel of
    its training images.

    References
    ----------
    Krull, Basevi, Salmon, Zeug, Müller, Tonks, Muppala, Leonardis. Image denoising and the generative accumulation of
    photons. arXiv 2307.06607.

    Examples
    --------
    >>> run = fb.load_pretrained("digits", device="cpu")
    >>> x = fb.data.load("digits").held_out[:2]
    >>> y = fb.thin(x, 0.3, rng=fb.Philox(1)).x_t
    >>> found = fb.photons.denoise(run.model, y, 0.3, draws=4, steps=5)
    >>> found.draws.shape, found.mean.shape
    ((4, 2, 1, 8, 8), (2, 1, 8, 8))
    """
    op = "denoise"
    draws = check_integer(op, "draws", draws, 0, _MOST_DRAWS)
    work = _Work(op, model, images, share, rng, options)
    steps = usual_steps(model) if steps is None else check_integer(op, "steps", steps, 1, model.schedule.steps)
    if not draws and model.head_object.takes_noise:
        raise ValueError(f"{op}: draws: must be at least 1 for head {model.head!r}, which gives draws alone, got 0")
    x: Tensor = work.x
    number = draws * len(x)
    late_key(work.key, None, op, number)  # which has the rule of first_sample
    check_memory(f"{op}: draws: {draws} draws of {len(x)} images", x.numel() * (draws * x.element_size() + _OF_NUMBER))
    made = torch.empty((draws, *x.shape), dtype=x.dtype)
    if draws:
        places, samples = stages(model.schedule, work.share, steps), made.flatten(0, 1)
        with work.running(number * steps, f"{number} draws") as see:
            for rows in work.parts(number):
                key, of = work.key.at(first_sample=work.key.first_sample + int(rows[0])), rows % len(x)
                samples[rows] = draw_from(work.setting, x[of].to(work.device), places.of(of.numpy()), key, see).cpu()
        mean = torch.zeros(x.shape, dtype=torch.float64)
        for draw in made:  # torch's sum over all of them would copy them as float64 first
            mean += draw
        mean /= draws
    else:
        mean = work.rate()
        mean *= rows_of(torch.from_numpy(1 - work.share), x)
        mean += x
        mean.clamp_(max=model.max_count)
    return Denoised(work.given_back(made), work.given_back(mean.float()))


def usual_steps(model: BlackoutModel) -> int:
    """The steps of a draw that does not say how many."""
    return min(_STEPS, model.schedule.steps)


def rate(
    model: BlackoutModel,
    images: T,
    share: float | NDArray[Any] | Tensor = 1.0,
    **options: Unpack[Options],
) -> T:
    """The mean of the rate of photons behind images, by a model that was trained on noisy images alone.

    ::

        y_t ~ Poisson(p r),    y - y_t ~ Poisson((1 - p) r):    E[r | y_t] = E[y - y_t | y_t] / (1 - p)

    y is a training image, and y_t what a thinning to the share p keeps of it. Where photons are Poisson numbers of rate
    r, those that are kept and those that are taken, y - y_t, are independent given r. So what the model expects of the
    latter, which it learnt from noisy images, tells the rate. At p = 1 it is the
    limit, which is the mean of the rate given the image as it is.

    Parameters
    ----------
    model : BlackoutModel
        A model of noisy images. It needs a head that gives the mean of the births, which "implicit" does not.
    images : array of int
        Counts of photons, as in `denoise`.
    share : float or array, default 1.0
        The share p in (0, 1] of the training dose, one number or one for each image.
    **options : object
        tile, overlap, batch and progress, as in `denoise`.

    Returns
    -------
    array
        float32 of the shape of `images`: the mean of the rate, in photons at the dose of the training.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        As in `denoise`, and if the model's head gives no mean.

    Notes
    -----
    Each batch takes one call of the network. It is a mean: the rate itself cannot be drawn by a model of noisy images,
    nor an image of a higher dose. Near p = 1 a training sees few births, so that the limit is learnt from little.

    References
    ----------
    As of `denoise`.

    Examples
    --------
    >>> run = fb.load_pretrained("digits", device="cpu")
    >>> y = fb.thin(fb.data.load("digits").held_out[:2], 0.5, rng=fb.Philox(1)).x_t
    >>> fb.photons.rate(run.model, y, 0.5).shape
    (2, 1, 8, 8)
    """
    work = _Work("rate", model, images, share, 0, options)
    if model.head_object.takes_noise:
        raise ValueError(f"rate: model: must have a head that gives a mean of births, got head {model.head!r}")
    return work.given_back(work.rate().float())


class _Work:
    """What both need, checked before anything runs. x: counts (N, C, H, W) on the CPU; share: (N,)."""

    x: Tensor
    share: NDArray[np.float64]

    def __init__(self, op: str, model: Any, images: Any, share: Any, rng: Any, options: Options) -> None:
        if not isinstance(model, BlackoutModel):
            raise TypeError(f"{op}: model: must be a BlackoutModel, got {type(model).__name__}")
        if model.needs_fit and model.fitted is None:
            raise ValueError(
                f"{op}: model: must have seen data by fit_input, got one of input {model.input!r} that has not"
            )
        if unknown := sorted(options.keys() - _OPTIONS):
            rule = right_name(op, unknown[0], ("rng", *_OPTIONS) if op == "denoise" else _OPTIONS)
            raise TypeError(f"{op}: {unknown[0]}: {rule}, got {shown(dict(options)[unknown[0]])}")
        self._op, self._given, self._shown = op, images, options.get("progress", False)
        self.x = _counts(op, images, model.max_count)
        self.share = _shares(op, share, len(self.x))
        self.key = resolve_rng(rng, None, op)
        self.batch = check_integer(op, "batch", options.get("batch", 64), 1, 1 << 31)
        self._model = Tiled(model, _axes(op, self.x, options), self.batch, op)
        if self._model.tiles > 1 and model.fitted is not None:
            rule = "must be left out for a model whose fit_input has numbers of each pixel"
            raise ValueError(f"{op}: tile: {rule}, got {options.get('tile')}")
        self.device = next((each.device for each in model.parameters()), torch.device("cpu"))
        self.setting = Setting(self._model, model.schedule, Bridge())

    def parts(self, number: int) -> tuple[Tensor, ...]:
        """The numbers 0..number - 1 in parts whose tiles are asked about together."""
        return torch.arange(number).split(max(1, self.batch // self._model.tiles))

    @contextmanager
    def running(self, total: int, what: str) -> Iterator[Callable[[int], None]]:
        """With the model in eval mode and a bar, which is told of samples as they are done."""
        bar = Progress(total, "steps", what, shown=self._shown)
        with torch.inference_mode(), evaluating(self._model), bar:
            yield bar.update

    def rate(self) -> Tensor:
        """E[x - y | y] / (1 - p), float64 like x."""
        check_memory(f"{self._op}: images: the mean of {len(self.x)} images", self.x.numel() * _OF_NUMBER)
        made = torch.empty(self.x.shape, dtype=torch.float64)
        with self.running(len(self.x), f"{len(self.x)} images") as see:
            for rows in self.parts(len(self.x)):
                x, share = self.x[rows].to(self.device), self.share[rows.numpy()]
                made[rows] = births_expected(self.setting, x, share, self.key).cpu()
                see(len(rows))
        return made

    def given_back(self, made: Tensor) -> Any:
        """An array of the library, the device and the dimensions of the images given."""
        if self._given.ndim == 3:
            made = made.squeeze(-3)
        return made.to(self._given.device) if isinstance(self._given, Tensor) else made.numpy()


def _counts(op: str, images: Any, max_count: int) -> Tensor:
    """Images as counts (N, C, H, W) of the dtype of a model's counts."""
    if not isinstance(images, (Tensor, np.ndarray)):
        raise TypeError(f"{op}: images: must be an array of counts of photons, got {type(images).__name__}")
    found = real_array(op, "images", images.detach().cpu() if isinstance(images, Tensor) else images)
    if found.ndim not in (3, 4) or 0 in found.shape:
        raise ValueError(f"{op}: images: must have shape (N, C, H, W) or (N, H, W) without a zero, got {found.shape}")
    low, high = found.min(), found.max()
    if not (low >= 0 and high <= max_count):  # NaN among them
        wrong = low if not low >= 0 else high
        raise ValueError(f"{op}: images: photons must be in 0..{max_count}, the most of the model, got {wrong}")
    dtype = count_dtype(max_count)
    check_memory(f"{op}: images", found.size * np.dtype(dtype).itemsize)
    counts = found.astype(dtype)
    if found.dtype.kind == "f" and (wrong := found[counts != found]).size:
        raise ValueError(f"{op}: images: photons must be whole numbers, got {wrong[0]}")
    return torch.from_numpy(counts if found.ndim == 4 else counts[:, None])


def _shares(op: str, share: Any, images: int) -> NDArray[np.float64]:
    """One for each image, (N,)."""
    if isinstance(share, Tensor):
        share = share.detach().cpu()
    found = real_array(op, "share", share).astype(np.float64)
    if found.shape not in ((), (images,)):
        rule = f"must be one number or one for each of {images} images"
        raise ValueError(f"{op}: share: {rule}, got shape {found.shape}")
    if (wrong := found[~((found > 0) & (found <= 1))]).size:
        raise ValueError(f"{op}: share: {_SHARE}, got {wrong.ravel()[0]}")
    return np.broadcast_to(found, (images,)).copy()


def _axes(op: str, x: Tensor, options: Options) -> tuple[Axis, ...]:
    """The tiles of rows and of columns."""
    tile, sides = options.get("tile"), x.shape[2:]
    if tile is None:
        if (overlap := options.get("overlap")) is not None:
            raise ValueError(f"{op}: overlap: must be given with tile, got {overlap} alone")
        return tuple(axis_of(side, side, 0) for side in sides)
    check_integer(op, "tile", tile, 1, min(sides))
    overlap = check_integer(
        op, "overlap", tile // 4 if (given := options.get("overlap")) is None else given, 0, tile - 1
    )
    return tuple(axis_of(side, tile, overlap) for side in sides)


class Axis(NamedTuple):
    """How the pixels of one axis are tiled. starts: the first pixel of each tile; weights: (tiles, tile), which sum to
    1 over the tiles at every pixel."""

    starts: list[int]
    weights: Tensor


def axis_of(length: int, tile: int, overlap: int) -> Axis:
    """Tiles as even as can be, with `overlap` pixels or more in common; towards its ends a tile counts less and less,
    except at the border of the image."""
    number = 1 if length == tile else -(-(length - overlap) // (tile - overlap))
    starts = [round(i * (length - tile) / max(number - 1, 1)) for i in range(number)]
    place = torch.arange(tile, dtype=torch.float64)
    windows = torch.full((number, tile), float(tile), dtype=torch.float64)
    windows[1:] = torch.minimum(windows[1:], place + 1)
    windows[:-1] = torch.minimum(windows[:-1], tile - place)
    total = torch.zeros(length, dtype=torch.float64)
    for start, window in zip(starts, windows, strict=True):
        total[start : start + tile] += window
    shares = [window / total[start : start + tile] for start, window in zip(starts, windows, strict=True)]
    return Axis(starts, torch.stack(shares))


class Tiled:
    """A model that is asked about images that are larger than it takes, by tiles that overlap. Its outputs for an image
    are the mean of the outputs for the tiles, weighted pixel by pixel, so that they pass from a tile to the next
    without a seam. All else is the model's own.

    At most `batch` tiles are in one call of the network. The outputs do not depend on how many. What the network says
    against its first call is an error of the images of `op`.
    """

    def __init__(self, model: Any, axes: tuple[Axis, ...], batch: int, op: str = "denoise") -> None:
        self._model, self._axes, self._batch, self._op, self._asked = model, axes, batch, op, False
        self.tile = tuple(axis.weights.shape[1] for axis in axes)
        self._corners = list(product(*(range(len(axis.starts)) for axis in axes)))
        self.tiles = len(self._corners)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, model_input: Tensor, k: Tensor, labels: Any = None, *noise: Tensor) -> Tensor:
        if self.tiles == 1:
            return self._outputs(model_input, k, labels, *noise)
        images = len(model_input)
        pieces = [(image, corner) for corner in self._corners for image in range(images)]
        weights = [axis.weights.to(model_input.device) for axis in self._axes]
        total: Tensor | None = None
        for first in range(0, len(pieces), self._batch):
            part = pieces[first : first + self._batch]
            inputs = [
                torch.stack([self._cut(each[image], corner) for image, corner in part])
                for each in (model_input, *noise)
            ]
            outputs = self._outputs(inputs[0], k[[image for image, _ in part]], labels, *inputs[1:])
            if total is None:
                shape = (images, outputs.shape[1], *model_input.shape[2:])
                if outputs.device.type == "cpu":
                    what = f"{self._op}: images: what the network says of {images}"
                    check_memory(what, math.prod(shape) * _OF_NUMBER)
                total = torch.zeros(shape, dtype=torch.float64, device=outputs.device)
            for output, (image, corner) in zip(outputs, part, strict=True):
                rows, columns = (each[number] for each, number in zip(weights, corner, strict=True))
                self._cut(total[image], corner).add_(output.double() * (rows[:, None] * columns))
        assert total is not None
        return total.float()

    def _outputs(self, images: Tensor, *how: Any) -> Tensor:
        try:
            outputs: Tensor = self._model(images, *how)
        except (ValueError, RuntimeError) as error:
            other = isinstance(error, torch.OutOfMemoryError) or re.search("CUDA error|allocate memory", str(error))
            if self._asked or other:
                raise
            got = "x".join(map(str, images.shape[1:])) + (" of a tile" if self.tiles > 1 else "")
            rule = "must have channels and a size that the network takes"
            raise ValueError(f"{self._op}: images: {rule}, got {got}: {error}") from error
        self._asked = True
        return outputs

    def _cut(self, image: Tensor, corner: tuple[int, ...]) -> Tensor:
        """A view of the tile at a corner of an image (C, H, W)."""
        top, left = (axis.starts[number] for axis, number in zip(self._axes, corner, strict=True))
        return image[:, top : top + self.tile[0], left : left + self.tile[1]]
