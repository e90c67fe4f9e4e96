"""What a card can do at most: bytes a second of a large copy, and simple instructions a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl

BLOCK, GROUPS = 1024, 16  # elements of a program of 4 warps; programs a multiprocessor
STEPS = 32  # unrolled, two instructions each
LOOPS = 1000


@triton.jit
def issue_kernel(out, key, loops, BLOCK: tl.constexpr, STEPS: tl.constexpr):
    """A multiply-add and an exclusive or in turns: the two pipes that integers use."""
    lane = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.uint32)
    a, b, c = tl.load(key).to(tl.uint32), tl.load(key + 1).to(tl.uint32), tl.load(key + 2).to(tl.uint32)
    x = lane
    for _ in range(loops):
        for _ in tl.static_range(STEPS):
            x = (x * a + b) ^ c
    tl.store(out + lane, x)


def issuing(device: Any, clock: Callable[[Callable[[int], Any]], float]) -> float:
    """Billions of instructions of a lane a second. clock(call): median seconds of a call."""
    programs = torch.cuda.get_device_properties(device).multi_processor_count * GROUPS
    out = torch.empty(programs * BLOCK, dtype=torch.int32, device=device)
    key = torch.tensor([0x9E3779B1, 12345, 0x85EBCA6B], dtype=torch.int64, device=device)
    seconds = clock(lambda _: issue_kernel[(programs,)](out, key, LOOPS, BLOCK=BLOCK, STEPS=STEPS))
    return programs * BLOCK * LOOPS * STEPS * 2 / seconds / 1e9


def copying(device: Any, clock: Callable[[Callable[[int], Any]], float]) -> float:
    """GB/s, read and written together, of a copy far larger than any cache."""
    size = min(1 << 30, torch.cuda.mem_get_info(device)[0] // 4)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / clock(lambda _: target.copy_(source)) / 1e9
