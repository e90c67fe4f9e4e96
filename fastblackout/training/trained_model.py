"""From a configuration to a model, and from a checkpoint back to one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..backends.available import absent
from ..backends.select import DEVICE_BACKENDS
from ..blackout import BlackoutModel
from ..blackout.saved import DAMAGE
from ..data import CELLS, SHAPING
from ..data.dataset import MOST_CLASSES
from ..heads import head_named
from ..models import NetworkConfig
from ..models.config import bytes_of_weights
from ..schedule.schedule import Schedule
from .checkpoint import EMA, NETWORK, Checkpoint, load_checkpoint
from .config import MOST_SCHEDULE_STEPS, TrainConfig
from .ranks import current

if TYPE_CHECKING:
    from ..data import Dataset
    from ..typing import Weights

MOST_FITTED = 1 << 26  # counts that a model's input is fitted to: rows evenly spread over the training data
_NEEDED = ("thin", "birth_loss", "bridge_step", "tau_leap_step", "normal", "energy_loss")


@dataclass(frozen=True)
class Run:
    """A trained model, ready to sample.

    Parameters
    ----------
    model : BlackoutModel
        The model, in eval mode.
    schedule : Schedule
        Its schedule.
    checkpoint : Checkpoint
        The checkpoint that it came from.
    config : TrainConfig
        The options of its training.
    dataset : dict
        What is known of its data: name, shape, classes and more.
    """

    model: BlackoutModel
    schedule: Schedule
    checkpoint: Checkpoint
    config: TrainConfig
    dataset: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one sample."""
        channels, height, width = self.dataset["shape"]
        return channels, height, width


