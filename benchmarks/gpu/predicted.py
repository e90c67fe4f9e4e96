"""What the CUDA kernels should reach on an H100 by the count of their instructions: predicted, not measured.

The machine code in fastblackout._cuda is counted by tests/support/cuda_counts.py; report/predicted.py makes the table.
"""

from __future__ import annotations

from typing import NamedTuple

from support import cuda_counts

LANES = 128  # a multiprocessor issues four instructions of 32 lanes a clock, since sm_70
HALF_RATE = 64  # lanes a clock for the instructions of cuda_counts.at_half_rate
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


# A copy far larger than the caches is assumed to move 3.0 TB/s, read and written, of the data sheet's 3.35.
H100 = Card("H100 SXM", "sm_90", 132 * LANES * 1.755e9, 3.0e12)


class Instructions(NamedTuple):
    """How many instructions an element takes: all of them, and those that run at half rate."""

    all: float
    half_rate: float

    @property
    def issued(self) -> float:
        """As many as could be issued in the time that these take."""
        return max(self.all, self.half_rate * LANES / HALF_RATE)


def counted(module: str, architecture: str) -> dict[str, Instructions]:
    """{kernel: instructions an element}"""
    return {
        name: Instructions(
            cuda_counts.instructions(module, architecture, name),
            cuda_counts.instructions(module, architecture, name, cuda_counts.at_half_rate),
        )
        for name in cuda_counts.KERNELS
    }


def seconds(launches: tuple[Launch, ...], issued: dict[str, float], issue: float, bandwidth: float) -> float:
    """An element's: each launch is as slow as the slowest of issuing, shared memory and memory.

    issued: of each kernel, Instructions.issued.
    """
    return sum(
        max(issued[x.kernel] / issue, x.wavefronts * LANES / SERVED / issue, x.bytes / bandwidth) for x in launches
    )
