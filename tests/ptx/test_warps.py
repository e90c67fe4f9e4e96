"""Instructions that the lanes of a warp execute together: known answers from the PTX ISA."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from ptx.threads import result

pytest.importorskip("fastblackout._simt", reason="fastblackout._simt is not built")


@pytest.mark.parametrize(("threads", "mask"), [(32, 2**32 - 1), (32, 0x8F0F0A11), (32, 16), (40, 2**32 - 1)])
def test_reductions_of_a_warp(threads, mask):
    """%r10: of lane i, the bits of 0x9E3779B9 (i + 1)."""
    body = """ld.global.u32 %r12, [%rd0]; add.u32 %r9, %r0, 1; mul.lo.u32 %r10, %r9, 0x9E3779B9; mov.u64 %rd5, 7;
        and.b32 %r7, %r0, 31; shr.u32 %r8, %r12, %r7; and.b32 %r8, %r8, 1; setp.ne.u32 %p1, %r8, 0;
        @%p1 redux.sync.{} %r11, %r10, %r12; @%p1 cvt.u64.u32 %rd5, %r11; st.global.u64 [%rd2], %rd5;"""

    def signed(x):
        return x - (x >> 31 << 32)

    of = {
        "add.u32": sum,
        "add.s32": sum,
        "min.u32": min,
        "max.u32": max,
        "and.b32": lambda x: functools.reduce(int.__and__, x),
    }
    of |= {"or.b32": lambda x: functools.reduce(int.__or__, x), "xor.b32": lambda x: functools.reduce(int.__xor__, x)}
    of |= {"min.s32": lambda x: min(x, key=signed), "max.s32": lambda x: max(x, key=signed)}
    among = tuple(map(body.format, of))
    for text, function in zip(among, of.values(), strict=True):
        seen = result(text, [mask], threads=threads, among=among)
        for first in range(0, threads, 32):
            lanes = [i for i in range(first, min(first + 32, threads)) if mask >> (i - first) & 1]
            want = function([0x9E3779B9 * (i + 1) % 2**32 for i in lanes]) % 2**32
            assert [seen[i] for i in lanes] == [want] * len(lanes)
            assert all(seen[i] == 7 for i in range(first, min(first + 32, threads)) if i not in lanes)


# Rows of 16 bytes, the row of lane i at 16 (5 i + 3 modulo 32) in %r8; in %r7 the i-th place.
ROWS = """.shared .align 16 .b8 s[512]; mov.u32 %r9, s; mul.lo.u32 %r8, %r0, 5; add.u32 %r8, %r8, 3;
    and.b32 %r8, %r8, 31; shl.b32 %r8, %r8, 4; add.u32 %r8, %r9, %r8; shl.b32 %r7, %r0, 4; add.u32 %r7, %r9, %r7;
    shl.b32 %r1, %r0, 2; add.u32 %r2, %r1, 1; add.u32 %r3, %r1, 2; add.u32 %r4, %r1, 3;"""
WORDS = """shl.b32 %r2, %r2, 8; shl.b32 %r3, %r3, 16; shl.b32 %r4, %r4, 24; or.b32 %r1, %r1, %r2; or.b32 %r3, %r3, %r4;
    or.b32 %r1, %r1, %r3; cvt.u64.u32 %rd5, %r1; st.global.u64 [%rd2], %rd5;"""


def test_matrices_are_loaded():
    body = f"""{ROWS} st.shared.v4.u32 [%r7], {{%r1, %r2, %r3, %r4}}; bar.warp.sync -1;
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r1, %r2, %r3, %r4}}, [%r8]; {WORDS}"""
    words = [[4 * ((5 * (8 * j + i // 4) + 3) % 32) + i % 4 for j in range(4)] for i in range(32)]
    assert result(body, threads=32) == [int.from_bytes(bytes(each), "little") for each in words]


def test_matrices_are_stored():
    body = f"""{ROWS} stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r8], {{%r1, %r2, %r3, %r4}}; bar.warp.sync -1;
        ld.shared.v4.u32 {{%r1, %r2, %r3, %r4}}, [%r7]; {WORDS}"""
    want = [0] * 32
    for j, k in np.ndindex(4, 8):
        row = bytes(4 * (4 * k + word) + j for word in range(4))
        want[(5 * (8 * j + k) + 3) % 32] = int.from_bytes(row, "little")
    assert result(body, threads=32) == want
    with pytest.raises(RuntimeError, match="an address is not aligned"):
        result(body.replace("[%r8]", "[%r8+8]"), threads=32)
