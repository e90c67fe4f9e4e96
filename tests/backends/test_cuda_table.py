"""How long the CUDA kernels take to make a table of thresholds (csrc/cuda/table.cuh), by their machine code's schedule.

Clocks are counted for one warp (support/clocks.py): of the chain, made by one warp, and of the buckets, which all
warps make side by side. An H100 has 1,755 of them a microsecond.
"""

import re

import pytest

from support import clocks, sass
from support.cuda_module import ARCHITECTURES, built, module_path, needs_tools
from support.helpers import by_day

KERNELS = ("thin_sharedILb0E", "thin_sharedILb1E", "bridge_sharedILb0E", "bridge_sharedILb1E")
GROUP = 8  # steps of a round of the chain's loop
# Clocks of a step, at least and at most. Where float64 takes no fixed time (sm_80, sm_120) 40 clocks are assumed for
# each operation. Compilers differ: on sm_100 nvcc 13.0 has 13 and 13.5 up to 48, on sm_120 they have 146 and 50 to 81.
STEP = {"sm_80": (45, 60), "sm_90": (12, 16), "sm_100": (12, 50), "sm_120": (45, 155)}
STEP_INSTRUCTIONS = 7
BUCKETS = {"sm_80": 1600, "sm_90": 1600, "sm_100": 2100, "sm_120": 2050}  # nvcc 13.5 takes longest on the last two


def pieces(architecture, kernel, holds):
    """The code of build_table between its barriers, those pieces whose instructions hold `holds`."""
    found = [[]]
    for line in clocks.function(clocks.kernel(module_path(), architecture, kernel), "build_table"):
        found[-1].append(line)
        if "BAR.SYNC" in line.text:
            found.append([])
    assert len(found) == 8, "of start, factors, chain, thresholds, buckets, copying and storing, and an end"
    return [lines for lines in found if any(re.search(holds, text) for text in instructions(lines))]


def instructions(lines):
    return [line.text for line in lines if line.kind == "instruction" and "NOP" not in line.text]


@needs_tools
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("architecture", by_day(ARCHITECTURES, "90"))
def test_a_step_of_the_chain(architecture, kernel):
    architecture = built(architecture)
    (loop,) = [
        loop
        for lines in pieces(architecture, kernel, "DADD")
        for loop in clocks.loops(lines)
        if any("DADD" in text for text in instructions(loop))
    ]
    texts = instructions(loop)
    assert sum(bool(re.search(r"\b(?:DADD|DMUL|DFMA)\b", text)) for text in texts) == 2 * GROUP
    assert not any(re.search("F2I|I2F", text) for text in texts), "thresholds are made elsewhere"
    assert len(texts) / GROUP <= STEP_INSTRUCTIONS, len(texts) / GROUP
    found = clocks.clocks(loop, loop=True) / GROUP
    least, most = STEP[architecture]
    assert least < found <= most, found


@needs_tools
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_buckets(architecture, kernel):
    architecture = built(architecture)
    (code,) = pieces(architecture, kernel, r"\bBPT\.TRAP\b")  # where a bucket is crowded
    assert clocks.loops(code) == [], "straight code, which takes the same time for every table"
    found = clocks.clocks(code)
    assert 0.6 * BUCKETS[architecture] < found <= BUCKETS[architecture], found


@needs_tools
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_kept_table_is_copied(architecture, kernel):
    """16 bytes a thread and round past the registers, nine rounds, all under way at once."""
    (code,) = pieces(built(architecture), kernel, "LDGSTS")
    (loop,) = clocks.loops(code)
    assert [text.split()[0] for text in instructions(loop) if "LDGSTS" in text] == ["LDGSTS.E.BYPASS.128"]
    assert not any(re.search(r"\bDEPBAR|\bLDG\b", text) for text in instructions(loop)), "it waits for nothing"
    assert 9 * clocks.clocks(loop, loop=True) < 400, "less than 33 KB take at 64 bytes a clock"


@needs_tools
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_room_for_kept_tables(architecture):
    """33 MiB in each of the two files of kernels that keep tables, and in no other."""
    room = [size for size in sass.module_memory(module_path(), built(architecture)) if size > 1024]
    assert len(room) == 2 and all(32 * 2**20 < size < 33 * 2**20 for size in room), room


def test_clocks_of_code():
    """Two loads wait for one barrier, their sum for it, and a store holds its register until it has read it."""
    listing = """
        .section .text.kernel,"ax",@progbits
        .L_x_0:
        /*0000*/ LDS R0, [R2] ;
        /* 0x{0:016x} */
        /*0010*/ LDS R1, [R3] ;
        /* 0x{1:016x} */
        /*0020*/ @P0 IADD3 R0, R0, R1, RZ ;
        /* 0x{2:016x} */
        /*0030*/ STS [R2], R0 ;
        /* 0x{3:016x} */
        /*0040*/ @P0 BRA `(.L_x_0) ;
        /* 0x{4:016x} */
    """

    def code(stall, writes=7, reads=7, waits=0):
        return (stall | writes << 5 | reads << 8 | waits << 11) << 41

    listing = listing.format(code(2, 0), code(1, 0), code(4, waits=1), code(2, reads=1), code(5, waits=2))
    lines = clocks.coded(listing, "kernel")
    assert clocks.clocks(lines) == (2 + 30) + 4 + clocks.READ + 5
    (loop,) = clocks.loops(lines)
    assert clocks.clocks(loop, loop=True) == clocks.clocks(lines)
    assert clocks.clocks(lines[:2]) == 2  # a label and a load that nobody waits for
