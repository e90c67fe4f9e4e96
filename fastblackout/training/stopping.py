"""Ctrl-C and SIGTERM: a training ends its step and saves; everything else ends at once, but cleanly."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..ground.process import set_handlers

GRACE = 4.0  # seconds in which a signal that ends a command at once must have ended it


class Terminated(SystemExit):
    """What SIGTERM becomes. Where nobody catches it the process ends with status 143, as by the signal itself."""

    def __init__(self, message: str) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.message = message


class Stop:
    """Whether a signal has asked for an end, and which: true from then on.

    at_once: with which message a signal is raised at once, while there is nothing that would have to be saved, such as
    before the first step and while that compiles the network, which may take minutes; None: it is noted.
    """

    signal = 0
    at_once: str | None = "stopped"

    def __bool__(self) -> bool:
        return self.signal != 0

    def error(self, message: str) -> BaseException:
        """What to raise once all is saved: KeyboardInterrupt, or Terminated after SIGTERM."""
        return Terminated(message) if self.signal == signal.SIGTERM else KeyboardInterrupt(message)


_gentle: Stop | None = None  # inside `stop_on_signals`


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """A Stop that the first Ctrl-C or SIGTERM sets. The second does what it did before, which stops at once."""
    global _gentle
    stop = Stop()

    def note(number: int, frame: object) -> None:
        stop.signal = number
        set_handlers(before)
        if stop.at_once is not None:
            raise stop.error(stop.at_once)

    before = set_handlers({signal.SIGINT: note, signal.SIGTERM: note})
    _gentle = stop
    try:
        yield stop
    finally:
        _gentle = None
        set_handlers(before)


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """SIGTERM raises Terminated, so that temporary files and locks go; unless the caller has another use for it."""
    here = threading.current_thread() is threading.main_thread()
    free = here and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    def raise_it(number: int, frame: object) -> None:
        raise Terminated("stopped")

    before = set_handlers({signal.SIGTERM: raise_it} if free else {})
    try:
        yield
    finally:
        set_handlers(before)


@contextmanager
def ctrl_c_ends_the_process(name: str) -> Iterator[None]:
    """Ctrl-C says so in a line and ends the process: for the time in which it imports modules and reads its options.

    An exception could be raised anywhere in an import, which may answer with another one or drop it.
    """

    def end(number: int, frame: object) -> None:
        _end_process(name, number)

    here = threading.current_thread() is threading.main_thread()
    usual = here and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    before = set_handlers({signal.SIGINT: end} if usual else {})
    try:
        yield
    finally:
        set_handlers(before)


def end_soon_on_signals(name: str) -> None:
    """From here on the process ends GRACE seconds after a Ctrl-C or SIGTERM that is not one for the end of a step.

    Usually an exception has ended it by then. But a handler in Python, which raises it, waits for calls into compilers
    and torch.distributed, which may keep the main thread for minutes; others drop exceptions.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # its signals are none of this process
    threading.Thread(target=_watch, args=(name, reader), name="signals", daemon=True).start()


def _watch(name: str, signals: int) -> None:
    noted = None
    while number := os.read(signals, 1)[0]:
        if number not in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) is signal.SIG_IGN:
            continue
        stop = _gentle
        if stop is not None and stop.at_once is None and stop is not noted:
            noted = stop
            continue
        time.sleep(GRACE)
        _end_process(name, number)


def _end_process(name: str, number: int) -> None:
    """Ends it here and now; of several ranks on a host one says so."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        with suppress(OSError, ValueError, AttributeError):  # a closed stream
            print(f"{name}: stopped", file=sys.__stderr__, flush=True)
    os._exit(128 + number)
