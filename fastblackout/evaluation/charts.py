"""Charts of a run by matplotlib, as PNG files: its losses, its schedule, a film with its times, and laws of pixels.

A law of a pixel is what the network says of it, given a noised image; it is drawn beside the pixel's true count.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..atomic_files import atomic_write
from ..ground.extras import is_there, lacking
from ..ops import thin
from ..philox import Philox
from ..schedule.schedule import Schedule
from ..schedule.times import GRIDS
from .plots import Frame, film_picture, grey_or_colour

if TYPE_CHECKING:
    from torch import Tensor

    from ..typing import Grid

_FEW = 20  # points of a line that still get a dot each
SHARES = (0.03, 0.1, 0.3, 0.7)  # of the particles alive, about; the laws narrow from the first to the last


def check_matplotlib(op: str) -> None:
    """Raises ValueError where it is missing."""
    if not is_there("matplotlib"):
        raise lacking(op, "matplotlib")


def loss_curve(records: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path | None:
    """A PNG of the losses in a run's log against the step, and of its bits per dimension below them where it has some;
    None, and no file, when the log has no loss yet."""
    train = [(r["step"], r["loss"]) for r in records if "loss" in r]
    if not train:
        return None
    bits = [(r["step"], r["bits_per_dim"], r["bits_error"]) for r in records if "bits_per_dim" in r]
    figure = new_figure(7, 6.5 if bits else 4)
    panels = figure.subplots(2 if bits else 1, sharex=True, squeeze=False)[:, 0]
    _losses(panels[0], train, [r for r in records if "held_out_loss" in r])
    if bits:
        steps, values, errors = (np.array(each, dtype=float) for each in zip(*bits, strict=True))
        panels[1].errorbar(steps, values, errors, marker="." if len(bits) < _FEW else None, capsize=2, color="C2")
        panels[1].set_ylabel("bits per dimension, at most\n(held out, continuous time)")
        _limits(panels[1], bits)
    panels[-1].set_xlabel("training step")
    return save_figure(figure, path)


def _losses(axes: Any, train: list[tuple[int, float]], held_out: list[Mapping[str, Any]]) -> None:
    axes.plot(*zip(*train, strict=True), label="training", linewidth=0.8, marker="." if len(train) < _FEW else None)
    judged = [(record["step"], record["held_out_loss"]) for record in held_out]
    _limits(axes, [*train, *judged])
    if held_out:
        axes.plot(*zip(*judged, strict=True), label="held out", marker="." if len(judged) < _FEW else None)
        low, high = axes.get_ylim()
        constant = held_out[-1]["constant_loss"]
        where = ", above this picture" if constant > high else ", below this picture" if constant < low else ""
        axes.axhline(constant, label=f"held out, without a network: {constant:.4f}{where}", linestyle="--", color="0.4")
        axes.set_ylim(low, high)
    axes.set_ylabel("loss: lower is better")
    axes.legend()


def _limits(axes: Any, points: Sequence[tuple[float, ...]]) -> None:
    """Of (step, value, ...). The large values of the first steps would squeeze the rest of a curve. So the values
    of the first tenth may lie above the picture."""
    steps, values = np.array([point[:2] for point in points], dtype=float).T
    values, late = values[np.isfinite(values)], values[np.isfinite(values) & (steps > steps.max() / 10)]
    if not len(late):
        return
    low, high = float(values.min()), float(np.percentile(late, 98))
    if high > low:
        axes.set_ylim(low - 0.1 * (high - low), high + 0.2 * (high - low))


def schedule_chart(
    schedule: Schedule, max_count: int, steps: int, grid: Grid | Sequence[int], path: str | os.PathLike[str]
) -> Path:
    """A PNG of the survival probabilities p_k against k, with the times that `steps` reverse steps of each grid visit
    marked below the curve by k and beside it by p. grid: the one that stands out, or other times, which then do."""
    rows: dict[str, Any] = {kind: schedule.grid(steps, kind, max_count) for kind in GRIDS}
    shown = grid if isinstance(grid, str) else "here"
    if not isinstance(grid, str):
        rows[shown] = schedule.grid(steps, grid)
    figure = new_figure(7, 5.5)
    panels = figure.subplots(2, 2, width_ratios=[4, 1], height_ratios=[3, 1])
    (curve, by_p), (by_k, empty) = panels
    empty.axis("off")
    k = np.arange(schedule.steps + 1)
    curve.plot(k, schedule.p, color="black")
    for row, (kind, times) in enumerate(rows.items()):
        style: dict[str, Any] = {"color": f"C{row}", "linewidths": 1.5 if kind == shown else 0.7}
        by_k.eventplot(times, lineoffsets=-row, linelengths=0.8, **style)
        by_p.eventplot(schedule.p[times], lineoffsets=row, linelengths=0.8, orientation="vertical", **style)
        if kind == shown:
            curve.plot(
                times,
                schedule.p[times],
                ".",
                color=f"C{row}",
                label=f"states of grid {kind}" if kind in GRIDS else "states of these steps",
            )
    curve.legend()
    curve.set_ylabel("survival probability p")
    curve.set_title(f"{schedule!r}, {steps} reverse steps", loc="left", fontsize=10)
    by_p.set_title("by p", fontsize=10)
    by_p.set_xticks(range(len(rows)), rows, rotation=90)
    by_p.tick_params(labelleft=False)
    by_k.set_yticks([-row for row in range(len(rows))], rows)
    by_k.set_xlabel("time index k: the image is at 0, black at the right; reverse steps go left")
    for axes in (curve, by_p):
        axes.set_ylim(-0.03, 1.03)
    for axes in (curve, by_k):
        axes.set_xlim(-0.02 * schedule.steps, 1.02 * schedule.steps)
    curve.tick_params(labelbottom=False)
    return save_figure(figure, path)


def film_chart(frames: Sequence[Frame], max_count: int, path: str | os.PathLike[str]) -> Path:
    """A PNG of the reverse process from black to the images: a column for each of `frames`, with the number of steps
    that were taken and the share of particles alive there below it."""
    picture = film_picture(frames, max_count)
    height, width = picture.shape[:2]
    figure = new_figure(max(6.0, 0.6 * len(frames)), 0.6 * len(frames) * height / width + 0.6)
    axes = figure.add_subplot()
    _show(axes, picture)
    places = (np.arange(len(frames)) + 0.5) * width / len(frames)
    axes.set_xticks(places, [f"{frame.steps}\n{_percent(frame.alive)}" for frame in frames], fontsize=8)
    axes.tick_params(length=0)
    axes.set_xlabel("reverse steps taken, and the share of particles alive, by which counts are divided", fontsize=10)
    return save_figure(figure, path)


class PixelLaws(NamedTuple):
    """x_0: the image (C, H, W). pixels: indices (P,) into its counts. alive: survival probabilities (T,).
    x_t: the image noised at each, (T, C, H, W). laws: Pr(x_0 = 0..max_count | x_t), float64 (T, P, max_count + 1)."""

    x_0: NDArray[Any]
    pixels: NDArray[np.int64]
    alive: NDArray[np.float64]
    x_t: NDArray[Any]
    laws: NDArray[np.float64]


@torch.inference_mode()
def pixel_laws(model: Any, schedule: Schedule, x_0: Tensor, label: Tensor | None, rng: Philox) -> PixelLaws:
    """The laws of four pixels of the image x_0 (C, H, W), noised at the times of the schedule nearest to SHARES.

    model: a BlackoutModel in eval mode whose head gives a law. label: integer (1,) of a class-conditional one.

        Pr(x_0 = x_t + n | x_t) = Pr(N = n), N the births that are left, by the head
    """
    counts = x_0.cpu().numpy()
    pixels = spread_pixels(counts)
    times = sorted({1 + int(np.abs(schedule.p[1:] - share).argmin()) for share in SHARES}, reverse=True)
    k, most = torch.tensor(times, device=x_0.device), model.max_count
    many = x_0.expand(len(times), *x_0.shape).contiguous()
    noised = thin(
        many, schedule.survival(k), rng=rng, max_count=most, center=model.center(k), scale=model.scale(k),
        outputs=("x_t", "model_input"),
    )  # fmt: skip
    outputs = model(noised.model_input, k, None if label is None else label.expand(len(times)))
    seen = noised.x_t.flatten(1)[:, pixels].double()
    rows = [each.flatten(1, x_0.ndim)[:, pixels].double() for each in model.head_object.arrays(outputs, many)]
    flat = [each.reshape(seen.numel(), -1) for each in rows]  # of one number, or of all states
    offset = model.offset(k).repeat_interleave(len(pixels))[:, None]
    births = model.head_object.log_law(flat, most - seen.reshape(-1, 1), offset, most).exp()
    n = torch.arange(most + 1, device=x_0.device)
    of_births = n - seen.reshape(-1, 1).long()
    laws = torch.where(of_births >= 0, births.gather(1, of_births.clamp(min=0)), 0.0).view(*seen.shape, -1)
    return PixelLaws(counts, pixels, schedule.p[times], noised.x_t.cpu().numpy(), laws.cpu().numpy())


def spread_pixels(image: NDArray[Any]) -> NDArray[np.int64]:
    """Four pixels whose counts are spread evenly from the least to the largest of an image (C, H, W), each the
    nearest to its middle of those that come closest; fewer where the image has fewer."""
    rows, columns = np.indices(image.shape)[1:]
    height, width = image.shape[1:]
    far = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2).ravel()
    flat, chosen = image.ravel().astype(np.float64), []
    for wanted in np.linspace(flat.min(), flat.max(), min(4, flat.size)):
        order = np.lexsort((far, np.abs(flat - wanted)))
        chosen.append(next(int(pixel) for pixel in order if pixel not in chosen))
    return np.array(chosen)


def laws_chart(laws: PixelLaws, what: str, path: str | os.PathLike[str]) -> Path:
    """A PNG of `laws`: a row for each noising, the noised image as bright as can be (of a table nothing) and beside it
    the law of each pixel with its true count. what: which image it is."""
    times, pixels, states = laws.laws.shape
    is_image = laws.x_0.shape[1:] != (1, 1)
    figure = new_figure(1.4 * (pixels + is_image) + 0.3, 1.5 * times + 1.2)
    cells = figure.subplots(times, pixels + is_image, squeeze=False)
    for row, (alive, x_t) in enumerate(zip(laws.alive, laws.x_t, strict=True)):
        for column, pixel in enumerate(laws.pixels):
            axes = cells[row, column + is_image]
            _law(axes, laws.laws[row, column], laws.x_0.flat[pixel], x_t.flat[pixel], f"C{column}")
            axes.set_xlim(-1, _right(laws.laws[:, column], laws.x_0.flat[pixel]))
            if row == 0:
                axes.annotate(
                    _place(pixel, laws.x_0.shape), (0.5, 1.25), xycoords="axes fraction", ha="center", weight="bold",
                    color=f"C{column}", fontsize=9,
                )  # fmt: skip
        if is_image:
            _noised(cells[row, 0], x_t, states - 1, laws)
        cells[row, 0].set_ylabel(f"{_percent(alive)} alive")
    for axes in cells[-1, int(is_image) :]:
        axes.set_xlabel("count", fontsize=9)
    handles, names = cells[0, -1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=10)
    single = "pixels" if is_image else "columns"
    figure.suptitle(f"The network's law of single {single} of {what},\ngiven its noised counts", fontsize=11)
    return save_figure(figure, path)


def _law(axes: Any, law: NDArray[np.float64], true: int, seen: int, color: str) -> None:
    axes.stairs(law, np.arange(len(law) + 1) - 0.5, fill=True, color=color, alpha=0.6)
    axes.axvline(true, color="black", linewidth=1.2, label="true count, its probability: P(true)")
    axes.plot([seen], [0], "^", color="black", markersize=6, clip_on=False, label="noised count", linestyle="")
    axes.set_title(f"P(true) = {_percent(law[true])}", fontsize=9)
    axes.set_ylim(0, None)
    axes.set_yticks([])
    axes.tick_params(labelsize=9)


def _noised(axes: Any, x_t: NDArray[Any], max_count: int, laws: PixelLaws) -> None:
    _show(axes, grey_or_colour(x_t[None], max(1, int(x_t.max())))[0])
    for column, pixel in enumerate(laws.pixels):
        _, y, x = np.unravel_index(pixel, laws.x_0.shape)
        axes.plot(x, y, "s", markerfacecolor="none", markeredgecolor=f"C{column}", markeredgewidth=1.5)
    axes.set_xticks([])


def _place(pixel: int, shape: tuple[int, ...]) -> str:
    channel, y, x = (int(each) for each in np.unravel_index(pixel, shape))
    if shape[1:] == (1, 1):
        return f"column {channel}"
    return f"row {y}, column {x}" + (f", channel {channel}" if shape[0] > 1 else "")


def _right(laws: NDArray[np.float64], true: int) -> float:
    """Up to which count laws (T, states) are drawn: all that have more than 1 / 1,000 of a law beyond them."""
    last = max(int(true), *(int(np.searchsorted(np.cumsum(law), 0.999)) for law in laws))
    most = laws.shape[1]
    return most if last > most / 2 else last + 1 + last // 10


def _percent(share: float) -> str:
    """At two digits, at three where nearly all is alive; never 0% or 100% of what is neither."""
    if 0 < share < 5e-4 or 0.9995 < share < 1:
        return "<0.1%" if share < 0.5 else ">99.9%"
    return f"{100 * share:.{1 if share < 0.0995 or share > 0.985 else 0}f}".removesuffix(".0") + "%"


def _show(axes: Any, picture: NDArray[np.uint8]) -> None:
    axes.imshow(picture.squeeze(-1) if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=255)
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def new_figure(width: float, height: float) -> Any:
    check_matplotlib("chart")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # Without pyplot, matplotlib asks for no window system and keeps no global state.
    return figure


def save_figure(figure: Any, path: str | os.PathLike[str]) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight", pad_inches=0.12)
    return atomic_write(path, buffer.getvalue())
