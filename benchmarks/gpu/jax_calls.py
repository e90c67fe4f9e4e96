"""The jax phase: calls of fastblackout.jax in programs that JAX compiles for the GPU: the bits of the CPU's, and times.

python -m gpu.jax_calls PART,PART [--dry]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import fastblackout.jax as fbj
from gpu.children import tell
from support.jax_shared import KEY, LOGITS, X, same
from support.jax_way_checks import CALLS, targets

SHAPE, TINY = (256, 3, 32, 32), (4, 1, 8, 8)
TIMED: dict[str, Callable[..., Any]] = {
    "timed thin": lambda x, p: fbj.thin(KEY, x, p),
    "timed bridge_step": lambda x, p: fbj.bridge_step(KEY, x, jax.numpy.ones(x.shape), p),
    "timed birth_loss": lambda x, p: fbj.birth_loss(jax.numpy.ones(x.shape), x, p),
}
PARTS = (*CALLS, *TIMED)


def checked(name: str, device: Any) -> dict[str, Any]:
    """Which kernels a program calls there; it must have the bits of the CPU's."""
    with jax.default_device(device):
        program = jax.jit(CALLS[name]).lower(X, LOGITS).compile()
        made = jax.tree.map(np.asarray, program(X, LOGITS))
    with jax.default_device(jax.devices("cpu")[0]):
        same(made, jax.tree.map(np.asarray, jax.jit(lambda *given: CALLS[name](*given))(X, LOGITS)))
    return {"same_bits": True, "calls": sorted(targets(program.as_text()))}


def timed(name: str, device: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Median seconds of a call, with what JAX takes to launch it."""
    random = np.random.default_rng(1)
    with jax.default_device(device):
        given = jax.device_put(random.integers(0, 256, shape).astype(np.uint8)), jax.device_put(random.random(shape[0]))
        program, seconds = jax.jit(TIMED[name]), []
        for _ in range(22):
            start = time.perf_counter()
            jax.block_until_ready(program(*given))
            seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds[2:]), "shape": list(shape)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", help=f"some of {', '.join(PARTS)}, separated by commas")
    parser.add_argument("--dry", action="store_true", help="on the CPU, as small as can be")
    asked = parser.parse_args(arguments)
    device = jax.devices("cpu" if asked.dry else "gpu")[0]
    for part in asked.parts.split(","):
        tell(begun=part)
        start = time.time()
        found = checked(part, device) if part in CALLS else timed(part, device, TINY if asked.dry else SHAPE)
        tell(part=part, **found, when=[start, time.time()])


if __name__ == "__main__":
    main()
