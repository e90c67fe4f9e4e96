"""The report for a reader, in lines of at most 80 columns."""

from __future__ import annotations

from typing import Any

from fastblackout.ground.terminal import wrap

# Of a judge and of pixels: the name of a number, its title, the columns it takes, its form and the form of its spread.
OF_JUDGE = (
    ("frechet", "distance", 17, ".3g", ".2g"),
    ("ratio", "ratio", 15, ".2f", ".2f"),
    ("accuracy", "class", 7, ".1%", None),
    ("density", "dens.", 7, ".2f", None),
    ("coverage", "cover.", 7, ".2f", None),
    ("precision", "prec.", 7, ".2f", None),
    ("recall", "recall", 7, ".2f", None),
)
OF_PIXELS = (
    ("lit", "lit pixels", 20, ".2%", ".2%"),
    ("nearest", "nearest", 20, ".4g", ".2g"),
    ("seconds", "seconds", 18, ".1f", ".1f"),
)
LABEL = 13


def table(report: dict[str, Any]) -> str:
    """What was drawn, then a table for each judge and one of pixels; +- is a standard deviation."""
    real, settings = report["real"], report["settings"]
    rows = {f"{kind} real": one["numbers"] for kind, one in real.items()}
    rows |= {f"setting {n}": entry["numbers"] for n, entry in enumerate(settings, 1)}
    images = " and ".join(f"{one['images']} ({kind})" for kind, one in real.items())
    title = f"{report['model']}: {report['num']} samples for each seed of {', '.join(map(str, report['seeds']))}; "
    lines = [wrap(f"{title}subsets of {images} held-out images; +- is the standard deviation over them")]
    lines += [wrap(f"{n}: {entry['setting']}".replace(",", ", "), rest="   ") for n, entry in enumerate(settings, 1)]
    for name in report["judges"]:
        lines += ["", f"By {name}: Frechet distance to the training images, ratio to {report['beside']} real"]
        lines += _rows(OF_JUDGE, rows, f"{name} ")
    lines += ["", "Share of pixels above half of the largest count, mean distance to the nearest of"]
    return "\n".join(
        [*lines, "10,000 training images, seconds of a core that the draws took", *_rows(OF_PIXELS, rows, "")]
    )


def _rows(columns: Any, rows: dict[str, Any], prefix: str) -> list[str]:
    columns = [column for column in columns if any(prefix + column[0] in numbers for numbers in rows.values())]
    lines = [" " * LABEL + "".join(f"{title:>{wide}}" for _, title, wide, *_ in columns)]
    for label, numbers in rows.items():
        cells = (f"{_cell(numbers.get(prefix + name), *forms):>{wide}}" for name, _, wide, *forms in columns)
        lines.append(f"{label:{LABEL}}{''.join(cells)}".rstrip())
    return lines


def _cell(number: dict[str, Any] | None, form: str, form_of_spread: str | None) -> str:
    if number is None:
        return ""
    spread = "" if form_of_spread is None or number["spread"] is None else f" +- {number['spread']:{form_of_spread}}"
    return f"{number['mean']:{form}}{spread}"
