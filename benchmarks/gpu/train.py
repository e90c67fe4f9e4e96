"""The train phase: training steps of the CIFAR-10 network, samples from it, and a short run on the digits.

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
from typing import Any

import torch
from torch import Tensor

import fastblackout as fb
from fastblackout.data import load
from fastblackout.training.config import TrainConfig
from fastblackout.training.loss import blackout_loss
from gpu.children import tell

PARTS = ("step", "sample", "digits", "compiled step")  # the one that takes longest to get ready last


def network(device: torch.device, dry: bool) -> tuple[Any, tuple[int, ...]]:
    """(model, shape of a batch) of the paper's CIFAR-10 run; dry: the smallest there is."""
    torch.manual_seed(1)
    shape = (2, 3, 8, 8) if dry else (128, 3, 32, 32)
    net = fb.models.small(shape[1:], channels=8) if dry else fb.models.cifar10()
    schedule = fb.Schedule.logit(20 if dry else 1000)
    return fb.models.BlackoutModel(net, schedule, input="unit").to(device), shape


def seconds_each(call: Callable[[int], Any], device: torch.device, rounds: int) -> float:
    """Median time of a call, which the host waits for."""
    times = []
    for number in range(rounds + 2):
        start = time.perf_counter()
        call(number)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def step(device: torch.device, dry: bool, compiled: bool) -> dict[str, Any]:
    """A training step: noise, network, loss, gradient, Adam."""
    model, shape = network(device, dry)
    schedule, rng = model.schedule, fb.Philox(5)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)
    x = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)

    def loss_of(x: Tensor, k: Tensor, key: Tensor) -> Tensor:
        return blackout_loss(model, schedule, x, k, key, "likelihood").mean()

    how = "aot_eager" if dry else "inductor"
    loss = torch.compile(loss_of, fullgraph=True, backend=how) if compiled else loss_of
    losses = []

    def one(number: int) -> None:
        key = rng.at(call=number)
        value = loss(x, schedule.draw(shape[0], key, like=x), key.tensor(device))
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        losses.append(value.detach())

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = seconds_each(one, device, 1 if dry else 20)
    memory = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    values = torch.stack(losses).tolist()
    return {"seconds": seconds, "images_s": shape[0] / seconds, "memory_bytes": memory, "losses": values[:3]}


def sample(device: torch.device, dry: bool) -> dict[str, Any]:
    """The reverse process as a loop and as a captured step: the same bytes, and the time of a step."""
    model, shape = network(device, dry)
    steps, drawn, result = 4 if dry else 20, [], {}
    for name, graph in (("loop", False), ("graph", True)):
        seconds = []
        for _ in range(2):  # the second, when all is compiled
            start = time.perf_counter()
            drawn.append(fb.sample(model, model.schedule, shape, steps=steps, rng=fb.Philox(7), cuda_graph=graph).cpu())
            seconds.append(time.perf_counter() - start)
        result[f"{name}_seconds_a_step"] = seconds[1] / steps
    return result | {"same_bytes": all(torch.equal(drawn[0], other) for other in drawn)}


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
    calls = {
        "step": lambda: step(device, asked.dry, False),
        "compiled step": lambda: step(device, asked.dry, True),
        "sample": lambda: sample(device, asked.dry),
        "digits": lambda: digits(device, asked.dry),
    }
    for part in asked.parts.split(","):
        tell(begun=part)
        start = time.time()
        tell(part=part, **calls[part](), when=[start, time.time()])


if __name__ == "__main__":
    main()
