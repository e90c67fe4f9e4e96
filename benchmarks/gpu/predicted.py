"""What the CUDA kernels should reach on an H100 by the count of their instructions: predicted, not measured.

The machine code in fastblackout._cuda is counted by tests/support/cuda_counts.py; report/predicted.py makes the table.
"""

from __future__ import annotations

from typing import NamedTuple

from support import cuda_counts

LANES = 128  # a multiprocessor issues four instructions of 32 lanes a clock, since sm_70


class Launch(NamedTuple):
    kernel: str  # of cuda_counts.KERNELS
    bytes: int  # an element: read and written


# By the names of work.CASES: uint8 counts, float32 logits, float32 model inputs.
LAUNCHES: dict[str, tuple[Launch, ...]] = {
    "thin, x_t": (Launch("thin_shared", 2),),
    "bridge, float32": (Launch("bridge_shared", 10),),
    "birth_loss + gradient": (Launch("loss_kernel", 5), Launch("loss_grad", 9)),
}


class Card(NamedTuple):
    name: str
    architecture: str
    issue: float  # instructions of a lane a second
    bandwidth: float  # bytes a second


H100 = Card("H100 SXM", "sm_90", 132 * LANES * 1.755e9, 3.35e12)


def counted(module: str, architecture: str) -> dict[str, float]:
    """{kernel: instructions an element}"""
    return {name: cuda_counts.instructions(module, architecture, name) for name in cuda_counts.KERNELS}


def seconds(launches: tuple[Launch, ...], instructions: dict[str, float], issue: float, bandwidth: float) -> float:
    """An element's: each launch is as slow as the slower of issuing and memory."""
    return sum(max(instructions[launch.kernel] / issue, launch.bytes / bandwidth) for launch in launches)


def rows(module: str, card: Card = H100) -> list[tuple[str, ...]]:
    """(work, kernel, registers, instructions, bytes, G/s by issue, G/s by memory, predicted G/s)"""
    instructions, made = counted(module, card.architecture), []
    for work, launches in LAUNCHES.items():
        for launch in launches:
            registers = cuda_counts.registers(module, card.architecture, launch.kernel)
            counts = instructions[launch.kernel]
            by_issue, by_memory = card.issue / counts, card.bandwidth / launch.bytes
            predicted = 1 / seconds((launch,), instructions, card.issue, card.bandwidth)
            rates = (f"{rate / 1e9:.0f}" for rate in (by_issue, by_memory, predicted))
            made.append((work, launch.kernel, str(registers), f"{counts:.1f}", str(launch.bytes), *rates))
        if len(launches) > 1:
            both = 1e-9 / seconds(launches, instructions, card.issue, card.bandwidth)
            made.append((work, "all launches", "", "", str(sum(x.bytes for x in launches)), "", "", f"{both:.0f}"))
    return made
