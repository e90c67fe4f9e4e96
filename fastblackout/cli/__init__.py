"""The command line: fastblackout train | sample | evaluate | bench | info."""

from .command_line import main

__all__ = ["main"]
