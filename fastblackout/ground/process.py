"""What belongs to the whole process: handlers of signals, set for a time, and what becomes of memory that is freed."""

from __future__ import annotations

import ctypes
import signal
import sys
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


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_* of glibc's malloc.h
_LARGE = 32 << 20  # bytes; glibc itself arrives at this threshold in a process that frees such blocks


def keep_freed_memory() -> None:
    """Has glibc keep freed blocks of up to 32 MB for later allocations, where it would give them back to the system.

    A training step on a CPU allocates the same blocks as the one before. What has been given back the system hands out
    again page by page, each page zeroed: 20,000 to 28,000 of them in a step of the small network on 64 images. This
    changes the whole process, and what it has once used it mostly keeps, which is for the command to decide and not for
    a library. Elsewhere than with glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, -1)
