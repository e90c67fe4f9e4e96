"""The head "mean": logits of the expected births."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from ..ops import birth_loss
from .head import Head, Noised, Predicted, Query, held, moments, rows_of, softplus_inverse


class Mean(Head):
    """E[x_0 - x_t | x_t] is estimated by y = gain(k) softplus(logits); the loss is the sum of y - (x_0 - x_t) log y."""

    needs = ()
    thinned = ("births", "model_input")
    grid = "cosine"

    def number(self, model: Any, k: Any) -> Any:
        return model.gain(k)

    def number_between(self, number: Any, share: Any) -> Any:
        """y / (1 - p) is held."""
        return number * share

    def loss(self, model: Any, noised: Noised) -> Tensor:
        logits = model(noised.model_input, noised.k, noised.labels)
        return birth_loss(logits, noised.births, noised.weight, gain=noised.number)

    def start(self, model: Any, x_0: Tensor, numbers: int) -> Tensor:
        mean, _ = moments(x_0)
        return softplus_inverse(mean / model.gain(model.schedule.steps)).float()[None]

    def births(self, query: Query, x: Tensor, number: Any, key: Any) -> dict[str, Any]:
        if query.guidance is None:
            return {"logits": query.plain(), "gain": number}
        log_y = query.guided(of=_log_softplus)
        factor = number[0] if isinstance(number, Tensor) and number.ndim else float(number)
        # Far from the data the ratio can overflow; more than max_count births can never happen.
        return {"births": torch.clamp(factor * torch.exp(log_y), max=float(query.model.max_count))}

    def log_mean(self, at: Predicted, between: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Between the times y / (1 - p) is held."""
        logits = at.outputs
        # softplus(x) = exp(x) (1 - exp(x) / 2 + ...): below -36 its logarithm is x to the last bit, and never log(0).
        log_softplus = torch.where(logits < -36, logits, torch.log(softplus(logits.clamp(min=-36))))
        gain = torch.as_tensor(at.number, dtype=torch.float64, device=logits.device)
        return held(log_softplus + rows_of(torch.log(gain), logits), between)


def _log_softplus(logits: Tensor) -> Tensor:
    logits = logits.float()
    # softplus(x) = exp(x) (1 - exp(x)/2 + ...): below -15 its logarithm is x to float32 precision, and never log(0).
    return torch.where(logits < -15, logsigmoid(logits), torch.log(softplus(logits.clamp(min=-15))))
