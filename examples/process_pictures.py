"""One picture a process: the forward process, its bridge, and the reverse process, with exact sample paths.

python examples/process_pictures.py       # writes process-*.png
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np

import fastblackout as fb
from fastblackout.processes import Process, simulate_reverse

matplotlib.use("Agg")
from matplotlib import pyplot as plt

TITLES = {
    "pure-death": "Pure death",
    "immigration-death": "Immigration-death",
    "ehrenfest": "Ehrenfest",
    "random-walk": "Random walk",
    "uniform": "Uniform",
    "absorbing": "Absorbing",
    "markov": "Any generator: a ring that turns one way",
}
PATHS = 4
COLOURS = ["#0062a8", "#d55e00", "#00805c", "#c2408f"]


def two_humps(states: int) -> np.ndarray:
    """A law of the data with a low hump and a higher, broader one."""
    x = np.arange(states)
    law = 0.45 * np.exp(-((x - 0.2 * states) ** 2) / (2 * (0.04 * states) ** 2))
    law += 0.55 * 0.5 * np.exp(-((x - 0.75 * states) ** 2) / (2 * (0.08 * states) ** 2))
    return law / law.sum()


def one_way_ring(states: int) -> np.ndarray:
    """A generator that no symmetry helps with: on to the next state at rate 3, and home to 0 at rate 0.3."""
    rates = 3.0 * np.roll(np.eye(states), 1, axis=1)
    rates[1:, 0] += 0.3
    return rates - np.diag(rates.sum(1))


def cases() -> dict[str, tuple[Process, np.ndarray, float, int, int]]:
    """name: process, law of the data, end of time, x_0 and x_t of the bridge."""
    counts = two_humps(41)
    letters = np.array([0.05, 0.3, 0.05, 0.05, 0.2, 0.05, 0.05, 0.05, 0.15, 0.05])
    masked = np.append(letters, 0.0)
    return {
        "pure-death": (fb.PureDeath(40), counts, 4.0, 34, 4),
        "immigration-death": (fb.ImmigrationDeath(12.0, max_count=40), counts, 4.0, 34, 8),
        "ehrenfest": (fb.Ehrenfest(40), counts, 2.0, 34, 12),
        "random-walk": (fb.RandomWalk(41, rate=100.0), counts, 4.0, 34, 8),
        "uniform": (fb.Uniform(10), letters, 3.0, 8, 2),
        "absorbing": (fb.Absorbing(11), masked, 3.0, 8, 10),
        "markov": (fb.MarkovProcess(one_way_ring(24)), two_humps(24), 6.0, 18, 21),
    }


def bridge_paths(process: Process, x_0: int, x_t: int, times: np.ndarray, rng: fb.Philox) -> np.ndarray:
    """(PATHS, times) of the process tied to x_0 at 0 and x_t at the last time, drawn from the last time down."""
    path = [np.full((PATHS, 1), x_t)]
    for n, (s, t) in enumerate(reversed(list(pairwise(times)))):
        before, after = process.transition_matrix(s), process.transition_matrix(t - s)
        start = np.full((PATHS, 1), x_0)
        path.append(fb.categorical_bridge(path[-1], start, before=before, after=after, rng=rng.at(call=n)))
    return np.concatenate(path[::-1], 1)


def forward_paths(process: Process, law: np.ndarray, times: np.ndarray, rng: fb.Philox) -> np.ndarray:
    """(PATHS, times), begun at evenly spread quantiles of the law."""
    first = np.searchsorted(law.cumsum(), (np.arange(PATHS) + 0.5) / PATHS)
    path = [first[:, None]]
    for n, (s, t) in enumerate(pairwise(times)):
        path.append(fb.categorical(path[-1], process.transition_matrix(t - s), rng=rng.at(call=n)))
    return np.concatenate(path, 1)


def reverse_paths(process: Process, law: np.ndarray, x_t: int, times: np.ndarray, rng: fb.Philox) -> np.ndarray:
    """(PATHS, times) of the exact reverse process from x_t at the last time."""
    path = [np.full((PATHS, 1), x_t)]
    for n, (s, t) in enumerate(reversed(list(pairwise(times)))):
        path.append(simulate_reverse(process, path[-1], law, t, s, rng=rng.at(call=n)))
    return np.concatenate(path[::-1], 1)


def draw(name: str, process: Process, law: np.ndarray, end: float, x_0: int, x_t: int, out: Path) -> None:
    times = end * np.linspace(0, 1, 201) ** 2  # finer near the data
    chances = process.transition_matrix(times)
    marginal = law @ chances
    bridge = np.stack([process.bridge(x_t, x_0, s, end) for s in times])
    left = process.transition_matrix(end - times)[:, :, x_t]
    reverse = marginal * left / marginal[-1, x_t]
    tied = bridge_paths(process, x_0, x_t, times, fb.Philox(2))
    mask = process.mask if isinstance(process, fb.Absorbing) else None
    end_state = "mask" if x_t == mask else str(x_t)
    panels = [
        ("forward: law of $x_t$", marginal, forward_paths(process, law, times, fb.Philox(1))),
        (f"bridge: $x_s$ given $x_0$ = {x_0}, $x_T$ = {end_state}", bridge, tied),
        (f"reverse: $x_s$ given $x_T$ = {end_state}", reverse, reverse_paths(process, law, x_t, times, fb.Philox(3))),
    ]
    figure, axes = plt.subplots(3, 1, figsize=(6.4, 7.2), constrained_layout=True, sharex=True, sharey=True)
    edges = np.arange(process.states + 1) - 0.5
    for axis, (title, laws, paths) in zip(axes, panels, strict=True):
        # Every time in the colours of its own largest probability, so that both ends can be read.
        shade = laws / laws.max(1, keepdims=True)
        clock = np.sqrt(times / end)
        middles = np.concatenate([[0.0], (clock[1:] + clock[:-1]) / 2, [1.0]])
        axis.pcolormesh(middles, edges, shade.T, cmap="gray_r", vmax=2.2, rasterized=True)
        for path, colour in zip(paths, COLOURS, strict=True):
            axis.step(clock, path, where="mid", color=colour, linewidth=1.4)
        ticks = np.array([0.0, 0.05, 0.25, 0.5, 1.0]) * end
        axis.set_xticks(np.sqrt(ticks / end), [f"{tick:g}" for tick in ticks])
        axis.set_title(title, fontsize=11, loc="left")
        axis.set_ylabel("state")
    axes[-1].set_xlabel("time")
    if mask is not None:
        letters = [state for state in range(process.states) if state != mask]
        axes[0].set_yticks([*letters[::2], mask], [*map(str, letters[::2]), "mask"])
    figure.suptitle(TITLES[name], fontsize=12)
    figure.savefig(out / f"process-{name}.png", dpi=110, bbox_inches="tight", pad_inches=0.12)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(), help="the folder for the pictures; default: this one")
    out = parser.parse_args().out
    out.mkdir(exist_ok=True)
    for name, case in cases().items():
        draw(name, *case, out)
        print(out / f"process-{name}.png")


if __name__ == "__main__":
    main()
