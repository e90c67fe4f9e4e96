"""Processes on few states, and a law of the data on them."""

import numpy as np

import fastblackout as fb

LAW = np.array([0.1, 0.4, 0.3, 0.05, 0.0, 0.15])
PROCESSES = {
    "pure death": fb.PureDeath(5),
    "immigration-death": fb.ImmigrationDeath(1.5, max_count=5),
    "Ehrenfest": fb.Ehrenfest(5, up=0.6, down=1.2),
    "random walk": fb.RandomWalk(6),
    "uniform": fb.Uniform(6),
    "absorbing": fb.Absorbing(7),
    "sped up": fb.Uniform(6).time_change(lambda t: t * t, lambda t: 2 * t),
    "any": fb.MarkovProcess(np.array([[-1.0, 0.7, 0.3], [0.0, -0.5, 0.5], [2.0, 0.0, -2.0]])),
}


def data_law(process, law):
    """`law` on six states; with no data in a seventh; another on three."""
    return {6: law, 7: np.concatenate([law, [0.0]]), 3: np.array([0.2, 0.5, 0.3])}[process.states]
