"""How the processes are related to one another, to Gaussian diffusion, and to D3PM and SEDD, in three pictures.

python examples/relations.py              # writes relations-gaussian.png, -discrete.png and -papers.png
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import matplotlib
import numpy as np
from scipy import stats

import fastblackout as fb
from fastblackout.likelihood.blackout import exact_bound
from fastblackout.processes import Process, rate_divergence, score_entropy
from fastblackout.processes.conversion import rates_from_score, reachable_from

matplotlib.use("Agg")
from matplotlib import pyplot as plt

TIME, START = 0.6, 1.3  # of the Ornstein-Uhlenbeck process, in its own units
DATA = np.array([0.1, 0.4, 0.3, 0.0, 0.0, 0.2])
BLUE, ORANGE, GREEN, PINK, DPI = "#0072b2", "#d55e00", "#00805c", "#c2408f", 110


def ehrenfest(balls: int) -> tuple[Process, float, float, float]:
    """(process, rate of forgetting, mean, standard deviation) of the stationary law."""
    up, down = 0.4, 0.9
    share = up / (up + down)
    return fb.Ehrenfest(balls, up=up, down=down), up + down, balls * share, math.sqrt(balls * share * (1 - share))


def immigration_death(rate: int) -> tuple[Process, float, float, float]:
    return fb.ImmigrationDeath(float(rate)), 1.0, float(rate), math.sqrt(rate)


def compare(case: tuple[Process, float, float, float]) -> dict[str, np.ndarray]:
    """The process from z = START at TIME, scaled, beside the Ornstein-Uhlenbeck process dz = -g z dt + sqrt(2 g) dW."""
    process, rate, mean, sd = case
    x = np.arange(process.states)
    x_0 = round(mean + START * sd)
    center = (x_0 - mean) / sd * math.exp(-rate * TIME)
    spread = math.sqrt(-math.expm1(-2 * rate * TIME))
    z = (x - mean) / sd
    log_law = process.log_prob(x, x_0, TIME)
    near = np.flatnonzero(np.abs(z - center) < 2.5 * spread)
    near = near[(near > 0) & (near < process.states - 1)]
    above, below = (np.exp(log_law[near + i] - log_law[near]) for i in (1, -1))
    ratio_score, score = (above - below) / 2 * sd, -(z[near] - center) / spread**2
    jumps = process.generator()
    ratio_drift = (jumps[near + 1, near] * above - jumps[near - 1, near] * below) / sd  # reverse births less deaths
    drift = rate * z[near] + 2 * rate * score
    middle = np.abs(z[near] - center) < spread
    return {
        "z": z,
        "density": np.exp(log_law) * sd,
        "near": z[near],
        "ratio_score": ratio_score,
        "ratio_drift": ratio_drift,
        "drift_error": np.abs(ratio_drift - drift)[middle].max(),
        "law_error": np.abs(np.cumsum(np.exp(log_law)) - stats.norm.cdf((x + 0.5 - mean) / sd, center, spread)).max(),
        "score_error": np.abs(ratio_score - score)[middle].max(),
    }


def gaussian_picture(path: Path) -> None:
    figure, axes = plt.subplots(4, 2, figsize=(6.4, 10.5), constrained_layout=True)
    line = np.linspace(-3, 3.5, 300)
    families = {"Ehrenfest": (ehrenfest, "balls", 1.3), "immigration-death": (immigration_death, "rate", 1.0)}
    for column, (name, (make, size, rate)) in zip(axes.T, families.items(), strict=True):
        center, spread = START * math.exp(-rate * TIME), math.sqrt(-math.expm1(-2 * rate * TIME))
        for number, colour in ((16, BLUE), (256, ORANGE)):
            found = compare(make(number))
            column[0].step(found["z"], found["density"], where="mid", color=colour, label=f"{size} {number}")
            for axis, key in ((column[1], "ratio_score"), (column[2], "ratio_drift")):
                axis.plot(found["near"], found[key], ".-", color=colour, markersize=4, linewidth=1)
        column[0].plot(line, stats.norm.pdf(line, center, spread), "k--", linewidth=1, label="Ornstein-\nUhlenbeck")
        score = -(line - center) / spread**2
        column[1].plot(line, score, "k--", linewidth=1)
        column[2].plot(line, rate * line + 2 * rate * score, "k--", linewidth=1)
        column[0].set(xlim=(-3, 3.5), ylim=(-0.02, 0.95), title=name, xlabel="z")
        column[1].set(xlim=(-2, 3), ylim=(-4, 4), xlabel="z")
        column[2].set(xlim=(-2, 3), ylim=(-6, 8), xlabel="z")
        column[0].legend(fontsize=9, loc="upper left")
        numbers = np.array([16, 36, 64, 144, 256])
        errors = [compare(make(int(number))) for number in numbers]
        for label, colour in (("law", BLUE), ("score", PINK), ("drift", GREEN)):
            column[3].loglog(numbers, [error[f"{label}_error"] for error in errors], "o-", color=colour, label=label)
        column[3].loglog(numbers, 1 / np.sqrt(numbers), "k:", label="1 / sqrt")
        column[3].set(xlabel=size, ylim=(6e-4, 0.4))
        column[3].set_xticks(numbers, [str(number) for number in numbers])
        column[3].minorticks_off()
        column[3].legend(fontsize=9, ncol=2, loc="lower left")
    axes[0, 0].set_ylabel("density of the scaled state")
    axes[1, 0].set_ylabel("(ratio score - 1) / step,\nd log p / dz")
    axes[2, 0].set_ylabel("reverse drift")
    axes[3, 0].set_ylabel("largest error")
    figure.savefig(path, dpi=DPI, bbox_inches="tight", pad_inches=0.12)
    plt.close(figure)


def integrand(factor: float, lambdas: np.ndarray) -> np.ndarray:
    """p E[D(x_0 - x_t || factor y)] over lambda = logit p for the exact posterior mean y of DATA."""
    counts = np.arange(len(DATA))
    births = (counts[:, None] - counts).clip(0)
    values = []
    for lam in lambdas:
        alive = fb.Prob(1 / (1 + math.exp(-lam)), 1 / (1 + math.exp(lam)))
        joint = DATA[:, None] * np.exp(fb.binomial_log_prob(counts, counts[:, None], alive))
        y = factor * mean_births(counts, alive.p, alive.q)
        cost = rate_divergence(births, np.broadcast_to(y, births.shape))
        values.append(alive.p * (joint * np.where(joint > 0, cost, 0.0)).sum())
    return np.array(values)


def mean_births(x_t: np.ndarray, p: float, q: float) -> np.ndarray:
    counts = np.arange(len(DATA))
    joint = DATA * np.exp(fb.binomial_log_prob(x_t[:, None], counts, fb.Prob(p, q)))
    total = joint.sum(1)
    return (joint * (counts - x_t[:, None]).clip(0)).sum(1) / np.where(total > 0, total, 1)


def map_errors(process: Process, law: np.ndarray, steps: np.ndarray, t: float = 0.8) -> list[float]:
    """Largest entry of (p(x_s | x_t) - 1) / (t - s) minus the reverse generator."""
    posterior = process.posterior(np.arange(process.states), law, t)
    states = np.arange(process.states)
    rates = rates_from_score(process, states, process.score(states, posterior, t), t)
    generator = rates - np.diag(rates.sum(1))
    x_t, x_0 = np.nonzero(posterior > 0)
    errors = []
    for step in steps:
        mapped = np.zeros_like(generator)
        np.add.at(mapped, x_t, posterior[x_t, x_0][:, None] * process.bridge(x_t, x_0, t - step, t))
        errors.append(float(np.abs((mapped - np.eye(process.states)) / step - generator).max()))
    return errors


def discrete_picture(path: Path) -> None:
    figure, axes = plt.subplots(3, 1, figsize=(6.4, 9), constrained_layout=True)
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1])
    pure, x_t, x_0 = fb.PureDeath(12), np.array([4, 5, 0]), np.array([12, 7, 3])
    pairs = {
        "law": lambda process: process.transition_matrix(0.9),
        "bridge": lambda process: process.bridge(x_t, x_0, 0.3, 0.9),
        "reverse rates": lambda process: process.reverse_rate(x_t, x_0, 0.9),
    }
    for name, of in pairs.items():
        errors = [np.abs(of(fb.ImmigrationDeath(float(a), max_count=12)) - of(pure)).max() for a in rates]
        axes[0].loglog(rates, errors, "o-", label=name)
    axes[0].set(title="immigration-death to pure death", xlabel="immigration rate", ylabel="largest difference")
    axes[0].legend(fontsize=9)
    steps = np.array([0.1, 0.05, 0.02, 0.01, 0.005])
    law = np.array([0.1, 0.4, 0.3, 0.05, 0.05, 0.1])
    for name, process in {
        "pure death": fb.PureDeath(5),
        "Ehrenfest": fb.Ehrenfest(5),
        "random walk": fb.RandomWalk(6),
        "uniform": fb.Uniform(6),
    }.items():
        axes[1].loglog(steps, map_errors(process, law, steps), "o-", label=name)
    axes[1].loglog(steps, steps, "k:", label="step")
    axes[1].set(title="discrete map to reverse generator", xlabel="step")
    axes[1].set_ylim(4e-4, 4)
    axes[1].legend(fontsize=9, ncol=2, loc="lower right")
    lambdas = np.linspace(-8, 12, 400)
    entropy = -(DATA[DATA > 0] * np.log(DATA[DATA > 0])).sum()
    for factor, colour in ((1.5, ORANGE), (1.0, BLUE)):
        bound = exact_bound(lambda x, p, q, factor=factor: factor * mean_births(x, p, q), DATA)
        label = f"y = {factor:g} E[births]: area {bound:.3f}"
        axes[2].fill_between(lambdas, integrand(factor, lambdas), alpha=0.35, color=colour, label=label)
    axes[2].set(title=f"bound of blackout, entropy {entropy:.3f}", xlabel="logit p", ylabel="nats", ylim=(0, 0.5))
    axes[2].legend(fontsize=9)
    figure.savefig(path, dpi=DPI, bbox_inches="tight", pad_inches=0.12)
    plt.close(figure)


def d3pm(kind: str, size: int, alpha: float) -> np.ndarray:
    """Cumulative transition matrix of D3PM (Austin et al., 2021, appendix A) for a retention alpha; mask: the last."""
    if kind == "uniform":
        return alpha * np.eye(size) + (1 - alpha) / size * np.ones((size, size))
    return alpha * np.eye(size) + (1 - alpha) * np.outer(np.ones(size), np.eye(size)[-1])


def d3pm_posterior(kind: str, size: int, s: float, t: float, x_t: np.ndarray, x_0: np.ndarray) -> np.ndarray:
    """q(x_s | x_t, x_0) = (x_t Q_t^T * x_0 Qbar_s) / (x_0 Qbar_t x_t^T), their equation 3."""
    before, step = d3pm(kind, size, math.exp(-s)), d3pm(kind, size, math.exp(-(t - s)))
    return step.T[x_t] * before[x_0] / (before @ step)[x_0, x_t][..., None]


def sedd(kind: str, log_score: np.ndarray, sigma: np.ndarray, x: np.ndarray, x_0: np.ndarray) -> np.ndarray:
    """The score entropy of SEDD (Lou et al., 2024), after `score_entropy` of its graphs: rates 1 / N or 1."""
    size = log_score.shape[-1]
    of_x_0 = np.take_along_axis(log_score, x_0[..., None], -1)[..., 0]
    if kind == "absorbing":
        ratio = 1 / np.expm1(sigma)
        cost = np.exp(log_score[..., :-1]).sum(-1) - ratio * of_x_0 + ratio * (np.log(ratio) - 1)
        return np.where(x == size - 1, cost, 0.0)
    ratio = 1 - size / (np.expm1(sigma) + size)  # p(any other) / p(x_0)
    mine = np.take_along_axis(log_score, x[..., None], -1)[..., 0]
    rest = log_score.mean(-1) - mine / size
    negative = np.where(x == x_0, ratio * rest, (of_x_0 / ratio - of_x_0) / size + rest)
    known = (size - 1) / size * ratio * (np.log(ratio) - 1)
    constant = np.where(x == x_0, known, ((-np.log(ratio) - 1) / ratio - (size - 2)) / size)
    return np.exp(log_score).mean(-1) - np.exp(mine) / size - negative + constant


def beside_sedd(kind: str, blur: float, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean loss at each time, here and by SEDD's formula, of a model with this share of what is possible mixed in."""
    process: Process = fb.Uniform(6) if kind == "uniform" else fb.Absorbing(7)
    law = np.pad(DATA, (0, process.states - 6))
    x_0, x_t = np.divmod(np.arange(process.states**2), process.states)
    ours, theirs = np.zeros((2, len(times)))
    for n, t in enumerate(times):
        weight = (law[:, None] * process.transition_matrix(t)).ravel()
        seen = weight > 0
        possible = reachable_from(process, x_t[seen], t) * np.where(np.arange(process.states) < 6, 1.0, 0.0)
        probs = process.posterior(x_t[seen], law, t) * (1 - blur)
        probs += blur * possible / possible.sum(-1, keepdims=True)
        with np.errstate(divide="ignore"):
            log_score = np.nan_to_num(np.log(process.score(x_t[seen], probs, t)), neginf=-700.0)
        each = log_score, np.full(seen.sum(), t), x_t[seen], x_0[seen]
        theirs[n] = weight[seen] @ sedd(kind, *each)
        # A variable a sample: the loss sums over a sample's.
        ours[n] = weight[seen] @ score_entropy(process, x_t[seen][:, None], x_0[seen][:, None], t, log_score[:, None])
    return ours, theirs


