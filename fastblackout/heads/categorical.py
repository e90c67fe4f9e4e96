"""The heads "categorical" and "bayes-categorical": a logit for every state x_0 = 0..max_count."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .law import FamilyLaw


class Categorical(FamilyLaw):
    """The law of x_0 given x_t, of which the states x_t..max_count count."""

    of_its_time = True

    def numbers_per_count(self, max_count: int) -> tuple[int, ...]:
        return (max_count + 1,)

    def start(self, model: Any, x_0: Tensor, numbers: int) -> Tensor:
        """The logarithm of how often each state was seen, all of them together once more."""
        max_count = model.max_count
        seen = torch.stack([(x_0 == state).sum(0) for state in range(max_count + 1)]).double() + 1 / (max_count + 1)
        return torch.log(seen / seen.sum(0)).float()

    def arrays(self, outputs: Tensor, images: Tensor) -> Sequence[Tensor]:
        """One array, (*shape of the images, states), which is a view."""
        return (outputs.unflatten(1, (-1, images.shape[1])).movedim(1, -1),)

    def log_law(self, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
        (logits,) = arrays
        n = torch.arange(most + 1, dtype=torch.float64, device=room.device)
        state = (most - room + n).clamp(max=most).long()
        return torch.log_softmax(torch.where(n <= room, logits.gather(1, state), -torch.inf), 1)


class BayesCategorical(Categorical):
    """A law of x_0 that knows nothing of the pixel's own x_t, from which the births follow by Bayes' rule."""

    of_its_time = False  # Bayes' rule makes of it the law of any time

    def log_law(self, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
        (logits,) = arrays
        v = torch.arange(most + 1, dtype=torch.float64, device=room.device)
        n = (v - (most - room)).clamp(min=0)
        known = (torch.lgamma(v + 1) - torch.lgamma(n + 1)) + n * offset
        return super().log_law([logits + known], room, offset, most)
