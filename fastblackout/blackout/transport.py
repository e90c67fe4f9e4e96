"""The model that carries samples of one law of counts into another: a network that knows x_0 by a state on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ..call.keys import resolve_rng
from ..data.dataset import count_dtype
from ..ground.json_files import BRIDGE_FORMAT
from ..ground.values import check_integer, check_name
from ..heads import HEADS, check_head, head_named
from ..heads.head import Noised, Query
from ..models.config import check_keys
from ..models.interface import Wrapped
from ..models.labels import conditions_on, labels_on
from ..sampling.rules.bridge import Bridge
from ..sampling.sampler import evaluating
from ..schedule.indices import as_index
from ..schedule.stratified import indices
from ..typing import BridgeInput
from .base import NetworkModel
from .ends import MOST_STATE, count_bridge, ends_of, slack_of, states_of

if TYPE_CHECKING:
    from ..philox import Philox
    from ..typing import HeadName, Labels

INPUTS = get_args(BridgeInput)
TIMES = 1000  # of t = k / TIMES, k = 1..TIMES
MOST_DRAWS = 8  # that fb.energy_loss takes


class CountBridge(NetworkModel):
    """A network that carries samples of one law of counts, x_1, into another, x_0.

    ::

        training:  x_t = count_bridge(x_0, x_1, t),  loss of the head for x_0 given x_t
        sampling:  from x_1, at each time t > s of n steps:  x_0' ~ the head's law given x_t,
                   x_s = count_bridge(x_0', x_t, s / t)

    Parameters
    ----------
    network : torch.nn.Module
        It is called as network(input, time), network(input, time, labels) or, with conditions, network(input, time,
        labels, conditions), as that of `fb.BlackoutModel`. The input is float32 (B, C + noise_channels, ...), the
        time int64 (B,) in 0..999. The
        output is (B, n C, ...): n numbers of each state, one after another along the channels.
    high : int
        The largest state that x_0 has.
    head : str
        What the outputs say of x_0: "implicit", joint draws of all states, trained by the energy score; or a law of
        each state on its own: "beta-binomial" or "negative-binomial". They are the heads of
        `BlackoutModel` where no particle is left, of the counts x_0 - low.
    low : int, default 0
        The least state that x_0 has, which may be negative.
    noise_channels : int, default 0
        The channels of noise beside the input: at least 1 for head "implicit", 0 for the others.
    slack : float, default 0.0
        How many more births and deaths there are than needed, as in `fb.count_bridge`.
    input : {"unit", "log1p"}, default "unit"
        What the network sees of a state x: (x - (low + high) / 2) / ((high - low) / 2), or sign(x) log(1 + abs(x)).

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range.

    See Also
    --------
    count_bridge : The draw of a state between two states.

    Notes
    -----
    Pairs (x_0, x_1) may belong together, or be drawn from two sets on their own. In both cases the law of the samples
    is the law of x_0, if the network gives the law of x_0 given x_t exactly, whatever the number of steps. What belongs
    together stays together only where the network is told of x_1, by `conditions` in both calls.

    x_1 and the states on the way may be any whole numbers in -2^29..2^29.

    References
    ----------
    Count Bridges, 2026, arXiv 2603.04730.

    Examples
    --------
    >>> network = fb.models.ResidualMLP((2, 1, 1), noise_channels=4)
    >>> bridge = fb.CountBridge(network, 20, "implicit", noise_channels=4)
    >>> x_0, x_1 = torch.randint(20, (2, 8, 2, 1, 1))
    >>> bridge.loss(x_0, x_1, rng=fb.Philox(1)).mean().backward()
    >>> bridge.sample(x_1, steps=5, rng=fb.Philox(2)).shape
    torch.Size([8, 2, 1, 1])
    """

    op: ClassVar[str] = "CountBridge"
    file_format: ClassVar[str] = BRIDGE_FORMAT
    bounded = True

    def __init__(
        self,
        network: nn.Module,
        high: int,
        head: HeadName,
        low: int = 0,
        noise_channels: int = 0,
        slack: float = 0.0,
        input: BridgeInput = "unit",
    ) -> None:
        super().__init__()
        op = self.op
        if not isinstance(network, nn.Module):
            raise TypeError(f"{op}: network: must be an nn.Module, got {type(network).__name__}")
        check_head(op, head, [name for name in HEADS if name != "mean"])  # which gives no law
        check_name(op, "input", input, INPUTS)
        self.network, self.head_object, self.input = network, head_named(head), input
        self.low = check_integer(op, "low", low, -MOST_STATE, MOST_STATE - 1)
        most = min(MOST_STATE, self.low + self.head_object.largest_count)
        self.high = check_integer(op, "high", high, self.low + 1, most)
        self.max_count = self.high - self.low  # of the counts x_0 - low, which the head is of
        self.noise_channels = self._noise_channels(noise_channels)
        self.slack = slack_of(op, slack)

    def loss(
        self,
        x_0: Tensor,
        x_1: Tensor,
        labels: Labels | None = None,
        *,
        conditions: Tensor | None = None,
        rng: Philox | int | None = None,
        generator: torch.Generator | None = None,
        k: Tensor | None = None,
        global_batch: int | None = None,
        draws: int = 4,
    ) -> Tensor:
        """The training loss of pairs of states: the network is judged on x_0 by a state between the two.

        Parameters
        ----------
        x_0 : torch.Tensor
            Whole numbers (B, C, ...) in low..high, on the model's device.
        x_1 : torch.Tensor
            Whole numbers of the same shape.
        labels : int, sequence of int, array or torch.Tensor, optional
            One integer for all samples, or integers (B,) for a class-conditional network.
        conditions : torch.Tensor, optional
            Floats (B, D), which the network gets after the labels.
        rng : Philox or int, optional
            The key of times, states and noise, or the seed of one.
        generator : torch.Generator, optional
            Where the seed comes from if there is no key.
        k : torch.Tensor, optional
            The times t = k / 1000, integers (B,) in 1..1000. They are drawn by default, spread evenly over the batch.
        global_batch : int, optional
            The samples of all processes together, as in `fb.loss`.
        draws : int, default 4
            How many joint draws head "implicit" makes of each x_0, in 2..8.

        Returns
        -------
        torch.Tensor
            float32 (B,): of head "implicit" the energy score, in units of a quarter of high - low times the root of
            the number of states in a sample. Of a law, nats a state.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If an argument is out of range, or shapes differ.

        Notes
        -----
        Equal keys give equal losses however the batch is split. Take another `call` for each step:
        `bridge.loss(x_0, x_1, rng=fb.Philox(seed, call=step))`.

        Values of tensors on a GPU are not looked at.
        """
        op = f"{self.op}.loss"
        x_0, x_1 = ends_of(op, x_0, x_1)
        states_of(op, "x_0", x_0, self.low, self.high)
        labels, conditions = self._known(op, "x_0", x_0, labels, conditions)
        check_integer(op, "draws", draws, 2, MOST_DRAWS)
        key = resolve_rng(rng, generator, op)
        if k is None:
            k = torch.as_tensor(indices(op, TIMES, len(x_0), key, None, global_batch, x_0))
        elif not isinstance(k, Tensor) or k.shape != x_0.shape[:1]:
            got = str(tuple(k.shape)) if isinstance(k, Tensor) else type(k).__name__
            raise TypeError(f"{op}: k: must be a tensor of integers ({len(x_0)},), got {got}")
        k = as_index(op, "k", k, 1, TIMES)
        x_t = count_bridge(x_0, x_1, k.double() / TIMES, slack=self.slack, rng=key)
        # Of counts x_0 - low of which no particle is left, all are births, by the head's law at survival 0.
        weight = torch.ones(len(x_t), device=x_t.device)
        noised = Noised(self._none(x_t), x_0 - self.low, self._input(x_t), k, labels, weight, 0 * weight, key, draws)
        one = np.ones(1)
        unit = self.head_object.unit(one, one, x_0[0].numel(), self.max_count)
        return self.head_object.loss(self._told(conditions), noised) * unit

    @torch.inference_mode()
    def sample(
        self,
        x_1: Tensor,
        steps: int = 10,
        rng: Philox | int | None = None,
        labels: Labels | None = None,
        *,
        conditions: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Carry samples x_1 of the one law into samples of the other.

        Parameters
        ----------
        x_1 : torch.Tensor
            Whole numbers (B, C, ...).
        steps : int, default 10
            How many steps, in 1..1000.
        rng : Philox or int, optional
            The key, or the seed of one. The n-th step (n = 0 first) draws with rng.at(call=n).
        labels : int, sequence of int, array or torch.Tensor, optional
            One integer for all samples, or integers (B,) for a class-conditional network.
        conditions : torch.Tensor, optional
            Floats (B, D), as in `loss`.
        generator : torch.Generator, optional
            Where the seed comes from if there is no key.

        Returns
        -------
        torch.Tensor
            States in low..high, int32, in the shape of `x_1`, on the model's device.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If an argument is out of range.

        Notes
        -----
        Parts of a batch with first_sample = 0, 100, ... give what one batch would, wherever the network's outputs do
        not depend on the batch.

        Values of tensors on a GPU are not looked at.
        """
        op = f"{self.op}.sample"
        check_integer(op, "steps", steps, 1, TIMES)
        x = states_of(op, "x_1", x_1)
        x = x.to(next((each.device for each in self.parameters()), x.device))
        labels, conditions = self._known(op, "x_1", x, labels, conditions)
        key, told = resolve_rng(rng, generator, op), self._told(conditions)
        times = [round(TIMES * n / steps) for n in range(steps, -1, -1)]
        none = self._none(x)
        with evaluating(self):
            for n, (k_t, k_s) in enumerate(zip(times[:-1], times[1:], strict=True)):
                now = key.at(call=n)
                query = Query(told, self._input(x), torch.full((len(x),), k_t, device=x.device), labels, None)
                drawn = self.head_object.births(query, none, 0.0, now)
                how = {"rng": now, "max_count": self.max_count, "outputs": "x_s"}
                x_0 = Bridge().step(none, (1.0, 0.0), None, **how, **drawn).x_s.int() + self.low
                x = count_bridge(x_0, x, k_s / k_t, slack=self.slack * k_t / TIMES, rng=now) if k_s else x_0
        return x

    def forward(
        self,
        model_input: Tensor,
        k: int | Tensor,
        labels: Tensor | None = None,
        noise: Tensor | None = None,
        conditions: Tensor | None = None,
    ) -> Tensor:
        """The network's outputs at times t = k / 1000.

        Parameters
        ----------
        model_input : torch.Tensor
            The states (B, C, ...) as `input` says.
        k : int or torch.Tensor
            The time, in 1..1000: an int for all samples, or integers (B,).
        labels : torch.Tensor, optional
            Integers (B,) for a class-conditional network.
        noise : torch.Tensor, optional
            What `draw_noise` returned. Head "implicit" needs it.
        conditions : torch.Tensor, optional
            Floats (B, D), which the network gets after the labels.

        Returns
        -------
        torch.Tensor
            The outputs (B, n C, ...).

        Raises
        ------
        TypeError
            If `k` is not an integer, or the input no tensor (B, C, ...).
        ValueError
            If a shape or range is wrong.
        """
        return self._answer(model_input, self._times(model_input, k, TIMES), labels, noise, conditions)

    def _settings(self) -> dict[str, Any]:
        return {
            "high": self.high,
            "head": self.head_object.name,
            "low": self.low,
            "noise_channels": self.noise_channels,
            "slack": self.slack,
            "input": self.input,
        }

    @classmethod
    def _of_settings(cls, op: str, config: Mapping[str, Any], network: nn.Module | None) -> Self:
        check_keys(op, config, {"network", "high", "head", "low", "noise_channels", "slack", "input"})
        rest = {name: value for name, value in config.items() if name != "network"}
        return cls(cls._network_of(op, config, network), **rest)

    def _known(
        self, op: str, name: str, x: Tensor, labels: Labels | None, conditions: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """What is known of the samples beside their states x, which must have channels."""
        if x.ndim < 2 or not x.numel():
            raise ValueError(f"{op}: {name}: must have shape (B, C, ...) without a zero, got {tuple(x.shape)}")
        return labels_on(op, labels, len(x), self, x.device), conditions_on(op, conditions, len(x), x.device)

    def _told(self, conditions: Tensor | None) -> Any:
        """The model, which hands conditions on to its network."""
        return self if conditions is None else Wrapped(self, self, ("max_count", "draw_noise"), conditions)

    def _none(self, x: Tensor) -> Tensor:
        return torch.zeros(x.shape, dtype=getattr(torch, count_dtype(self.max_count).__name__), device=x.device)

    def _input(self, x: Tensor) -> Tensor:
        if self.input == "log1p":
            return x.sign() * torch.log1p(x.abs().float())
        return (x.float() - (self.low + self.high) / 2) * (2 / self.max_count)
