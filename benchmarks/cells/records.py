"""Results as JSON lines: one line a trial or a final run, so that a run that was ended goes on where it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Record = dict[str, Any]
KEY = ("stage", "set", "split", "method", "settings", "genes")


def key_of(record: Record) -> str:
    return json.dumps([record[each] for each in KEY], sort_keys=True)


class Records:
    """What a file holds, by key; a last line that was not written to its end is dropped."""

    def __init__(self, path: Path) -> None:
        self.path, self.found = path, dict[str, Record]()
        if not path.exists():
            return
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        for number, text in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(text)
                self.found[key_of(record)] = record
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"cells: out: must hold results of this program, got line {number} of {path}"
                ) from None
        if whole != content:
            with path.open("r+b") as file:
                file.truncate(len(whole))

    def get(self, like: Record) -> Record | None:
        return self.found.get(key_of(like))

    def add(self, record: Record) -> Record:
        """On the disk when this returns."""
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.found[key_of(record)] = record
        return record

    def finals(self) -> list[Record]:
        """The final runs, of each method, set and split the one that was written last."""
        last = {(r["set"], r["split"], r["method"]): r for r in self.found.values() if r["stage"] == "final"}
        return list(last.values())
