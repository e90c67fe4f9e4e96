"""Bridges between two laws of counts: the draw of a state between two states, whole numbers of either sign, by the
bridge of a birth and death process; and the model that carries samples of the one law into the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import is_traced
from ..backends import select
from ..call.keys import key_of, resolve_rng
from ..data.dataset import count_dtype
from ..ground.json_files import BRIDGE_FORMAT
from ..ground.named import named
from ..ground.values import check_integer, check_name, is_number, settled
from ..heads import HEADS, check_head, head_named
from ..heads.head import Noised, Query
from ..models.config import check_keys
from ..models.interface import Wrapped, conditions_on, labels_on
from ..ops import bessel, thin
from ..sampling.rules import Bridge
from ..sampling.sampler import evaluating
from ..schedule.indices import as_fraction, as_index
from ..schedule.times import draw_indices
from ..typing import BridgeInput
from .base import NetworkModel

if TYPE_CHECKING:
    from ..philox import Philox, Rng
    from ..typing import Backend, HeadName, Labels

INPUTS = get_args(BridgeInput)
TIMES = 1000  # of t = k / TIMES, k = 1..TIMES
MOST_DRAWS = 8  # that fb.energy_loss takes
MOST_STATE, MOST_SLACK = 1 << 29, float(1 << 28)  # all numbers of jumps are then below 2^31
_COUNT = (1 << 31) - 1
_WRONG = -(1 << 31)


@named
def count_bridge(
    x_0: Tensor,
    x_1: Tensor,
    w: float | Tensor,
    *,
    slack: float = 0.0,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Draw states between two states, each a whole number of either sign.

    ::

        slack = 0:  x_w = x_0 + sign(d) Binomial(|d|, w),  d = x_1 - x_0
        slack > 0:  x_w = x_0 + sign(d) (Binomial(|d| + m, w) - Binomial(m, w)),  m ~ Bessel(|d|, 2 slack)

    w = 0 gives x_0, and w = 1 gives x_1.

    Parameters
    ----------
    x_0 : torch.Tensor
        Whole numbers (B, ...) in -2^29..2^29, of any integer or floating dtype. Dimension 0 is the sample.
    x_1 : torch.Tensor
        The same, in the shape of `x_0`.
    w : float or torch.Tensor
        The share of the way from x_0 to x_1, in [0, 1]: a number, or float64 (B,).
    slack : float, default 0.0
        The square root of the product of two numbers, the births and the deaths that are expected between x_0 and x_1
        where neither is known. In 0..2^28.
    rng : Philox, Tensor or int, optional
        The key of the draw, or the seed of one. Without it a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    torch.Tensor
        int32, in the shape of `x_0`. With slack it may lie outside of the two states.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. Values of tensors on a GPU are not looked at. In a compiled graph the error is of
        fb.thin or fb.bessel.

    Notes
    -----
    Between x_0 and x_1 lie B births and D deaths with B - D = d. Of the processes whose births and deaths have constant
    rates, the smaller of B and D then has the Bessel law of fb.bessel. Without slack there are no more jumps than
    needed. The times of the jumps are independent, and a share w of the whole time has passed. Bridges compose: a state
    at v < w, given x_0 and x_w, is count_bridge(x_0, x_w, v / w, slack=slack * w).
    https://github.com/fastblackout/fastblackout/blob/main/docs/theory.md derives this.

    The draws are made by fb.thin and fb.bessel, with the key that is given. Equal keys give equal results on every
    backend and for any split of the batch.

    References
    ----------
    Count Bridges, 2026, arXiv 2603.04730.

    Examples
    --------
    >>> ends = torch.tensor([[0, 100, 7]]), torch.tensor([[10, -100, 7]])
    >>> fb.count_bridge(*ends, 0.5, rng=fb.Philox(1))
    tensor([[ 1, -1,  7]], dtype=torch.int32)
    >>> fb.count_bridge(*ends, 0.5, slack=20.0, rng=fb.Philox(1))
    tensor([[ 0, -2,  8]], dtype=torch.int32)
    """
    op = "count_bridge"
    x_0, x_1 = ends_of(op, x_0, x_1)
    traced = is_traced(x_0)
    if isinstance(w, (int, float)) and not traced:
        as_fraction(op, "w", w, np, None)
    else:
        w = given = as_fraction(op, "w", _valued(op, "w", w), torch, x_0)
        if given.shape not in ((), x_0.shape[:1]):
            raise ValueError(f"{op}: w: must be a number or have shape ({len(x_0)},), got {tuple(given.shape)}")
    slack = slack_of(op, slack)
    if traced:
        select.check_name(op, backend)
    else:
        select.select(op, backend, x_0.device.type, drawn_by="thin")  # whether it could run there
    key = key_of(op, rng, generator, x_0, x_0.shape[0]) if traced else resolve_rng(rng, generator, op)
    jumps = x_1 - x_0
    sign = (jumps >> 31).bitwise_or_(1)  # 1 for 0, too; torch.where would take far longer
    jumps.abs_()
    if traced:  # the draws refuse or flag this count, as they do any wrong one
        jumps = jumps.masked_fill((x_0 == _WRONG) | (x_1 == _WRONG), -1)
    if slack:  # births and deaths, or the other way round, side by side, so that one call of one key draws both
        fewer = bessel(jumps, 2 * slack, rng=key, backend=backend).int()
        jumps = torch.stack((jumps + fewer, fewer), 1)
    done = thin(jumps, w, max_count=_COUNT, outputs="x_t", rng=key, backend=backend).x_t
    if slack:
        done = done[:, 0] - done[:, 1]
    return done.mul_(sign).add_(x_0)


