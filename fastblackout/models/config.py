"""A JSON-able description of a network, enough to build it again from a checkpoint."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

_BUILDERS: dict[str, Callable[..., nn.Module]] = {}


def register_network(name: str, builder: Callable[..., nn.Module]) -> None:
    """Let `NetworkConfig(name, kwargs)` build `builder(**kwargs)`; how a network of one's own enters checkpoints.

    The network should carry its `NetworkConfig` as attribute `config`. Raises ValueError if the name is taken.
    """
    if _BUILDERS.get(name, builder) is not builder:
        raise ValueError(f"register_network: name: must be new, got {name!r}")
    _BUILDERS[name] = builder


@dataclass(frozen=True)
class NetworkConfig:
    """`name` of a network class or preset ("ncsnpp", "mlp", "cifar10", "celeba64", "mnist", "small") and its arguments.

    A network built from a preset describes itself by its class and full arguments, so that a later change of the
    preset does not change what a checkpoint means.
    """

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """The network with fresh weights. Raises ValueError for an unknown name or argument."""
        if self.name not in _BUILDERS:
            raise ValueError(f"NetworkConfig: name: must be one of {sorted(_BUILDERS)}, got {self.name!r}")
        try:
            return _BUILDERS[self.name](**self.kwargs)
        except TypeError as error:
            rule = f"must fit {self.name!r} ({error})"
            raise ValueError(f"NetworkConfig: kwargs: {rule}, got {dict(self.kwargs)}") from error

    def to_dict(self) -> dict[str, Any]:
        """{"name": ..., "kwargs": {...}}, ready for JSON."""
        return {"name": self.name, "kwargs": dict(self.kwargs)}

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "NetworkConfig":
        """The inverse of `to_dict`. Raises ValueError on a missing or an unknown key."""
        check_keys("NetworkConfig", config, {"name", "kwargs"})
        return cls(config["name"], dict(config["kwargs"]))


def check_keys(op: str, config: Mapping[str, Any], expected: set[str]) -> None:
    """Raise ValueError unless the keys of `config` are exactly `expected`."""
    if set(config) != expected:
        raise ValueError(f"{op}: config: must have exactly the keys {sorted(expected)}, got {sorted(config)}")
