"""A JSON-able description of a network, enough to build it again from a checkpoint."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

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
