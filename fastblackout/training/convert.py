"""Checkpoints of other programs as folders of fastblackout's.

score-sde: yang-song/score_sde_pytorch, utils.py: torch.save of {"optimizer", "model", "ema", "step"}.
lanl: the paper's authors' lanl/Blackout-Diffusion, utils.py: as that, with "lossHistory" and often "evalLossHistory".
countsdiff: rsoatto/countsdiff: diffusers' UNet2DModel or a transformer over genes, in continuous time; refused.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..atomic_files import read_plain
from ..blackout import BlackoutModel
from ..data import shaping_of
from ..ground.pickles import Refused
from ..models import NCSNpp, load_score_sde
from ..models.score_sde import architecture_of, bytes_of, misfits, misfits_in_order, plain_names
from ..schedule.schedule import Schedule
from ..typing import DataName, Weights
from .checkpoint import EMA, NETWORK, save_checkpoint
from .config import TrainConfig, preset
from .recipes import options_of
from .torch_files import TorchFile

PROGRAMS = {  # the keys that a program writes: those it always does, and those it may
    "score-sde": ({"model", "ema", "step"}, {"optimizer"}),
    "lanl": ({"model", "ema", "step", "lossHistory"}, {"optimizer", "evalLossHistory"}),
    "countsdiff": (set(), set()),
}
SHAPES = {"cifar10": (3, 32, 32), "celeba64": (3, 64, 64), "mnist-binary": (1, 32, 32)}
_MOST_NAME = 200  # characters of the name of a weight, which errors quote
MAX_COUNTS = {"cifar10": 255, "celeba64": 255, "mnist-binary": 1}


def convert(file: str | os.PathLike[str], out: str | os.PathLike[str], program: str, dataset: DataName) -> Path:
    """Write the checkpoint of another program as a run.

    Parameters
    ----------
    file : str or os.PathLike
        The checkpoint of a Blackout Diffusion network.
    out : str or os.PathLike
        The folder of the run to make.
    program : {"score-sde", "lanl"}
        Which program wrote the file.
    dataset : {"cifar10", "celeba64", "mnist-binary"}
        The data set. It gives what the file does not tell: size and largest count of the images, end of the schedule
        and dropout, all as in its recipe "paper".

    Returns
    -------
    pathlib.Path
        The checkpoint's folder.

    Raises
    ------
    ValueError
        If the file is damaged, holds more than tensors, numbers and NumPy's arrays, or holds weights that are not of an
        `NCSNpp`. Nothing is written then. Pickled code is never run.

    Notes
    -----
    The architecture of the network is read from names and shapes. The run has head "mean", parametrization "paper" and
    input "reference", and as many times as the buffer `sigmas` is long. Its weights are the file's to the bit. The
    optimizer's state and the losses are left out, so the run can be sampled and evaluated, but not trained on.

    Examples
    --------
    With a file of the authors' program::

        convert("checkpoint.pth", "runs/authors", "lanl", "cifar10")
    """
    if program not in PROGRAMS:
        raise ValueError(f"convert: from: must be one of {', '.join(PROGRAMS)}, got {program}")
    if program == "countsdiff":
        raise ValueError(
            "convert: from: must be score-sde or lanl; countsdiff's checkpoints hold diffusers' UNet2DModel or a "
            "transformer over genes, trained in continuous time, and fastblackout has none of these networks yet, got "
            "countsdiff"
        )
    if dataset not in SHAPES:
        raise ValueError(f"convert: dataset: must be one of {', '.join(SHAPES)}, got {dataset}")
    file, out = Path(file), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"convert: out: {out} exists; choose another")
    try:
        step, description, tensors = _converted(file, program, dataset)
    except FileNotFoundError:
        raise ValueError(f"convert: {file}: no such file") from None
    except ValueError as error:
        raise ValueError(f"convert: {file}: {error}") from None
    made = not out.exists()
    try:
        return save_checkpoint(out, step, description, tensors)
    except BaseException:
        with suppress(OSError):
            (out / "checkpoints").rmdir()
            if made:
                out.rmdir()
        raise


def _converted(
    file: Path, program: str, dataset: DataName
) -> tuple[int, dict[str, Any], dict[str, dict[str, torch.Tensor]]]:
    """The step, the description and the tensors of the checkpoint. Errors do not have the file's name yet."""
    data = read_plain(file)
    try:
        content = TorchFile(data, ("model", "ema", "step"))
    except Refused as error:
        rule = "must be a file of torch.save that holds tensors and numbers alone"
        raise ValueError(f"{rule}, got another: {error}") from None
    needed, allowed = PROGRAMS[program]
    keys = set(content.keys or ())
    if not needed <= keys or keys - needed - allowed:
        got = ", ".join(name[:40] for name in sorted(keys)[:10]) or "none"
        may = f", and may have {', '.join(sorted(allowed))}"
        raise ValueError(f"must have the keys {', '.join(sorted(needed))}{may}, as {program} writes them, got {got}")
    step = content["step"]
    if type(step) is not int or not 0 <= step < 1 << 32:
        got = str(step)[:20] if type(step) is int else "something else"
        raise ValueError(f"step: must be an integer in 0..2^32 - 1, got {got}")
    state = _state(content)
    recipe = preset(dataset, **options_of(dataset, "paper", {}))
    model, config = _model(len(data), state, dataset, recipe)
    shadow = _shadow(content, model.network)
    tensors = {}
    both: tuple[tuple[str, Weights], ...] = ((NETWORK, "network"), (EMA, "ema"))
    for name, weights in both:
        load_score_sde(model.network, {"model": state, "ema": {"shadow_params": shadow}}, weights)
        tensors[name] = {key: value.clone() for key, value in model.network.state_dict().items()}
        if not all(bool(value.isfinite().all()) for value in tensors[name].values()):
            raise ValueError(f"must hold finite weights, got others in {weights}")
    about = {
        "name": dataset,
        "shape": list(SHAPES[dataset]),
        "classes": None,
        **{name: value for name, value in shaping_of(dataset).items() if value is not None},
    }
    description = {"train": config.to_dict(), "dataset": about, "model": model.to_config()}
    description["converted"] = {"from": program, "sha256": hashlib.sha256(data).hexdigest()}
    return step, description, tensors


