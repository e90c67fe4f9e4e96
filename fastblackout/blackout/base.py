"""What models of this package share: a network asked with times, labels and noise, and saved to a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..ground.json_files import MODEL_FORMAT
from ..ground.values import is_integer
from ..heads import HEADS, head_named
from ..models.config import NetworkConfig
from ..models.interface import classes_of
from ..ops import normal
from ..schedule.indices import as_index
from . import saved

if TYPE_CHECKING:
    from ..heads.head import Head
    from ..philox import Philox


_MEANING = "blackout.of."


class NetworkModel(nn.Module):
    """A network and what it is asked with. A subclass sets what is declared here, and describes its own part."""

    op: ClassVar[str] = "BlackoutModel"  # begins the texts of errors
    file_format: ClassVar[str] = MODEL_FORMAT

    network: nn.Module
    head_object: Head
    input: str
    max_count: int
    bounded: bool
    noise_channels: int

    if TYPE_CHECKING:  # what a subclass has

        def _settings(self) -> dict[str, Any]:
            """What describes the model beside its network, ready for JSON."""

        @classmethod
        def _of_settings(cls, op: str, config: Mapping[str, Any], network: nn.Module | None) -> Self:
            """The model that a config describes."""

    def to_config(self) -> dict[str, Any]:
        """All but the weights, ready for JSON.

        Returns
        -------
        dict
            What `from_config` takes.

        Notes
        -----
        A network whose attribute `config` is no `NetworkConfig` is described by None.
        """
        config = getattr(self.network, "config", None)
        network = config.to_dict() if isinstance(config, NetworkConfig) else None
        return {"network": network, **self._settings()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], network: nn.Module | None = None) -> Self:
        """The model that `to_config` described, with fresh weights.

        Parameters
        ----------
        config : mapping
            What `to_config` returned.
        network : torch.nn.Module, optional
            The network, where `config` describes none, or in its place.

        Returns
        -------
        BlackoutModel or CountBridge
            The model.

        Raises
        ------
        ValueError
            If a key is missing or unknown, or there is no network.
        """
        return cls._of_settings(f"{cls.op}.from_config", config, network)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write the model to a folder: config.json and model.safetensors.

        Parameters
        ----------
        folder : str or os.PathLike
            The folder, which is made where there is none. What it holds of an earlier model is replaced.

        Returns
        -------
        pathlib.Path
            The folder.

        Raises
        ------
        OSError
            If it cannot be written.

        Notes
        -----
        A network of the package, and one that names itself by `NetworkConfig`, is described in config.json too. Another
        one has to be given to `from_pretrained`. The files hold nothing that is run when they are read.

        Examples
        --------
        Write the moving average of a training, and read it anew::

            average.model.save_pretrained("my-model")
            model = fb.BlackoutModel.from_pretrained("my-model")
        """
        if not isinstance(folder, (str, os.PathLike)):
            raise TypeError(f"save_pretrained: folder: must be a path, got {type(folder).__name__}")
        return saved.write(Path(folder), self.to_config(), self.weights(), self.file_format)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], network: nn.Module | None = None) -> Self:
        """Read a model that `save_pretrained` wrote.

        Parameters
        ----------
        folder : str or os.PathLike
            The folder; or "owner/name" of a repository of the Hugging Face Hub, where there is no such folder and
            huggingface_hub is installed.
        network : torch.nn.Module, optional
            The network, whose weights are then filled in. It is needed where config.json describes none.

        Returns
        -------
        BlackoutModel or CountBridge
            The model, in eval mode, on the CPU or on the device of `network`.

        Raises
        ------
        ValueError
            If a file is missing, damaged or foreign, or does not fit the network.
        """
        op = "from_pretrained"
        if not isinstance(folder, (str, os.PathLike)):
            raise TypeError(f"{op}: folder: must be a path, got {type(folder).__name__}")
        if network is not None and not isinstance(network, nn.Module):
            raise TypeError(f"{op}: network: must be an nn.Module, got {type(network).__name__}")
        config, tensors = saved.read(folder, kind=cls.file_format)
        try:
            if network is None:
                saved.check_size(config, tensors)
            model = cls.from_config(config, network)
            model.load_weights(tensors)
        except saved.DAMAGE as error:
            raise saved.unfit(folder, error) from None
        return model.eval()

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Write the model to a repository of the Hugging Face Hub, which is made where there is none.

        Parameters
        ----------
        repo_id : str
            "owner/name".
        **options : object
            Of `huggingface_hub.create_repo`: private, token and more.

        Returns
        -------
        str
            The address of the repository.

        Raises
        ------
        ValueError
            If huggingface_hub is not installed.
        """
        return saved.push(repo_id, self.save_pretrained, options)

    def draw_noise(self, like: Tensor, rng: Philox | Tensor) -> Tensor:
        """Standard normal noise for the implicit head, beside images.

        Parameters
        ----------
        like : torch.Tensor
            Images (B, C, ...).
        rng : Philox or torch.Tensor
            The key. Equal keys give equal noise. It depends on the key and on a sample's place in the whole batch, not
            on how the batch is split.

        Returns
        -------
        torch.Tensor
            float32 (B, noise_channels, ...).
        """
        zeros = like.new_zeros((len(like), self.noise_channels, *like.shape[2:]), dtype=torch.float32)
        return normal(zeros, 1.0, rng=rng)

    def weights(self) -> dict[str, Tensor]:
        """What `load_weights` takes: the network's tensors, and what the model has found in data.

        Returns
        -------
        dict of str to torch.Tensor
            The tensors by name.
        """
        # The name of an empty tensor says what the others mean: heads may have equally many outputs.
        return {**inside(self.network).state_dict(), **self._found(), self._meaning(): torch.zeros(0)}

    def load_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Fill the network, and what the model has found in data.

        Parameters
        ----------
        tensors : mapping of str to torch.Tensor
            What `weights` returned.

        Raises
        ------
        ValueError
            If they are of a model with another head or input.
        RuntimeError
            If they do not fit.
        """
        meaning, own = self._meaning(), dict(tensors)
        for name in [name for name in own if name.startswith(_MEANING)]:
            if name != meaning:
                rule, got = (each.removeprefix(_MEANING) for each in (meaning, name))
                raise ValueError(f"{self.op}.load_weights: tensors: must be of a model with {rule}, got {got}")
            del own[name]
        self._fill(own)

    def _meaning(self) -> str:
        return f"{_MEANING}head {self.head_object.name}, input {self.input}"

    def _found(self) -> dict[str, Tensor]:
        """The tensors beside the network's own."""
        return {}

    def _fill(self, tensors: Mapping[str, Tensor]) -> None:
        inside(self.network).load_state_dict(tensors)

    def _noise_channels(self, noise_channels: Any) -> int:
        """The channels of noise beside the input, as the head takes them."""
        noisy, name = self.head_object.takes_noise, self.head_object.name
        if not (is_integer(noise_channels) and (noise_channels >= 1 if noisy else noise_channels == 0)):
            rule = "must be an integer of at least 1" if noisy else "must be 0"
            raise ValueError(f"{self.op}: noise_channels: {rule} for head {name!r}, got {noise_channels!r}")
        return int(noise_channels)

    @staticmethod
    def _network_of(op: str, config: Mapping[str, Any], network: nn.Module | None) -> nn.Module:
        """The network that is given, or the one that is described."""
        if network is not None:
            return network
        if config["network"] is None:
            raise ValueError(f"{op}: network: must be given, as config describes none, got None")
        return NetworkConfig.from_dict(config["network"]).build()

    def _times(self, model_input: Any, k: Any, steps: int) -> Tensor:
        """The times k (B,) of an input, in 1..steps."""
        if not isinstance(model_input, Tensor) or model_input.ndim < 2:
            got = f"shape {tuple(model_input.shape)}" if isinstance(model_input, Tensor) else type(model_input).__name__
            raise TypeError(f"{self.op}: model_input: must be a tensor (B, C, ...), got {got}")
        if not torch.compiler.is_compiling():
            k = as_index(self.op, "k", k, 1, steps)
        k = torch.as_tensor(k, device=model_input.device)
        batch = model_input.shape[0]
        if k.shape not in ((), (batch,)):
            raise ValueError(f"{self.op}: k: must be an int or have shape ({batch},), got {tuple(k.shape)}")
        return k.expand(batch)

    def _answer(
        self, given: Tensor, k: Tensor, labels: Tensor | None, noise: Tensor | None, conditions: Tensor | None
    ) -> Tensor:
        """The network's outputs, of a shape that suits the head."""
        shape = given.shape
        if self.noise_channels or noise is not None:
            wanted = (shape[0], self.noise_channels, *shape[2:])
            if noise is None or noise.shape != wanted or not self.noise_channels:
                got = "None" if noise is None else str(tuple(noise.shape))
                name = self.head_object.name
                rule = f"must have shape {wanted}" if self.noise_channels else f"must be None for head {name!r}"
                raise ValueError(f"{self.op}: noise: {rule}, got {got}")
            given = torch.cat((given, noise.to(given.dtype)), dim=1)
        if labels is None and (classes := classes_of(self)):
            labels = torch.full((shape[0],), classes, device=given.device)  # no class
        labels = None if labels is None else labels.long()
        more = (labels, conditions) if conditions is not None else () if labels is None else (labels,)
        result = self.network(given, k - 1, *more)
        return outputs_of(self.op, "network's output", result, self, shape)


