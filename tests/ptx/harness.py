"""Runs kernels of a PTX text on arrays, or a few instructions in each of some threads, for the tests: on the fibers of
csrc/simt, by fastblackout._simt."""

from __future__ import annotations

import functools
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


REGISTERS = (
    ".reg .pred %p<9>; .reg .b16 %rs<9>; .reg .b32 %r<30>; .reg .b64 %rd<20>; .reg .f32 %f<9>; .reg .f64 %fd<9>;"
)
# %rd0: the first array; %rd2: the place of the thread in the second, of 8 bytes each; %r0: the thread
START = "ld.param.u64 %rd0, [p0]; ld.param.u64 %rd1, [p1]; mov.u32 %r0, %tid.x; "
START += "mul.wide.u32 %rd2, %r0, 8; add.s64 %rd2, %rd1, %rd2;"


def kernel(body: str, name: str = "k") -> str:
    return f".entry {name}(.param .u64 p0, .param .u64 p1) {{ {REGISTERS} {START} {body}\nret; }}"


@functools.cache
def kernels(*bodies: str, before: str = ""):
    """The first, k0, begins on line 4."""
    return library(HEADER + before + "\n".join(kernel(body, f"k{i}") for i, body in enumerate(bodies)))


def result(body: str, given=(), threads=1, shared=0, before="", poison=None, among=()) -> list[int]:
    """What each thread leaves at [%rd2], which holds all ones at first; among: bodies that are compiled together."""
    made = kernels(*(among or [body]), before=before)
    if poison is not None:
        made.settings.poison = poison
    out = np.full(max(threads, 1), 2**64 - 1, np.uint64)
    array = np.array(given or [0, 0, 0, 0], np.uint64)
    run(made, f"k{among.index(body) if among else 0}", array, out, threads=threads, shared=shared)
    return out.tolist()
