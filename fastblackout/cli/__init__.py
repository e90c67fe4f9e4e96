"""The command line: fastblackout train | sample | evaluate | bench | info."""

from .main import main

__all__ = ["main"]
