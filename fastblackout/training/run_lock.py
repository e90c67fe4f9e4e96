"""One training at a time in a run's folder, by a lock that the system drops when its process ends, however it ends.

The package filelock (4.3.1 was tried) takes the same lock, but leaves its file behind after each training, and raises
OSError where a file system knows no locks, but for ENOSYS, for which a file alone holds, past the death of its process
on another host. Here the file goes, and with it a folder that stays empty, and all such file systems get a warning.
"""

from __future__ import annotations

import errno
import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..ground.terminal import visible

LOCK = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def holding(run: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps the run's folder for the caller alone; makes the folder, and takes it away again if it stays empty.

    Raises ValueError at once where another training holds it, in this process or another. A killed process leaves the
    file RUN/.lock behind, but not the lock. Where the file system knows no locks, a RuntimeWarning says so.
    """
    run = Path(run)
    if run.exists() and not run.is_dir():
        raise ValueError(f"train: out: must be a folder, got the file {run}")
    made = [folder for folder in (run, *run.parents) if not folder.exists()]
    handle = -1
    try:
        handle = _lock(run)
        yield
    finally:
        if handle >= 0:
            (run / LOCK).unlink(missing_ok=True)
            os.close(handle)  # this also gives up the lock
        with suppress(OSError):  # a folder that is not empty stays
            for folder in made:
                folder.rmdir()


def _lock(run: Path) -> int:
    file = run / LOCK
    while True:
        run.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # another training has just failed, and taken the empty folder away
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            wait = "wait for its end, stop it, or choose another folder with --out"
            raise ValueError(f"train: out: must be in use by no other training ({wait}), got {run}") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(handle)
                raise
            rule = "nothing keeps a second training out of this folder, whose file system knows no locks"
            warnings.warn(f"train: out: {rule}, got {visible(run)}", RuntimeWarning, stacklevel=4)
            return handle
        if _is_at(handle, file):
            return handle
        os.close(handle)  # its last holder has removed the file since it was opened here


def _is_at(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False
