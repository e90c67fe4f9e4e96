"""Handlers of signals, set for a time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def signals_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM come once the block is left, and then do what they did before.

    It is for C and C++ that call Python code, and end the process where an exception comes from there, as
    KeyboardInterrupt may: Triton 3.9 while it is loaded, and HDF5 that writes to a file of Python.
    """
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        came.append(number)

    before = set_handlers({signal.SIGINT: note, signal.SIGTERM: note})
    try:
        yield
    finally:
        set_handlers(before)
        for number in came[:1]:
            signal.raise_signal(number)


def set_handlers(handlers: dict[signal.Signals, Any]) -> dict[signal.Signals, Any]:
    """Sets handlers and returns those before; none outside the main thread, where Python allows no handler."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        if before[number] is not None:  # a handler that Python did not set could not be put back
            signal.signal(number, handler)
    return before
