"""What a training run says while it runs: a progress bar, and one JSON object a line in log.jsonl."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .files import atomic_write


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log.jsonl; an unfinished or damaged line, such as a kill leaves, is passed over."""
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records


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