def _state(content: TorchFile) -> dict[str, torch.Tensor]:
    """The state dict of the network, without the prefix of DataParallel."""
    model = content["model"] if isinstance(content["model"], dict) else {}
    tensors = _tensors(content, model.values())
    if not model or tensors is None or any(len(name) > _MOST_NAME for name in model):
        raise ValueError("model: must be a state dict of real tensors, got something else")
    return plain_names(dict(zip(model, tensors, strict=True)))


def _shadow(content: TorchFile, network: torch.nn.Module) -> list[torch.Tensor]:
    """The averaged weights, in the order of the parameters."""
    ema = content["ema"]
    shadow = ema.get("shadow_params") if isinstance(ema, dict) else None
    arrays = _tensors(content, shadow) if isinstance(shadow, list) else None
    if arrays is None:
        raise ValueError("ema: must have a list of tensors shadow_params, got something else")
    if wrong := misfits_in_order(dict(network.named_parameters()), arrays):
        raise ValueError(f"ema: must match the network's parameters, got {wrong}")
    return arrays


def _tensors(content: TorchFile, values: Iterable[Any]) -> list[torch.Tensor] | None:
    """The tensors that values stand for; None where one stands for something else, or is not of real numbers."""
    tensors = [content.tensor(value) for value in values]
    real = [tensor for tensor in tensors if tensor is not None and tensor.dtype.is_floating_point]
    return real if len(real) == len(tensors) else None


def _model(
    size: int, state: dict[str, torch.Tensor], dataset: str, recipe: TrainConfig
) -> tuple[BlackoutModel, TrainConfig]:
    """The model that fits the state dict, with fresh weights, and the configuration of a training that makes it.

    size: bytes of the file.
    """
    try:
        arguments = {**architecture_of(state), "dropout": recipe.dropout}
        with torch.device("meta"):
            network: torch.nn.Module = NCSNpp(**arguments)
    except ValueError as error:
        raise ValueError(f"model: {error}") from None
    if wrong := misfits(network, state):
        raise ValueError(f"model: must fit the network that its names tell, got {wrong}")
    if (needed := bytes_of(network)) > size:
        raise ValueError(f"model: must be in the file, of {size} bytes, got {needed} bytes of weights")
    channels, side, _ = SHAPES[dataset]
    levels = len(arguments["channel_mult"])
    if arguments["in_channels"] != channels or side % 2 ** (levels - 1):
        got = f"{arguments['in_channels']} channels and {levels} levels"
        raise ValueError(f"model: must be for the {channels}x{side}x{side} of {dataset}, got {got}")
    steps = arguments["sigmas"] or recipe.schedule_steps
    config = replace(recipe, schedule_steps=steps)
    schedule = Schedule.logit(steps, config.t_end)
    how: dict[str, Any] = {
        "max_count": MAX_COUNTS[dataset],
        "input": config.input,
        "parametrization": config.parametrization,
    }
    return BlackoutModel(NCSNpp(**arguments), schedule, **how), config
