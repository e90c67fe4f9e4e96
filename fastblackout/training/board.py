"""The numbers and the pictures of a run as TensorBoard reads them, in RUN/tensorboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..ground.extras import lacking

FOLDER = "tensorboard"
# The tags of the values of a record in log.jsonl. Tags with one name before the slash are one group of charts.
TAGS = {
    "loss": "loss/training",
    "held_out_loss": "loss/held_out",
    "constant_loss": "loss/constant",
    "bits_per_dim": "bits_per_dim",
    "learning_rate": "optimizer/learning_rate",
    "gradient_norm": "optimizer/gradient_norm",
    "images_per_second": "images_per_second",
}


def check_installed() -> None:
    """ValueError where the package tensorboard is absent."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise lacking("train: tensorboard", "tensorboard") from None


class Board:
    """Writes event files, each value flushed at once: a killed run has on its board what it has in its log.

    step: where the run stands. What earlier event files hold beyond it is purged, as the resumed run makes it anew. A
    run that has no event file yet gets all of `records`, and the pictures of samples up to there.
    """

    def __init__(self, run: Path, step: int, records: Iterable[Mapping[str, Any]]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run / FOLDER
        begun = any(folder.glob("events.out.tfevents.*"))
        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if begun else None)
        if not begun:
            for record in records:
                self.record(record)
            for picture in sorted(run.glob("samples-*.png")):
                digits = picture.stem.removeprefix("samples-")
                if digits.isdecimal() and int(digits) <= step:
                    self.picture(int(digits), picture)

    def record(self, record: Mapping[str, Any]) -> None:
        """The values of a record of the log that have a tag."""
        for name, tag in TAGS.items():
            if name in record:
                self._writer.add_scalar(tag, record[name], record["step"])
        self._writer.flush()

    def picture(self, step: int, path: Path) -> None:
        """A picture of samples."""
        from PIL import Image

        with Image.open(path) as picture:
            pixels = np.asarray(picture)
        self._writer.add_image("samples", pixels, step, dataformats="HW" if pixels.ndim == 2 else "HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
