"""Where a command writes to, looked at before any work: nobody waits an hour for what cannot be written."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path


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
