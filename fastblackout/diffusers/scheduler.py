"""Schedulers of diffusers: of the reverse process of Blackout Diffusion, and of uniform and absorbing noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from diffusers import SchedulerMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor, nn

from ..blackout import BlackoutModel
from ..blackout.base import outputs_of
from ..call.keys import resolve_rng
from ..data.dataset import count_dtype
from ..ground.values import check_integer, check_name, is_integer, is_number
from ..heads.head import Noised
from ..ops import categorical_rows, thin
from ..philox import Philox
from ..processes import Absorbing, Redraw, Uniform
from ..sampling.names import LAST_STEPS
from ..sampling.plan import Asked, Plan, plan_of, to_json, tuned_from
from ..sampling.rules import Expected, last_rule_of, rule_of
from ..sampling.sampler import shape_of
from ..sampling.steps import Setting, State, expected_end, numbers_of, one_step, state_at
from ..schedule.indices import as_index, readable
from ..schedule.schedule import Schedule

if TYPE_CHECKING:
    from ..typing import Grid, HeadName, Input, LastStep, Parametrization, Rounding, Weight

    Times = int | Tensor
    Draw = torch.Generator | Philox | int | None

_PROCESSES = ("uniform", "absorbing")
_FOREVER = 1000.0  # of exp(-1000), which is 0, nothing is left


@dataclass
class BlackoutSchedulerOutput(BaseOutput):
    """What `BlackoutScheduler.step` returns.

    Parameters
    ----------
    prev_sample : torch.Tensor
        The counts at the next time of the run.
    pred_original_sample : torch.Tensor, optional
        E[x_0 | x_t] as the network sees it, float32. None where `step` was told not to predict.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None


