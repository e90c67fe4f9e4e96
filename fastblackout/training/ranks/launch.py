"""Ranks that work together, and how all of them end when one does."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..stopping import Terminated
from .single import Place, Single, place_of

if TYPE_CHECKING:
    from .watch import Failure, Watch

_TO_SPEAK = 3.0  # seconds
_ALONE = Single(Place())
_current: Single = _ALONE
_joined: tuple[Single, Watch] | None = None  # once for a process


class RankFailed(RuntimeError):
    """Another rank has failed, and this one ends with it; `shown`: whether it is this one that tells the user."""

    def __init__(self, failure: Failure | str, shown: bool) -> None:
        super().__init__(str(failure))
        self.shown = shown


def current() -> Single:
    """The ranks that this process works with: inside `together` the ranks of its launch, else itself alone."""
    return _current


@contextmanager
def together(name: str) -> Iterator[Single]:
    """Joins all ranks of a launch, which then work together, and waits at its end until all are done.

    A process that was started alone gets itself, and nothing is joined.

    name: what stands before a message about another rank. Where a rank raises an error or dies, all others end within a
    minute: by RankFailed with the number of the rank, or where a call keeps them, by the end of the process, status 1.
    """
    global _current
    place = place_of()
    if place.count == 1 or _current.count > 1:
        yield _current
        return
    group, watch = _join(place, name)
    _current = group
    try:
        watch.begin()
        yield group
        group.wait()
        watch.end()
    except BaseException as error:
        stopped = isinstance(error, (KeyboardInterrupt, Terminated))
        text = " ".join(str(error).split()) or ("stopped" if stopped else type(error).__name__)
        # A rank that is gone makes calls of torch.distributed fail, and torchrun then ends all the others by SIGTERM.
        theirs = stopped or isinstance(error, RuntimeError)
        if failure := watch.verdict("stopped" if stopped else "failed", text, theirs):
            with suppress(ValueError):  # not the main thread
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's; what is being left is left whole
            raise RankFailed(failure, watch.shows(failure)) from error
        raise
    finally:
        _current = _ALONE


def speaks(error: BaseException | None = None) -> bool:
    """Whether this process tells the user of an error: of several on one host the first does, as all have the same."""
    if isinstance(error, RankFailed):
        return error.shown
    try:
        return place_of().local == 0
    except ValueError:
        return True


def let_first_speak() -> None:
    """Where this process is silent about an error that all have: time for the one that speaks, before torchrun ends it,
    as it does when any process has ended with an error."""
    if not speaks():
        time.sleep(_TO_SPEAK)


def end_process(status: int, stopped: bool = False) -> int:
    """The exit status, for success and for a process alone that was not stopped by a signal. Else it ends here and now.

    The interpreter's own end would wait for calls of torch.distributed that ranks which are gone cannot answer, and for
    threads and processes of a compiler.
    """
    if status and (_joined is not None or stopped):
        if _joined is not None:
            _joined[1].linger()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # a closed pipe
                stream.flush()
        os._exit(status)
    return status


def _join(place: Place, name: str) -> tuple[Single, Watch]:
    global _joined
    if _joined is None:
        from .group import Group
        from .watch import watch_of

        try:
            group = Group(place)
            _joined = group, watch_of(group, name)
        except (RuntimeError, OSError) as error:
            what = f"rank {place.rank}: cannot join the other {place.count - 1} of MASTER_ADDR, MASTER_PORT"
            raise RankFailed(f"{what}: {' '.join(str(error).split())[:300]}", shown=True) from error
    return _joined
