"""Every method of the processes, and every function of their states, on one set of small arguments of any library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastblackout as fb
from fastblackout import processes as on
from fastblackout.processes import conversion as to

PROCESSES: dict[str, Any] = {
    "pure death": fb.PureDeath(12),
    "Ehrenfest": fb.Ehrenfest(11, 2.0, 0.5),
    "random walk": fb.RandomWalk(9, 1.5),
    "uniform": fb.Uniform(8),
    "absorbing": fb.Absorbing(7, 2),
    "any law": fb.Redraw(np.array([0.4, 0.1, 0.0, 0.3, 0.2])),
    "immigration-death": fb.ImmigrationDeath(2.0, 12),
    "open immigration-death": fb.ImmigrationDeath(0.5, 20, "open"),
    "any": fb.MarkovProcess(np.array([[-3.0, 2, 1], [0, -1, 1], [5, 0, -5]])),
    "sped up": fb.RandomWalk(9, 1.5).time_change(lambda t: t * t, lambda t: 2 * t),
}
ALIVE = fb.Prob(0.25, 0.75)


def arguments(process: Any) -> dict[str, np.ndarray]:
    """NumPy arrays; x_t can be where it is."""
    generator = np.random.default_rng(0)
    x_0 = generator.integers(0, min(process.states, 13), (4, 2, 3))
    t = generator.random(4) + 0.2
    x_t = process.sample_forward(x_0, t, rng=fb.Philox(1))
    prior = generator.random(process.states) + 0.1
    prior /= prior.sum()
    posterior = process.posterior(x_t, prior, t)
    jumps = to.jumps_into(process, x_t, t)
    score = np.where(jumps > 0, process.score(x_t, posterior, t), 1.0)
    a = {"x_t": x_t, "x_0": x_0, "s": t * generator.random(4), "t": t, "prior": prior, "posterior": posterior}
    a |= {"logits": generator.normal(size=posterior.shape), "score": score, "rates": jumps * score}
    a |= {"source": np.where(jumps.any(-1), jumps.argmax(-1), x_t), "births": generator.random(x_t.shape)}
    return a | {"targets": np.arange(process.states)}


def calls(process: Any, a: dict[str, Any], rng: fb.Philox) -> dict[str, Callable[[], Any]]:
    """Each call by its name, on arguments of one library."""
    x_t, x_0, s, t, prior, posterior, score, births = (
        a[name] for name in ("x_t", "x_0", "s", "t", "prior", "posterior", "score", "births")
    )
    made: dict[str, Callable[[], Any]] = {
        "transition_matrix": lambda: process.transition_matrix(t),
        "beta": lambda: process.beta(t),
        "log_prob": lambda: process.log_prob(x_t, x_0, t),
        "cdf": lambda: process.cdf(x_t, x_0, t),
        "bridge": lambda: process.bridge(x_t, x_0, s, t),
        "reverse_rate": lambda: process.reverse_rate(x_t, x_0, t),
        "score": lambda: process.score(x_t, posterior, t),
        "score at states": lambda: process.score(x_t, posterior, t, states=a["source"]),
        "reverse_law": lambda: process.reverse_law(x_t, posterior, s, t),
        "posterior": lambda: process.posterior(x_t, prior, t),
        "sample_forward": lambda: process.sample_forward(x_0, t, rng=rng),
        "sample_bridge": lambda: process.sample_bridge(x_t, x_0, s, t, rng=rng),
        "probs_from_logits": lambda: to.probs_from_logits(a["logits"], to.reachable_from(process, x_t, t)),
        "logits_from_probs": lambda: to.logits_from_probs(posterior),
        "births_from_logits": lambda: to.births_from_logits(a["logits"], gain=2.0),
        "logits_from_births": lambda: to.logits_from_births(births, gain=2.0),
        "births_from_probs": lambda: to.births_from_probs(posterior, x_t),
        "rate_from_births": lambda: to.rate_from_births(births, ALIVE),
        "births_from_rate": lambda: to.births_from_rate(births, ALIVE),
        "score_from_births": lambda: to.score_from_births(births, x_t, ALIVE),
        "births_from_score": lambda: to.births_from_score(births, x_t, ALIVE),
        "jumps_into": lambda: to.jumps_into(process, x_t, t),
        "rates_from_score": lambda: to.rates_from_score(process, x_t, score, t),
        "score_from_rates": lambda: to.score_from_rates(process, x_t, a["rates"], t),
        "reachable_from": lambda: to.reachable_from(process, x_t, t),
        "score_from_probs": lambda: to.score_from_probs(process, x_t, posterior, t),
        "rate_divergence": lambda: on.rate_divergence(births, births),
        "rate_loss": lambda: on.rate_loss(process, x_t, x_0, t, a["rates"]),
        "score_entropy": lambda: on.score_entropy(process, x_t, x_0, t, a["logits"]),
        "prior_divergence": lambda: on.prior_divergence(process, x_0, 0.9, prior),
        "tau_leap_reverse": lambda: on.tau_leap_reverse(x_t, a["rates"], 0.3, rng=rng),
        "tau_leap_reverse, not ordered": lambda: on.tau_leap_reverse(x_t, a["rates"], 0.3, ordered=False, rng=rng),
        "tau_leap_reverse with targets": lambda: on.tau_leap_reverse(
            x_t, a["rates"], 0.3, targets=a["targets"], states=process.states, rng=rng
        ),
        "sample_forward at one time": lambda: process.sample_forward(x_0, 0.7, rng=rng),
        "sample_bridge at one time": lambda: process.sample_bridge(x_t, x_0, 0.2, 0.7, rng=rng),
        "sample_reverse": lambda: on.sample_reverse(
            process,
            lambda x, now: process.posterior(x, prior, now),
            (4, 2, 3),
            [1.3, 0.6, 0.1],
            kind="probs",
            start=process.sample_forward(x_0, 1.3, rng=rng),
            rng=rng,
        ),
    }
    if getattr(process, "boundary", "") != "open":
        made["simulate_reverse"] = lambda: on.simulate_reverse(process, x_t, prior, 0.9, 0.4, rng=rng)
    if hasattr(process, "tail"):
        made["tail"] = lambda: process.tail(t)
    if isinstance(process, (fb.Uniform, fb.Absorbing)):
        known = process.posterior(x_t, prior, 0.7)
        made["probs_from_score"] = lambda: to.probs_from_score(process, x_t, process.score(x_t, known, 0.7), 0.7)
    if isinstance(process, (fb.PureDeath, fb.Ehrenfest, fb.RandomWalk, fb.ImmigrationDeath)):
        made["birth_death_loss"] = lambda: on.birth_death_loss(process, x_t, x_0, t, births, births)
    return made
