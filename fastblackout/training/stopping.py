"""Ctrl-C and SIGTERM: a training ends its step and saves; everything else ends at once, but cleanly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(SystemExit):
    """What SIGTERM becomes. Where nobody catches it the process ends with status 143, as by the signal itself."""

    def __init__(self, message: str) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.message = message


class Stop:
    """Whether a signal has asked for an end, and which: true from then on."""

    signal = 0

    def __bool__(self) -> bool:
        return self.signal != 0

    def error(self, message: str) -> BaseException:
        """What to raise once all is saved: KeyboardInterrupt, or Terminated after SIGTERM."""
        return Terminated(message) if self.signal == signal.SIGTERM else KeyboardInterrupt(message)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """A Stop that the first Ctrl-C or SIGTERM sets. The second does what it did before, which stops at once."""
    stop = Stop()

    def note(number: int, frame: object) -> None:
        stop.signal = number
        _set(before)

    before = _set({signal.SIGINT: note, signal.SIGTERM: note})
    try:
        yield stop
    finally:
        _set(before)


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """SIGTERM raises Terminated, so that temporary files and locks go; unless the caller has another use for it."""
    here = threading.current_thread() is threading.main_thread()
    free = here and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    def raise_it(number: int, frame: object) -> None:
        raise Terminated("stopped")

    before = _set({signal.SIGTERM: raise_it}) if free else {}
    try:
        yield
    finally:
        _set(before)


def _set(handlers: dict[signal.Signals, Any]) -> dict[signal.Signals, Any]:
    """Sets handlers and returns those before; none outside the main thread, where Python allows no handler."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        if before[number] is not None:  # a handler that Python did not set could not be put back
            signal.signal(number, handler)
    return before
