"""What the heads of a network can say of two pixels: the law of their births under each, beside the exact one.

    python examples/heads.py             # two minutes on one CPU core; writes heads.png

Images are two pixels of counts 0..16 that are both dark or both bright. At one time, when a tenth of all particles are
alive, both pixels are seen with one particle: that leaves open which it was, and the births of both pixels must agree.
One small network a head is trained on draws of fb.thin, and its law at this state is compared with the exact posterior,
which is summed over all images. The distance is the total variation, the largest difference over all events.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import fastblackout as fb

MOST, ALIVE, SEEN = 16, 0.1, (1, 1)
OFFSET = float(np.log1p(-ALIVE))
NOISE, DRAWS = 2, 4  # channels of noise of the implicit head, and its draws in a training step


def images() -> np.ndarray:
    """Probabilities (17, 17) of the two counts: about 4 or about 13, the same for both, each off by up to one."""
    near = np.zeros((2, MOST + 1))
    for row, center in enumerate((4, 13)):
        near[row, center - 1 : center + 2] = 0.25, 0.5, 0.25
    return 0.65 * np.outer(near[0], near[0]) + 0.35 * np.outer(near[1], near[1])


def posterior(law: np.ndarray, seen: tuple[int, int] = SEEN) -> np.ndarray:
    """P(births of both pixels | what is seen of them), by Bayes' rule over all images."""
    counts = np.arange(MOST + 1)
    first, second = (np.exp(fb.binomial_log_prob(x, counts, ALIVE)) for x in seen)
    joint = law * np.outer(first, second)
    exact = np.zeros_like(joint)
    exact[: MOST + 1 - seen[0], : MOST + 1 - seen[1]] = joint[seen[0] :, seen[1] :]
    return exact / exact.sum()


def network(inputs: int, outputs: int) -> nn.Module:
    width = 64
    return nn.Sequential(
        nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, outputs)
    )


