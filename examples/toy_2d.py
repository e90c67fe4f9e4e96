"""A small network learns a law of two counts under each process, and its samples face a two-sample test.

    python examples/toy_2d.py             # all processes, some minutes on one CPU core; writes toy-2d.png

The data are two counts (x, y) in 0..31 on a spiral. The network predicts p(x_0 | x_t) of each count; it is trained by
cross-entropy on x_t drawn with fb.categorical, and samples are drawn by fb.processes.sample_reverse. They are compared
with as many fresh draws of the data by a chi-square test of two samples on 8 x 8 cells at level 1 %. What that test can
tell apart is measured beside it: how often it rejects four named worse models.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import nn

import fastblackout as fb
from fastblackout.processes import Process, sample_reverse

STATES, STEPS, LEVEL, SAMPLES = 32, 64, 0.01, 4000


def spiral(states: int = STATES) -> np.ndarray:
    """The data: probabilities (states, states) of the pair (x, y)."""
    angle = np.linspace(0.35 * math.pi, 3.1 * math.pi, 400)
    radius = 0.044 * angle * states
    at = np.stack([0.5 * states + radius * np.cos(angle), 0.48 * states + radius * np.sin(angle)])
    grid = np.arange(states)
    near = [np.exp(-((grid[:, None] - axis) ** 2) / (2 * (0.035 * states) ** 2)) for axis in at]
    law = near[0] @ (near[1] * angle).T  # the curve at an even speed
    return law / law.sum()


def processes(states: int = STATES) -> dict[str, tuple[Process, float]]:
    """The processes, each with the rate at which it forgets where it began: the gap of its spectrum."""
    top = states - 1
    gap = 2 * (1 - math.cos(math.pi / states))
    return {
        "pure death": (fb.PureDeath(top), 1.0),
        "immigration-death": (fb.ImmigrationDeath(states / 4, max_count=top), 1.0),
        "Ehrenfest": (fb.Ehrenfest(top), 2.0),
        "random walk": (fb.RandomWalk(states, rate=1 / gap), 1.0),
        "uniform": (fb.Uniform(states), 1.0),
        "absorbing": (fb.Absorbing(states + 1), 1.0),
    }


def time_grid(gap: float, steps: int = STEPS) -> np.ndarray:
    """Times 0 = t_0 < ... < t_steps with exp(-gap t) = cos^2(pi u / 2), u even up to where 1e-4 is left."""
    u = np.linspace(0, 2 / math.pi * math.acos(0.01), steps + 1)
    return -2 * np.log(np.cos(math.pi * u / 2)) / gap


class Denoiser(nn.Module):
    """Logits (B, 2, S) of both counts at time 0, from their states (B, 2) and the step k (B,).

    By Bayes' rule log p(x_0 | x_t, y_t) = log p(x_t | x_0) + log p(x_0 | y_t) + constant, and so for y. The process
    knows the first term. So three layers on one-hot states learn the second term alone. Without the first one they
    would also have to learn, from few examples, that x_0 is near a rare x_t.
    """

    def __init__(self, likelihood: torch.Tensor, width: int) -> None:
        super().__init__()
        self.steps, states = likelihood.shape[:2]  # k - 1, x_0, x_t
        self.register_buffer("known", likelihood.log().swapaxes(1, 2).float())  # -inf where x_t cannot be reached
        self.layers = nn.Sequential(
            nn.Linear(2 * states + 16, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2 * states),
        )

    def forward(self, x_t: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        known = self.known[k[:, None] - 1, x_t.long()]
        one_hot = nn.functional.one_hot(x_t.long(), known.shape[-1]).flatten(1).float()
        phase = k[:, None] / self.steps * math.pi * 2.0 ** torch.arange(-1, 7)
        features = torch.cat([one_hot, torch.sin(phase), torch.cos(phase)], 1)
        return known + self.layers(features).view_as(known)


def train(
    process: Process,
    times: np.ndarray,
    law: np.ndarray,
    updates: int,
    width: int = 64,
    batch: int = 2048,
    seed: int = 0,
) -> Denoiser:
    """The network after `updates` steps of Adam on the cross-entropy of x_0."""
    torch.manual_seed(seed)
    chances = torch.from_numpy(process.transition_matrix(times[1:]))  # k - 1, x_0, x_t
    likelihood = chances.clone()
    likelihood[:, len(law) :] = 0  # x_0 is never the mask
    network = Denoiser(likelihood, width)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    generator = np.random.default_rng(seed)
    for update in range(updates):
        x_0 = torch.from_numpy(draw(law, batch, generator))
        k = torch.from_numpy(generator.permutation(np.linspace(0, len(times) - 1, batch, endpoint=False)).astype(int))
        x_t = fb.categorical(x_0, chances, index=k, rng=fb.Philox(seed, call=update))
        loss = nn.functional.cross_entropy(network(x_t, k + 1).flatten(0, 1), x_0.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network


@torch.inference_mode()
def sample(network: Denoiser, process: Process, times: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    """(count, 2) draws of the reverse process over the whole grid."""
    k_of = {float(t): k for k, t in enumerate(times)}

    def model(x_t: torch.Tensor, t: float) -> torch.Tensor:
        return network(x_t, torch.full((len(x_t),), k_of[t]))

    drawn = sample_reverse(process, model, (count, 2), times[::-1], device="cpu", rng=fb.Philox(seed))
    return drawn.numpy()


def draw(law: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """(count, 2) int64 draws of the data."""
    flat = generator.choice(law.size, p=law.ravel(), size=count)
    return np.stack(np.unravel_index(flat, law.shape), 1)


def two_sample_p_value(a: np.ndarray, b: np.ndarray, states: int = STATES, cells: int = 8) -> float:
    """Chi-square test that two sets of pairs have one law, on cells x cells boxes; boxes with under 10 go together."""
    boxes = [np.bincount((s // (states / cells)).astype(int) @ [cells, 1], minlength=cells**2) for s in (a, b)]
    table = np.stack(boxes)
    small = table.sum(0) < 10
    table = np.concatenate([table[:, ~small], table[:, small].sum(1, keepdims=True)], 1)
    return float(stats.chi2_contingency(table[:, table.sum(0) > 0]).pvalue)


def worse_models(law: np.ndarray) -> dict[str, np.ndarray]:
    """Laws that look like the data to a careless eye."""
    uniform = np.full(law.shape, 1 / law.size)
    return {
        "3 % of the points anywhere": 0.97 * law + 0.03 * uniform,
        "5 % of the points anywhere": 0.95 * law + 0.05 * uniform,
        "x and y independent": np.outer(law.sum(1), law.sum(0)),
        "the spiral moved by one count": np.roll(law, 1, axis=0),
    }


def power(law: np.ndarray, other: np.ndarray, count: int = SAMPLES, repeats: int = 200) -> float:
    """How often the test at LEVEL rejects draws of `other` beside draws of `law`."""
    generator, states = np.random.default_rng(5), len(law)
    pairs = ((draw(law, count, generator), draw(other, count, generator)) for _ in range(repeats))
    return float(np.mean([two_sample_p_value(a, b, states) < LEVEL for a, b in pairs]))


def picture(panels: dict[str, np.ndarray], path: Path, states: int = STATES) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = -(-len(panels) // 4)
    figure, axes = plt.subplots(rows, 4, figsize=(7, 2.2 * rows), constrained_layout=True, squeeze=False)
    for axis in axes.ravel()[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, pairs) in zip(axes.ravel(), panels.items(), strict=False):
        image = np.zeros((states, states))
        np.add.at(image, (pairs[:, 1].clip(max=states - 1), pairs[:, 0].clip(max=states - 1)), 1)
        axis.imshow(image, origin="lower", cmap="magma", vmax=len(pairs) / states**2 * 8)
        axis.set_title(title, fontsize=10)
        axis.set_xticks([0, states - 1])
        axis.set_yticks([0, states - 1])
    figure.savefig(path, dpi=110, bbox_inches="tight", pad_inches=0.12)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path(), help="the folder for the picture; default: this one")
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    law, generator = spiral(), np.random.default_rng(3)
    print(f"two samples of {SAMPLES}, level {LEVEL:.0%}; rejected of 200 pairs:")
    print(f"  {power(law, law):6.1%}  the data themselves")
    for name, other in worse_models(law).items():
        print(f"  {power(law, other):6.1%}  {name}")
    panels, failed = {"data": draw(law, SAMPLES, generator)}, []
    for name, (process, gap) in processes().items():
        began, times = time.perf_counter(), time_grid(gap)
        network = train(process, times, law, options.updates)
        drawn = sample(network, process, times, SAMPLES)
        p_value = two_sample_p_value(draw(law, SAMPLES, generator), drawn)
        failed += [name] * (p_value < LEVEL)
        verdict = "fails" if name in failed else "passes"
        print(f"{name:18} p = {p_value:.3f} {verdict}, {time.perf_counter() - began:.0f} s", flush=True)
        panels[f"{name}\np = {p_value:.2f}"] = drawn
    panels["worse: x, y\nindependent"] = draw(worse_models(law)["x and y independent"], SAMPLES, generator)
    picture(panels, options.out / "toy-2d.png")
    if failed:
        raise SystemExit(f"the samples of {', '.join(failed)} fail")


if __name__ == "__main__":
    main()
