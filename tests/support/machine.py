"""What a test makes of the machine: how much memory is free, and a file that is a pipe."""

import contextlib
import io
import os
import threading

from fastblackout.ground import values


def machine_with(monkeypatch, free):
    """`check_memory` finds so many bytes of free memory."""
    text = f"MemTotal: 1 kB\nMemAvailable: {free >> 10} kB\n"
    monkeypatch.setattr(values, "open", lambda *given, **how: io.StringIO(text), raising=False)


@contextlib.contextmanager
def a_pipe(path, text):
    """A named pipe whose reader gets the text. A pipe that nobody writes to lets its reader wait for ever."""
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(text,))
    writer.start()
    try:
        yield
    finally:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # lets the writer end where nobody has read
        writer.join()
        os.close(handle)
