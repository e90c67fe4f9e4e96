"""The memory high-water mark of every op and of its peers, in a process of its own: python -m cases.memory

Run in benchmarks/. For each call: the heap is trimmed, the system's mark of the largest resident size (VmHWM of
/proc/self/status) is reset, and the call is made; by how much the mark then exceeds the resident size before is what
the call needed beyond its inputs, results included. Prints JSON lines. Linux only.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fastblackout as fb
from cases import peers, test_birth_loss, test_bridge, test_tau_leap, test_thin
from cases.workloads import SHAPE, Noising, grid_indices, reverse_path, uniforms, workload_a

BATCH = 4 * SHAPE[0]  # enough pixels to stand out from the pages that come and go
STATES = 32  # of the process whose network gives a logit for every state of every pixel
Calls = dict[str, Callable[[], Any]]


def status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in /proc/self/status")


def needed(call: Callable[[], Any]) -> int:
    """Bytes that the second of two calls needs at its peak: the first loads and compiles."""
    call()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    kept = call()
    peak = status("VmHWM")
    del kept
    return max(0, peak - before)


def thin(work: Noising) -> Calls:
    ours = test_thin.Thin(work, "x_t")
    n, p = work.counts.numpy().astype(np.int64), work.probs[0].double().numpy()
    return {
        "fastblackout": lambda: ours(0),
        "torch.binomial": lambda: torch.binomial(work.counts, work.probs[0]),
        "numpy Generator": lambda: np.random.default_rng(0).binomial(n, p),
    }


def thin_three(work: Noising) -> Calls:
    ours, noisifier = test_thin.Thin(work, "three outputs"), peers.noisifiers((peers.AUTHORS,))[peers.AUTHORS]
    x_0, k = work.x_0.long(), grid_indices(BATCH)[0]
    return {
        "fastblackout": lambda: ours(0),
        "eager torch.binomial": lambda: ours.eager(0),
        f"{peers.AUTHORS}, 16 images at a time, beside its 1 GB of tables": lambda: noisifier(x_0, k),
    }


def bridge(_: Noising) -> Calls:
    step = reverse_path(BATCH)[10]
    calls: Calls = {
        "fastblackout": lambda: test_bridge.ours(step, fb.Philox(0), "nearest"),
        "eager torch.binomial": lambda: test_bridge.eager(step, "nearest"),
    }
    if not isinstance(peers.load("scipy"), str):
        calls["scipy round trip"] = lambda: test_bridge.scipy_round_trip(step)
    return calls


def tau_leap(_: Noising) -> Calls:
    step = reverse_path(BATCH)[10]
    return {
        "fastblackout": lambda: test_tau_leap.ours(step, fb.Philox(0)),
        "eager torch.poisson": lambda: test_tau_leap.eager(step),
    }


def categorical_bridge(_: Noising) -> Calls:
    """The reverse step of any process. Its logits, 4 STATES bytes a pixel, are an input."""
    shape, process = (BATCH, *SHAPE[1:]), fb.Uniform(STATES)
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randint(0, STATES, shape, generator=generator, dtype=torch.uint8)
    logits = torch.randn(*shape, STATES, generator=generator)
    before, after = (torch.from_numpy(process.transition_matrix(t)) for t in (0.2, 0.5))

    def eager() -> torch.Tensor:
        x_0 = torch.multinomial(logits.softmax(-1).view(-1, STATES), 1, generator=generator)[:, 0]
        law = before.float()[x_0] * after.float().T[x_t.long().view(-1)]
        return torch.multinomial(law, 1, generator=generator).view(shape).to(torch.uint8)

    return {
        "fastblackout": lambda: fb.categorical_bridge(x_t, logits=logits, before=before, after=after, rng=fb.Philox(0)),
        "eager torch.multinomial": eager,
    }


def birth_loss(_: Noising) -> Calls:
    loss = test_birth_loss.Loss((BATCH, *SHAPE[1:]))

    def gradient(value: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(value.sum(), loss.logits)

    return {
        "fastblackout": lambda: gradient(fb.birth_loss(loss.logits, loss.births, loss.weight)),
        "eager torch": lambda: gradient(test_birth_loss.eager(loss.logits, loss.float_births, loss.float_weight)),
    }


def binomial(_: Noising) -> Calls:
    shape = (BATCH, *SHAPE[1:])
    count, prob = torch.randint(0, 10_001, shape).float(), uniforms(shape, torch.float32)[0]
    return {
        "fastblackout": lambda: fb.binomial(count, prob, rng=fb.Philox(0)),
        "torch.binomial": lambda: torch.binomial(count, prob),
    }


def poisson(_: Noising) -> Calls:
    rate = 50 * uniforms((BATCH, *SHAPE[1:]), torch.float32)[0]
    return {
        "fastblackout": lambda: fb.poisson(rate, rng=fb.Philox(0)),
        "torch.poisson": lambda: torch.poisson(rate),
    }


FROM_LOGITS = f"categorical_bridge from logits of {STATES} states"
CASES = {
    "thin, x_t": thin,
    "thin, three outputs": thin_three,
    "bridge step, nearest": bridge,
    "tau-leap step": tau_leap,
    FROM_LOGITS: categorical_bridge,
    "birth_loss + gradient": birth_loss,
    "binomial, counts to 10,000": binomial,
    "poisson, rates 0..50": poisson,
}


def main() -> int:
    torch.set_num_threads(1)
    work = workload_a((BATCH, *SHAPE[1:]), sets=1)
    size = {"elements": work.x_0.numel(), "shape": list(work.x_0.shape)}
    with fb.use_backend("cpu", threads=1):
        for case, make in CASES.items():
            for who, call in make(work).items():
                print(json.dumps({"case": case, **size, "who": who, "bytes": needed(call)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
