"""A training step of the small network by every way of executing it on a CPU; ours is what `--compile auto` takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cases.harness import Call, Harness
from cases.training_steps import ON_CPU, SHAPES, trainer_for
from fastblackout.ground.process import keep_freed_memory

CASES = [("mnist", 1), *(pytest.param(*case, marks=pytest.mark.long) for case in (("mnist", 2), ("cifar10", 1)))]
NEAR = {"fp32": 1e-4, "bf16": 3e-2}  # of the loss of the first step, relative to eager float32


@pytest.mark.last
@pytest.mark.parametrize(("data", "threads"), CASES)
def test_training_step(bench: Any, harness: Harness, data: str, threads: int) -> None:
    keep_freed_memory()  # as the command does
    ways = [way for way in ON_CPU if not (harness.quick and way.startswith("compiled"))]
    options = {"network": "small", "threads": threads, "batch": 16 if harness.quick else 64}
    trainers = {way: trainer_for(way, data, torch.device("cpu"), **options) for way in ways}

    def step(way: str) -> Call:
        return lambda _: float(trainers[way].train_step())

    def check() -> None:
        first = {way: float(trainer.train_step()) for way, trainer in trainers.items()}
        for way, loss in first.items():
            assert loss == pytest.approx(first["eager"], rel=NEAR[trainers[way].execution.precision]), (way, first)

    torch.set_num_threads(threads)
    try:
        others = {way: step(way) for way in ways[1:]}
        shape = (trainers["eager"].config.batch, *SHAPES[data])
        case = f"training step, small network, {'x'.join(map(str, shape))}"
        elements = torch.Size(shape).numel()
        bench(case, elements, step("eager"), others, check, threads=threads)
    finally:
        torch.set_num_threads(1)
