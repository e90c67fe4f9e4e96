"""The train phase: training steps by every way of executing them, samples, and a short run on the digits.

python -m gpu.train PART,PART [--dry]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

import fastblackout as fb
from cases.training_steps import WAYS, trainer_for
from fastblackout.data import load
from fastblackout.ops import birth_loss, thin
from fastblackout.training.config import TrainConfig
from fastblackout.training.execution import EAGER_STEPS
from fastblackout.training.trainer import Trainer
from gpu.children import tell
from gpu.profile import of_steps
from gpu.times import replayed

# Of the small network on MNIST and the paper's on CIFAR-10. What is wanted most comes first.
STEPS = {f"{network} step: {way}": (network, way) for network in ("cifar10", "small") for way in WAYS}
FIRST = tuple(f"cifar10 step: {way}" for way in ("compiled bf16", "compiled graph bf16", "eager"))
PARTS = (*FIRST, "sample", "digits", *(name for name in STEPS if name not in FIRST))
SAMPLED, BATCH = (5, 20, 1000), 250  # steps, and images at once: of `fastblackout sample`
LIMIT = 240.0  # seconds of a part: compiling the paper's network takes most of it
DATA = {"small": "mnist", "cifar10": "cifar10"}
# Without a GPU there are no graphs, and compiling takes a minute a part.
DRY = {"network": "small", "channels": 8, "batch": 2, "compile": "off", "cuda_graph": False}


class Times(NamedTuple):
    """Seconds of one call in a row of them: until the host has launched it, and until the device has done it."""

    host: float
    whole: float


def times_of(call: Callable[[], Any], device: torch.device, calls: int) -> Times:
    wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    launched = time.perf_counter()
    wait()
    return Times((launched - start) / calls, (time.perf_counter() - start) / calls)


def step(device: torch.device, dry: bool, network: str, way: str) -> dict[str, Any]:
    """Times of whole training steps: noise, network, loss, gradient, clipping, Adam and the moving average.

    seconds: of a step, the median of rows of them. host_seconds: until the host has launched one. ops_seconds: of the
    noising and the loss with its gradient, on a GPU as a CUDA graph of their own. losses: of the first steps, at the
    whole learning rate, since the network's last layer begins as zeros and its output would stay near zero in a
    warm-up. profile, of the way that is compiled in bf16: what the card does in a step.
    """
    options = DRY if dry else {"network": network}
    trainer = trainer_for(way, DATA[network], device, warmup=1, **options)
    with trainer.execution.settings():  # as in `fastblackout train`
        return _measured(trainer, way, dry)


def _measured(trainer: Trainer, way: str, dry: bool) -> dict[str, Any]:
    device = trainer.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    losses = [trainer.train_step() for _ in range(EAGER_STEPS + 2)]  # compiled and captured
    rows, calls = (1, 1) if dry else (7, 10)
    steps = [times_of(trainer.train_step, device, calls) for _ in range(rows)]
    call = _ops_of(trainer)
    ops = statistics.median(times_of(call, device, calls).whole for _ in range(rows))
    seconds = statistics.median(times.whole for times in steps)
    profiled: dict[str, Any] = {}
    if way == "compiled bf16":
        try:
            profiled["profile"] = of_steps(trainer.train_step, device)
        except Exception as error:  # the times stand without it
            profiled["no_profile"] = f"{type(error).__name__}: {error}"[:200]
    return profiled | {
        "seconds": seconds,
        "host_seconds": statistics.median(times.host for times in steps),
        "images_s": trainer.config.batch / seconds,
        "ops_seconds": ops,
        "share_of_ops": ops / seconds,
        "memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else 0,
        "losses": [float(loss) for loss in losses],
    }


def _ops_of(trainer: Trainer) -> Callable[[], Any]:
    """The fused ops of a step of head "mean", on a batch of the trainer's."""
    x_0, _, _, numbers = trainer.batch()
    logits = torch.randn(x_0.shape, device=x_0.device).requires_grad_()
    survival = fb.Prob(numbers.p, numbers.q)
    key = fb.Philox(1).tensor(x_0.device)
    arguments: dict[str, Any] = {"rng": key, "center": numbers.center, "scale": numbers.scale}

    def ops(_: int = 0) -> Any:
        noised = thin(x_0, survival, outputs=("births", "model_input"), **arguments)
        loss = birth_loss(logits, noised.births, numbers.weight, gain=numbers.of_head)
        return torch.autograd.grad(loss.sum(), logits)

    if not x_0.is_cuda:
        return ops
    ops()
    graph = replayed(ops, 1)
    return lambda: graph(0)


