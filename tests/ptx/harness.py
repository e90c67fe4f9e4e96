"""Runs kernels of a PTX text on arrays, for the tests: on the fibers of csrc/simt, by fastblackout._simt."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .build import Library, load

ROOT = Path(__file__).resolve().parents[2]
HEADER = ".version 9.0\n.target sm_90\n.address_size 64\n"


def library(text: str) -> Library:
    return load(text, ROOT / "csrc/simt", ROOT / "build/ptx")


def run(made: Library, kernel: str, *arrays: np.ndarray, blocks: int = 1, threads: int = 1, shared: int = 0) -> None:
    """Arrays are given by their addresses; shared: bytes beside the static ones."""
    from fastblackout import _simt

    addresses = [int(array.ctypes.data).to_bytes(8, "little") for array in arrays]
    _simt.run(made.address(kernel), made.shared + shared, blocks, threads, addresses)
