"""From a configuration to a model, and from a checkpoint back to one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .checkpoint import EMA, NETWORK, Checkpoint, load_checkpoint
from .config import TrainConfig
from .dispatch import DEVICE_BACKENDS
from .models import BlackoutModel, NetworkConfig
from .natives import absent
from .schedule import Schedule

if TYPE_CHECKING:
    from .data import Dataset

_NEEDED = ("thin", "birth_loss", "bridge_step", "tau_leap_step")


@dataclass(frozen=True)
class Run:
    """A trained model ready to sample: `model` in eval mode, its `schedule`, the `checkpoint` it came from."""

    model: BlackoutModel
    schedule: Schedule
    checkpoint: Checkpoint
    config: TrainConfig
    dataset: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one sample."""
        channels, height, width = self.dataset["shape"]
        return channels, height, width


def make_model(config: TrainConfig, dataset: Dataset) -> BlackoutModel:
    """The model a configuration asks for, for the samples of `dataset`, with fresh weights from torch's generator."""
    classes = dataset.classes if config.conditional else None
    if config.conditional and classes is None:
        raise ValueError(f"train: conditional: needs labels, got {dataset.name} data without")
    if config.network == "small":
        size = {"shape": dataset.shape, "channels": config.channels, "blocks": config.blocks}
    else:
        size = {}
    network = NetworkConfig(config.network, {"num_classes": classes, "dropout": config.dropout, **size}).build()
    parameters = {"steps": config.schedule_steps, **({"t_end": config.t_end} if config.schedule == "logit" else {})}
    return BlackoutModel(
        network,
        getattr(Schedule, config.schedule)(**parameters),
        max_count=dataset.max_count,
        input=config.input,
        parametrization=config.parametrization,
        data_mean=float(dataset.train.mean(dtype="float64")),
        data_std=float(dataset.train.std(dtype="float64")),
    )


def describe(config: TrainConfig, dataset: Dataset, model: BlackoutModel, source: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its run, ready for JSON: enough to build the model and to load the data again."""
    about = {"name": dataset.name, "shape": list(dataset.shape), "classes": dataset.classes, **source}
    return {"train": config.to_dict(), "dataset": about, "model": model.to_config()}


def load_run(path: str | os.PathLike[str], device: str = "auto", weights: str = "ema") -> Run:
    """The newest checkpoint of a run, or the one whose folder is given, ready to sample.

    weights: "ema" or "network". Raises ValueError when the checkpoint is absent, damaged or foreign.
    """
    if weights not in ("ema", "network"):
        raise ValueError(f"load_run: weights: must be ema or network, got {weights!r}")
    checkpoint = load_checkpoint(path)
    try:
        model = BlackoutModel.from_config(checkpoint.config["model"])
        config = TrainConfig.from_dict(checkpoint.config["train"])
        dataset = dict(checkpoint.config["dataset"])
        if len(dataset["shape"]) != 3 or not isinstance(dataset["name"], str):
            raise KeyError("dataset")
    except (KeyError, TypeError) as error:
        raise ValueError(f"checkpoint: {checkpoint.path}: config.json is damaged: {error!r}") from None
    load_weights(model.network, checkpoint, EMA if weights == "ema" else NETWORK)
    return Run(model.to(pick_device(device)).eval(), model.schedule, checkpoint, config, dataset)


def load_weights(network: torch.nn.Module, checkpoint: Checkpoint, name: str) -> None:
    """Fill a network with the tensors of one of the checkpoint's files. ValueError when they do not fit it."""
    try:
        network.load_state_dict(checkpoint.tensors(name))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"checkpoint: {checkpoint.path / name}: does not fit the network: {reason}") from None


def pick_device(name: str) -> torch.device:
    """The device of that name. ValueError when it is not there.

    "auto": CUDA where torch sees a device and CUDA C++ or Triton runs all that training and sampling call; else CPU.
    """
    if name == "auto":
        runs = all(any(absent(backend, op) is None for backend in DEVICE_BACKENDS) for op in _NEEDED)
        return torch.device("cuda" if torch.cuda.is_available() and runs else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"device: must be usable here, got {name!r} ({reason})") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device: must be cpu or cuda, got {name!r}")
    return device


def default_run(folder: str | os.PathLike[str] = "runs") -> Path:
    """The run meant when none is named: the only one below `folder`, or its digits; else ValueError."""
    base = Path(folder)
    found = sorted(path.parent for path in base.glob("*/checkpoints"))
    if len(found) == 1:
        return found[0]
    if base / "digits" in found:
        return base / "digits"
    names = ", ".join(str(path) for path in found) or "none"
    raise ValueError(f"run: name one, since {base} does not hold exactly one; it holds {names}")
