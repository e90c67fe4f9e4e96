"""What a card can do at most: bytes a second of a large copy, Philox blocks and simple instructions a second."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl

importlib.import_module("fastblackout.backends.triton")  # which knows where the kernels lie
philox = importlib.import_module("fastblackout.kernels.draw").philox

BLOCK, GROUPS = 1024, 16  # elements of a program of 4 warps; programs a multiprocessor
STEPS = 32  # unrolled, two instructions each


@triton.jit
def philox_kernel(out, key, blocks, BLOCK: tl.constexpr):
    """Blocks as the draws make them: sample, call and stream are the same for a program."""
    lane = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.uint32)
    sample, call = tl.load(key).to(tl.uint32), tl.load(key + 1).to(tl.uint32)
    k0, k1 = tl.load(key + 2).to(tl.uint32), tl.load(key + 3).to(tl.uint32)
    total = tl.zeros_like(lane)
    block = lane
    for _ in range(blocks):
        r0, r1, r2, r3 = philox(block, sample, call, 1 << 24, k0, k1)
        total ^= r0 ^ r1 ^ r2 ^ r3
        block += 0x01000000
    tl.store(out + lane, total)


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


def arithmetic(device: Any, clock: Callable[[Callable[[int], Any]], float]) -> dict[str, float]:
    """clock(call): median seconds of a call."""
    programs = torch.cuda.get_device_properties(device).multi_processor_count * GROUPS
    out = torch.empty(programs * BLOCK, dtype=torch.int32, device=device)
    key = torch.tensor([0x9E3779B1, 12345, 0x85EBCA6B, 77], dtype=torch.int64, device=device)
    blocks, loops = 400, 1000
    drawn = clock(lambda _: philox_kernel[(programs,)](out, key, blocks, BLOCK=BLOCK))
    issued = clock(lambda _: issue_kernel[(programs,)](out, key, loops, BLOCK=BLOCK, STEPS=STEPS))
    return {
        "philox_gigablocks_s": programs * BLOCK * blocks / drawn / 1e9,
        "issue_giga_s": programs * BLOCK * loops * STEPS * 2 / issued / 1e9,
    }


def copying(device: Any, clock: Callable[[Callable[[int], Any]], float]) -> float:
    """GB/s, read and written together, of a copy far larger than any cache."""
    size = min(1 << 30, torch.cuda.mem_get_info(device)[0] // 4)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / clock(lambda _: target.copy_(source)) / 1e9