class BlackoutScheduler(SchedulerMixin, ConfigMixin):
    """The schedule and the reverse steps of Blackout Diffusion, for networks and loops of diffusers.

    ::

        timesteps t = k - 1 in 0..num_train_timesteps - 1, from the last, where all is black, down

    Parameters
    ----------
    max_count : int or None
        The largest count. None is for counts without a bound, as in `fb.BlackoutModel`.
    num_train_timesteps : int, default 1000
        The steps of the schedule.
    schedule : str or dict, default "cosine"
        "logit", "cosine" or "linear", or what `Schedule.to_dict` returned.
    head : str, default "mean"
        What the network's outputs say of the births, as in `fb.BlackoutModel`.
    input : {"reference", "unit", "normalized", "log1p"}, default "unit"
        How `scale_model_input` centres and scales. "normalized" without `data_mean` and "log1p" leave counts as they
        are, since the network knows what `BlackoutModel.fit_input` found.
    parametrization : {"likelihood", "paper"}, default "likelihood"
        The gain of head "mean".
    data_mean : float, optional
        The mean of all training counts, for input "normalized".
    data_std : float, optional
        Their standard deviation.
    noise_channels : int, default 0
        The channels of noise beside the input, for head "implicit".
    weight : str, optional
        How `loss` weighs the times, as in `fb.BlackoutModel`.
    rounding : {"stochastic", "nearest"}, default "stochastic"
        How heads without a law round births, as in `fb.sample`.
    last_step : {"draw", "mean"}, optional
        The last step, as in `fb.sample`.
    tuned : dict, optional
        Times for few steps that a training or `fb.tune` found.
    largest_seen : int, optional
        The largest count of the training data, where there is no bound.

    Attributes
    ----------
    timesteps : torch.Tensor
        The times of the run, int64, decreasing. All of the schedule before `set_timesteps`.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    Each draw takes a `generator`: a torch.Generator, an `fb.Philox` or its seed. By the same Philox all steps of a run
    draw what `fb.sample(rng=...)` draws, to the bit: step n has its call n. A torch.Generator gives each call of a
    method another seed.

    Samples are integer counts. Stock loops begin with normal noise: begin with `initial_sample` in its place.

    References
    ----------
    Santos et al. 2023, arXiv 2305.11089.

    Examples
    --------
    >>> from fastblackout.diffusers import BlackoutScheduler
    >>> scheduler = BlackoutScheduler(max_count=255)
    >>> scheduler.set_timesteps(4)
    >>> scheduler.timesteps
    tensor([999, 749, 499, 249])
    """

    order = 1

    @register_to_config
    def __init__(
        self,
        *,  # what is passed by place, from_config of diffusers takes for a default
        max_count: int | None,
        num_train_timesteps: int = 1000,
        schedule: str | dict[str, Any] = "cosine",
        head: HeadName = "mean",
        input: Input = "unit",
        parametrization: Parametrization = "likelihood",
        data_mean: float | None = None,
        data_std: float | None = None,
        noise_channels: int = 0,
        weight: Weight | None = None,
        rounding: Rounding = "stochastic",
        last_step: LastStep | None = None,
        tuned: dict[str, Any] | None = None,
        largest_seen: int | None = None,
    ) -> None:
        op = "BlackoutScheduler"
        if isinstance(schedule, str):
            check_name(op, "schedule", schedule, ("logit", "cosine", "linear"))
            times: Schedule = getattr(Schedule, schedule)(num_train_timesteps)
        else:
            if not isinstance(schedule, Mapping):
                raise TypeError(f"{op}: schedule: must be a name or what Schedule.to_dict returned, got {schedule!r}")
            times = Schedule.from_dict(dict(schedule))
            if times.steps != num_train_timesteps:
                rule = f"must be {times.steps}, the steps of the schedule"
                raise ValueError(f"{op}: num_train_timesteps: {rule}, got {num_train_timesteps}")
        self.schedule = times
        # It has no network of its own: what it knows of schedule, input and head is asked for.
        self._model = BlackoutModel(
            nn.Identity(), times, max_count, input, parametrization, data_mean, data_std, head, noise_channels, weight
        )
        self._model.tuned = tuned_from(tuned or {}, times)
        self._model.largest_seen = largest_seen
        self._rule = rule_of("bridge", rounding, 0.0, self._model.head_object)
        if last_step is not None:
            check_name(op, "last_step", last_step, LAST_STEPS)
        self._begin(Plan([*range(times.steps, -1, -1)], [0.0] * times.steps, last_step or "draw"), None)

    @classmethod
    def from_model(
        cls, model: BlackoutModel, rounding: Rounding = "stochastic", last_step: LastStep | None = None
    ) -> BlackoutScheduler:
        """The scheduler of a model.

        Parameters
        ----------
        model : BlackoutModel
            The model.
        rounding : {"stochastic", "nearest"}, default "stochastic"
            As of the class.
        last_step : {"draw", "mean"}, optional
            As of the class.

        Returns
        -------
        BlackoutScheduler
            It has the model's schedule, head, input, weight and tuned times.
        """
        names = ("max_count", "input", "parametrization", "data_mean", "data_std", "weight", "head", "noise_channels")
        config, schedule = model.to_config(), model.schedule
        given = {name: config[name] for name in (*names, "largest_seen") if name in config}
        return cls(
            num_train_timesteps=schedule.steps, schedule=schedule.to_dict(), rounding=rounding, last_step=last_step,
            tuned=to_json(model.tuned), **given,
        )  # fmt: skip

    def __len__(self) -> int:
        """The steps of the schedule, which training scripts draw times below."""
        return self.schedule.steps

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[int] | Tensor | None = None,
        grid: Grid | Sequence[float] | None = None,
    ) -> None:
        """Choose the times of a run.

        Parameters
        ----------
        num_inference_steps : int, optional
            How many steps, as `steps` of `fb.sample`: by default as there.
        device : str or torch.device, optional
            The device of `timesteps`.
        timesteps : sequence of int or torch.Tensor, optional
            The times themselves, decreasing. A run may so begin later, with what `add_noise` made.
        grid : {"cosine", "index", "early"} or sequence of float, optional
            Where the times lie, as in `fb.sample`.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If an argument is out of range, or `timesteps` does not stand alone.
        """
        op, steps = "BlackoutScheduler.set_timesteps", len(self)
        if timesteps is None:
            if num_inference_steps is not None:
                check_integer(op, "num_inference_steps", num_inference_steps, 1, steps)
            asked = Asked(num_inference_steps, grid, None, self.config.last_step, "bridge")
            self._begin(plan_of(op, self._model, self.schedule, asked, labels=True), device)
            return
        if num_inference_steps is not None or grid is not None:
            name, value = (
                ("grid", grid) if num_inference_steps is None else ("num_inference_steps", num_inference_steps)
            )
            raise ValueError(f"{op}: {name}: must be None beside timesteps, got {value!r}")
        listed = timesteps.tolist() if isinstance(timesteps, (Tensor, np.ndarray)) else timesteps
        if not isinstance(listed, Sequence):
            raise TypeError(f"{op}: timesteps: must be a sequence of integers, got {timesteps!r}")
        times = [check_integer(op, "timesteps", t, 0, steps - 1) + 1 for t in listed]
        if not times or any(one <= other for one, other in zip(times, times[1:], strict=False)):
            raise ValueError(f"{op}: timesteps: must decrease, and be at least one, got {[*timesteps]}")
        self._begin(Plan([*times, 0], [0.0] * len(times), self.config.last_step or "draw"), device)

    def _begin(self, plan: Plan, device: Any) -> None:
        self.plan, self._places = plan, {k: n for n, k in enumerate(plan.times[:-1])}
        self._last_rule = last_rule_of(plan.last_step, self._rule)
        self.num_inference_steps = len(self._places)
        self.timesteps = torch.tensor(plan.times[:-1], device=device) - 1

    def initial_sample(self, shape: Sequence[int], device: str | torch.device | None = None) -> Tensor:
        """Black: what a run begins with, in place of noise.

        Parameters
        ----------
        shape : sequence of int
            The shape (B, C, ...).
        device : str or torch.device, optional
            The device.

        Returns
        -------
        torch.Tensor
            Zeros, of the dtype of the counts: uint8 for max_count <= 255, else int16, int32 or int64.
        """
        dtype = getattr(torch, count_dtype(self._model.max_count).__name__)
        return torch.zeros(shape_of(shape, "BlackoutScheduler.initial_sample"), dtype=dtype, device=device)

    def scale_model_input(self, sample: Tensor, timestep: Times, generator: Draw = None) -> Tensor:
        """The network's input: the counts centred and scaled.

        ::

            (x_t - center(k)) * scale(k)

        Parameters
        ----------
        sample : torch.Tensor
            Integer counts (B, C, ...).
        timestep : int or torch.Tensor
            The time, or times (B,).
        generator : torch.Generator, Philox or int, optional
            Of head "implicit", whose noise is drawn here and stands beside the counts.

        Returns
        -------
        torch.Tensor
            float32 (B, C + noise_channels, ...).
        """
        op = "BlackoutScheduler.scale_model_input"
        k = self._time(op, "timestep", timestep, len(_counts(op, "sample", sample)))
        made = state_at(self._model, sample, k, Philox(0)).model_input
        if not self._model.noise_channels:
            return made
        key = key_from(op, "generator", generator).at(call=self._place(op, k))
        return torch.cat((made, self._model.draw_noise(made, key)), 1)

    def add_noise(self, original_samples: Tensor, noise: Draw, timesteps: Tensor) -> Tensor:
        """Counts at times of the forward process.

        ::

            x_t ~ Binomial(x_0, p_k)

        Parameters
        ----------
        original_samples : torch.Tensor
            Integer counts (B, C, ...).
        noise : torch.Generator, Philox, int or None
            Where the draw comes from. Schedulers of Gaussian diffusion take a tensor of normal numbers here. A count's
            noise depends on the count, so it is drawn inside, and this is its key.
        timesteps : torch.Tensor
            The times (B,).

        Returns
        -------
        torch.Tensor
            Integer counts of the same shape and dtype. The network takes them by way of `scale_model_input`.
        """
        op = "BlackoutScheduler.add_noise"
        counts, key = _counts(op, "original_samples", original_samples), key_from(op, "noise", noise)
        survival = self.schedule.survival(self._time(op, "timesteps", timesteps, len(counts)))
        return thin(counts, survival, rng=key, max_count=self._model.max_count, outputs=("x_t",)).x_t

    def loss(self, model_output: Tensor, original_samples: Tensor, noisy_samples: Tensor, timesteps: Tensor) -> Tensor:
        """The loss of the head, in place of `F.mse_loss`.

        Parameters
        ----------
        model_output : torch.Tensor
            What the network returned for `scale_model_input(noisy_samples, timesteps)`.
        original_samples : torch.Tensor
            The counts x_0 (B, C, ...).
        noisy_samples : torch.Tensor
            What `add_noise` made of them.
        timesteps : torch.Tensor
            The times (B,).

        Returns
        -------
        torch.Tensor
            float32 (B,): what `fb.loss` returns for the same draws.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If counts or shapes do not fit one another. And for head "implicit", whose loss takes several outputs for
            the same counts: train it by `fb.loss`.
        """
        op, model, head = "BlackoutScheduler.loss", self._model, self._model.head_object
        if head.takes_noise:
            raise ValueError(f"{op}: head: must need one output for a sample (use fb.loss), got {head.name!r}")
        x_0, x_t = _counts(op, "original_samples", original_samples), _counts(op, "noisy_samples", noisy_samples)
        if x_t.shape != x_0.shape:
            rule = f"must have the shape of original_samples, {tuple(x_0.shape)}"
            raise ValueError(f"{op}: noisy_samples: {rule}, got {tuple(x_t.shape)}")
        if readable(x_t) and bool((more := x_t > x_0).any()):
            most, got = int(x_0[more][0]), int(x_t[more][0])
            raise ValueError(f"{op}: noisy_samples: must be at most original_samples, {most}, got {got}")
        k = self._time(op, "timesteps", timesteps, len(x_0))
        weight, number = self.schedule.weight(model.weight, k), head.number(model, k)
        answered = _Answered(model, outputs_of(op, "model_output", model_output, model, x_t.shape))
        noised = Noised(x_t, x_0 - x_t, x_t, k, None, weight, number, Philox(0), 1)
        return head.loss(answered, noised) * model.loss_unit(x_0[0].numel())

    def step(
        self,
        model_output: Tensor,
        timestep: Times,
        sample: Tensor,
        generator: Draw = None,
        return_dict: bool = True,
        *,
        guidance: float | None = None,
        unconditional_output: Tensor | None = None,
        predict: bool = True,
    ) -> BlackoutSchedulerOutput | tuple[Tensor, Tensor | None]:
        """One reverse step, from a time of `timesteps` to the next.

        Parameters
        ----------
        model_output : torch.Tensor
            What the network returned for `scale_model_input(sample, timestep)`.
        timestep : int or torch.Tensor
            The time, one of `timesteps`.
        sample : torch.Tensor
            Integer counts (B, C, ...) at that time.
        generator : torch.Generator, Philox or int, optional
            Where the draw comes from.
        return_dict : bool, default True
            False for a tuple.
        guidance : float, optional
            The guidance w of `fb.sample`, which is diffusers' guidance_scale - 1. Each head mixes its numbers in its
            own way, so outputs must not be mixed before.
        unconditional_output : torch.Tensor, optional
            With guidance, what the network returned without labels. It may be None where w is 0.
        predict : bool, default True
            False to leave out `pred_original_sample`, which takes some time.

        Returns
        -------
        BlackoutSchedulerOutput
            prev_sample and pred_original_sample.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If the time is none of the run, or a shape is wrong.
        """
        op = "BlackoutScheduler.step"
        x = _counts(op, "sample", sample)
        n = self._place(op, self._time(op, "timestep", timestep, len(x)))
        k_t, k_s = self.plan.times[n : n + 2]
        said = [outputs_of(op, "model_output", model_output, self._model, x.shape)]
        if guidance is not None and (not is_number(guidance) or not 0 <= guidance < float("inf")):
            raise ValueError(f"{op}: guidance: must be a number of at least 0 or None, got {guidance!r}")
        if guidance:
            if unconditional_output is None:
                raise ValueError(f"{op}: unconditional_output: must be given with guidance, got None")
            said.append(outputs_of(op, "unconditional_output", unconditional_output, self._model, x.shape))
        model, key = _Answered(self._model, *said), key_from(op, "generator", generator).at(call=n)
        rule = self._rule if k_s else self._last_rule
        labels = None if guidance is None else x  # only that there are some is of interest
        setting = Setting(model, self.schedule, rule, labels, guidance is not None)
        state, w = State(x, x, key), guidance or 0.0
        moved = one_step(setting, numbers_of(setting, k_t, k_s, w), state).x
        end = setting._replace(rule=Expected())
        expected = expected_end(end, numbers_of(end, k_t, 0, w), state) if predict else None
        return BlackoutSchedulerOutput(moved, expected) if return_dict else (moved, expected)

    def _time(self, op: str, argument: str, timestep: Times, batch: int) -> Any:
        """k of the timestep t: an int, or (batch,) of a tensor."""
        last = len(self) - 1
        if isinstance(timestep, Tensor) and timestep.ndim:
            if tuple(timestep.shape) != (batch,):
                raise ValueError(f"{op}: {argument}: must have shape ({batch},), got {tuple(timestep.shape)}")
            return as_index(op, argument, timestep, 0, last) + 1
        return check_integer(op, argument, timestep.item() if isinstance(timestep, Tensor) else timestep, 0, last) + 1

    def _place(self, op: str, k: Any) -> int:
        """Which step of the run begins at k."""
        times = {*k.tolist()} if isinstance(k, Tensor) else {k}
        if len(times) != 1 or not times <= self._places.keys():
            raise ValueError(f"{op}: timestep: must be one of timesteps, got {sorted(k - 1 for k in times)}")
        return self._places[times.pop()]


