"""Whole files or none: every plain file this package writes appears under its name complete, or not at all."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import stat
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .ground.terminal import visible
from .ground.values import check_memory


def atomic_write(path: str | os.PathLike[str], content: bytes) -> Path:
    """Writes `content` to `path` as `atomic_file` does."""
    with atomic_file(path) as file:
        file.write(content)
    return Path(path)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A temporary file beside `path` to write to; when the block ends it is flushed to the disk and renamed to `path`.

    A symbolic link is followed and stays. A device or a pipe is itself written to: there is nothing else it could be;
    so is what the process has open, such as /dev/stdout, where it stands.
    Raises OSError (a full disk, no permission) with an existing file of that name untouched and no temporary file left,
    which is also what any error inside the block leaves.
    """
    with naming(path):
        number = open_descriptor(path)
        if number is not None or _is_special(path):
            if sys.stdout is not None:
                sys.stdout.flush()
            with open(path if number is None else os.dup(number), "wb") as special:
                yield special
            return
        target = Path(os.path.realpath(path))
        with temporary(target.parent, target.name) as made:
            with made.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            made.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner reads
            os.replace(made, target)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """`atomic_paths` of one, whose name errors of the block have."""
    with naming(path), atomic_paths([path]) as (made,):
        yield made


@contextmanager
def atomic_paths(paths: Iterable[str | os.PathLike[str]]) -> Iterator[list[Path]]:
    """The names of files or folders to be made beside `paths`, by a library that opens files by name; when the block
    ends all are renamed to `paths`, where nothing may be by then but a file that one replaces.

    An error inside the block leaves nothing.
    """
    targets = [Path(path) for path in paths]
    with ExitStack() as folders:
        made = []
        for target in targets:
            with naming(target):
                if _is_special(target):
                    raise FileExistsError(errno.EEXIST, "A device or a pipe cannot be replaced")
                folder = folders.enter_context(temporary(target.parent, target.name, is_folder=True))
            made.append(folder / target.name)
        yield made
        for one, target in zip(made, targets, strict=True):
            with naming(target):
                if one.is_file():
                    with one.open("rb") as file:
                        os.fsync(file.fileno())
        for one, target in zip(made, targets, strict=True):
            with naming(target):
                os.replace(one, target)
                sync_directory(target.parent)


@contextmanager
def temporary(folder: Path, name: str, is_folder: bool = False) -> Iterator[Path]:
    """A new file or folder .NAME.*.tmp in `folder`, which is removed at the end unless it was renamed.

    It is locked meanwhile. What a process that was killed has left has no lock, and is removed here.
    """
    remove_unfinished(folder, [glob.escape(name)])
    how: dict[str, Any] = {"prefix": f".{name}.", "suffix": ".tmp", "dir": folder}
    handle = -1
    while handle < 0:
        if is_folder:
            made = Path(tempfile.mkdtemp(**how))
        else:
            new, path = tempfile.mkstemp(**how)
            os.close(new)
            made = Path(path)
        with suppress(FileNotFoundError):  # another process has taken it for one that was left
            handle = os.open(made, os.O_RDONLY)
            with suppress(OSError):  # of a file system that knows no locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            if not made.exists():
                os.close(handle)
                handle = -1
    try:
        yield made
    finally:
        _remove(made)
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Lets an OSError of the block, such as the error of a full disk, name the file that it is about."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = os.fspath(path)
        raise


def own(path: Path) -> Path:
    """The path of a file in a run's folder, which may have come from anybody: a link to a file, a device or a pipe of
    that name is removed, since what lies behind it is none of the run's."""
    if (path.is_symlink() and not path.is_dir()) or _is_special(path):
        path.unlink()
    return path


def remove_unfinished(folder: Path, names: Iterable[str]) -> None:
    """Deletes, with a warning, what processes left that were killed while they wrote files of these names (patterns) to
    a folder. What a process is still writing is locked."""
    for left in (path for name in names for path in folder.glob(f".{name}.*.tmp")):
        with suppress(OSError):  # it is locked, or gone by now
            handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(left)
            finally:
                os.close(handle)
            warnings.warn(f"removed {visible(left)}, which a process left that was killed", stacklevel=2)


def open_descriptor(path: str | os.PathLike[str]) -> int | None:
    """Of the name of a file that the process has open, such as /dev/stdout or /dev/fd/1, the descriptor; else None."""
    name = os.fspath(path)
    folder, number = os.path.split({"/dev/stdout": "/dev/fd/1", "/dev/stderr": "/dev/fd/2"}.get(name, name))
    is_one = number.isdecimal() and os.path.realpath(folder) == f"/proc/{os.getpid()}/fd"
    return int(number) if is_one else None


def _is_special(path: str | os.PathLike[str]) -> bool:
    """Whether a device, a pipe or a socket has that name."""
    try:
        kind = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(kind) and not stat.S_ISDIR(kind)


def read_plain(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """The content of a plain file, of at most `most` bytes where that is given.

    Raises OSError as `open` does, and ValueError for a larger file, for one larger than this machine's memory, and for
    a device or a pipe, which may have no end or let their reader wait for ever.
    """
    about = os.stat(path)
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("must be a plain file, got something else")
    if most is not None and about.st_size > most:
        raise ValueError(f"must have at most {most} bytes, got {about.st_size}")
    check_memory("its content", about.st_size)
    return Path(path).read_bytes()


def write_npz(path: str | os.PathLike[str], **arrays: Any) -> Path:
    """`np.savez_compressed`, atomically."""
    with atomic_file(path) as file:
        np.savez_compressed(file, **arrays)
    return Path(path)


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Makes the renames inside a folder last through a power cut, where the system can."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
