"""Instructions on memory and between threads, calls, and what a translated kernel is caught at: known answers from
the PTX ISA."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

from ptx.harness import HEADER, kernel, result
from ptx.parse import PtxError, parse
from ptx.write import write

pytest.importorskip("fastblackout._simt", reason="fastblackout._simt is not built")


@pytest.mark.parametrize(
    ("load", "register", "want"),
    [
        ("u8", "b64", 0x88), ("s8", "b64", 0xFFFFFFFFFFFFFF88), ("b8", "b64", 0x88), ("u16", "b64", 0x9988),
        ("s16", "b64", 0xFFFFFFFFFFFF9988), ("s16", "b32", 0xFFFFFFFF00000000 | 0xFFFF9988), ("u32", "b64", 0xBBAA9988),
        ("s32", "b64", 0xFFFFFFFFBBAA9988), ("f32", "b32", 0xFFFFFFFF00000000 | 0xBBAA9988),
        ("u64", "b64", 0xFFEEDDCCBBAA9988),
    ],
)  # fmt: skip
def test_loads_fill_wider_registers_by_the_sign(load, register, want):
    name = {"b64": "%rd5", "b32": "%r5"}[register]
    body = f"ld.global.{load} {name}, [%rd0]; st.global.{register} [%rd2], {name};"
    want = want if register == "b64" else (want & 0xFFFFFFFF) | 0xFFFFFFFF00000000
    assert result(body, [0xFFEEDDCCBBAA9988]) == [want]


def test_stores_take_the_low_bits():
    assert result("mov.u64 %rd5, 0x1122334455667788; st.global.u16 [%rd2], %rd5;") == [0xFFFFFFFFFFFF7788]
    assert result("mov.u32 %r5, 0x11223344; st.global.u8 [%rd2+3], %r5;") == [0xFFFFFFFF44FFFFFF]


def test_vectors():
    body = "ld.global.v4.u16 {%rs1, %rs2, _, %rs4}, [%rd0]; st.global.v2.u16 [%rd2+4], {%rs4, %rs1};"
    assert result(body, [0x4444333322221111]) == [0x11114444FFFFFFFF]
    body = """ld.global.u64 %rd5, [%rd0]; mov.b64 {%r1, %r2}, %rd5; mov.b32 {%rs1, %rs2}, %r2;
        mov.b32 %r3, {%rs2, %rs1}; mov.b64 %rd6, {%r3, %r1};"""
    assert result(body + "st.global.u64 [%rd2], %rd6;", [0x1111222233334444]) == [0x3333444422221111]


OUTSIDE, UNALIGNED = "an access is outside of memory that it may be in", "an address is not aligned"
ACCESSES = {
    "ld.global.u32 %r1, [%rd0+2]": UNALIGNED, "ld.global.v4.u32 {%r1,%r2,%r3,%r4}, [%rd0+8]": UNALIGNED,
    "st.global.v2.u8 [%rd0+1], {%rs1,%rs2}": UNALIGNED, "st.shared.u16 [%r9+63], %rs1": UNALIGNED,
    "ld.shared.v2.u64 {%rd3,%rd4}, [%r9+56]": UNALIGNED, "ld.shared.u32 %r1, [%r9+64]": OUTSIDE,
    "atom.shared.add.u32 %r1, [%r9+64], 1": OUTSIDE, "st.local.u32 [%rd11+16], %r1": OUTSIDE,
    "st.u32 [%rd11+16], %r1": OUTSIDE,
    "ld.param.u32 %r1, [%rd12+12]": OUTSIDE, "ld.u32 %r1, [%rd9]": OUTSIDE, "ld.global.u8 %r1, [%rd10]": OUTSIDE,
    "ld.local.u8 %r1, [%rd0]": OUTSIDE, "ld.shared.u8 %r1, [%rd0]": OUTSIDE,
}  # fmt: skip
PLACES = """.shared .align 16 .b8 s[64]; .local .align 16 .b8 l[16]; mov.u32 %r9, s; mov.u64 %rd11, l;
        mov.u64 %rd12, p1; mov.u64 %rd9, 8;
    cvta.shared.u64 %rd10, 8; """


@pytest.mark.parametrize("access", ACCESSES)
def test_every_access_is_checked(access):
    right = re.sub(r"(\[%r\w+)\+\d+", r"\1", access)
    among = tuple(
        PLACES + text + ";" for wrong in ACCESSES for text in (wrong, re.sub(r"(\[%r\w+)\+\d+", r"\1", wrong))
    )
    with pytest.raises(RuntimeError, match=rf"line \d+ of the PTX: {ACCESSES[access]}"):
        result(f"{PLACES}{access};", among=among)
    if right != access:
        result(f"{PLACES}{right};", among=among)


def test_shared_and_local_memory_and_registers_hold_anything_at_first():
    body = """.shared .b32 s[1]; .local .b32 l[1]; ld.shared.u32 %r5, [s]; ld.local.u32 %r6, [l];
        mov.b64 %rd5, {%r6, %r7}; xor.b32 %r5, %r5, 0;"""
    for poison in (0, 0x1122334455667788):
        seen = result(body + "st.global.u64 [%rd2], %rd5;", poison=poison)
        assert seen == [poison % 2**32 << 32 | (poison & 255) * 0x01010101]
    assert result(".shared .b32 s[1]; ld.shared.u32 %r5, [s]; cvt.u64.u32 %rd5, %r5; st.global.u64 [%rd2], %rd5;") == [
        0xA5A5A5A5
    ]


def test_spaces_and_generic_addresses():
    before = ".global .align 8 .b8 table[8] = {1, 2, 3, 4, 5, 6, 7, 8}; .global .f32 one[2] = {0f3F800000, 0f40000000};"
    body = "mov.u64 %rd5, table; cvta.global.u64 %rd5, %rd5; ld.u64 %rd6, [%rd5]; st.global.u64 [%rd2], %rd6;"
    assert result(body, before=before) == [0x0807060504030201]
    assert result("ld.global.u64 %rd6, [one]; st.global.u64 [%rd2], %rd6;", before=before) == [0x400000003F800000]
    body = """.shared .align 8 .b64 a; .shared .align 8 .b64 b; mov.u64 %rd5, b; cvta.shared.u64 %rd6, %rd5;
        st.u64 [%rd6], %rd0;
        ld.shared.u64 %rd7, [b]; cvta.to.shared.u64 %rd8, %rd6; sub.s64 %rd8, %rd8, %rd5; sub.s64 %rd7, %rd7, %rd0;
        or.b64 %rd7, %rd7, %rd8;
        st.global.u64 [%rd2], %rd7;"""
    assert result(body) == [0]
    body = """mov.b64 %rd5, p0; cvta.param.u64 %rd6, %rd5; ld.u64 %rd7, [%rd6]; ld.param.u64 %rd8, [%rd5];
        sub.s64 %rd7, %rd7, %rd8; st.global.u64 [%rd2], %rd7;"""
    assert result(body) == [0]


def test_memory_that_the_launch_gives_follows_the_static():
    before = ".extern .shared .align 16 .b8 given[]; .shared .align 4 .b8 own[20];"
    body = """mov.u64 %rd5, given; st.shared.u64 [given+24], %rd5; ld.shared.u64 %rd6, [given+24];
        st.global.u64 [%rd2], %rd6;"""
    assert result(body, before=before, shared=32) == [32]
    with pytest.raises(RuntimeError, match="outside"):
        result(body, before=before, shared=24)


@pytest.mark.parametrize(
    ("operation", "b", "want"),
    ATOMICS := [
        ("add.u32", 5, 4), ("min.u32", 5, 5), ("max.u32", 5, 2**32 - 1), ("min.s32", 5, 2**32 - 1),
        ("max.s32", 5, 5), ("inc.u32", 9, 0),
        ("inc.u32", 2**32 - 1, 0), ("dec.u32", 9, 9), ("dec.u32", 2**32 - 1, 2**32 - 2), ("exch.b32", 7, 7),
        ("and.b32", 12, 12),
        ("or.b32", 12, 2**32 - 1), ("xor.b32", 12, 2**32 - 13),
    ],
)  # fmt: skip
def test_atomics_return_what_was_there(operation, b, want):
    body = (
        "atom{}.{} %r5, [%rd0], {}; ld.global.u32 %r6, [%rd0]; mov.b64 %rd5, {{%r5, %r6}}; st.global.u64 [%rd2], %rd5;"
    )
    among = tuple(body.format(space, *each[:2]) for each in ATOMICS for space in ("", ".global"))
    for space in ("", ".global"):
        assert result(body.format(space, operation, b), [2**32 - 1], among=among) == [2**32 - 1 | want << 32]


def test_more_atomics():
    body = """atom.cas.b32 %r5, [%rd0], 7, 9; atom.cas.b32 %r6, [%rd0], 7, 11; mov.b64 %rd5, {%r5, %r6};
        st.global.u64 [%rd2], %rd5;"""
    assert result(body, [7]) == [7 | 9 << 32]
    body = "atom.global.inc.u32 %r5, [%rd0], 3; cvt.u64.u32 %rd5, %r5; st.global.u64 [%rd2], %rd5;"
    assert sorted(result(body, [0], threads=9)) == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    body = "atom.add.u64 %rd5, [%rd0], %rd3; st.global.u64 [%rd2], %rd5;"
    assert result(f"mov.u64 %rd3, 0x8000000000000001; {body}", [2**63]) == [2**63]
    body = """st.release.gpu.u32 [%rd0], 3; membar.gl; fence.acq_rel.gpu;
        ld.acquire.gpu.u32 %r5, [%rd0]; cvt.u64.u32 %rd5, %r5;
        st.global.u64 [%rd2], %rd5;"""
    assert result(body, [0]) == [3]


@pytest.mark.parametrize("order", ["", ".global", ".relaxed.gpu.global", ".global.gpu.relaxed", ".release.gpu"])
def test_atomics_that_return_nothing(order):
    each = [row for row in ATOMICS if not row[0].startswith(("inc", "dec", "exch"))]
    body = "red{}.{} [%rd0], {}; ld.global.u32 %r5, [%rd0]; cvt.u64.u32 %rd5, %r5; st.global.u64 [%rd2], %rd5;"
    among = tuple(body.format(order, operation, b) for operation, b, _ in each)
    assert [result(text, [2**32 - 1], among=among) for text in among] == [[want] for *_, want in each]


def shuffled(mode, b, c, threads=32, mask=0xFFFFFFFF, guard=""):
    """(lane taken, in range) of each lane."""
    body = """mov.u32 %r9, 77; ld.global.v2.u32 {{%r10, %r11}}, [%rd0]; ld.global.u32 %r12, [%rd0+8];
        {} shfl.sync.{}.b32 %r9|%p1, %r0, %r10, %r11, %r12;"""
    body += "selp.b32 %r6, 1, 0, %p1; mov.b64 %rd5, {{%r9, %r6}}; st.global.u64 [%rd2], %rd5;"
    among = tuple(body.format(guard, each) for each in ("up", "down", "bfly", "idx"))
    seen = result(body.format(guard, mode), [b | c << 32, mask], threads=threads, among=among)
    return [(x % 2**32, x >> 32) for x in seen]


@pytest.mark.parametrize("mode", ["up", "down", "bfly", "idx"])
@pytest.mark.parametrize("segment", [0, 0x10, 0x18, 0x1F])
@pytest.mark.parametrize(("b", "clamp"), [(1, 31), (3, 31), (40, 31), (5, 11), (31, 0), (1, 0)])
def test_shuffles(mode, segment, b, clamp):
    """By the program in the ISA."""
    want = []
    for lane in range(32):
        most, least = (lane & segment) | (clamp & ~segment & 31), lane & segment
        bval = b & 31
        j = {"up": lane - bval, "down": lane + bval, "bfly": lane ^ bval, "idx": least | (bval & ~segment & 31)}[mode]
        inside = j >= most if mode == "up" else j <= most
        want.append((j if inside else lane, int(inside)))
    assert shuffled(mode, b, segment << 8 | clamp) == want


def test_a_shuffle_from_an_inactive_lane_gives_anything():
    seen = shuffled(
        "bfly", 1, 31, mask=0x0000FFF0, guard="setp.ge.u32 %p2, %r0, 4; setp.lt.and.u32 %p2, %r0, 16, %p2; @%p2"
    )
    assert [lane for lane, _ in seen[4:16]] == [lane ^ 1 for lane in range(4, 16)] and seen[0][0] == 77
    seen = shuffled(
        "down", 1, 31, mask=0x0000FFF0, guard="setp.ge.u32 %p2, %r0, 4; setp.lt.and.u32 %p2, %r0, 16, %p2; @%p2"
    )
    assert seen[14] == (15, 1) and seen[15] == (0x5A5A5A5A, 1)  # lane 16 takes no part
    assert shuffled("down", 8, 31, threads=40)[32:] == [(0x5A5A5A5A, 1)] * 8  # of a warp of 8 threads


def test_votes():
    body = """setp.lt.u32 %p1, %r0, 5; vote.sync.ballot.b32 %r5, %p1, -1; vote.sync.any.pred %p2, %p1, -1;
        vote.sync.all.pred %p3, %p1, -1;
        vote.sync.uni.pred %p4, %p1, -1; selp.b32 %r6, 1, 0, %p2; selp.b32 %r7, 2, 0, %p3; selp.b32 %r8, 4, 0, %p4;
        or.b32 %r6, %r6, %r7;
        or.b32 %r6, %r6, %r8; mov.b64 %rd5, {%r5, %r6}; st.global.u64 [%rd2], %rd5;"""
    assert result(body, threads=37) == [0x1F | 1 << 32] * 32 + [0 | 4 << 32] * 5
    assert result(body, threads=4) == [0xF | 7 << 32] * 4  # of the lanes that there are


def test_barriers():
    before = ".shared .align 4 .b8 s[256];"
    place = "mov.u32 %r9, s; shl.b32 %r8, %r0, 2; add.s32 %r9, %r9, %r8; st.shared.u32 [%r9], %r0;"
    other = """xor.b32 %r8, %r8, {0}; mov.u32 %r7, s; add.s32 %r7, %r7, %r8; ld.shared.u32 %r6, [%r7];
        cvt.u64.u32 %rd5, %r6; st.global.u64 [%rd2], %rd5;"""
    assert result(f"{place} bar.sync 0; {other.format(128)}", threads=64, before=before) == [i ^ 32 for i in range(64)]
    assert result(f"{place} bar.warp.sync -1; {other.format(4)}", threads=64, before=before) == [
        i ^ 1 for i in range(64)
    ]
    with pytest.raises(RuntimeError, match="divergent barrier: .*bar.sync of line 5"):
        result("setp.lt.u32 %p1, %r0, 40;\n@%p1 bar.sync 0;", threads=64)
    with pytest.raises(RuntimeError, match="lane 0 of the mask 0xffffffff is missing"):
        result("setp.ne.u32 %p1, %r0, 0; @%p1 shfl.sync.idx.b32 %r1, %r0, 1, 31, -1;", threads=32)
    with pytest.raises(RuntimeError, match="a mask that leaves it out"):
        result("vote.sync.ballot.b32 %r1, %p1, 1;", threads=32)
    with pytest.raises(RuntimeError, match="line 4 of the PTX: trap"):
        result("trap;")


def test_copies():
    body = """.shared .align 16 .b8 s[16]; mov.u32 %r9, s; cp.async.cg.shared.global [%r9], [%rd0], 16;
        cp.async.wait_all; ld.shared.u64 %rd5, [%r9+8]; st.global.u64 [%rd2], %rd5;"""
    assert result(body, [1, 2, 3, 4]) == [2]


def test_calls_loops_and_guards():
    before = """.func (.param .b64 out) half_sum(.param .b64 a, .param .align 8 .b8 b[16]);
        .func (.param .b64 out) half_sum(.param .b64 a, .param .align 8 .b8 b[16])
        { .reg .b64 %rd<9>; ld.param.u64 %rd1, [a]; mov.b64 %rd5, b; ld.param.u64 %rd2, [%rd5+8];
        add.s64 %rd3, %rd1, %rd2; shr.u64 %rd3, %rd3, 1;
          st.param.b64 [out+0], %rd3; ret; }"""
    body = """mov.u64 %rd5, 0; mov.u32 %r5, 0;
      $again: { .reg .b32 inner; .param .b64 param0; st.param.b64 [param0+0], %rd5; .param .align 8 .b8 param1[16];
        st.param.b64 [param1+8], 10;
        .param .b64 retval0; call.uni (retval0), half_sum, (param0, param1); ld.param.b64 %rd5, [retval0+0];
        add.u32 inner, %r5, 1; mov.u32 %r5, inner; }
      { .reg .b64 inner; mov.u64 inner, 100; setp.lt.u32 %p1, %r5, 3; @!%p1 add.s64 %rd5, %rd5, inner;
        } @%p1 bra $again; st.global.u64 [%rd2], %rd5;"""
    assert result(body, before=before) == [8 + 100]  # 5, 7, 8


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("\nfrob.u32 %r1, %r2;", "line 5: frob.u32: an instruction that is not known"),
        ("add.cc.u32 %r1, %r2, %r3;", "line 4: add.cc.u32: an instruction that is not known"),
        ("add.u32 %r1, %rd2, %r3;", "a register of 64 bits where 32 are needed"),
        ("add.u64 %r1, %rd2, %rd3;", "a register of 32 bits for 64"),
        ("add.u32 %rd1, %r2, %r3;", "a register of 64 bits for 32"), ("add.u32 %r1, %r2;", "2 operands"),
        ("mov.u32 %r1, %clock;", "%clock: not known"), ("ld.param.u64 %rd1, [p1+8];", "outside of it"),
        ("ld.param.u32 %r1, [p1+2];", "outside of it, or not aligned"),
        ("ld.global.v2.u32 %r1, [%rd0];", "2 destinations are needed"),
        ("call.uni elsewhere, ();", "a function that is not here"), ("mov.u32 %q1, 1;", "%q1: not a register"),
        ("add.u32 #;", "line 4: '#;"),
        ("bra $L;", "line 4: $L: not a label"), ("bra $L", "line 4: bra: 2 operands"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_named_with_its_line(body, text):
    with pytest.raises(PtxError, match=re.escape(text)):
        write(parse(HEADER + kernel(body)))


# Instructions that the lanes of a warp execute together


@pytest.mark.parametrize(("threads", "mask"), [(32, 2**32 - 1), (32, 0x8F0F0A11), (32, 16), (40, 2**32 - 1)])
def test_reductions_of_a_warp(threads, mask):
    """%r10: of lane i, the bits of 0x9E3779B9 (i + 1)."""
    body = """ld.global.u32 %r12, [%rd0]; add.u32 %r9, %r0, 1; mul.lo.u32 %r10, %r9, 0x9E3779B9; mov.u64 %rd5, 7;
        and.b32 %r7, %r0, 31; shr.u32 %r8, %r12, %r7; and.b32 %r8, %r8, 1; setp.ne.u32 %p1, %r8, 0;
        @%p1 redux.sync.{} %r11, %r10, %r12; @%p1 cvt.u64.u32 %rd5, %r11; st.global.u64 [%rd2], %rd5;"""

    def signed(x):
        return x - (x >> 31 << 32)

    of = {"add.u32": sum, "add.s32": sum, "min.u32": min, "max.u32": max}
    of |= {"and.b32": lambda x: functools.reduce(int.__and__, x)}
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
