"""A run's folder: the lock that keeps it for one training, and this machine's record of where the data of runs lie.

The system drops the lock when its process ends, however it ends. The package filelock (4.3.1 was tried) takes the same
lock, but leaves its file behind after each training. It raises OSError where a file system knows no locks, but for
ENOSYS, for which a file alone holds, past the death of its process on another host. Here the file goes, and with it a
folder that stays empty, and all such file systems get a warning.

A folder may have come from anybody, and what it says must not make a later command read a file that the user did not
name. So the path of the data is kept outside of it, one file a run:

$XDG_STATE_HOME/fastblackout/trainings/<SHA-256 of the run's path>.json     (default: ~/.local/state)

It holds for a run at the same path with the same random identity, which the run's checkpoints carry.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..atomic_files import atomic_write, read_plain
from ..ground.terminal import visible

LOCK = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_MOST = 1 << 16  # the most bytes of a record


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


def identity_of(config: dict[str, Any]) -> str:
    """The random identity that tells a run from all others: the one in its checkpoint's config, else a new one."""
    identity = config.get("run")
    return identity if isinstance(identity, str) and len(identity) == 32 else secrets.token_hex(16)


def remember(run: Path, identity: str, name: str, root: str | os.PathLike[str]) -> None:
    """Records that the data set `name` of a run lies at `root`. A warning where no record can be written."""
    path = os.path.realpath(run)
    record = {"run": path, "identity": identity, "name": name, "root": os.path.abspath(root)}
    try:
        file = _record_of(path)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_write(file, (json.dumps(record) + "\n").encode())
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        warnings.warn(
            f"train: no record of where the data lie: {visible(error)}; evaluate will need --data", stacklevel=2
        )


def recall(run: Path, identity: Any, name: str) -> str | None:
    """Where the data set `name` of a run lies; None without a record of this very run. A warning for a damaged one."""
    path = os.path.realpath(run)
    try:
        file = _record_of(path)
        record = json.loads(read_plain(file, _MOST))
        expected = {"run": path, "identity": identity, "name": name}
        if {key: record[key] for key in expected} != expected:
            return None
        return os.fspath(record["root"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        warnings.warn(f"the record of the training of {visible(path)} is not readable: {error!r}", stacklevel=2)
        return None


def _record_of(path: str) -> Path:
    base = os.environ.get("XDG_STATE_HOME", "")
    state = Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state"
    return state / "fastblackout" / "trainings" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()}.json"
