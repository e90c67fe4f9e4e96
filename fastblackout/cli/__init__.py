"""The command line, whose commands `fastblackout --help` lists."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from ..training.stopping import ctrl_c_ends_the_process

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """`command_line.main`, imported here: a Ctrl-C in that time, too, is a line and no traceback."""
    with ctrl_c_ends_the_process("fastblackout") if arguments is None else nullcontext():
        from . import command_line
    return command_line.main(arguments)
