"""What a recipe is."""

from __future__ import annotations

from typing import Any, NamedTuple

# Dense bfloat16 operations a second of an H100 SXM, by its data sheet; networks of this kind are taken to reach between
# a tenth and a quarter of them. The share is an assumption, not a measurement.
H100_PEAK, LOW, HIGH = 989e12, 0.10, 0.25


class Recipe(NamedTuple):
    """options: those of training/config.py. sample: what to draw samples with. time: how long the training takes, and
    how that is known. about: one line on what it is."""

    about: str
    options: dict[str, Any]
    sample: str
    time: str


def time_on_h100(gigaflop: float, steps: int, batch: int) -> str:
    """How long a training takes on an H100, derived, as a text that says so.

    gigaflop: what torch's FlopCounterMode counts of one forward and backward pass of one image, in 1e9.
    """
    hours = gigaflop * 1e9 * steps * batch / H100_PEAK / 3600
    how = f"derived, not measured: {gigaflop:.0f} GFLOP an image, at {LOW:.0%} to {HIGH:.0%} of its peak in bfloat16"
    return f"{hours / HIGH:.0f} to {hours / LOW:.0f} hours on one H100 SXM ({how})"