class _Answered:
    """A model whose network has been asked already: with labels the first answer, without them the last."""

    def __init__(self, model: BlackoutModel, *said: Tensor) -> None:
        self.model, self.said = model, said

    def __call__(self, model_input: Tensor, k: Any, labels: Any = None, *noise: Tensor) -> Tensor:
        return self.said[-1 if labels is None else 0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def _counts(op: str, argument: str, value: Any) -> Tensor:
    """TypeError unless a tensor of integers (B, C, ...)."""
    if not isinstance(value, Tensor) or value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{op}: {argument}: must be a tensor of integer counts, got {got}")
    if value.ndim < 2:
        raise TypeError(f"{op}: {argument}: must have shape (B, C, ...), got {tuple(value.shape)}")
    return value


def key_from(op: str, argument: str, generator: Any) -> Philox:
    """TypeError unless a torch.Generator, which gives a seed, a Philox, the seed of one, or None for a fresh one."""
    if generator is None or isinstance(generator, torch.Generator):
        return resolve_rng(None, generator, op)
    if isinstance(generator, Philox) or is_integer(generator):
        return resolve_rng(generator, None, op)
    rule = "must be a torch.Generator, a fastblackout.Philox, its seed or None"
    raise TypeError(f"{op}: {argument}: {rule}, got {type(generator).__name__}")


@dataclass
class RedrawSchedulerOutput(BaseOutput):
    """What `RedrawScheduler.step` returns: the fields of the output of diffusers' DiscreteDDIMScheduler.

    Parameters
    ----------
    prev_sample : torch.Tensor
        The states at the next time of the run.
    sampled_tokens : torch.Tensor
        The x_0 that were drawn.
    sampled_probs : torch.Tensor
        The network's probabilities of these.
    pred_logits : torch.Tensor
        The logits that were given.
    """

    prev_sample: Tensor
    sampled_tokens: Tensor
    sampled_probs: Tensor
    pred_logits: Tensor


class RedrawScheduler(SchedulerMixin, ConfigMixin):
    """The reverse steps of `fb.Uniform` and `fb.Absorbing`, with the times and the call of DiscreteDDIMScheduler.

    ::

        x_0 ~ softmax(logits),    x_s ~ q(x_s | x_t, x_0),    survival n / N at step n of N, and (n + 1) / N after it

    Parameters
    ----------
    states : int
        The number of states.
    process : {"uniform", "absorbing"}, default "uniform"
        "uniform" has the law of DiscreteDDIMScheduler's step. "absorbing" is masked diffusion.
    mask : int, optional
        The mask of "absorbing". By default it is the last state.
    num_inference_steps : int, default 32
        The steps N of a run.

    Attributes
    ----------
    timesteps : torch.Tensor
        The steps 0..N - 1, from noise to data.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    A state that is no mask stays what it is, whatever the logits say of it. Of a mask, the logit of the mask should be
    -inf, else masks are left at the end.

    References
    ----------
    Austin et al. 2021, arXiv 2107.03006.

    Examples
    --------
    >>> from fastblackout.diffusers import RedrawScheduler
    >>> scheduler = RedrawScheduler(states=4, num_inference_steps=2)
    >>> x = scheduler.initial_sample((1, 6), generator=1)
    >>> for n in scheduler.timesteps:
    ...     x = scheduler.step(torch.zeros(1, 6, 4), n, x, generator=fb.Philox(2)).prev_sample
    >>> x.shape
    torch.Size([1, 6])
    """

    order = 1

    @register_to_config
    def __init__(
        self,
        *,  # what is passed by place, from_config of diffusers takes for a default
        states: int,
        process: str = "uniform",
        mask: int | None = None,
        num_inference_steps: int = 32,
    ) -> None:
        op = "RedrawScheduler"
        check_name(op, "process", process, _PROCESSES)
        if process == "uniform" and mask is not None:
            raise ValueError(f"{op}: mask: must be None for process 'uniform', got {mask!r}")
        self.process: Redraw = Uniform(states) if process == "uniform" else Absorbing(states, mask)
        self.set_timesteps(num_inference_steps)

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Choose how many steps a run has.

        Parameters
        ----------
        num_inference_steps : int
            The number N.
        device : str or torch.device, optional
            The device of `timesteps`.

        Raises
        ------
        ValueError
            If the number is below 1.
        """
        op = "RedrawScheduler.set_timesteps"
        self.num_inference_steps = check_integer(op, "num_inference_steps", num_inference_steps, 1, 1 << 31)
        self.timesteps = torch.arange(self.num_inference_steps, device=device)

    def initial_sample(
        self, shape: Sequence[int], device: str | torch.device | None = None, generator: Draw = None
    ) -> Tensor:
        """States of noise, with which a run begins.

        Parameters
        ----------
        shape : sequence of int
            The shape (B, ...).
        device : str or torch.device, optional
            The device.
        generator : torch.Generator, Philox or int, optional
            Where the draw comes from.

        Returns
        -------
        torch.Tensor
            int64.
        """
        op = "RedrawScheduler.initial_sample"
        key = key_from(op, "generator", generator)
        none = torch.zeros(shape_of(shape, op, 1), dtype=torch.int64, device=device)
        return self.process.sample_forward(none, _FOREVER, rng=key)

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        *,
        temperature: float = 1.0,
        generator: Draw = None,
        return_dict: bool = True,
    ) -> RedrawSchedulerOutput | tuple[Tensor, ...]:
        """One reverse step.

        Parameters
        ----------
        model_output : torch.Tensor
            Logits of x_0 (B, ..., S).
        timestep : int or torch.Tensor
            The step n, one of `timesteps`.
        sample : torch.Tensor
            States (B, ...).
        temperature : float, default 1.0
            What logits are divided by; 0 takes the largest. DiscreteDDIMScheduler has 0 by default.
        generator : torch.Generator, Philox or int, optional
            Where the draw comes from. Of a Philox step n has the call n + 1, as in `fb.processes.sample_reverse`.
        return_dict : bool, default True
            False for a tuple.

        Returns
        -------
        RedrawSchedulerOutput
            prev_sample, sampled_tokens, sampled_probs and pred_logits.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If an argument is out of range.
        """
        op, steps = "RedrawScheduler.step", self.num_inference_steps
        n = check_integer(op, "timestep", timestep.item() if isinstance(timestep, Tensor) else timestep, 0, steps - 1)
        wanted = (*sample.shape, self.process.states)
        if tuple(model_output.shape) != wanted:
            raise ValueError(f"{op}: model_output: must have shape {wanted}, got {tuple(model_output.shape)}")
        if not is_number(temperature) or not 0 <= temperature < math.inf:
            raise ValueError(f"{op}: temperature: must be a number of at least 0, got {temperature!r}")
        key = key_from(op, "generator", generator).at(call=n + 1)
        logits = model_output.float()
        if temperature == 0:
            x_0 = logits.argmax(-1)
        else:
            x_0 = cast(Tensor, categorical_rows(logits=logits / temperature, rng=key))
        x_0 = x_0.to(sample.dtype)
        reached = self.process._law.at(sample) > 0  # else it is no noise, but x_0 itself
        kept = torch.where(reached, x_0, sample)
        t, s = (-math.log(alive) if alive else _FOREVER for alive in (n / steps, (n + 1) / steps))
        x_s = self.process.sample_bridge(sample, kept, s, t, rng=key)
        probs = torch.softmax(logits, -1).gather(-1, x_0.long()[..., None])[..., 0]
        made: tuple[Any, ...] = x_s, kept, probs, model_output
        return RedrawSchedulerOutput(*made) if return_dict else made