def inside(network: nn.Module) -> nn.Module:
    """The network that torch.compile was given, so that the names of its weights are its own."""
    within = getattr(network, "_orig_mod", network)
    return within if isinstance(within, nn.Module) else network


def outputs_of(op: str, argument: str, given: Any, model: Any, shape: Sequence[int]) -> Tensor:
    """What a network returned, unwrapped and contiguous. ValueError unless its shape suits the model's head and counts
    (B, C, ...) of this shape; it names the heads that it would suit.

    model: a `NetworkModel`."""
    outputs = given if isinstance(given, Tensor) else getattr(given, "sample", given)
    if not isinstance(outputs, Tensor):
        rule = "must be a tensor, or an object that has one as attribute sample"
        raise TypeError(f"{op}: {argument}: {rule}, got {type(given).__name__}")
    allowed, found = _shapes(model.head_object, model.max_count, shape), tuple(outputs.shape)
    if found not in allowed:
        rule = f"must have shape {' or '.join(map(str, allowed))} for head {model.head_object.name!r}"
        others = " or ".join(repr(name) for name in HEADS if found in _of_other(name, model, shape))
        raise ValueError(f"{op}: {argument}: {rule}, got {found}" + (f", which suits head={others}" if others else ""))
    return outputs.contiguous()  # a compiled network may give them with the channels last


def _of_other(name: str, model: Any, shape: Sequence[int]) -> list[tuple[int, ...]]:
    """The shapes for another head, where the model could have it as it is."""
    head = head_named(name)
    able = model.max_count <= head.largest_count and (model.bounded or head.unbounded is not None)
    return _shapes(head, model.max_count, shape) if able and not head.takes_noise else []


def _shapes(head: Head, max_count: int, shape: Sequence[int]) -> list[tuple[int, ...]]:
    batch, channels, *rest = shape
    return [(batch, channels * number, *rest) for number in head.numbers_per_count(max_count)]
