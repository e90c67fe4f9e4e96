"""The command line: fastblackout train | sample | evaluate | plot | export | convert | info | bench."""

from .command_line import main

__all__ = ["main"]
