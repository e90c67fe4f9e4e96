"""The moving average of the weights, with the warm-up of the reference code."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def ema_decay(updates: int, max_decay: float = 0.9999) -> float:
    """The decay of the moving average at an update, with its warm-up.

    ::

        min(max_decay, (1 + n) / (10 + n)) = 2/11, 3/12, 4/13, ... for n = 1, 2, 3, ...

    Parameters
    ----------
    updates : int
        The number n of the update, at least 1.
    max_decay : float, default 0.9999
        The decay once it is warmed up.

    Returns
    -------
    float
        The decay.

    Examples
    --------
    >>> round(fb.models.ema_decay(1), 4)
    0.1818
    """
    return min(max_decay, (1 + updates) / (10 + updates))


class ModelEMA(AveragedModel):
    """The moving average of a model's weights.

    ::

        w <- w + (1 - ema_decay(n)) (model - w) for every parameter

    `update` comes after the optimizer's step.

    Parameters
    ----------
    model : torch.nn.Module
        The model. It is copied, so that the average begins at its present weights. The copy is set to eval mode without
        gradients.
    max_decay : float, default 0.9999
        The average's decay once it is warmed up, in [0, 1).

    Raises
    ------
    ValueError
        If `max_decay` is out of range.

    Notes
    -----
    `state_dict` holds weights and count. Restored from it, the average goes on as if it was never interrupted, to the
    bit. Buffers are copied, not averaged.

    References
    ----------
    Song et al. 2021 (score_sde, `models/ema.py`). There the average was updated before the optimizer's step.
    """

    def __init__(self, model: nn.Module, max_decay: float = 0.9999) -> None:
        if not 0.0 <= max_decay < 1.0:
            raise ValueError(f"ModelEMA: max_decay: must be in [0, 1), got {max_decay}")
        super().__init__(model)
        self.max_decay = max_decay
        # AveragedModel copies the weights at count 0. The initial weights are already here and count as one, so the
        # count seen by the n-th update is n, as in the reference.
        self.updates = 0
        self.eval().requires_grad_(False)

    @property
    def model(self) -> nn.Module:
        """The averaged model."""
        return self.module

    @property
    def updates(self) -> int:
        """The number of updates so far."""
        return self._updates

    @updates.setter
    def updates(self, value: int) -> None:
        self._updates = value
        self.n_averaged.fill_(value + 1)

    def update(self, model: nn.Module) -> None:
        """Take in the present weights of a model.

        Parameters
        ----------
        model : torch.nn.Module
            The model.
        """
        self.update_parameters(model)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the present weights of a model: `update`, under the name by which AveragedModel calls it.

        Parameters
        ----------
        model : torch.nn.Module
            The model.

        Notes
        -----
        AveragedModel's own copies its count to the device of the weights, and waits for that. Here the count is a
        Python number, and the buffer beside it is for `state_dict`.
        """
        buffers, given = list(self.module.buffers()), list(model.buffers())
        if [each.shape for each in buffers] != [each.shape for each in given]:
            rule = "must have the buffers that it had when the average was made (fit_input comes before)"
            raise ValueError(f"ModelEMA.update: model: {rule}, got {len(given)} in place of {len(buffers)}")
        self.updates += 1
        # 1 - ema_decay(n), written without cancellation.
        share = max(1.0 - self.max_decay, 9.0 / (10.0 + self.updates))
        averaged: list[Tensor] = list(self.module.parameters())
        there = [value.to(own.device) for own, value in zip(averaged, model.parameters(), strict=True)]
        torch._foreach_lerp_(averaged, there, share)
        if buffers:
            torch._foreach_copy_(buffers, given)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._updates = int(self.n_averaged) - 1


def ema_of(model: nn.Module, max_decay: float = 0.9999) -> ModelEMA:
    """The moving average of a model, which begins at its present weights.

    Parameters
    ----------
    model : torch.nn.Module
        The model.
    max_decay : float, default 0.9999
        The average's decay once it is warmed up, in [0, 1).

    Returns
    -------
    ModelEMA
        The average.
    """
    return ModelEMA(model, max_decay)
