"""A JSON-able description of a network, enough to build it again from a checkpoint."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..ground.values import is_integer, shown

BUILT_IN = frozenset({"ncsnpp", "mlp", "cifar10", "celeba64", "mnist", "small"})  # that this package registers itself
_BUILDERS: dict[str, Callable[..., nn.Module]] = {}


def register_network(name: str, builder: Callable[..., nn.Module]) -> None:
    """Let `NetworkConfig(name, kwargs)` build `builder(**kwargs)`.

    This is how a network of one's own enters checkpoints.

    Parameters
    ----------
    name : str
        The name of the network.
    builder : callable
        It returns a network, which should carry its `NetworkConfig` as attribute `config`.

    Raises
    ------
    ValueError
        If the name is taken.
    """
    if _BUILDERS.get(name, builder) is not builder:
        raise ValueError(f"register_network: name: must be new, got {name!r}")
    _BUILDERS[name] = builder


@dataclass(frozen=True)
class NetworkConfig:
    """The name of a network and its arguments: enough to build it again from a checkpoint.

    Parameters
    ----------
    name : str
        A network class or preset: "ncsnpp", "mlp", "cifar10", "celeba64", "mnist", "small", or a registered name.
    kwargs : mapping of str to object
        The arguments of the class or preset.

    Notes
    -----
    A network that was built from a preset describes itself by its class and full arguments. So a later change of the
    preset does not change what a checkpoint means.
    """

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """Build the network with fresh weights.

        Returns
        -------
        torch.nn.Module
            The network.

        Raises
        ------
        ValueError
            If the name or an argument is unknown.
        """
        if self.name not in _BUILDERS:
            raise ValueError(f"NetworkConfig: name: must be one of {sorted(_BUILDERS)}, got {self.name!r}")
        try:
            return _BUILDERS[self.name](**self.kwargs)
        except TypeError as error:
            rule = f"must fit {self.name!r} ({error})"
            raise ValueError(f"NetworkConfig: kwargs: {rule}, got {dict(self.kwargs)}") from error

    def to_dict(self) -> dict[str, Any]:
        """The description, ready for JSON.

        Returns
        -------
        dict
            {"name": ..., "kwargs": {...}}.
        """
        return {"name": self.name, "kwargs": dict(self.kwargs)}

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "NetworkConfig":
        """The inverse of `to_dict`.

        Parameters
        ----------
        config : mapping
            What `to_dict` returned.

        Returns
        -------
        NetworkConfig
            The description.

        Raises
        ------
        ValueError
            If a key is missing or unknown.
        """
        check_keys("NetworkConfig", config, {"name", "kwargs"})
        return cls(config["name"], dict(config["kwargs"]))


def check_keys(op: str, config: Mapping[str, Any], expected: set[str]) -> None:
    """Raise ValueError unless the keys of `config` are exactly `expected`."""
    if set(config) != expected:
        raise ValueError(f"{op}: config: must have exactly the keys {sorted(expected)}, got {sorted(config)}")


def checked_shape(op: str, shape: Any, least: int) -> tuple[int, int, int]:
    """The shape of an image as integers. least: what H and W must be at least."""
    sizes = tuple(shape) if isinstance(shape, Iterable) and not isinstance(shape, str) else ()
    rule = f"must be one argument (C, H, W) of integers, C at least 1, H and W at least {least}"
    if not sizes or not all(map(is_integer, sizes)):
        raise TypeError(f"{op}: shape: {rule}, got {shown(shape)}")
    if len(sizes) != 3 or min(sizes) < 1 or min(sizes[1:]) < least:
        raise ValueError(f"{op}: shape: {rule}, got {sizes}")
    return int(sizes[0]), int(sizes[1]), int(sizes[2])


def bytes_of_weights(network: NetworkConfig) -> int:
    """How many bytes the weights of a network of this package have; 0 for a registered one.

    The network is built on torch's meta device, where tensors have no memory. So a damaged description cannot make a
    program take more than the weights need. A network of the user's own may not be able to live there.
    """
    if network.name not in BUILT_IN:
        return 0
    with torch.device("meta"):
        return sum(value.nbytes for value in network.build().state_dict().values())
