"""What the CUDA kernels should reach on an H100 by the count of their instructions: predicted, not measured.

The machine code in fastblackout._cuda is counted by tests/support/cuda_counts.py; report/predicted.py makes the table.
"""

from __future__ import annotations

from typing import NamedTuple

from support import cuda_counts

LANES = 128  # a multiprocessor issues four instructions of 32 lanes a clock, since sm_70
SERVED = 32  # and its shared memory serves a wavefront of one


class Launch(NamedTuple):
    kernel: str  # of cuda_counts.KERNELS
    bytes: int  # an element: read and written
    wavefronts: float = 0.0  # of shared memory, for the 32 elements of a warp; 0: it does not bind


# By the names of work.CASES: uint8 counts, float32 logits, float32 model inputs.
LAUNCHES: dict[str, tuple[Launch, ...]] = {
    "thin, x_t": (Launch("thin_shared", 2, cuda_counts.wavefronts("thin_shared")),),
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


def clocked(launch: Launch, instructions: float) -> float:
    """Instructions an element, or as many as could be issued while shared memory serves it, if those are more."""
    return max(instructions, launch.wavefronts * LANES / SERVED)


def seconds(launches: tuple[Launch, ...], instructions: dict[str, float], issue: float, bandwidth: float) -> float:
    """An element's: each launch is as slow as the slowest of issuing, shared memory and memory."""
    return sum(max(clocked(x, instructions[x.kernel]) / issue, x.bytes / bandwidth) for x in launches)


def rows(module: str, card: Card = H100) -> list[tuple[str, ...]]:
    """(work, kernel, registers, instructions, wavefronts, bytes, G/s by each of the three, predicted G/s)"""
    instructions, made = counted(module, card.architecture), []
    for work, launches in LAUNCHES.items():
        for launch in launches:
            registers = cuda_counts.registers(module, card.architecture, launch.kernel)
            counts, waves = instructions[launch.kernel], launch.wavefronts
            times = [counts / card.issue, waves * LANES / SERVED / card.issue, launch.bytes / card.bandwidth]
            times.append(seconds((launch,), instructions, card.issue, card.bandwidth))
            rates = (f"{1e-9 / time:.0f}" if time else "" for time in times)
            numbers = f"{counts:.1f}", f"{waves:.1f}" if waves else "", str(launch.bytes)
            made.append((work, launch.kernel, str(registers), *numbers, *rates))
        if len(launches) > 1:
            both = 1e-9 / seconds(launches, instructions, card.issue, card.bandwidth)
            made.append(
                (work, "all launches", *("",) * 3, str(sum(x.bytes for x in launches)), *("",) * 3, f"{both:.0f}")
            )
    return made
