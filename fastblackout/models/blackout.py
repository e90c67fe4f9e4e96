"""The wrapper that makes a network a Blackout Diffusion model: it owns max_count, centre, scale and gain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, get_args, overload

import numpy as np
import torch
from torch import Tensor, nn

from ..ground.persistent import Table
from ..heads import HEADS, head_named
from ..ops import normal
from ..schedule.indices import as_index, is_plain
from ..schedule.schedule import Schedule
from ..typing import Input, Parametrization
from .config import NetworkConfig, check_keys
from .tuned import Tuned, to_json, tuned_from

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..philox import Philox
    from ..typing import HeadName, Scalar


INPUTS = get_args(Input)
PARAMETRIZATIONS = get_args(Parametrization)
# In counts^2. Near p = 0 almost all counts are 0 and the variance vanishes; the floor keeps one count at 10 or less.
VARIANCE_FLOOR = 0.01
_LEAST_Q = 1e-300  # at k = 0 no birth remains, and the logarithm of 0 is none


class BlackoutModel(nn.Module):
    """A network's outputs as births: its input, its head, and the numbers that go with them at each time.

    ::

        network input: (x_t - center(k)) * scale(k), with the time index k - 1 in 0..steps - 1

    Parameters
    ----------
    network : torch.nn.Module
        It is called as network(input, time) or network(input, time, labels). The input is (B, C + noise_channels, ...),
        the output (B, n C, ...): n numbers of each count, one after another along the channels.
    schedule : Schedule
        The observation times.
    max_count : int, default 255
        The largest count, at least 1, and at most what the head can take.
    input : {"reference", "unit", "normalized"}, default "reference"
        How counts are centred and scaled; see the notes.
    parametrization : {"likelihood", "paper"}, default "likelihood"
        The gain of head "mean": (1 - p_k) * max_count / 4, so that y vanishes with the births as p_k -> 1, or 1.
    data_mean : float, optional
        The mean of all training counts, which "normalized" needs.
    data_std : float, optional
        The standard deviation of all training counts, which "normalized" needs.
    head : str, default "mean"
        What the outputs say of the births: "mean", "implicit", "beta-binomial", "bayes-logistic", "negative-binomial",
        "categorical" or "bayes-categorical". Each head is described by its class in `fastblackout.heads` and in
        docs/heads.md. The attribute `head_object` is an object of that class.
    noise_channels : int, default 0
        The channels of noise beside the input: at least 1 for head "implicit", 0 for the others.

    Attributes
    ----------
    tuned : dict of int to Tuned
        How the model is best sampled in few steps, by their number. It is {} at first. The end of its training or
        `fb.tune` fills it, and `fb.sample` takes it where it is given no grid.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    The inputs are:

    - "reference": centre max_count / 2 * p_k, scale 1. It is Blackout Diffusion's own; inputs reach +-max_count / 2.
    - "unit": the same centre, scale 2 / max_count.
    - "normalized": centre data_mean * p_k, scale 1 / sqrt(max(v, 0.01)). v = p_k^2 data_std^2 + p_k (1 - p_k) data_mean
      is the variance of x_t over the data and the thinning.

    References
    ----------
    Santos et al. 2023, arXiv 2305.11089.

    Examples
    --------
    >>> schedule = fb.Schedule.cosine(100)
    >>> model = fb.models.BlackoutModel(fb.models.small((1, 8, 8)), schedule, max_count=16, input="unit")
    >>> model.center(0), model.scale(0)
    (8.0, 0.125)
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        max_count: int = 255,
        input: Input = "reference",
        parametrization: Parametrization = "likelihood",
        data_mean: float | None = None,
        data_std: float | None = None,
        head: HeadName = "mean",
        noise_channels: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"BlackoutModel: network: must be an nn.Module, got {type(network).__name__}")
        if not isinstance(schedule, Schedule):
            raise TypeError(f"BlackoutModel: schedule: must be a Schedule, got {type(schedule).__name__}")
        if isinstance(max_count, bool) or not isinstance(max_count, int) or max_count < 1:
            raise ValueError(f"BlackoutModel: max_count: must be an integer of at least 1, got {max_count!r}")
        if input not in INPUTS:
            raise ValueError(f"BlackoutModel: input: must be one of {INPUTS}, got {input!r}")
        if parametrization not in PARAMETRIZATIONS:
            rule = f"must be one of {PARAMETRIZATIONS}"
            raise ValueError(f"BlackoutModel: parametrization: {rule}, got {parametrization!r}")
        if head not in (heads := tuple(HEADS)):
            raise ValueError(f"BlackoutModel: head: must be one of {heads}, got {head!r}")
        self.head_object = head_named(head)
        most, noisy = self.head_object.largest_count, self.head_object.takes_noise
        if max_count > most:
            raise ValueError(f"BlackoutModel: max_count: must be at most {most} for head {head!r}, got {max_count}")
        whole = isinstance(noise_channels, int) and not isinstance(noise_channels, bool)
        if not (whole and (noise_channels >= 1 if noisy else noise_channels == 0)):
            rule = "must be an integer of at least 1" if noisy else "must be 0"
            raise ValueError(f"BlackoutModel: noise_channels: {rule} for head {head!r}, got {noise_channels!r}")
        for name, value in (("data_mean", data_mean), ("data_std", data_std)):
            if value is None and input == "normalized":
                raise ValueError(f"BlackoutModel: {name}: must be given for input 'normalized', got None")
            if value is not None and not (math.isfinite(value) and 0 <= value <= max_count):
                raise ValueError(f"BlackoutModel: {name}: must be in 0..max_count = {max_count}, got {value!r}")
        self.network, self.schedule, self.max_count = network, schedule, max_count
        self.input, self.parametrization = input, parametrization
        self.head, self.noise_channels = head, noise_channels
        self.tuned: dict[int, Tuned] = {}
        self.data_mean = None if data_mean is None else float(data_mean)
        self.data_std = None if data_std is None else float(data_std)
        arrays = self._arrays()
        self._tables = {name: Table(partial(arrays.__getitem__, name)) for name in arrays}

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

    def forward(
        self, model_input: Tensor, k: int | Tensor, labels: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """The network's outputs at steps k.

        Parameters
        ----------
        model_input : torch.Tensor
            The centred and scaled counts (B, C, ...).
        k : int or torch.Tensor
            The step, in 1..steps: an int for all samples, or integers (B,).
        labels : torch.Tensor, optional
            Integers (B,) for a class-conditional network.
        noise : torch.Tensor, optional
            What `draw_noise` returned. The implicit head needs it.

        Returns
        -------
        torch.Tensor
            The outputs (B, n C, ...).

        Raises
        ------
        TypeError
            If `k` is not an integer.
        ValueError
            If a shape or range is wrong. Ranges of values are checked on the CPU only.
        """
        if not torch.compiler.is_compiling():
            k = as_index("BlackoutModel", "k", k, 1, self.schedule.steps)
        k = torch.as_tensor(k, device=model_input.device)
        batch = model_input.shape[0]
        if k.shape not in ((), (batch,)):
            raise ValueError(f"BlackoutModel: k: must be an int or have shape ({batch},), got {tuple(k.shape)}")
        time = (k - 1).expand(batch)
        given = model_input
        if self.noise_channels or noise is not None:
            wanted = (batch, self.noise_channels, *model_input.shape[2:])
            if noise is None or noise.shape != wanted or not self.noise_channels:
                got = "None" if noise is None else str(tuple(noise.shape))
                rule = f"must have shape {wanted}" if self.noise_channels else f"must be None for head {self.head!r}"
                raise ValueError(f"BlackoutModel: noise: {rule}, got {got}")
            given = torch.cat((model_input, noise.to(model_input.dtype)), dim=1)
        logits = self.network(given, time) if labels is None else self.network(given, time, labels)
        logits = logits.contiguous()  # a compiled network may give them with the channels last
        each, channels, *rest = model_input.shape
        numbers = self.head_object.numbers_per_count(self.max_count)
        allowed = [(each, channels * number, *rest) for number in numbers]
        if tuple(logits.shape) not in allowed:
            shapes = " or ".join(map(str, allowed))
            of_input = "logits of the input's shape" if numbers == (1,) else f"shape {shapes}"
            rule = f"{of_input} for head {self.head!r}"
            got = f"{tuple(logits.shape)} for an input of shape {tuple(model_input.shape)}"
            raise ValueError(f"BlackoutModel: network: must return {rule}, got {got}")
        return logits

    def to_config(self) -> dict[str, Any]:
        """All but the weights, ready for JSON.

        Returns
        -------
        dict
            What `BlackoutModel.from_config` takes.

        Raises
        ------
        ValueError
            If the network's attribute `config` is not a `NetworkConfig`.
        """
        config = getattr(self.network, "config", None)
        if not isinstance(config, NetworkConfig):
            rule = "must carry a NetworkConfig as attribute `config`"
            raise ValueError(f"BlackoutModel.to_config: network: {rule}, got {type(self.network).__name__}")
        return {
            "network": config.to_dict(),
            "schedule": self.schedule.to_dict(),
            "max_count": self.max_count,
            "input": self.input,
            "parametrization": self.parametrization,
            "data_mean": self.data_mean,
            "data_std": self.data_std,
            # Head "mean" is meant where none is named.
            **({} if self.head == "mean" else {"head": self.head, "noise_channels": self.noise_channels}),
            **({"tuned": to_json(self.tuned)} if self.tuned else {}),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BlackoutModel:
        """The model that `to_config` described, with fresh weights.

        Parameters
        ----------
        config : mapping
            What `to_config` returned.

        Returns
        -------
        BlackoutModel
            The model.

        Raises
        ------
        ValueError
            If a key is missing or unknown.
        """
        names = {"network", "schedule", "max_count", "input", "parametrization", "data_mean", "data_std"}
        names |= {"head", "noise_channels"} & set(config)
        check_keys("BlackoutModel.from_config", config, names | ({"tuned"} & set(config)))
        rest = {name: config[name] for name in names - {"network", "schedule"}}
        network, schedule = NetworkConfig.from_dict(config["network"]).build(), Schedule.from_dict(config["schedule"])
        model = cls(network, schedule, **rest)
        model.tuned = tuned_from(config.get("tuned", {}), schedule)
        return model

    def _arrays(self) -> dict[str, np.ndarray]:
        p, q = self.schedule.p, self.schedule.q
        center = self.max_count / 2 * p
        scale = np.full_like(p, 1.0 if self.input == "reference" else 2.0 / self.max_count)
        if self.input == "normalized":
            assert self.data_mean is not None and self.data_std is not None  # the constructor checks them
            center = self.data_mean * p
            variance = p * p * self.data_std**2 + p * q * self.data_mean
            scale = 1.0 / np.sqrt(np.maximum(variance, VARIANCE_FLOOR))
        gain = q * (self.max_count / 4) if self.parametrization == "likelihood" else np.ones_like(p)
        return {"center": center, "scale": scale, "gain": gain, "offset": np.log(np.maximum(q, _LEAST_Q))}

    @overload
    def center(self, k: Scalar) -> float: ...
    @overload
    def center(self, k: NDArray[Any]) -> NDArray[np.float64]: ...
    @overload
    def center(self, k: Tensor) -> Tensor: ...
    def center(self, k: Any) -> float | NDArray[np.float64] | Tensor:
        """The number that is taken from the input at step k.

        Parameters
        ----------
        k : int or array of int
            The step, in 0..steps.

        Returns
        -------
        float or array
            A float for an int, else float64 like `k` (NumPy or torch).
        """
        number: float | NDArray[np.float64] | Tensor = self._at("center", k)
        return number

    @overload
    def scale(self, k: Scalar) -> float: ...
    @overload
    def scale(self, k: NDArray[Any]) -> NDArray[np.float64]: ...
    @overload
    def scale(self, k: Tensor) -> Tensor: ...
    def scale(self, k: Any) -> float | NDArray[np.float64] | Tensor:
        """The factor of the centred input at step k.

        Parameters
        ----------
        k : int or array of int
            The step, in 0..steps.

        Returns
        -------
        float or array
            A float for an int, else float64 like `k` (NumPy or torch).
        """
        number: float | NDArray[np.float64] | Tensor = self._at("scale", k)
        return number

    @overload
    def gain(self, k: Scalar) -> float: ...
    @overload
    def gain(self, k: NDArray[Any]) -> NDArray[np.float64]: ...
    @overload
    def gain(self, k: Tensor) -> Tensor: ...
    def gain(self, k: Any) -> float | NDArray[np.float64] | Tensor:
        """The factor of softplus(logits) of head "mean" at step k.

        Parameters
        ----------
        k : int or array of int
            The step, in 0..steps.

        Returns
        -------
        float or array
            A float for an int, else float64 like `k` (NumPy or torch).
        """
        number: float | NDArray[np.float64] | Tensor = self._at("gain", k)
        return number

    @overload
    def offset(self, k: Scalar) -> float: ...
    @overload
    def offset(self, k: NDArray[Any]) -> NDArray[np.float64]: ...
    @overload
    def offset(self, k: Tensor) -> Tensor: ...
    def offset(self, k: Any) -> float | NDArray[np.float64] | Tensor:
        """The `offset` of the ops of heads other than "mean" at step k.

        ::

            log(1 - p_k), and log(1e-300) at k = 0, where p is 1

        Parameters
        ----------
        k : int or array of int
            The step, in 0..steps.

        Returns
        -------
        float or array
            A float for an int, else float64 like `k` (NumPy or torch).
        """
        number: float | NDArray[np.float64] | Tensor = self._at("offset", k)
        return number

    def _at(self, name: str, k: Any) -> Any:
        op = f"BlackoutModel.{name}"
        value = self._tables[name].at(op, as_index(op, "k", k, 0, self.schedule.steps))
        return float(value) if is_plain(k) else value
