"""Training steps as `fastblackout train` makes them, each way of executing one in a trainer of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastblackout.data.dataset import make_dataset
from fastblackout.training.config import preset
from fastblackout.training.trainer import Trainer

# The options of `fastblackout train`. "channels_last" has none: --compile on has it among others.
WAYS: dict[str, dict[str, Any]] = {
    "eager": {"compile": "off", "precision": "fp32"},
    "eager channels_last": {"compile": "off", "precision": "fp32"},
    "eager bf16": {"compile": "off", "precision": "bf16"},
    "compiled": {"compile": "on", "precision": "fp32"},
    "compiled bf16": {"compile": "on", "precision": "bf16"},
    "graph bf16": {"compile": "off", "precision": "bf16", "cuda_graph": True},
    "compiled graph bf16": {"compile": "on", "precision": "bf16", "cuda_graph": True},
}
ON_CPU = tuple(name for name, options in WAYS.items() if "cuda_graph" not in options)
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


def trainer_for(way: str, data: str, device: torch.device, **options: Any) -> Trainer:
    """One on random images, two batches of them, with the defaults of a data set but for these options."""
    config = preset(data, device=device.type, steps=100_000, **(WAYS[way] | options))
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (2 * config.batch, *SHAPES[data]), dtype=np.uint8)
    trainer = Trainer(config, make_dataset(data, images, max_count=255), {}, device)
    if "channels_last" in way:
        trainer.model.network.to(memory_format=torch.channels_last)
    return trainer
