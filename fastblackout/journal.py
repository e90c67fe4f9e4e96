"""What a training run says while it runs: a progress bar, and one JSON object a line in log.jsonl."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .files import atomic_write

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
    if "held_out_loss" in record and "constant_loss" not in record:
        return False
    return all(type(value) is float or (type(value) is int and abs(value) < 1 << 63) for value in record.values())


class Journal:
    """The log of a run from `step` on (a resumed run makes later records anew) and its progress bar."""

    def __init__(self, run: Path, step: int, total: int, progress: bool) -> None:
        from tqdm import tqdm

        self.path = run / "log.jsonl"
        self.records = [record for record in read_log(self.path) if record["step"] <= step]
        atomic_write(self.path, "".join(json.dumps(record) + "\n" for record in self.records).encode())
        self._bar = tqdm(
            total=total, initial=step, unit="step", disable=not progress, file=sys.stderr, dynamic_ncols=True,
            bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
        )  # fmt: skip

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def advance(self) -> None:
        """One more step is done."""
        self._bar.update()

    def show(self, loss: float, images_per_second: float) -> None:
        """Put the loss and the speed behind the bar."""
        self._bar.set_postfix_str(f"loss {loss:.4f}, {images_per_second:.0f} img/s", refresh=False)

    def record(self, **values: Any) -> None:
        """Append one record to the log."""
        self.records.append(values)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def say(self, text: str) -> None:
        """One line for the reader, above the bar; nothing when there is no bar."""
        if not self._bar.disable:
            self._bar.write(text, file=sys.stderr)
