"""What commands write to: streams that may be closed, pipes whose reader has left, lines of at most 80 columns."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap

COLUMNS = 80


def width() -> int:
    """How wide a line may be: 80 columns, or the terminal's where that is narrower, but not below 40."""
    return max(40, min(COLUMNS, shutil.get_terminal_size().columns))


def visible(text: object) -> str:
    """The text with everything escaped that is no printable character, such as the control characters that a name of a
    file may have: a terminal would do what they say."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(text))


def say(*lines: object) -> None:
    """Prints lines that may quote names."""
    print(*map(visible, lines), sep="\n")


def wrap(text: str, first: str = "", rest: str = "") -> str:
    """The text in lines of `width()`, the first behind `first`, the others behind `rest`."""
    lines = textwrap.wrap(
        visible(text.replace("\n", " ")),
        width(),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)


def open_streams() -> None:
    """Opens /dev/null for a standard stream that the caller has closed (`command >&-`).

    Otherwise the next file opened would get its number, and what is printed would end up in that file.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def drop_unwritable() -> None:
    """Throws away what a stream cannot write (a pipe without a reader, a full disk), lest Python complain at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        except ValueError:  # closed by the command
            continue
