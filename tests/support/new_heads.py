"""Heads for tests: the logarithm of the mean births, and a law with a logit for every state of x_0, so that a network
can know any law exactly."""

import torch

from fastblackout import heads
from fastblackout.heads.head import Head, rows_of
from fastblackout.heads.law import Law


def add_heads(monkeypatch):
    """They are there as long as the test: "states", and "known-states", a prior times the known law of x_t."""
    for name in ("states", "known-states"):
        monkeypatch.setitem(heads.HEADS, name, heads.Listed(f"{__name__}:States", {"weight": "uniform"}))


class States(Law):
    """Pr(births = n) in proportion to exp(l_v), v = x_t + n, or to exp(l_v) C(v, x_t) exp(n offset)."""

    def numbers_per_count(self, max_count):
        return (max_count + 1,)

    def log_law(self, arrays, room, offset, most):
        n = torch.arange(most + 1, dtype=torch.float64)
        v = most - room + n
        logs = torch.cat(list(arrays), 1).double().gather(1, v.clamp(max=most).long())
        if self.name == "known-states":
            logs = logs + torch.lgamma(v + 1) - torch.lgamma(n + 1) + n * offset
        return torch.log_softmax(torch.where(n <= room, logs, -torch.inf), 1)


class LogMean(Head):
    """log E[x_0 - x_t | x_t] = outputs + log(1 - p)."""

    def loss(self, model, noised):
        log_y = model(noised.model_input, noised.k, noised.labels) + rows_of(noised.number, noised.births)
        return noised.weight * (log_y.exp() - noised.births * log_y).flatten(1).sum(1)

    def births(self, query, x, number, key):
        return {"births": torch.exp(query.guided() + rows_of(torch.as_tensor(number).float(), x))}

    def log_mean(self, at, between=None):
        return at.outputs + rows_of(at.number if between is None else between[0].log(), at.outputs)
