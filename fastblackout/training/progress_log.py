"""What a training run says while it runs: how far it is, and one JSON object a line in log.jsonl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..atomic_files import atomic_write, naming, own
from .board import Board
from .progress import Progress

SHORT = {"held-out loss": "held out", "bits per dimension": "bits/dim"}  # what is judged, as a line of progress has it
_LONGEST = 1 << 16  # bytes of a line; a longer one is no record


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
        self._board = Board(run, step, self.records) if tensorboard else None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.__exit__()
        if self._board is not None:
            self._board.close()

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
        if self._board is not None:
            self._board.record(values)

    def picture(self, step: int, path: Path) -> None:
        """A picture of samples was made at this step."""
        if self._board is not None:
            self._board.picture(step, path)

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
        self.records, self.shown, self._board = [], False, None
        self._progress = Progress(total, "steps", done=step, shown=False)
        self._judged = {}

    def record(self, **values: Any) -> None:
        pass