def sample(device: torch.device, dry: bool) -> dict[str, Any]:
    """The reverse process as `fastblackout sample` runs it, in few steps and in many, compiled and in bf16 on a GPU.

    The first call compiles. The two fewest numbers of steps are also taken by a captured step: the same bytes, and the
    seconds of a step and of all before it, by the difference of the two.
    """
    torch.manual_seed(1)
    shape = (2, 3, 8, 8) if dry else (BATCH, 3, 32, 32)
    net = fb.models.small(shape[1:], channels=8) if dry else fb.models.cifar10()
    schedule = fb.Schedule.logit(20 if dry else 1000)
    model = fb.BlackoutModel(net, schedule, 255, input="unit").to(device)

    def drawn(steps: int, graph: bool = False) -> tuple[Any, float]:
        start = time.perf_counter()
        made = fb.sample(model, schedule, shape, steps=steps, rng=fb.Philox(7), cuda_graph=graph).cpu()
        return made, time.perf_counter() - start

    result: dict[str, Any] = {}
    with fb.execution(model, "off" if dry else "on"):
        result["first_seconds"] = drawn(2)[1]
        counts = (2, 4, 8) if dry else SAMPLED
        loops = {steps: drawn(steps) for steps in counts}
        graphs = {steps: drawn(steps, graph=True) for steps in counts[:2]}
    for steps, (_, seconds) in loops.items():
        result |= {f"seconds_{steps}_steps": seconds, f"images_s_{steps}_steps": shape[0] / seconds}
    few, more = counts[:2]
    each = (graphs[more][1] - graphs[few][1]) / (more - few)
    result |= {"graph_seconds_a_step": each, "graph_seconds_before": graphs[few][1] - few * each}
    return result | {"same_bytes": all(torch.equal(graphs[n][0], loops[n][0]) for n in graphs)}


def digits(device: torch.device, dry: bool) -> dict[str, Any]:
    """What `fastblackout train digits` does, for some hundred steps: the loss must fall."""
    options = {"steps": 4 if dry else 400, "batch": 8 if dry else 128, "channels": 8 if dry else 32, "warmup": 2}
    options |= {"log_every": 2 if dry else 50, "held_out_every": 0, "sample_every": 0, "learning_rate": 1e-3}
    config = TrainConfig(device=device.type, schedule_steps=50, **options)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        fb.train(load("digits"), Path(folder) / "run", config, progress=False)
        seconds = time.perf_counter() - start
        (log,) = Path(folder).glob("run/*.jsonl")
        records = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [record["loss"] for record in records if "loss" in record]
    return {"seconds": seconds, "steps": config.steps, "losses": losses, "falls": dry or losses[-1] < losses[0]}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", help=f"some of {', '.join(PARTS)}, separated by commas")
    parser.add_argument("--dry", action="store_true", help="on the CPU, as small as can be")
    asked = parser.parse_args(arguments)
    device = torch.device("cpu") if asked.dry else torch.device("cuda", 0)
    others = {"sample": sample, "digits": digits}
    for part in asked.parts.split(","):
        tell(begun=part)
        start = time.time()
        found = step(device, asked.dry, *STEPS[part]) if part in STEPS else others[part](device, asked.dry)
        tell(part=part, **found, when=[start, time.time()])


if __name__ == "__main__":
    main()
