"""The race finder: by the memory model of the PTX ISA, what is a race between threads and what is none."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

import numpy as np
import pytest

from ptx.harness import HEADER, ROOT, library, run

_simt = pytest.importorskip("fastblackout._simt", reason="fastblackout._simt is not built")

# %r0: the thread; %r1: the block; %p1: the first thread, %p2: the second; %p3: the first block, %p4: not.
# %rd0: global memory; %r2: shared memory at the thread's own 4 bytes, %r3: at thread ^ 1's, %r4: at thread ^ 32's
START = """.reg .pred %p<9>; .reg .b32 %r<30>; .reg .b64 %rd<9>; .shared .align 16 .b8 s[256];
ld.param.u64 %rd0, [p0]; mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x;
setp.eq.u32 %p1, %r0, 0; setp.eq.u32 %p2, %r0, 1; setp.eq.u32 %p3, %r1, 0; setp.ne.u32 %p4, %r1, 0;
mov.u32 %r9, s; mad.lo.u32 %r2, %r0, 4, %r9; xor.b32 %r8, %r0, 1; mad.lo.u32 %r3, %r8, 4, %r9;
xor.b32 %r8, %r0, 32; mad.lo.u32 %r4, %r8, 4, %r9;"""


class Case(NamedTuple):
    body: str
    race: bool = False
    threads: int = 32
    blocks: int = 1
    schedules: tuple[str, ...] = ("forward", "reverse", "random")


def exchange(between: str, other: str = "%r3") -> str:
    return f"st.shared.u32 [%r2], %r0; {between} ld.shared.u32 %r5, [{other}];"


def handed_over(give: str, take: str, race: bool = False) -> Case:
    """From the first block to the second by a flag; the second reads only what it was told of."""
    body = f"@!%p1 bra $end; @%p4 bra $take; st.global.u32 [%rd0], 7; {give} bra $end; $take: {take}"
    body += "setp.eq.u32 %p5, %r5, 1; @%p5 ld.global.u32 %r6, [%rd0]; $end:"
    return Case(body, race, blocks=2, schedules=("forward",) if race else ("forward", "reverse"))


def added_up(leave: str, seen: str, race: bool = False, own: str = "") -> Case:
    """The block that is done last reads what a thread of each has left: the first, or the one that `own` chooses."""
    body = f"""setp.eq.u32 %p6, %r0, 0; {own} mov.u32 %r10, 0; mul.wide.u32 %rd1, %r1, 4; add.s64 %rd1, %rd0, %rd1;
        @%p6 st.global.u32 [%rd1+16], 1; {leave} @%p1 atom.global.inc.u32 %r10, [%rd0], 2; @%p1 st.shared.u32 [s], %r10;
        {seen} ld.shared.u32 %r11, [s]; setp.eq.u32 %p5, %r11, 2; @%p5 ld.global.u32 %r12, [%rd0+16];
        @%p5 ld.global.u32 %r12, [%rd0+20]; @%p5 ld.global.u32 %r12, [%rd0+24];"""
    return Case(body, race, blocks=3)


def hidden(after: str, by_another: str) -> Case:
    """A write, what a thread of the warp does after it, and what one of another warp does at any time."""
    body = f"@%p1 st.global.u32 [%rd0], 1; bar.warp.sync -1; @%p2 {after} setp.eq.u32 %p6, %r0, 34; @%p6 {by_another}"
    return Case(body, True, 64)


LANES = "mov.u32 %r7, -137; setp.ne.u32 %p5, %r0, 3; setp.ne.and.u32 %p5, %r0, 7, %p5; "  # all but 3 and 7
COPY = "@%p1 cp.async.cg.shared.global [%r9], [%rd0], 16; {} ld.shared.u32 %r5, [s{}];"
CASES = {
    "nothing between": Case(exchange(""), True),
    "a barrier": Case(exchange("bar.sync 0;"), threads=64),
    "a barrier, and one that is missing": Case(exchange("bar.sync 0;") + "st.shared.u32 [%r2], 1;", True),
    "two barriers": Case(exchange("bar.sync 0;") + "bar.sync 0; st.shared.u32 [%r2], 1;", threads=64),
    "a barrier of the warp": Case(exchange("bar.warp.sync -1;"), threads=64),
    "a barrier of the warp, of 20 threads": Case(exchange("bar.warp.sync -1;"), threads=20),
    "a barrier of the warp, between warps": Case(exchange("bar.warp.sync -1;", "%r4"), True, threads=64),
    "lanes that are left out": Case(exchange(LANES + "@%p5 bar.warp.sync %r7;"), True),
    "a lane that is left out has written": Case(
        LANES + "st.shared.u32 [%r2], %r0; @!%p5 bra $end; bar.warp.sync %r7; ld.shared.u32 %r5, [%r3]; $end:", True
    ),
    "lanes that are left out and do nothing": Case(
        LANES + "xor.b32 %r3, %r2, 16; @!%p5 bra $end; " + exchange("bar.warp.sync %r7;") + "$end:"
    ),
    "barriers of two masks, with one lane in both": Case(
        """setp.eq.u32 %p6, %r0, 2; @%p6 st.global.u32 [%rd0], 1; @!%p2 bar.warp.sync 5;
        @%p1 ld.global.u32 %r5, [%rd0]; @!%p6 bar.warp.sync 3;""", threads=3
    ),
    "a vote": Case(exchange("vote.sync.ballot.b32 %r6, %p1, -1;"), True),
    "a shuffle": Case(exchange("shfl.sync.bfly.b32 %r6, %r0, 1, 31, -1;"), True),
    "a fence alone": Case(exchange("membar.gl;"), True),
    "two that read": Case("ld.global.u32 %r5, [%rd0]; ld.shared.u32 %r6, [s];", threads=64, blocks=2),
    "two that write the same": Case("st.global.u32 [%rd0], 1;", True, threads=2),
    "two that write bytes of a word": Case("cvt.u64.u32 %rd1, %r0; add.s64 %rd1, %rd0, %rd1; st.global.u8 [%rd1], 1;"),
    "a byte of a word": Case("@%p1 st.global.u32 [%rd0], 1; @%p2 ld.global.u8 %r5, [%rd0+3];", True, 2),
    "a byte beside a word": Case("@%p1 st.global.u32 [%rd0], 1; @%p2 ld.global.u8 %r5, [%rd0+4];", False, 2),
    "a byte of a vector": Case(
        "@%p1 ld.global.v4.u32 {%r5, %r6, %r7, %r8}, [%rd0]; @%p2 st.global.u8 [%rd0+15], 1;", True, 2
    ),
    "by a generic address": Case(
        "mov.u64 %rd1, s; cvta.shared.u64 %rd1, %rd1; @%p1 st.u32 [%rd1], 1; @%p2 ld.shared.u32 %r5, [s];", True, 2
    ),
    "a place of its own": Case(".local .b32 l; mov.u64 %rd1, l; st.u32 [%rd1], 1; ld.u32 %r5, [%rd1];", threads=64),
    "atomics": Case("atom.global.add.u32 %r5, [%rd0], 1; atom.shared.or.b32 %r5, [s], 1;", threads=64, blocks=2),
    "an atomic and a read": Case("@%p1 atom.global.add.u32 %r5, [%rd0], 1; @%p2 ld.global.u32 %r5, [%rd0];", True, 2),
    "an atomic and a volatile read": Case(
        "@%p1 atom.global.add.u32 %r5, [%rd0], 1; @%p2 ld.volatile.global.u32 %r5, [%rd0];", False, 2
    ),
    "atomics of two sizes": Case(
        "@%p1 atom.global.add.u64 %rd1, [%rd0], 1; @%p2 atom.global.add.u32 %r5, [%rd0+4], 1;", True, 2
    ),
    "strong within the block": Case("st.relaxed.cta.u8 [%rd0], 1;", threads=64),
    "strong within two blocks": Case("st.relaxed.cta.u8 [%rd0], 1;", True, 1, 2),
    "an atomic hides no write": hidden("atom.global.add.u32 %r5, [%rd0], 1;", "atom.global.add.u32 %r5, [%rd0], 1;"),
    "a read hides no write": hidden("ld.global.u32 %r5, [%rd0];", "ld.global.u32 %r5, [%rd0];"),
    "a byte hides no word": hidden("st.global.u8 [%rd0], 1;", "ld.global.u8 %r5, [%rd0+3];"),
    "two blocks": Case("@%p3 st.global.u32 [%rd0], 1; @%p4 ld.global.u32 %r5, [%rd0];", True, 1, 2),
    "two blocks and a barrier": Case(
        "@%p3 st.global.u32 [%rd0], 1; bar.sync 0; @%p4 ld.global.u32 %r5, [%rd0];", True, 32, 2
    ),
    "release and acquire": handed_over("st.release.gpu.u32 [%rd0+8], 1;", "ld.acquire.gpu.u32 %r5, [%rd0+8];"),
    "release and acquire by atomics": handed_over(
        "atom.release.gpu.global.exch.b32 %r5, [%rd0+8], 1;", "atom.acquire.gpu.global.or.b32 %r5, [%rd0+8], 0;"
    ),
    "no release": handed_over("st.relaxed.gpu.u32 [%rd0+8], 1;", "ld.acquire.gpu.u32 %r5, [%rd0+8];", True),
    "no acquire": handed_over("st.release.gpu.u32 [%rd0+8], 1;", "ld.relaxed.gpu.u32 %r5, [%rd0+8];", True),
    "a release of another place": handed_over(
        "st.release.gpu.u32 [%rd0+12], 1; st.relaxed.gpu.u32 [%rd0+8], 1;", "ld.acquire.gpu.u32 %r5, [%rd0+8];", True
    ),
    "a release that is overwritten": handed_over(
        "st.release.gpu.u32 [%rd0+8], 2; st.relaxed.gpu.u32 [%rd0+8], 1;", "ld.acquire.gpu.u32 %r5, [%rd0+8];", True
    ),
    "a release that an atomic passes on": handed_over(
        "st.release.gpu.u32 [%rd0+8], 0; atom.global.add.u32 %r6, [%rd0+8], 1;", "ld.acquire.gpu.u32 %r5, [%rd0+8];"
    ),
    "what follows a release": handed_over(
        "st.release.gpu.u32 [%rd0+8], 1; st.global.u32 [%rd0], 8;", "ld.acquire.gpu.u32 %r5, [%rd0+8];", True
    ),
    "an acquire that a barrier passes on": Case(
        """@%p4 bra $take; @%p1 st.global.u32 [%rd0], 7; @%p1 st.release.gpu.u32 [%rd0+8], 1; bra $end;
        $take: @%p1 ld.acquire.gpu.u32 %r5, [%rd0+8]; @%p1 st.shared.u32 [s], %r5; bar.sync 0; ld.shared.u32 %r6, [s];
        setp.eq.u32 %p5, %r6, 1; @%p5 ld.global.u32 %r6, [%rd0]; $end:""", blocks=2
    ),
    "fences": handed_over(
        "membar.gl; st.volatile.global.u32 [%rd0+8], 1;", "ld.volatile.global.u32 %r5, [%rd0+8]; membar.gl;"
    ),
    "fences that acquire and release": handed_over(
        "fence.acq_rel.gpu; st.relaxed.gpu.u32 [%rd0+8], 1;", "ld.relaxed.gpu.u32 %r5, [%rd0+8]; fence.acq_rel.gpu;"
    ),
    "no fence of who gives": handed_over(
        "st.relaxed.gpu.u32 [%rd0+8], 1;", "ld.relaxed.gpu.u32 %r5, [%rd0+8]; fence.acq_rel.gpu;", True
    ),
    "no fence of who takes": handed_over(
        "fence.acq_rel.gpu; st.relaxed.gpu.u32 [%rd0+8], 1;", "ld.relaxed.gpu.u32 %r5, [%rd0+8];", True
    ),
    "a fence too late": handed_over(
        "st.relaxed.gpu.u32 [%rd0+8], 1; membar.gl;", "ld.relaxed.gpu.u32 %r5, [%rd0+8]; membar.gl;", True
    ),
    "sums by fences and a counter": added_up("membar.gl; bar.sync 0;", "bar.sync 0; membar.gl;"),
    "sums of which another thread left a part": added_up(
        "membar.gl; bar.sync 0;", "bar.sync 0; membar.gl;", own="setp.eq.u32 %p6, %r0, 9;"
    ),
    "sums without a fence before": added_up("bar.sync 0;", "bar.sync 0; membar.gl;", True),
    "sums without a fence after": added_up("membar.gl; bar.sync 0;", "bar.sync 0;", True),
    "sums by fences without an order of their own": added_up(
        "fence.acq_rel.gpu; bar.sync 0;", "bar.sync 0; fence.acq_rel.gpu;", True, own="setp.eq.u32 %p6, %r0, 9;"
    ),
    "two that read, of whom one is waited for": Case(
        """setp.lt.u32 %p5, %r0, 2; @%p5 ld.global.u32 %r5, [%rd0]; @%p2 bra $end; bar.warp.sync 5;
        @!%p1 st.global.u32 [%rd0], 1; $end:""", True, 3
    ),
    "a copy that is waited for": Case(COPY.format("cp.async.wait_all; bar.sync 0;", "+12")),
    "a copy that is not waited for": Case(COPY.format("bar.sync 0;", "+12"), True),
    "a copy that its own thread does not wait for": Case(COPY.format("", ""), True, 1),
    "a copy without a barrier": Case(COPY.format("cp.async.wait_all;", "+8"), True),
}  # fmt: skip


@functools.cache
def kernels():
    entries = [f".entry k{i}(.param .u64 p0) {{ {START}\n{case.body}\nret; }}" for i, case in enumerate(CASES.values())]
    made = library(HEADER + "\n".join(entries))
    made.find_races()
    return made


@pytest.mark.parametrize("name", CASES)
def test_races(name):
    case = CASES[name]
    try:
        for schedule in case.schedules:
            for _ in range(2):  # what a launch did comes before the next
                memory = np.zeros(8, np.uint64)
                _simt.configure(schedule, 3, 1)
                how = {"threads": case.threads, "blocks": case.blocks}
                if not case.race:
                    run(kernels(), f"k{list(CASES).index(name)}", memory, **how)
                    continue
                with pytest.raises(RuntimeError, match="a race"):
                    run(kernels(), f"k{list(CASES).index(name)}", memory, **how)
    finally:
        _simt.configure()


LINES = """.entry k(.param .u64 p0) {
.reg .b32 %r<9>; .reg .b64 %rd<9>; .shared .b32 s;
.loc 1 20 3
ld.param.u64 %rd0, [p0]; mov.u32 %r0, %tid.x;
.loc 2 7 5, function_name $L__info_string0, inlined_at 1 21 16
st.shared.u32 [s], %r0;
.loc 1 22 3
ret; }
.file 1 "/home/a/src/kernel.cu"
.file 2 "/home/a/src/sums.cuh"
"""


def test_a_race_is_named_by_its_lines():
    made = library(HEADER + LINES)
    made.find_races()
    with pytest.raises(RuntimeError) as caught:
        run(made, "k", np.zeros(1), threads=2)
    place = "line 9 of the PTX (src/sums.cuh:7, inlined at src/kernel.cu:21)"
    said = f"simt: {place}: a race: this write of 4 bytes by thread 1 of block 0 is not ordered with "
    said += f"the write of {place} by thread 0 of block 0; the PTX is "
    assert str(caught.value).startswith(said)
    [name] = re.findall(r"the PTX is (\S+) in thread 1", str(caught.value))
    assert (ROOT / "build/ptx" / name).read_text() == HEADER + LINES
    made.find_races(False)
    run(made, "k", np.zeros(1), threads=2)


def test_a_shuffle_from_a_lane_that_takes_no_part():
    body = "setp.lt.u32 %p5, %r0, 16; @%p5 shfl.sync.bfly.b32 %r5, %r0, {}, 31, 65535;"
    for distance in (8, 16):
        made = library(HEADER + f".entry k(.param .u64 p0) {{ {START} {body.format(distance)} ret; }}")
        run(made, "k", np.zeros(1), threads=32)
        made.find_races()
        if distance == 8:
            run(made, "k", np.zeros(1), threads=32)
            continue
        with pytest.raises(RuntimeError, match="a shuffle takes the value of a lane that takes no part"):
            run(made, "k", np.zeros(1), threads=32)


@pytest.mark.parametrize("body", ["membar.cta;", "st.release.cta.u32 [%rd0], 1;", "ld.acquire.cta.u32 %r5, [%rd0];"])
def test_an_order_that_the_finder_does_not_know(body):
    made = library(HEADER + f".entry k(.param .u64 p0) {{ {START} {body} ret; }}")
    made.find_races()
    with pytest.raises(RuntimeError, match="which the race finder does not know"):
        run(made, "k", np.zeros(1))


def test_two_os_threads_are_refused():
    try:
        _simt.configure("forward", 0, 2)
        with pytest.raises(RuntimeError, match="two OS threads"):
            for _ in range(100):
                run(kernels(), f"k{list(CASES).index('two that read')}", np.zeros(8), threads=64, blocks=200)
    finally:
        _simt.configure()
