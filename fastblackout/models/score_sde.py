"""Weights trained by score_sde, or by the authors' Blackout Diffusion code on top of it."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ..typing import Weights

_PREFIX = "all_modules."


@torch.no_grad()
def load_score_sde(network: nn.Module, checkpoint: Mapping[str, Any], weights: "Weights" = "ema") -> None:
    """Load a checkpoint of score_sde into an `NCSNpp` of the same architecture ("cifar10", "celeba64" or "mnist").

    Parameters
    ----------
    network : torch.nn.Module
        The network, whose weights are replaced.
    checkpoint : mapping
        What `torch.load` gives: {"model": state dict, "ema": {"shadow_params": [...]}, ...}. The keys of the state dict
        may have DataParallel's prefix "module.".
    weights : {"ema", "network"}, default "ema"
        "ema" is what score_sde samples with; its parameters come in order.

    Raises
    ------
    ValueError
        If part of the checkpoint is missing, or a name or shape does not fit. The network is then as it was.
    """
    if weights not in ("ema", "network"):
        raise ValueError(f"load_score_sde: weights: must be 'ema' or 'network', got {weights!r}")
    needed = {"model", "ema"} if weights == "ema" else {"model"}
    if not needed <= set(checkpoint):
        raise ValueError(f"load_score_sde: checkpoint: must have the keys {sorted(needed)}, got {sorted(checkpoint)}")
    state = plain_names(checkpoint["model"])
    if not hasattr(network, "sigmas"):
        state.pop("sigmas", None)
    if wrong := misfits(network, state):
        raise ValueError(f"load_score_sde: checkpoint: must fit the network, got {wrong}")
    parameters = dict(network.named_parameters())
    if weights == "ema":
        shadow = checkpoint["ema"]["shadow_params"]
        if wrong := misfits_in_order(parameters, shadow):
            raise ValueError(f"load_score_sde: checkpoint: ema must match the parameters, got {wrong}")
        state |= dict(zip(parameters, shadow, strict=True))
    network.load_state_dict(state)


def plain_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict without DataParallel's prefix."""
    return {name.removeprefix("module."): value for name, value in state.items()}


def misfits(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Which entries of a state dict are missing, unexpected or of another shape than the network's; "" if none is."""
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    wrong = [f"no {name}" for name in wanted.keys() - state.keys()]
    wrong += [f"the unexpected {name}" for name in state.keys() - wanted.keys()]
    for name in wanted.keys() & state.keys():
        if tuple(state[name].shape) != wanted[name]:
            wrong.append(f"{name} of shape {tuple(state[name].shape)} in place of {wanted[name]}")
    return _first(sorted(wrong))


def misfits_in_order(parameters: Mapping[str, Tensor], shadow: list[Tensor]) -> str:
    """The same for averages that come in the order of the parameters, without names."""
    if len(shadow) != len(parameters):
        return f"{len(shadow)} in place of {len(parameters)}"
    pairs = zip(parameters.items(), shadow, strict=True)
    return _first(
        [
            f"shape {tuple(average.shape)} in place of {tuple(parameter.shape)} for {name}"
            for (name, parameter), average in pairs
            if average.shape != parameter.shape
        ]
    )


def _first(wrong: list[str]) -> str:
    return ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def architecture_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of the `NCSNpp` that a state dict (names without "module.") is of, read from names and shapes.

    Dropout, which leaves no trace in weights, is not among them. Raises ValueError where it is not the paper's kind of
    NCSN++ (positional embedding, BigGAN blocks, a residual input pyramid with FIR filters, no output pyramid), or a
    module is missing; whether all else fits, `misfits` says.
    """
    modules: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, value in state.items():
        number, _, rest = name.removeprefix(_PREFIX).partition(".")
        if name.startswith(_PREFIX) and number.isdecimal():
            modules.setdefault(int(number), {})[rest] = tuple(value.shape)
        elif name != "sigmas":
            raise ValueError(f"must hold an NCSN++ (all_modules.N...), got {name}")
    missing = next(n for n in range(len(modules) + 1) if n not in modules)
    if missing <= max(modules, default=0):
        raise ValueError(f"must hold every module of an NCSN++, got no {_PREFIX}{missing}")
    kinds = [_kind(modules[n]) for n in range(len(modules))]
    if kinds[0] == "fourier":
        raise ValueError("must be an NCSN++ with the paper's positional embedding of the time, got a Fourier embedding")
    if kinds[:3] != ["dense", "dense", "conv"] or kinds[-2:] != ["norm", "conv"] or "other" in kinds:
        wrong = f"{_PREFIX}{kinds.index('other')}" if "other" in kinds else f"{len(kinds)} modules of another order"
        raise ValueError(f"must be the paper's kind of NCSN++, whose modules have another form, got {wrong}")
    downs = [n for n, kind in enumerate(kinds) if kind == "pyramid"]
    starts = [3, *(n + 1 for n in downs)]
    blocks = kinds[3 : downs[0]].count("block") - 1 if downs else (kinds.count("block") - 3) // 2
    if any(kinds[start] != "block" for start in starts) or blocks < 1:
        raise ValueError("must be the paper's kind of NCSN++, with residual blocks at every level, got others")
    channels = modules[0].get("weight", (0, 0))[1]
    widths = [modules[start].get("Conv_0.weight", (0,))[0] for start in starts]
    if channels < 1 or any(width < 1 or width % channels for width in widths):
        raise ValueError(f"must have levels of whole multiples of {channels} channels, got {widths}")
    return {
        "in_channels": modules[2].get("weight", (0, 0))[1],
        "channels": channels,
        "channel_mult": [width // channels for width in widths],
        "blocks": blocks,
        "attention_levels": [level for level, start in enumerate(starts) if kinds[start + 1] == "attention"],
        "sigmas": state["sigmas"].numel() if "sigmas" in state else None,
    }


def _kind(shapes: Mapping[str, tuple[int, ...]]) -> str:
    names = {name.partition(".")[0] for name in shapes}
    for sign, kind in (("NIN_0", "attention"), ("Conv2d_0", "pyramid"), ("Conv_0", "block"), ("W", "fourier")):
        if sign in names:
            return kind if kind != "block" or "Dense_0" in names else "other"
    return {1: "norm", 2: "dense", 4: "conv"}.get(len(shapes.get("weight", ())), "other")


def bytes_of(network: nn.Module) -> int:
    """Memory that the weights take; of a network on the meta device, would take."""
    return sum(math.prod(value.shape) * value.element_size() for value in network.state_dict().values())
