"""The head "implicit": a joint draw of the births of all pixels, by noise beside the image."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..ops import energy_loss
from ..philox import SEED_END, Philox
from .head import Head, Noised, Predicted, Query, logit_share, moments, rows_of


class Implicit(Head):
    """y = (max_count - x_t) sigmoid(2 logits + log(1 - p)) is one draw of the births of all pixels, by standard normal
    noise beside the image; the loss is the energy score of several. Source: De Bortoli et al. 2025, arXiv 2502.02483.
    """

    needs = ("offset", "draw_noise")
    takes_noise = True
    gives = "joint draws of all births"
    most_steps = 10  # it draws all births at once, so more steps gain it nothing
    constant = "the mean"

    def loss(self, model: Any, noised: Noised) -> Tensor:
        draws, shape, labels = noised.draws, noised.births.shape, noised.labels
        noise = torch.cat([model.draw_noise(noised.model_input, key) for key in draw_keys(noised.rng, draws)])
        many = noised.model_input.repeat(draws, *[1] * (len(shape) - 1))
        logits = model(many, noised.k.repeat(draws), None if labels is None else labels.repeat(draws), noise)
        how = {"offset": noised.number, "max_count": model.max_count}
        return energy_loss(logits.view(draws, *shape), noised.x_t, noised.births, noised.weight, **how)

    def start(self, model: Any, x_0: Tensor, numbers: int) -> Tensor:
        max_count = model.max_count
        mean, _ = moments(x_0)
        return (logit_share(mean, max_count) / 2).float()[None]

    def unit(self, weights: NDArray[Any], q: NDArray[Any], elements: int, max_count: int) -> float:
        """Norms go with sqrt((1 - p_k) elements)."""
        return 4.0 / (float(elements) ** 0.5 * float((weights * np.sqrt(q)).mean()) * max_count)

    def constant_loss(self, births: Tensor, room: Tensor, mean: Tensor, share: Tensor, q: Tensor) -> Tensor:
        """The norm |y - births| alone."""
        return (q * mean - births).flatten(1).norm(dim=1)

    def births(self, query: Query, x: Tensor, number: Any, key: Any) -> dict[str, Any]:
        """One draw, with guidance of its logits for one noise."""
        logits = query.guided(query.model.draw_noise(query.model_input, key))
        if isinstance(number, Tensor):
            number = number.view(-1, *[1] * (x.ndim - 1))
        return {"births": (query.model.max_count - x).float() * torch.sigmoid(2 * logits + number)}

    def predict(self, model: Any, asked: tuple[Any, ...], key: Philox, noises: int) -> Tensor:
        return torch.stack([model(*asked, model.draw_noise(asked[0], one)) for one in draw_keys(key, noises)])

    def log_mean(self, at: Predicted, between: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The logarithm of the mean of the draws; -inf where there is no room."""
        offset = at.number if between is None else torch.log(between[0])
        shares = logsigmoid(2 * at.outputs + rows_of(offset, at.room))
        return torch.log(at.room) + torch.logsumexp(shares, 0) - math.log(len(at.outputs))


def draw_keys(rng: Philox | Tensor, draws: int) -> list[Any]:
    """A key for the noise of each of several joint draws: draw s has the seed plus s 2^56.

    rng: a Philox, or its tensor, whose keys are tensors on its device.
    """
    if isinstance(rng, Tensor):
        keys = [rng.clone() for _ in range(draws)]
        for s, key in enumerate(keys):
            key[0].add_(s << 56)  # modulo 2^64, as below
        return keys
    return [
        Philox((rng.seed + (s << 56)) % SEED_END, first_sample=rng.first_sample, call=rng.call) for s in range(draws)
    ]
