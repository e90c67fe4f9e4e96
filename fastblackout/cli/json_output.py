"""`--json FILE` of every command: its numbers as one JSON object, in a file or, for `-`, alone on stdout."""

from __future__ import annotations

import json
import math
import sys
from argparse import Namespace, _ActionsContainer
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from .outputs import check_free


def add_json(parser: _ActionsContainer) -> None:
    """Adds the option."""
    what = "Write the result into FILE too, as JSON; -: to stdout, and all text to stderr."
    parser.add_argument("--json", metavar="FILE", help=what)


@contextmanager
def text_aside(options: Namespace) -> Iterator[None]:
    """With `--json -` all that a command prints goes to stderr meanwhile, but for `give_json`."""
    if getattr(options, "json", None) != "-":
        yield
        return
    options.stdout = sys.stdout
    with redirect_stdout(sys.stderr):
        yield


def check_json(options: Namespace, overwrite: bool, **how: str) -> None:
    """ValueError, before any work, unless the file can be written. overwrite: whether it may exist; how: as there."""
    if options.json not in (None, "-"):
        check_free(f"{options.command}: json", [Path(options.json)], overwrite, **how)


def give_json(options: Namespace, numbers: dict[str, Any]) -> None:
    """Writes the numbers into the file, or prints them in one line; nothing without `--json`."""
    from ..atomic_files import atomic_write

    if options.json == "-":
        print(json.dumps(_finite(numbers)), file=options.stdout)
    elif options.json:
        atomic_write(options.json, (json.dumps(_finite(numbers), indent=1) + "\n").encode())


def _finite(value: Any) -> Any:
    """JSON has no NaN, which stands for a number that so few images do not give, and no infinity: None instead."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
