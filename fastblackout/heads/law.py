"""What heads share that give a law of the births of each pixel."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..call.head import FAMILIES
from ..ops import binomial, binomial_log_prob, categorical_rows, posterior_loss
from ..philox import Philox
from ..probability import Prob
from ..typing import LastStep
from .head import Head, Noised, Predicted, Query, StepProbs, rows_of

CELLS = 1 << 17  # the most terms of the sums at once, 1 MiB of float64, which stays in a cache


class Law(Head):
    """A law of the births of each pixel on its own, by arrays of the shape of the images.

    A subclass says how many numbers it has (`numbers_per_count`), the law (`log_law`), and what of it has a closed
    form. Its loss and the births of a step follow from `log_law`. A family of `fb.posterior_loss` has faster ones
    (FamilyLaw).
    """

    gives_law = True
    constant = "one binomial law"

    @abstractmethod
    def log_law(self, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
        """log Pr(the births that are left = 0..most), float64 (B, most + 1), -inf beyond the room.

        arrays: (B, 1) each; room: max_count - x_t, (B, 1); offset: log(1 - p), (B, 1). `loss` is differentiated through
        it: take no logarithm of a 0 that is masked later, whose gradient is NaN.
        """

    def loss(self, model: Any, noised: Noised) -> Tensor:
        """-log Pr(births), summed over each sample, where its mask says so."""
        outputs = model(noised.model_input, noised.k, noised.labels)
        arrays = [array.double() for array in self.arrays(outputs, noised.births)]
        room, births = model.max_count - noised.x_t.double(), noised.births.long().reshape(-1, 1)
        logs = self.by_parts(
            arrays, room, noised.number, model.max_count, lambda part, law: law.gather(1, births[part])[:, 0]
        )
        if noised.mask is not None:
            logs = torch.where(noised.mask, logs, 0.0)
        return -noised.weight * logs.flatten(1).sum(1)

    def births(self, query: Query, x: Tensor, number: Any, key: Any) -> dict[str, Any]:
        """Drawn from the law."""
        most, offset = query.model.max_count, torch.as_tensor(number, dtype=torch.float64, device=x.device)
        rows = [array.double().reshape(-1, 1) for array in self.arrays(query.guided(), x)]
        shift = rows_of(offset, x).expand(x.shape).reshape(-1, 1)
        laws = self.log_law(rows, most - x.double().reshape(-1, 1), shift, most)
        return {"births": categorical_rows(logits=laws.view(*x.shape, most + 1), rng=key).double()}

    def arrays(self, outputs: Tensor, images: Tensor) -> Sequence[Tensor]:
        """Those that a network gives of images, one after another along its channels."""
        return outputs.chunk(outputs.shape[1] // images.shape[1], dim=1)

    def last_step(self, shape: tuple[int, ...], max_count: int) -> LastStep:
        """The mean, where a draw of each pixel on its own is noise to the eye; rows of tables, (C, 1, 1), are draws."""
        return "mean" if shape[1:] != (1, 1) and max_count >= 255 else "draw"

    def unit(self, weights: NDArray[Any], q: NDArray[Any], elements: int, max_count: int) -> float:
        """Losses are then nats a pixel."""
        return 1.0 / (elements * float(weights.mean()))

    def constant_loss(self, births: Tensor, room: Tensor, mean: Tensor, share: Tensor, q: Tensor) -> Tensor:
        """Of the binomial law that each pixel would have if all its particles were alike."""
        unborn = share * q + (1 - share)
        law = Prob(share * q / unborn, (1 - share) / unborn)
        return -binomial_log_prob(births, room, law).flatten(1).sum(1)

    def expected(self, query: Query, x: Tensor, number: Any, key: Any) -> dict[str, Any]:
        most, offset = query.model.max_count, torch.as_tensor(number, dtype=torch.float64, device=x.device)
        arrays = [array.double() for array in self.arrays(query.guided(), x)]
        return {"births": self.log_expected(arrays, most - x.double(), offset, most).exp()}

    def log_mean(self, at: Predicted, between: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The log of the births expected."""
        offset = at.number if between is None else torch.log(between[0])
        return self.log_expected(self.arrays(at.outputs, at.room), at.room, offset, at.max_count)

    def log_expected(self, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
        """log E[births], -inf where there is no room. arrays, room: float64 (B, ...); offset: (B,) or ()."""
        n = torch.arange(most + 1, dtype=torch.float64, device=room.device)
        return self.by_parts(arrays, room, offset, most, lambda part, law: torch.logsumexp(law + torch.log(n), 1))

    def step_divergence(self, at: Predicted, step: StepProbs, key: Philox) -> Tensor:
        """At births of the step that are drawn."""
        true, assumed = step.beside(at.births)
        born = binomial(at.births, Prob(*(side.expand_as(at.births) for side in true)), rng=key)
        return binomial_log_prob(born, at.births, true) - self.log_law_of_step(at, born, assumed)

    def log_law_of_step(self, at: Predicted, born: Tensor, step: Prob) -> Tensor:
        """log Pr(births of a step = born), float64: of the births N of the law each is born in the step with step.p.

            Pr(k) = sum over n = k..room of Pr(N = n) Binomial(n, step.p) at k

        born: counts like the room; step: p and q = 1 - p of a shape that broadcasts to it.
        """
        p, q = (side.expand(at.room.shape).reshape(-1, 1) for side in step)
        n = torch.arange(at.max_count + 1, dtype=torch.float64, device=at.room.device)
        log_factorial = torch.lgamma(n + 1)
        k = born.reshape(-1, 1)
        born_by = torch.xlogy(k, p) - torch.lgamma(k + 1)
        log_q = torch.log(q).clamp(min=-1e300)  # so that 0 times it is 0 where q is 0

        def of_law(part: slice, law: Tensor) -> Tensor:
            rest = n - k[part]
            known = log_factorial + (rest * log_q[part] - log_factorial[rest.clamp(min=0).long()])
            return born_by[part, 0] + torch.logsumexp(torch.where(rest < 0, -torch.inf, law + known), 1)

        return self.by_parts(self.arrays(at.outputs, at.room), at.room, at.number, at.max_count, of_law)

    def by_parts(
        self, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int, of_law: Callable[..., Tensor]
    ) -> Tensor:
        """of_law(part, log_law of the elements of a part, a row for each) for all elements, in room's shape."""
        shift, flat = rows_of(offset, room).expand(room.shape).reshape(-1, 1), room.reshape(-1, 1)
        rows = [each.reshape(-1, 1) for each in arrays]
        total, some = torch.empty_like(room.reshape(-1)), max(1, CELLS // (most + 1))
        for first in range(0, len(flat), some):
            part = slice(first, first + some)
            total[part] = of_law(part, self.log_law([each[part] for each in rows], flat[part], shift[part], most))
        return total.view(room.shape)


class FamilyLaw(Law):
    """The family of its name of `fb.posterior_loss`, by which it is trained, and `fb.posterior_step`, by which samples
    are drawn. A subclass says no more than the law."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.largest_count = FAMILIES[name].largest_count

    def numbers_per_count(self, max_count: int) -> tuple[int, ...]:
        return FAMILIES[self.name].arrays

    def loss(self, model: Any, noised: Noised) -> Tensor:
        arrays = self.arrays(model(noised.model_input, noised.k, noised.labels), noised.births)
        x_t, births = noised.x_t, noised.births
        if noised.mask is not None:
            arrays, x_t, births = self.masked(arrays, x_t, births, noised.mask, model.max_count)
        how = {"family": self.name, "offset": noised.number, "max_count": model.max_count}
        return posterior_loss(arrays, x_t, births, noised.weight, **how)

    def masked(
        self, arrays: Sequence[Tensor], x_t: Tensor, births: Tensor, mask: Tensor, max_count: int
    ) -> tuple[Sequence[Tensor], Tensor, Tensor]:
        """The same; where the mask is false no room is left: no birth is certain, so loss and slopes are 0."""
        return arrays, torch.where(mask, x_t, x_t.new_full((), max_count)), torch.where(mask, births, 0)

    def births(self, query: Query, x: Tensor, number: Any, key: Any) -> dict[str, Any]:
        """As of `fb.posterior_step`."""
        return {"head": self.arrays(query.guided(), x), "family": self.name, "offset": number}