def train(net: nn.Module, loss: Callable[[Tensor, Tensor, int], Tensor], updates: int, batch: int = 512) -> None:
    """loss(x_t, births, update): (batch,)."""
    law, generator = images(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for update in range(updates):
        flat = generator.choice(law.size, p=law.ravel(), size=batch)
        x_0 = torch.from_numpy(np.stack(np.unravel_index(flat, law.shape), 1))
        noised = fb.thin(x_0, ALIVE, rng=fb.Philox(0, call=update), max_count=MOST, outputs=("x_t", "births"))
        optimizer.zero_grad()
        loss(noised.x_t, noised.births, update).mean().backward()
        optimizer.step()
        decay.step()


def scaled(x_t: Tensor) -> Tensor:
    return x_t.float() / 4 - 0.5


def mean_head(updates: int) -> np.ndarray:
    """Both numbers of births are the expected ones, rounded at random."""
    torch.manual_seed(0)
    net, gain = network(2, 2), (1 - ALIVE) * MOST / 4
    train(net, lambda x_t, births, _: fb.birth_loss(net(scaled(x_t)), births, 1.0, gain=gain), updates)
    with torch.inference_mode():
        y = gain * nn.functional.softplus(net(scaled(torch.tensor([SEEN]))))[0].double().numpy()
    each = np.zeros((2, MOST + 1))
    for row, mean in zip(each, y, strict=True):
        low = int(np.floor(mean))
        row[low : low + 2] = 1 - (mean - low), mean - low
    return np.outer(*each)


def law_head(family: str, numbers: int, updates: int) -> np.ndarray:
    """Each number of births has a law of its own, of `numbers` numbers of the network."""
    torch.manual_seed(0)
    net, how = network(2, 2 * numbers), {"family": family, "offset": OFFSET, "max_count": MOST}

    def head(x_t: Tensor) -> tuple[Tensor, ...]:
        return net(scaled(x_t)).chunk(numbers, 1)

    train(net, lambda x_t, births, _: fb.posterior_loss(head(x_t), x_t, births, 1.0, **how), updates)
    each = []
    with torch.inference_mode():
        seen = torch.tensor([SEEN])
        for pixel in (0, 1):  # -log P of all numbers of births, as so many samples of one pixel
            n = torch.arange(MOST - SEEN[pixel] + 1)[:, None]
            given = [array[:, pixel : pixel + 1].expand(len(n), 1) for array in head(seen)]
            nats = fb.posterior_loss(given, seen[:, pixel : pixel + 1].expand(len(n), 1), n, 1.0, **how)
            law = np.exp(-nats.double().numpy())
            if family == "negative-binomial":  # it knows no largest count: a step cuts births at the room
                law[-1] = 1 - law[:-1].sum()
            each.append(np.pad(law, (0, SEEN[pixel])))
    return np.outer(*each)


def implicit_head(updates: int, draws: int = 100_000) -> np.ndarray:
    """The network draws both numbers at once: the law is counted over many draws."""
    torch.manual_seed(0)
    net = network(2 + NOISE, 2)

    def drawn(x_t: Tensor, seed: int, call: int) -> Tensor:
        noise = fb.normal(torch.zeros(len(x_t), NOISE), 1.0, rng=fb.Philox(seed, call=call))
        return net(torch.cat([scaled(x_t), noise], 1))

    def loss(x_t: Tensor, births: Tensor, update: int) -> Tensor:
        logits = torch.stack([drawn(x_t, seed, update) for seed in range(1, DRAWS + 1)])
        return fb.energy_loss(logits, x_t, births, 1.0, offset=OFFSET, max_count=MOST)

    train(net, loss, updates)
    x_t = torch.tensor([SEEN]).expand(draws, 2)
    with torch.inference_mode():
        y = (MOST - x_t) * torch.sigmoid(2 * drawn(x_t, 0, 0) + OFFSET)
        whole = torch.floor(y + torch.rand(y.shape, generator=torch.Generator().manual_seed(0))).long().numpy()
    law = np.zeros((MOST + 1, MOST + 1))
    np.add.at(law, tuple(whole.T), 1 / draws)
    return law


HEADS = {
    "mean": mean_head,
    "beta-binomial": partial(law_head, "beta-binomial", 2),
    "bayes-logistic": partial(law_head, "bayes-logistic", 5),
    "negative-binomial": partial(law_head, "negative-binomial", 2),
    "implicit": implicit_head,
}


def distance(p: np.ndarray, q: np.ndarray) -> float:
    return float(np.abs(p - q).sum() / 2)


def picture(laws: dict[str, np.ndarray], path: Path) -> None:
    """Above, the births of one pixel under each law, the exact ones as a line; below, the births of both, by roots.

    The bars of the mean head are higher than the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.colors import PowerNorm

    exact, counts = laws["exact"], np.arange(MOST + 1)
    figure, axes = plt.subplots(2, len(laws), figsize=(8.6, 3.7), constrained_layout=True, sharex=True)
    for (name, law), (above, below) in zip(laws.items(), axes.T, strict=True):
        above.bar(counts, law.sum(1), color="tab:blue")
        above.step(counts, exact.sum(1), where="mid", color="black", linewidth=1)
        above.set_ylim(0, 1.3 * exact.sum(1).max())
        above.set_title(name.replace("-", "-\n"))
        below.imshow(law.T, origin="lower", cmap="magma", norm=PowerNorm(0.5, 0, exact.max()))
        below.set_xlabel("births, pixel 1")
        below.set_xticks([0, 8, 16])
        below.set_yticks([0, 8, 16])
    for row, label in zip(axes[:, 0], ("probability", "births, pixel 2"), strict=True):
        row.set_ylabel(label)
    figure.savefig(path, dpi=110, bbox_inches="tight", pad_inches=0.12)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path(), help="the folder for the picture; default: this one")
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    laws = {"exact": posterior(images())}
    print("total variation from the exact law   one pixel   both pixels")
    for name, head in HEADS.items():
        law = laws[name] = head(options.updates)
        one, both = (distance(*pair) for pair in ((law.sum(1), laws["exact"].sum(1)), (law, laws["exact"])))
        print(f"head {name:32}{one:9.3f}{both:14.3f}", flush=True)
    picture(laws, options.out / "heads.png")


if __name__ == "__main__":
    main()