def ends_of(op: str, x_0: Any, x_1: Any) -> tuple[Tensor, Tensor]:
    """Two states of one shape, int32."""
    first, second = states_of(op, "x_0", x_0), states_of(op, "x_1", x_1)
    if not is_traced(first):
        settled(op, "x_1", second)  # which refuses a FakeTensor beside it
    if first.shape != second.shape:
        raise ValueError(f"{op}: x_1: must have the shape of x_0, {tuple(first.shape)}, got {tuple(second.shape)}")
    if first.device != second.device:
        raise ValueError(f"{op}: x_1: must be on the device of x_0, {first.device}, got one on {second.device}")
    return first, second


def states_of(op: str, name: str, x: Any, low: int = -MOST_STATE, high: int = MOST_STATE) -> Tensor:
    """Whole numbers (B, ...) in low..high as int32; traced, _WRONG in the place of others."""
    x = _valued(op, name, x)
    odd = not isinstance(x, Tensor) or x.ndim < 1 or x.dtype == torch.bool or x.is_complex()
    if odd or (x.is_floating_point() and x.dtype.itemsize < 2):
        got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{op}: {name}: must be a tensor (B, ...) of whole numbers, got {got}")
    if x.dtype in (torch.uint16, torch.uint32, torch.uint64):  # of which torch finds no least number
        x = x.long()
        x = torch.where(x < 0, 1 << 62, x)  # of uint64, beyond int64
    if is_traced(x):
        wide = x.double()
        return x.int().masked_fill((wide != wide.round()) | ~((wide >= low) & (wide <= high)), _WRONG)
    if x.device.type == "cpu" and x.numel():
        if x.is_floating_point() and (wrong := x != x.round()).any():
            raise ValueError(f"{op}: {name}: must hold whole numbers, got {float(x[wrong][0])!r}")
        for value in (each.item() for each in torch.aminmax(x)):
            if not low <= value <= high:
                raise ValueError(f"{op}: {name}: must be in {low}..{high}, got {value:.17g}")
    return x.int()


def _valued(op: str, name: str, x: Any) -> Any:
    """An argument which, where it is a tensor, has its values in memory."""
    if not isinstance(x, Tensor):
        return x
    if x.is_meta:
        raise ValueError(f"{op}: {name}: must have values, got a tensor on meta")
    return x if is_traced(x) else settled(op, name, x)


def slack_of(op: str, slack: Any) -> float:
    if not is_number(slack):
        raise TypeError(f"{op}: slack: must be a number, got {type(slack).__name__}")
    if not 0 <= slack <= MOST_SLACK:
        raise ValueError(f"{op}: slack: must be in 0..2^28, got {slack!r}")
    return float(slack)


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
        each state on its own: "beta-binomial", "bayes-logistic" or "negative-binomial". They are the
        heads of `BlackoutModel` where no particle is left, of the counts x_0 - low.
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
            k = torch.as_tensor(draw_indices(op, TIMES, len(x_0), key, None, global_batch, x_0))
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