def make_model(config: TrainConfig, dataset: Dataset) -> BlackoutModel:
    """The model that a configuration asks for, for samples like the samples of `dataset`, with fresh weights."""
    classes = dataset.classes if config.conditional else None
    if config.conditional and classes is None:
        raise ValueError(f"train: conditional: needs labels, got {dataset.name} data without")
    if dataset.is_table and config.network != "mlp":
        raise ValueError(f"train: network: must be mlp for a table of counts, got {config.network}")
    if config.network in ("small", "mlp"):
        size = {"shape": dataset.shape, "channels": config.channels, "blocks": config.blocks}
    else:
        size = {}
    head = head_named(config.head)
    noise = config.noise_channels if head.takes_noise else 0
    outputs = head.numbers_per_count(dataset.max_count)[config.components - 1]
    of_network = {"num_classes": classes, "dropout": config.dropout, "noise_channels": noise, "outputs": outputs}
    network = NetworkConfig(config.network, of_network | size).build()
    parameters = {"steps": config.schedule_steps, **({"t_end": config.t_end} if config.schedule == "logit" else {})}
    model = BlackoutModel(
        network,
        getattr(Schedule, config.schedule)(**parameters),
        max_count=dataset.max_count,
        input=config.input,
        parametrization=config.parametrization,
        data_mean=float(dataset.train.mean(dtype="float64")),
        data_std=float(dataset.train.std(dtype="float64")),
        head=config.head,
        noise_channels=noise,
        weight=config.weight,
        times=config.times,
    )
    if model.needs_fit:
        every = -(-len(dataset.train) * int(np.prod(dataset.shape)) // MOST_FITTED)
        model.fit_input(dataset.train[slice(0, None, every)], outputs)
    return model


def describe(config: TrainConfig, dataset: Dataset, model: BlackoutModel, source: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its run, ready for JSON: enough to build the model, and how to read the data again.

    It does not say where the data lie; run_folder.py gives the reason.
    """
    about = {
        "name": dataset.name,
        "shape": list(dataset.shape),
        "classes": dataset.classes,
        "sha256": dataset.sha256,
        **dataset.shaping,
        **dataset.cells,
        **source,
    }
    return {"train": config.to_dict(), "dataset": about, "model": model.to_config()}


def read_by(dataset: dict[str, Any], max_count: int | None) -> dict[str, Any]:
    """The arguments of `data.load`, beside name and path, with which the data of a run were read.

    They follow from what its checkpoint says of them (see `describe`), and from its model's largest count.
    """
    shaping = {name: dataset.get(name) for name in SHAPING}
    own = dataset["name"] in ("array", "h5ad") and shaping["binarize"] is None
    cells = {name: dataset.get(name) for name in CELLS}
    return {"max_count": max_count if own else None, "channels": dataset.get("channels_at"), **shaping, **cells}


def described(checkpoint: Checkpoint) -> tuple[TrainConfig, dict[str, Any]]:
    """The configuration of a checkpoint's training, and what is known of its data: name, shape, classes and more.

    Raises ValueError where its config.json does not tell them, as one that another program wrote may not.
    """
    try:
        config = TrainConfig.from_dict(checkpoint.config["train"])
        dataset = dict(checkpoint.config["dataset"])
        name, shape, classes = dataset["name"], dataset["shape"], dataset["classes"]
        steps = checkpoint.config["model"]["schedule"].get("steps", 1)
    except DAMAGE as error:
        raise _damaged(checkpoint, error) from None
    right = {
        "dataset.name": isinstance(name, str),
        "dataset.shape": type(shape) is list and len(shape) == 3 and all(type(n) is int and n > 0 for n in shape),
        "dataset.classes": (classes is None and not config.conditional)
        or (type(classes) is int and 0 < classes <= MOST_CLASSES),
        "dataset.var_names": _are_names(dataset.get("var_names"), shape),
        "dataset.class_names": _are_names(dataset.get("class_names"), [classes]),
        "dataset.layer, labels_key": all(type(dataset.get(n)) in (str, type(None)) for n in ("layer", "labels_key")),
        "model.schedule.steps": type(steps) is int and steps <= MOST_SCHEDULE_STEPS,
    }
    if wrong := ", ".join(key for key, good in right.items() if not good):
        raise _damaged(checkpoint, ValueError(f"{wrong} cannot be right"))
    return config, dataset


def _are_names(value: Any, counts: Any) -> bool:
    """Whether this is None, or as many names as the first of the counts says."""
    if value is None:
        return True
    return type(value) is list and [len(value)] == counts[:1] and all(type(name) is str for name in value)


def _damaged(checkpoint: Checkpoint, error: Exception) -> ValueError:
    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
    return ValueError(f"checkpoint: {checkpoint.path}: config.json is damaged: {' '.join(reason.split())[:500]}")


def load_run(path: str | os.PathLike[str], device: str = "auto", weights: Weights = "ema") -> Run:
    """Read a trained model.

    Parameters
    ----------
    path : str or os.PathLike
        The folder of a run, whose newest checkpoint is taken, or of a checkpoint.
    device : str, default "auto"
        "auto", "cpu", "cuda" or "cuda:N". "auto" is CUDA where torch sees a device and the kernels run on it, else the
        CPU.
    weights : {"ema", "network"}, default "ema"
        The moving average of the weights, or the last weights.

    Returns
    -------
    Run
        The model, in eval mode, with its schedule.

    Raises
    ------
    ValueError
        If the checkpoint is absent, damaged or foreign, or the device is not there.
    """
    if weights not in ("ema", "network"):
        raise ValueError(f"load_run: weights: must be ema or network, got {weights!r}")
    checkpoint = load_checkpoint(path)
    config, dataset = described(checkpoint)
    file = EMA if weights == "ema" else NETWORK
    try:
        _check_size(checkpoint, file)
        of_training = {"weight": config.weight, "times": config.times}  # which models of before do not say
        model = BlackoutModel.from_config(of_training | checkpoint.config["model"])
    except DAMAGE as error:
        raise _damaged(checkpoint, error) from None
    load_weights(model, checkpoint, file)
    return Run(model.to(pick_device(device)).eval(), model.schedule, checkpoint, config, dataset)


def _check_size(checkpoint: Checkpoint, name: str) -> None:
    """ValueError where the network that config.json describes is larger than the file of its weights."""
    needed = bytes_of_weights(NetworkConfig.from_dict(checkpoint.config["model"]["network"]))
    file = checkpoint.path / name
    if file.is_file() and (there := file.stat().st_size) < needed:
        raise ValueError(f"its network has {needed} bytes of weights, but {name} {there}")


def load_weights(model: BlackoutModel, checkpoint: Checkpoint, name: str) -> None:
    """Fill a model with the tensors of one of the checkpoint's files. ValueError when they do not fit it."""
    try:
        model.load_weights(checkpoint.tensors(name))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"checkpoint: {checkpoint.path / name}: does not fit the network: {reason}") from None


def pick_device(name: str) -> torch.device:
    """The device of that name. ValueError when it is not there.

    "auto": CUDA where torch sees a device and CUDA C++ or Triton runs all that training and sampling call; else CPU.
    Of several GPUs each of several ranks takes its own.
    """
    if name == "auto":
        on_gpu = torch.cuda.is_available() and all(
            any(absent(backend, op) is None for backend in DEVICE_BACKENDS) for op in _NEEDED
        )
        return current().device(torch.device("cuda" if on_gpu else "cpu"))
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"device: must be usable here, got {name!r} ({reason})") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device: must be cpu or cuda, got {name!r}")
    return current().device(device)


def default_run() -> Path:
    """The run meant when none is named: the only one below runs/, or its digits; else ValueError."""
    base = Path("runs")
    found = sorted(path.parent for path in base.glob("*/checkpoints"))
    if len(found) == 1:
        return found[0]
    if base / "digits" in found:
        return base / "digits"
    if not found:
        models = ", ".join(str(path.parent) for path in sorted(base.glob("*/config.json")))  # of cells, or exported
        way = f"name one of {models}" if models else "name one, or train one: fastblackout train digits"
        raise ValueError(f"run: there is none in {base}/; {way}")
    names = ", ".join(str(path) for path in found)
    raise ValueError(f"run: must be named where {base}/ holds several and none is digits, got {names}")
