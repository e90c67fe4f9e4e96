"""The command line: fastblackout train | sample | evaluate | convert | info | bench."""

from .command_line import main

__all__ = ["main"]
