"""Where a command writes to, looked at before any work: nobody waits an hour for what cannot be written.

`--json FILE` of every command: its numbers as one JSON object, in a file or, for `-`, alone on stdout.
"""

from __future__ import annotations

import json
import math
import os
import stat
import sys
from argparse import Namespace, _ActionsContainer
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any


def check_free(
    what: str, files: Sequence[Path], force: bool, how: str = "overwrite it with --force, or choose another"
) -> None:
    """ValueError unless the files can be written: their folder exists and takes them, they do not exist, or by force.

    how: what the user may do about a file that exists.
    """
    for file in files:
        if not file.parent.is_dir():
            raise ValueError(f"{what}: no such folder: {file.parent}")
        if file.is_dir() or (file.exists() and not force):
            kind = "is a folder; choose another" if file.is_dir() else f"exists; {how}"
            raise ValueError(f"{what}: {file} {kind}")
    longest = {file.parent: file for file in sorted(files, key=lambda file: len(file.name))}
    for file in longest.values():  # one of each folder, for there may be 50,000 of them
        check_writable(what, file)


def check_writable(what: str, path: Path) -> None:
    """ValueError unless something can be made in the folder `path`, else beside `path`, or beside the first of its
    folders that is not there yet. Devices and pipes are left alone."""
    from ..atomic_files import open_descriptor, temporary  # it imports NumPy, which the help of a command does without

    if open_descriptor(path) is not None:
        return
    try:
        path = Path(os.path.realpath(path))
        if path.exists() and not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            return
        while not path.parent.exists():
            path = path.parent
        folder = path if path.is_dir() else path.parent
        with temporary(folder, path.name):  # as atomic_file
            pass
    except OSError as error:
        raise ValueError(f"{what}: cannot write {path}: {error.strerror}") from None


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
