"""Calls of the ops on states that torch may trace, and their inputs."""

import numpy as np
import torch

import fastblackout as fb
from fastblackout.call import torch_registry  # noqa: F401  (registers torch.ops.fastblackout)

STATES = 9
COUNT = 5  # matrices to choose from


def inputs(batch=4, shape=(2, 3, 7), seed=0):
    """state, logits, matrices (5, 9, 9), index, p."""
    random = np.random.default_rng(seed)
    weights = random.random((COUNT, STATES, STATES))
    return (
        torch.from_numpy(random.integers(0, STATES, (batch, *shape)).astype(np.uint8)),
        torch.from_numpy(random.normal(0, 3, (batch, *shape, STATES)).astype(np.float32)),
        torch.from_numpy(weights / weights.sum(-1, keepdims=True)),
        torch.from_numpy(random.integers(0, COUNT, batch)),
        torch.from_numpy(random.random(batch)),
    )


def forward(state, logits, matrices, index, p, key):
    return fb.categorical(state, matrices, index=index, rng=key), fb.categorical(state, matrices[0], rng=key)


def through_table(state, logits, matrices, index, p, key):
    return (fb.categorical(state, fb.CategoricalTable(matrices), index=index, rng=key),)


def bridge(state, logits, matrices, index, p, key):
    return (fb.categorical_bridge(state, logits=logits, before=matrices, after=matrices[1], index=index, rng=key),)


def bridge_known(state, logits, matrices, index, p, key):
    known = fb.categorical_bridge(state, state.int(), before=matrices[0], after=matrices[1], rng=key)
    return known, fb.categorical_bridge(
        state, probs=logits.double().softmax(-1), before=matrices[0], after=matrices[1], rng=key
    )


def log_probs(state, logits, matrices, index, p, key):
    pair = fb.Prob(p, 1.0 - p)
    return (
        fb.thin_log_prob(state, state + 2, pair),
        fb.bridge_log_prob(state + 1, state, state + 2, p),
        fb.transition_rows(pair, 11),
        fb.transition_rows(p[0], 3),
    )


CALLS = [forward, through_table, bridge, bridge_known, log_probs]
