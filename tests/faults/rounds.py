"""A round: a small training, ended by some faults and resumed after each, compared with one that nothing ended.

Trainings run in forked processes, so that none has to import torch; nothing may have used torch's threads before.
"""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fastblackout.evaluation.plots
import fastblackout.training.run  # noqa: F401  with all that a training needs
from fastblackout.cli import main
from fastblackout.training.checkpoint import load_checkpoint

OPTIONS = (
    "--steps=24 --batch=8 --channels=8 --threads=1 --warmup=5 --dropout=0.1 --flip --seed=3 --learning-rate=1e-3 "
    "--schedule-steps=20 --log-every=2 --held-out-every=4 --sample-every=12 --checkpoint-every=3 --quiet"
)
DONE, FAILED, INTERRUPTED, TERMINATED = 0, 1, 130, 143  # how the command line ends
# How each may end a training. Before it begins, and after it has ended, a process dies of SIGTERM as any other.
SIGNALS = {
    "kill": (signal.SIGKILL, {-signal.SIGKILL}),
    "term": (signal.SIGTERM, {TERMINATED, -signal.SIGTERM}),
    "interrupt": (signal.SIGINT, {INTERRUPTED}),
}
FAULTS = (*SIGNALS, "disk", "fsync", "damage")


class Difference(Exception):
    """What a fault changed or left behind."""


def _train(run: Path) -> int:
    data = run.parent / "counts.npz"
    if not data.exists():
        random = np.random.default_rng(0)
        np.savez(data, images=random.integers(0, 20, (40, 4, 4)), labels=np.arange(40) % 2)
    more = ["--resume"] if run.exists() else []
    return main(["train", "array", f"--data={data}", f"--out={run}", *OPTIONS.split(), *more])


def _fork(run: Path, prepare: Callable[[], object] = lambda: None) -> int:
    """The process that trains."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    status = 99
    try:
        said = os.open(run.parent / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1), os.dup2(said, 2)
        prepare()
        status = _train(run)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _said(run: Path) -> str:
    return (run.parent / "said").read_text()[-2000:]


def whole(run: Path) -> float:
    """Trains without a fault; the seconds it took."""
    started = time.monotonic()
    if status := _wait(_fork(run)):
        raise Difference(f"a training without a fault ends with status {status}")
    return time.monotonic() - started


def content(run: Path) -> dict[str, object]:
    """All that a run left, but for its name, how fast it was, and the checkpoints before the last: an interrupted
    training writes one where it stops."""
    found: dict[str, object] = {}
    last = load_checkpoint(run).path
    for file in sorted(path for path in run.rglob("*") if path.is_file()):
        if last.parent in file.parents and last not in file.parents:
            continue
        name, data = str(file.relative_to(run)), file.read_bytes()
        if file.name == "log.jsonl":
            found[name] = [{**json.loads(line), "images_per_second": 0} for line in data.splitlines()]
        elif file.name == "config.json":
            about = json.loads(data)
            found[name] = {
                **about,
                "config": {**about["config"], "run": ""},
                "files": {**about["files"], file.name: ""},
            }
        else:
            found[name] = data
    return found


def _signalled(run: Path, number: int, seconds: float, dice: random.Random) -> int:
    pid = _fork(run)
    time.sleep(dice.uniform(0, 1.1 * seconds))
    os.kill(pid, number)
    return _wait(pid)


def _full_disk(size: int) -> None:
    sys.dont_write_bytecode = True  # Python would keep half a module
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _failing_fsync(after: int) -> None:
    calls, right = iter(range(after)), os.fsync

    def fsync(handle: int) -> None:
        if next(calls, None) is None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        right(handle)

    os.fsync = fsync


def _damage(run: Path, dice: random.Random) -> str:
    """Damages a file of the newest checkpoint; a resumed training has to refuse it, and then goes on without it."""
    checkpoint = load_checkpoint(run).path
    file = dice.choice(sorted(path for path in checkpoint.rglob("*") if path.is_file()))
    right, kind = bytearray(file.read_bytes()), dice.choice(("bit", "end", "gone"))
    if kind == "gone":
        file.unlink()
    else:
        place = dice.randrange(len(right))
        right[place] ^= 1 << dice.randrange(8)
        file.write_bytes(right[:place] if kind == "end" else right)
    blank = kind == "bit" and file.suffix == ".json" and _readable(checkpoint)  # a space for another
    status = _wait(_fork(run))
    said = _said(run)
    if status != (DONE if blank else FAILED) or not (blank or f"checkpoint: {file}: " in said):
        raise Difference(f"{file.name} with a {kind} changed: a resumed training ends with status {status}: {said}")
    if not blank:
        shutil.rmtree(checkpoint)
    return f"{kind} of {file.name}"


def _readable(run: Path) -> bool:
    """Whether a run has a checkpoint whose description is whole, or is such a checkpoint."""
    try:
        load_checkpoint(run)
    except ValueError:
        return False
    return True


def fault(kind: str, run: Path, seconds: float, dice: random.Random) -> str:
    """One fault; what happened."""
    if kind in SIGNALS:
        number, right = SIGNALS[kind]
        status = _signalled(run, number, seconds, dice)
        if status not in {DONE} | right:
            raise Difference(f"{kind}: ended with status {status}: {_said(run)}")
        return f"{kind}: {status}"
    if kind == "damage":
        return f"damage: {_damage(run, dice)}" if _readable(run) else "damage: nothing there"
    number = dice.choice((0, 100, 900, 5000, 20_000, 100_000)) if kind == "disk" else dice.randrange(20)
    status = _wait(_fork(run, lambda: _full_disk(number) if kind == "disk" else _failing_fsync(number)))
    if status not in (DONE, FAILED):
        raise Difference(f"{kind} {number}: ended with status {status}: {_said(run)}")
    return f"{kind} {number}: {status}"


def play(seed: int, expected: dict[str, object], seconds: float, folder: Path) -> list[str]:
    """A round; what happened. Raises `Difference` where what is left differs from `expected`."""
    dice, run, story = random.Random(seed), folder / f"run-{seed}", []
    try:
        for _ in range(dice.choice((1, 2, 3, 4))):
            story.append(fault(dice.choice(FAULTS), run, seconds, dice))
            if run.exists() and not _readable(run):
                shutil.rmtree(run)  # nothing to go on from
        if status := _wait(_fork(run)):
            raise Difference(f"the last training ends with status {status}: {_said(run)}")
        found = content(run)
        if wrong := [name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name)]:
            raise Difference(f"other content: {', '.join(sorted(wrong))}")
    except Difference as difference:
        raise Difference(f"seed {seed}: {'; '.join(story)}: {difference}") from None
    shutil.rmtree(run)
    return story
