"""The losses of the steps since the last record of the log, of which the next record has the means."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from .checkpoint import SINCE_LOG

if TYPE_CHECKING:
    from .ranks.single import Single


class SinceLog:
    """Sums of the loss and of the norm of its gradient over the steps since the last record.

    Checkpoints keep them, and numbers are added one after another, so that a resumed run logs what one that was never
    interrupted does, to the bit.
    """

    def __init__(self, ranks: Single) -> None:
        self._ranks = ranks
        self._sums, self._steps = [0.0, 0.0], 0
        self._unread: list[torch.Tensor] = []

    def add(self, loss: torch.Tensor, norm: torch.Tensor) -> None:
        """The rank's part of a step's loss and the norm of the gradient, still on the device."""
        self._unread.append(torch.stack((loss, norm)))

    def read(self, step: int) -> None:
        """Adds up what is still on the device, which waits for a GPU; all ranks call it at once.

        Raises FloatingPointError for a number that is not finite. On a GPU, where ops go on with a number in place of
        one that is not, a network whose weights are not finite may still have a finite loss, but no such gradient.
        """
        if not self._unread:
            return
        losses, norms = torch.stack(self._unread).double().T.tolist()
        self._unread = []
        for loss, norm in zip(self._ranks.sums(losses), norms, strict=True):
            check_finite("loss", loss, step)
            check_finite("norm of the loss's gradient", norm, step)
            self._sums = [self._sums[0] + loss, self._sums[1] + norm]
            self._steps += 1

    def take_means(self) -> dict[str, float]:
        """The means of what was read, for the log; the next ones begin anew."""
        loss, norm = (total / self._steps for total in self._sums)
        self._sums, self._steps = [0.0, 0.0], 0
        return {"loss": loss, "gradient_norm": norm}

    @property
    def state(self) -> list[float]:
        """The two sums and the number of steps, ready for JSON."""
        return [*self._sums, self._steps]

    def restore(self, state: Any) -> None:
        """Takes up a `state`; runs of before have none. ValueError for what cannot be one."""
        if state is None:
            return
        if not (isinstance(state, list) and [type(each) for each in state] == [float, float, int] and state[2] >= 0):
            raise ValueError(f"checkpoint: config.json is damaged: {SINCE_LOG} cannot be right")
        self._sums, self._steps = state[:2], state[2]


def check_finite(what: str, value: float, step: int) -> None:
    """FloatingPointError for a loss, or another number named so, that tells of a training that has gone astray."""
    if not math.isfinite(value):
        raise FloatingPointError(f"train: the {what} is {value} at step {step}; try a lower learning rate")
