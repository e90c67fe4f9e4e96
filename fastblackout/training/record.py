"""This machine's own record of its trainings: where the data of each run lie.

A run's folder may have come from anybody, and what it says must not make a later command read a file that the user did
not name. So the path of the data is kept outside of it, one file a run:

$XDG_STATE_HOME/fastblackout/trainings/<SHA-256 of the run's path>.json     (default: ~/.local/state)

It holds for a run at the same path with the same random identity, which the run's checkpoints carry.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import warnings
from pathlib import Path
from typing import Any

from ..atomic_files import atomic_write, read_plain
from ..ground.terminal import visible

_MOST = 1 << 16  # the most bytes of a record


def identity_of(config: dict[str, Any]) -> str:
    """The random identity that tells a run from all others: the one in its checkpoint's config, else a new one."""
    identity = config.get("run")
    return identity if isinstance(identity, str) and len(identity) == 32 else secrets.token_hex(16)


def remember(run: Path, identity: str, name: str, root: str | os.PathLike[str]) -> None:
    """Records that the data set `name` of a run lies at `root`. A warning where no record can be written."""
    path = os.path.realpath(run)
    record = {"run": path, "identity": identity, "name": name, "root": os.path.abspath(root)}
    try:
        file = _file(path)
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
        file = _file(path)
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


def _file(path: str) -> Path:
    base = os.environ.get("XDG_STATE_HOME", "")
    state = Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state"
    return state / "fastblackout" / "trainings" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()}.json"
