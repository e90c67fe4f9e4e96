"""The file that keeps the trials of a search, with which it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..atomic_files import atomic_write, read_plain
from .search import Point

FORMAT = "fastblackout-tuning"


class Trials:
    """The trials of a search by number of steps, kept in a JSON file."""

    def __init__(self, path: Any, about: dict[str, Any]) -> None:
        self.path = Path(path)
        self.content: dict[str, Any] = {"format": FORMAT, "about": about, "steps": {}}
        if not self.path.exists():
            return
        try:
            kept = json.loads(read_plain(self.path))
            if kept["format"] != FORMAT:
                raise KeyError("format")
            same = kept["about"] == about
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"tune: state: {self.path} was not written by tune ({error})") from None
        if not same:
            rule = "is of another model, other data, or another num or rng; delete it to begin anew"
            raise ValueError(f"tune: state: {self.path} {rule}")
        self.content = kept

    def of(self, number: int) -> dict[str, Any]:
        kept: dict[str, Any] = self.content["steps"].get(str(number), nothing())
        return kept

    def keep(self, number: int, seconds: float, trials: list[tuple[Point, list[float]]]) -> None:
        listed = [[[*point[1:]], found] for point, found in trials]
        self.content["steps"][str(number)] = {"seconds": seconds, "trials": listed}
        atomic_write(self.path, json.dumps(self.content).encode())


def nothing() -> dict[str, Any]:
    return {"seconds": 0.0, "trials": []}
