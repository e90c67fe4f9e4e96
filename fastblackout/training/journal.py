"""What a training says while it runs: how far it is, one JSON object a line in log.jsonl, and TensorBoard's files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..atomic_files import atomic_write, naming, own
from ..ground.extras import lacking
from .checkpoint import SINCE_LOG
from .progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from .ranks import Single

SHORT = {"held-out loss": "held out", "bits per dimension": "bits/dim"}  # what is judged, as a line of progress has it
_LONGEST = 1 << 16  # bytes of a line; a longer one is no record
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


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log.jsonl; an unfinished or damaged line, such as a kill leaves, is passed over."""
    records: list[dict[str, Any]] = []
    if not path.is_file():
        return records
    with path.open("rb") as file:
        while line := file.readline(_LONGEST):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested too deep
                continue
            if _is_record(record):
                records.append(record)
    return records


def _is_record(record: Any) -> bool:
    """Whether it is what `Journal.record` writes: numbers by name, among them a step."""
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        return False
    for name, beside in (("held_out_loss", "constant_loss"), ("bits_per_dim", "bits_error")):
        if name in record and beside not in record:
            return False
    return all(type(value) is float or (type(value) is int and abs(value) < 1 << 63) for value in record.values())


class Journal:
    """The log of a run from `step` on (a resumed run makes later records anew) and how far it is.

    tensorboard: whether all that is recorded goes to TensorBoard's files too.
    """

    def __init__(self, run: Path, step: int, total: int, progress: bool, tensorboard: bool = False) -> None:
        self.path, self.begun_at, self.shown = run / "log.jsonl", step, progress
        self.records = [record for record in read_log(self.path) if record["step"] <= step]
        atomic_write(own(self.path), "".join(json.dumps(record) + "\n" for record in self.records).encode())
        self._progress = Progress(total, "steps", done=step, shown=progress)
        self._last_part = -total
        self._judged: dict[str, str] = {}  # the last value of each number in SHORT
        self._tensorboard = _TensorBoard(run, step, self.records) if tensorboard else None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.__exit__()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def advance(self) -> None:
        """One more step is done."""
        self._progress.update()

    def show(self, loss: float, images_per_second: float) -> None:
        """What is known after the last step: the loss and the speed."""
        judged = "".join(f", {SHORT[what]} {number}" for what, number in self._judged.items())
        self._progress.note(f"loss {loss:.4f}{judged}, {images_per_second:.0f} img/s")

    def part(self, what: str, total: int, unit: str) -> Progress:
        """Work between two steps that may take long, with a bar of its own; plain lines ten times a run at most."""
        step, steps = self._progress.done, self._progress.total
        due = step >= steps or step - self._last_part >= steps // 10
        if due:
            self._last_part = step
        return Progress(total, unit, what, shown=self.shown, lines=4 if due else 0, keep=False)

    def record(self, **values: Any) -> None:
        """Append one record to the log."""
        self.records.append(values)
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        if self._tensorboard is not None:
            self._tensorboard.record(values)

    def picture(self, step: int, path: Path) -> None:
        """A picture of samples was made at this step."""
        if self._tensorboard is not None:
            self._tensorboard.picture(step, path)

    def judged(self, what: str, number: str, **values: Any) -> None:
        """Append the record of a number in SHORT, and show it: in a pipe behind the next line, but for the last."""
        self.record(**values)
        if self._progress.on_terminal or self._progress.done >= self._progress.total:
            self.say(f"step {values['step']}: {what} {number}")
        else:
            self._judged[what] = number.split()[0]  # without what it is compared with, or its error

    def knows(self, name: str, step: int) -> bool:
        """Whether the log has a value of that name for this step."""
        return any(record["step"] == step and name in record for record in reversed(self.records))

    def say(self, text: str) -> None:
        """One line for the reader; nothing when there is no progress to be shown."""
        self._progress.say(text)


class NoJournal(Journal):
    """The journal of a rank that writes and shows nothing."""

    def __init__(self, step: int, total: int) -> None:
        self.records, self.shown, self._tensorboard = [], False, None
        self._progress = Progress(total, "steps", done=step, shown=False)
        self._judged = {}

    def record(self, **values: Any) -> None:
        pass


def check_installed() -> None:
    """ValueError where the package tensorboard is absent."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise lacking("train: tensorboard", "tensorboard") from None


class _TensorBoard:
    """The numbers and the pictures of a run as TensorBoard reads them, in RUN/tensorboard.

    It writes event files, each value flushed at once: a killed run has on its board what it has in its log.

    step: where the run stands. What earlier event files hold beyond it is purged, as the resumed run makes it anew. A
    run that has no event file yet gets all of `records`, and the pictures of samples up to there.
    """

    def __init__(self, run: Path, step: int, records: Iterable[Mapping[str, Any]]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run / "tensorboard"
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
        for name, tag in TAGS.items():
            if name in record:
                self._writer.add_scalar(tag, record[name], record["step"])
        self._writer.flush()

    def picture(self, step: int, path: Path) -> None:
        from PIL import Image

        with Image.open(path) as picture:
            pixels = np.asarray(picture)
        self._writer.add_image("samples", pixels, step, dataformats="HW" if pixels.ndim == 2 else "HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class SinceLog:
    """Sums of the loss and of the norm of its gradient over the steps since the last record.

    Checkpoints keep them, and numbers are added one after another, so that a resumed run logs what one that was never
    interrupted does, to the bit.
    """

    def __init__(self, ranks: Single) -> None:
        self._ranks = ranks
        self._sums, self._steps = [0.0, 0.0], 0
        self._unread: list[Tensor] = []

    def add(self, loss: Tensor, norm: Tensor) -> None:
        """The rank's part of a step's loss and the norm of the gradient, still on the device."""
        self._unread.append(torch.stack((loss, norm)))

    def read(self, step: int) -> None:
        """Adds up what is still on the device, which waits for a GPU; all ranks call it at once.

        Raises FloatingPointError for a number that is not finite. On a GPU, where ops go on with a number in place of
        one that is not, a network whose weights are not finite may still have a finite loss, but no such gradient.
        """
        if not self._unread:
            return
        losses, norms = torch.stack(self._unread).double().T.tolist()
        self._unread = []
        for loss, norm in zip(self._ranks.sums(losses), norms, strict=True):
            check_finite("loss", loss, step)
            check_finite("norm of the loss's gradient", norm, step)
            self._sums = [self._sums[0] + loss, self._sums[1] + norm]
            self._steps += 1

    def take_means(self) -> dict[str, float]:
        """The means of what was read, for the log; the next ones begin anew."""
        loss, norm = (total / self._steps for total in self._sums)
        self._sums, self._steps = [0.0, 0.0], 0
        return {"loss": loss, "gradient_norm": norm}

    @property
    def state(self) -> list[float]:
        """The two sums and the number of steps, ready for JSON."""
        return [*self._sums, self._steps]

    def restore(self, state: Any) -> None:
        """Takes up a `state`; runs of before have none. ValueError for what cannot be one."""
        if state is None:
            return
        if not (isinstance(state, list) and [type(item) for item in state] == [float, float, int] and state[2] >= 0):
            raise ValueError(f"checkpoint: config.json is damaged: {SINCE_LOG} cannot be right")
        self._sums, self._steps = state[:2], state[2]


def check_finite(what: str, value: float, step: int) -> None:
    """FloatingPointError for a loss, or another number named so, that tells of a training that has gone astray."""
    if not math.isfinite(value):
        raise FloatingPointError(f"train: the {what} is {value} at step {step}; try a lower learning rate")
