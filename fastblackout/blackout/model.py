"""The object that makes a network a Blackout Diffusion model: it owns max_count, centre, scale, gain and loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, Unpack, get_args

from torch import Tensor, nn

from ..ground.values import check_integer, check_name, is_number
from ..heads import HEADS, check_head, head_named, weight_of
from ..likelihood.blackout import BitsPerDim, bits_per_dim
from ..models.config import check_keys
from ..sampling.imputation import impute
from ..sampling.plan import Tuned, to_json, tuned_from
from ..sampling.sampler import sample
from ..schedule.schedule import TIMES, Schedule
from ..schedule.survival_table import WEIGHTS
from ..typing import Input, Parametrization
from .base import inside
from .losses import loss, loss_unit
from .parametrization import LOG1P, Parametrized, empty

if TYPE_CHECKING:
    from ..likelihood.blackout import Options as BitsOptions
    from ..philox import Philox
    from ..sampling.imputation import Options as ImputeOptions
    from ..sampling.sampler import Options
    from ..typing import HeadName, Labels, Times, Weight
    from .losses import Options as LossOptions


INPUTS = get_args(Input)
PARAMETRIZATIONS = get_args(Parametrization)
_FITTED = "blackout.fitted."  # before the names of what `fit_input` found, among the network's own


class BlackoutModel(Parametrized):
    """A Blackout Diffusion model: any network, and all that training, sampling and bounds need to know beside it.

    ::

        network input: (x_t - center(k)) * scale(k), with the time index k - 1 in 0..steps - 1

    Parameters
    ----------
    network : torch.nn.Module
        It is called as network(input, time), network(input, time, labels) or, with conditions, network(input, time,
        labels, conditions). The input is float32 (B, C + noise_channels, ...), the time int64 (B,). A network with the
        attribute `num_classes` always gets labels, int64 (B,), `num_classes` where there is none. The output is (B, n
        C, ...): n numbers of each count, one after another along the channels. Where it is an object with an
        attribute `sample`, as networks of diffusers return, that attribute is taken.
    schedule : Schedule
        The observation times.
    max_count : int or None
        The largest count, at least 1, and at most what the head can take. None is for counts without a bound, with head
        "negative-binomial"; see the notes.
    input : {"reference", "unit", "normalized", "log1p"}, default "reference"
        How counts are centred and scaled; see the notes.
    parametrization : {"likelihood", "paper"}, default "likelihood"
        The gain of head "mean": (1 - p_k) * max_count / 4, so that y vanishes with the births as p_k -> 1, or 1.
    data_mean : float, optional
        The mean of all training counts, for "normalized" with the same numbers for every feature.
    data_std : float, optional
        The standard deviation of all training counts.
    head : str, default "mean"
        What the outputs say of the births: "mean", "implicit", "beta-binomial", "bayes-logistic" or
        "negative-binomial". Each head is described by its class in `fastblackout.heads` and in
        https://github.com/fastblackout/fastblackout/blob/main/docs/heads.md. The attribute `head_object` is an object
        of that class.
    noise_channels : int, default 0
        The channels of noise beside the input: at least 1 for head "implicit", 0 for the others.
    weight : str, optional
        How the loss weighs the times; see `Schedule.weight`. By default "likelihood" for head "mean", "energy" for
        "implicit", and "uniform" for the others.
    times : {"early", "uniform"}, default "early"
        Which times a training sees, as in `Schedule.draw`.

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
      is the variance of x_t over the data and the thinning. With `fit_input` each feature has its own numbers.
    - "log1p": log(1 + x_t), with mean 0 and deviation 1 in each feature. It needs `fit_input`.

    Where there is no bound (max_count=None), four things take something in its place. Ops get the largest int32, so
    nothing is cut off. Counts are int32. The head begins at the moments of each feature, which `fit_input` finds, and
    so must be called. The grid and the times "early" take the largest count that `fit_input` saw.

    References
    ----------
    Santos et al. 2023, arXiv 2305.11089.

    Examples
    --------
    >>> import torch
    >>> network = fb.models.small((1, 8, 8), outputs=2)
    >>> model = fb.BlackoutModel(network, fb.Schedule.cosine(100), max_count=16, input="unit", head="beta-binomial")
    >>> x_0 = torch.randint(17, (4, 1, 8, 8))
    >>> model.loss(x_0, rng=fb.Philox(1)).mean().backward()
    >>> model.sample((2, 1, 8, 8), steps=5, rng=3).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        max_count: int | None,
        input: Input = "reference",
        parametrization: Parametrization = "likelihood",
        data_mean: float | None = None,
        data_std: float | None = None,
        head: HeadName = "mean",
        noise_channels: int = 0,
        weight: Weight | None = None,
        times: Times = "early",
    ) -> None:
        super().__init__()
        op = "BlackoutModel"
        if not isinstance(network, nn.Module):
            raise TypeError(f"{op}: network: must be an nn.Module, got {type(network).__name__}")
        if not isinstance(schedule, Schedule):
            raise TypeError(f"{op}: schedule: must be a Schedule, got {type(schedule).__name__}")
        check_name(op, "input", input, INPUTS)
        check_name(op, "parametrization", parametrization, PARAMETRIZATIONS)
        check_head(op, head, tuple(HEADS))
        check_name(op, "times", times, TIMES)
        check_name(op, "weight", weight := weight_of(head) if weight is None else weight, WEIGHTS)
        self.head_object = head_named(head)
        self.bounded, most = max_count is not None, self.head_object.largest_count
        if max_count is None:
            self._check_unbounded(head, input)
            max_count = self.head_object.unbounded
        if isinstance(max_count, bool) or not isinstance(max_count, int) or max_count < 1:
            raise ValueError(f"{op}: max_count: must be an integer of at least 1, got {max_count!r}")
        if max_count > most:
            raise ValueError(f"{op}: max_count: must be at most {most} for head {head!r}, got {max_count}")
        self.noise_channels = self._noise_channels(noise_channels)
        for name, value, other in (("data_mean", data_mean, data_std), ("data_std", data_std, data_mean)):
            if value is None and other is not None and input == "normalized":
                raise ValueError(f"{op}: {name}: must be given with the other of data_mean and data_std, got None")
            if value is not None and not is_number(value):
                raise TypeError(f"{op}: {name}: must be a number, got {value!r}")
            if value is not None and not (math.isfinite(value) and 0 <= value <= max_count):
                raise ValueError(f"{op}: {name}: must be in 0..max_count = {max_count}, got {value!r}")
        self.network, self.schedule, self.max_count = network, schedule, max_count
        self.input, self.parametrization = input, parametrization
        self.head, self.weight, self.times = head, weight, times
        self.tuned: dict[int, Tuned] = {}
        self.data_mean = None if data_mean is None else float(data_mean)
        self.data_std = None if data_std is None else float(data_std)
        self.fitted, self.largest_seen = None, None
        self._make_tables()

    @staticmethod
    def _check_unbounded(head: HeadName, input: Input) -> None:
        able = [name for name in HEADS if head_named(name).unbounded is not None]
        if head not in able:
            rule = f"must be an integer of at least 1 for head {head!r} (None is for head {' or '.join(able)})"
            raise ValueError(f"BlackoutModel: max_count: {rule}, got None")
        if input not in ("normalized", LOG1P):
            rule = "must be normalized or log1p where max_count is None"
            raise ValueError(f"BlackoutModel: input: {rule}, got {input!r}")

    def loss_unit(self, elements: int) -> float:
        """What losses are multiplied by, so that they are of order 1 whatever size, schedule and weight.

        Parameters
        ----------
        elements : int
            How many counts a sample has.

        Returns
        -------
        float
            The factor.
        """
        return loss_unit(self.schedule, self.weight, self.max_count, elements, self.head)

    # What torch.compiler.assume_constant_result sets: where torch traces, this runs at once.
    loss_unit._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def loss(self, x_0: Tensor, labels: Labels | None = None, **options: Unpack[LossOptions]) -> Tensor:
        """The training loss (B,) of counts: `fb.loss` of this model.

        Parameters
        ----------
        x_0 : torch.Tensor
            Integer counts (B, C, ...).
        labels : int, sequence of int, array or torch.Tensor, optional
            One integer for all samples, or integers (B,).
        **options : object
            The keywords of `fb.loss`: conditions, rng, generator, k, global_batch, draws, mask.

        Returns
        -------
        torch.Tensor
            float32 (B,).

        Notes
        -----
        A wrapped or compiled model has to be given to `fb.loss` itself, or what wraps it takes no part.
        """
        return loss(self, x_0, labels, **options)

    def sample(
        self, shape: tuple[int, ...], steps: int | None = None, schedule: Schedule | None = None,
        rng: Philox | int | None = None, labels: Labels | None = None, **options: Unpack[Options],
    ) -> Tensor:  # fmt: skip
        """Draw counts by the reverse process: `fb.sample` of this model.

        Parameters
        ----------
        shape : tuple of int
            The shape (B, C, ...) of the counts.
        steps : int, optional
            How many steps, as in `fb.sample`.
        schedule : Schedule, optional
            Another object of the same times. The model's own by default.
        rng : Philox or int, optional
            The key, or the seed of one.
        labels : int, sequence of int, array or torch.Tensor, optional
            One integer for all samples, or integers (B,).
        **options : object
            The other keywords of `fb.sample`, such as grid, guidance, last_step and generator.

        Returns
        -------
        torch.Tensor
            Counts of `shape`.
        """
        return sample(
            self, self.schedule if schedule is None else schedule, shape, steps, rng=rng, labels=labels, **options
        )

    def bits_per_dim(self, x_0: Tensor, schedule: Schedule | None = None, **options: Unpack[BitsOptions]) -> BitsPerDim:
        """Two upper bounds of -log2 p(x_0) per dimension: `fb.bits_per_dim` of this model.

        Parameters
        ----------
        x_0 : torch.Tensor
            Integer counts (B, C, ...).
        schedule : Schedule, optional
            The model's own by default.
        **options : object
            The keywords of `fb.bits_per_dim`.

        Returns
        -------
        BitsPerDim
            The two bounds, each with its errors.
        """
        return bits_per_dim(self, self.schedule if schedule is None else schedule, x_0, **options)

    def impute(
        self,
        x: Tensor,
        observed: Tensor,
        draws: int | None = None,
        schedule: Schedule | None = None,
        rng: Philox | int | None = None,
        **options: Unpack[ImputeOptions],
    ) -> Tensor:
        """Fill in the counts that were not observed: `fb.impute` of this model.

        Parameters
        ----------
        x : torch.Tensor
            Integer counts (B, C, ...). What was not observed may be anything in range.
        observed : torch.Tensor
            Bools that broadcast to x: True where a count is known.
        draws : int, optional
            None for the mean, a number for so many draws.
        schedule : Schedule, optional
            The model's own by default.
        rng : Philox or int, optional
            The key, or the seed of one.
        **options : object
            The other keywords of `fb.impute`, such as runs, steps, labels and batch.

        Returns
        -------
        torch.Tensor
            The mean, of the shape of x; or draws, with a leading dimension of their number.
        """
        return impute(self, self.schedule if schedule is None else schedule, x, observed, draws, rng=rng, **options)

    def _found(self) -> dict[str, Tensor]:
        fitted = {} if self.fitted is None else self.fitted.state_dict()
        return {_FITTED + name: value for name, value in fitted.items()}

    def _fill(self, tensors: Mapping[str, Tensor]) -> None:
        found = {name.removeprefix(_FITTED): value for name, value in tensors.items() if name.startswith(_FITTED)}
        fitted = None
        if found:
            shapes = {name: tuple(found[name].shape) for name in ("center", "start") if name in found}
            if len(shapes) < 2 or not shapes["start"]:
                raise RuntimeError(f"{_FITTED}: must be center, deviation and start, got {', '.join(found)}")
            fitted = empty(self.schedule.steps, self.input == LOG1P, shapes["center"], shapes["start"])
            fitted.load_state_dict(found)
            fitted.to(next((each.device for each in self.network.parameters()), None))
        own = {name: tensors[name] for name in tensors if not name.startswith(_FITTED)}
        inside(self.network).load_state_dict(own)
        self.fitted = fitted
        self._make_tables()

    def forward(
        self,
        model_input: Tensor,
        k: int | Tensor,
        labels: Tensor | None = None,
        noise: Tensor | None = None,
        conditions: Tensor | None = None,
    ) -> Tensor:
        """The network's outputs at steps k.

        Parameters
        ----------
        model_input : torch.Tensor
            The centred and scaled counts (B, C, ...): (x_t - center(k)) * scale(k).
        k : int or torch.Tensor
            The step, in 1..steps: an int for all samples, or integers (B,).
        labels : torch.Tensor, optional
            Integers (B,) for a class-conditional network.
        noise : torch.Tensor, optional
            What `draw_noise` returned. The implicit head needs it.
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
            If a shape or range is wrong. Ranges of values are checked on the CPU only. For an input that does not suit
            it, a network of one's own raises what it raises.
        """
        k = self._times(model_input, k, self.schedule.steps)
        given = model_input if self.fitted is None else self.fitted(model_input, k)
        if self.fitted is None and self.needs_fit:
            rule = f"needs fit_input for input {self.input!r}" + ("" if self.bounded else " and max_count=None")
            raise ValueError(f"BlackoutModel: input: {rule}, got a model that has not seen data")
        logits = self._answer(given, k, labels, noise, conditions)
        if self.fitted is None:
            return logits
        if logits.shape[1] != len(self.fitted.start):
            channels = model_input.shape[1]
            rule = f"must have the {len(self.fitted.start) // channels} numbers a count that fit_input was told of"
            raise ValueError(f"BlackoutModel: network's output: {rule} (outputs=), got {logits.shape[1] // channels}")
        return logits + self.fitted.start

    def _settings(self) -> dict[str, Any]:
        return {
            "schedule": self.schedule.to_dict(),
            "max_count": self.max_count if self.bounded else None,
            "input": self.input,
            "parametrization": self.parametrization,
            "data_mean": self.data_mean,
            "data_std": self.data_std,
            "weight": self.weight,
            "times": self.times,
            # Head "mean" is meant where none is named.
            **({} if self.head == "mean" else {"head": self.head, "noise_channels": self.noise_channels}),
            **({"tuned": to_json(self.tuned)} if self.tuned else {}),
            **({} if self.largest_seen is None else {"largest_seen": self.largest_seen}),
        }

    @classmethod
    def _of_settings(cls, op: str, config: Mapping[str, Any], network: nn.Module | None) -> Self:
        names = {"network", "schedule", "max_count", "input", "parametrization", "data_mean", "data_std"}
        names |= {"head", "noise_channels", "weight", "times"} & set(config)
        later = {"tuned", "largest_seen"} & set(config)
        check_keys(op, config, names | later)
        network = cls._network_of(op, config, network)
        schedule = Schedule.from_dict(config["schedule"])
        model = cls(network, schedule, **{name: config[name] for name in names - {"network", "schedule"}})
        model.tuned = tuned_from(config.get("tuned", {}), schedule)
        if "largest_seen" in later:  # of which the table of the times "early" is made when it is first asked for
            model.largest_seen = check_integer(op, "largest_seen", config["largest_seen"], 1, model.max_count)
        return model