def papers_picture(path: Path) -> None:
    figure, axes = plt.subplots(3, 1, figsize=(6.4, 9), constrained_layout=True)
    times = np.geomspace(0.02, 5.0, 25)
    for kind, colour in (("uniform", BLUE), ("absorbing", ORANGE)):
        size = 6 if kind == "uniform" else 7
        process: Process = fb.Uniform(6) if kind == "uniform" else fb.Absorbing(7)
        errors = []
        for t in times:
            x_0, x_t = np.nonzero(d3pm(kind, size, math.exp(-t)) > 0)
            found = process.bridge(x_t, x_0, t / 3, t)
            errors.append(np.abs(found - d3pm_posterior(kind, size, t / 3, t, x_t, x_0)).max())
        axes[0].semilogx(times, np.array(errors) / 2.0**-52, "o-", markersize=3, color=colour, label=kind)
    axes[0].set(title="posterior less D3PM's", xlabel="t", ylabel="largest difference / $2^{-52}$", ylim=(0, None))
    axes[0].legend(fontsize=9)
    for axis, kind in zip(axes[1:], ("uniform", "absorbing"), strict=True):
        for blur, colour in ((0.5, PINK), (0.0, BLUE)):
            ours, theirs = beside_sedd(kind, blur, times)
            model = "exact score" if blur == 0 else "half of the weight anywhere"
            axis.semilogx(times, ours, color=colour, label=f"score_entropy, {model}")
            axis.semilogx(times[::2], theirs[::2], "o", color=colour, markersize=4, label="SEDD's formula")
        axis.set(title=f"loss of SEDD, {kind}", xlabel="t", ylabel="nats per unit time", ylim=(0, None))
    axes[1].legend(fontsize=9)  # both panels have the same lines
    figure.savefig(path, dpi=DPI, bbox_inches="tight", pad_inches=0.12)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(), help="the folder for the pictures; default: this one")
    out = parser.parse_args().out
    out.mkdir(exist_ok=True)
    gaussian_picture(out / "relations-gaussian.png")
    discrete_picture(out / "relations-discrete.png")
    papers_picture(out / "relations-papers.png")


if __name__ == "__main__":
    main()
