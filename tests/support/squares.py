"""Toy images: bright or dark squares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fastblackout.data import load


def squares(path: Path) -> Any:
    """Bright or dark squares in 4x4 images of counts in 0..20, 40 of them, saved at `path` and loaded."""
    random = np.random.default_rng(0)
    images = random.integers(0, 3, (40, 4, 4))
    for n, image in enumerate(images):
        row, column = random.integers(0, 3, 2)
        image[row : row + 2, column : column + 2] += 17 if n % 2 else 8
    np.savez(path, images=images.clip(0, 20), labels=np.arange(40) % 2)
    return load("array", path)
