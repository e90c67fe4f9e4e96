"""The reverse steps of uniform and absorbing noise on states, as a scheduler of diffusers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from diffusers import SchedulerMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor

from ..ground.values import check_integer, check_name, is_number
from ..ops import categorical_rows
from ..philox import Philox
from ..processes import Absorbing, Redraw, Uniform
from ..sampling.checks import shape_of
from .keys import key_from

if TYPE_CHECKING:
    Draw = torch.Generator | Philox | int | None

_PROCESSES = ("uniform", "absorbing")
_FOREVER = 1000.0  # of exp(-1000), which is 0, nothing is left


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
