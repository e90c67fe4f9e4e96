"""Single paths of the exact reverse process, followed jump by jump from the words that docs/draw.md names."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import brentq

import fastblackout as fb
from fastblackout.processes import simulate_reverse
from support.small_processes import LAW, PROCESSES, data_law
from support.specified_words import elements


def uniform(high, low):
    return ((high << 32 | low) >> 11) * 2.0**-53 + 2.0**-54


def followed(rates, law, x, t, s, at):
    """x_s by the chance of staying, whose root is found by bisection and whose laws are SciPy's matrix exponentials."""
    jumps = 0

    def law_at(time):
        return law @ expm(rates * time)

    while True:
        first, second, third, fourth = at.own_block("REVERSE_PATH", jumps)
        goal, choice = uniform(first, second), uniform(third, fourth)

        def excess(time, x=x, now=t, goal=goal):
            return law_at(time)[x] / law_at(now)[x] * np.exp(rates[x, x] * (now - time)) - goal

        if excess(s) > 0:
            return x
        t = brentq(excess, s, t, xtol=1e-14)
        weights = law_at(t) * rates[:, x]
        weights[x] = 0.0
        x = int((weights.cumsum() <= choice * weights.sum()).sum())
        jumps += 1


@pytest.mark.parametrize("name", [name for name in PROCESSES if name != "sped up"])  # whose rates depend on time
def test_a_path_is_the_one_that_its_words_say(name):
    process, t, s = PROCESSES[name], 0.9, 0.05
    law, generator = data_law(process, LAW), np.random.default_rng(1)
    p_t = law @ process.transition_matrix(t)
    x_t = generator.choice(process.states, p=p_t / p_t.sum(), size=(5, 8))
    key = fb.Philox(0x0123456789ABCDEF, first_sample=2, call=3)
    found = simulate_reverse(process, x_t, law, t, s, rng=key)
    rates = process.generator()
    starts = x_t.reshape(-1).tolist()
    wanted = [followed(rates, law, starts[place], t, s, at) for _, place, at in elements(x_t.shape, key)]
    assert found.reshape(-1).tolist() == wanted
    assert (found != x_t).any()
