"""Pictures of the results of a CPU: ratios, cost against size, speed against threads."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Left out of it: conversions, and torch.distributions, which calls torch.binomial.
_LEFT_OUT = re.compile(r" in and out$| from and to torch$| uint8 births$|^torch.distributions$")
# What the picture of ratios shows, from the top; a name covers all cases that start with it.
_HEADLINES = (
    "thin, x_t", "thin, x_t, one p", "thin, x_t, Blackout grid", "thin, three outputs, Blackout grid",
    "bridge, 20 steps, nearest, 64x3x32x32", "tau-leap, 20 steps, 64x3x32x32", "birth_loss + gradient, 256x3x32x32",
    "binomial, counts to 10,000", "poisson, rates 0..50",
)  # fmt: skip
_GROUPS = ("categorical", "transition", "thin_log_prob", "1,000 P(t)")
_SIZE = re.compile(r"thin, x_t, 10\^\d+ pixels")
_ALONE = "fastblackout, 1 thread"
_GREY, _BLUE = "#666666", "#3465a4"


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """Writes bench-ratios.png, bench-size.png and bench-threads.png; those the results hold rows for."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"ratios": _ratios, "size": _sizes, "threads": _threads}
    paths = (_save(picture, results, folder / f"bench-{name}.png") for name, picture in pictures.items())
    return [path for path in paths if path is not None]


def _save(picture: Callable[[Any, dict[str, Any]], bool], results: dict[str, Any], path: Path) -> Path | None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(6, 3.8), layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: no window system is asked for
    if not picture(figure, results):
        return None
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, bbox_inches="tight", pad_inches=0.12)
    Image.open(buffer).convert("RGB").quantize(32).save(path, optimize=True)  # a quarter of the size
    return path


def _name(results: dict[str, Any]) -> str:
    return f"{results['machine']['cpu']}, {results['machine']['isa']}, one thread; {results['date']}"


def _ratios(figure: Any, results: dict[str, Any]) -> bool:
    """A bar for every peer that works on the same input, on a logarithmic axis."""
    isa = results["machine"]["isa"]
    rows = [row for row in results["rows"] if row["isa"] == isa and row["threads"] == 1]
    rows = [row for row in rows if row["peer"] and not _LEFT_OUT.search(row["peer"])]
    cases = [case for case in _HEADLINES if any(row["case"] == case for row in rows)]
    cases += dict.fromkeys(row["case"] for row in rows if row["case"].startswith(_GROUPS))
    bars = [(case, sorted((r for r in rows if r["case"] == case), key=lambda r: r["ratio"])) for case in cases]
    if not bars:
        return False
    figure.set_size_inches(6, 0.6 + 0.17 * sum(len(found) + 1.5 for _, found in bars))
    axes, y = figure.add_subplot(), 0.0
    for case, found in bars:
        axes.text(1.04, y, case, fontsize=9.5, weight="bold", va="center")
        for row in found:
            y += 1
            ratio, peer = row["ratio"], row["peer"].replace(", every 50th", "")
            axes.barh(y, ratio - 1, left=1, height=0.8, color=_BLUE if ratio >= 1 else _GREY)
            label = f"{ratio:,.0f}x {peer}" if ratio >= 10 else f"{ratio:.2g}x {peer}"
            axes.text(max(ratio, 1) * 1.05, y, label, fontsize=8.5, va="center")
        y += 1.5
    every = [row["ratio"] for _, found in bars for row in found]
    axes.set(xscale="log", xlim=(min(0.9, *every) * 0.95, max(every) * 60), ylim=(y - 0.6, -0.8), yticks=[])
    axes.set_xlabel(f"times as fast as the peer\n({_name(results)})", fontsize=9.5)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.tick_params(labelsize=9.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return True


def _sizes(figure: Any, results: dict[str, Any]) -> bool:
    """Nanoseconds a pixel against pixels a call."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in results["rows"]:
        if _SIZE.fullmatch(row["case"]):
            lines.setdefault(row["peer"], []).append((row["elements"], row["peer_seconds"]))
            lines.setdefault("fastblackout", []).append((row["elements"], row["ours_seconds"]))
    if not lines:
        return False
    axes = figure.add_subplot()
    for name, points in sorted(lines.items(), key=lambda line: line[0] != "fastblackout"):
        sizes, seconds = zip(*sorted(set(points)), strict=True)
        cost = [1e9 * s / size for size, s in zip(sizes, seconds, strict=True)]
        axes.loglog(sizes, cost, marker="o", label=name, linewidth=2 if name == "fastblackout" else 1)
    axes.set_xlabel("pixels a call (thin, x_t, a p for every 1,000)", fontsize=9.5)
    axes.set_ylabel("ns a pixel", fontsize=9.5)
    axes.set_title(_name(results), fontsize=9.5)
    return _finish(axes)


def _threads(figure: Any, results: dict[str, Any]) -> bool:
    """Speed with a number of threads, over the speed with one."""
    lines: dict[str, dict[int, float]] = {}
    for row in results["rows"]:
        if row["peer"] == _ALONE:
            lines.setdefault(row["case"], {1: 1.0})[row["threads"]] = row["ratio"]
    if not lines:
        return False
    axes = figure.add_subplot()
    most = max(max(points) for points in lines.values())
    axes.plot([1, most], [1, most], color=_GREY, linestyle=":", label="in proportion")
    for case, points in lines.items():
        axes.plot(*zip(*sorted(points.items()), strict=True), marker="o", label=case)
    axes.set_xticks(sorted({n for points in lines.values() for n in points}))
    axes.set_xlabel("threads", fontsize=9.5)
    axes.set_ylabel("times as fast as one thread", fontsize=9.5)
    axes.set_title(_name(results).replace(", one thread", ""), fontsize=9.5)
    return _finish(axes)


def _finish(axes: Any) -> bool:
    axes.legend(fontsize=9.5, frameon=False)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=9.5)
    return True
