"""Eight Gaussians carried to two moons, in whole numbers, as in Count Bridges (arXiv 2603.04730).

    python benchmarks/transport --out FILE.jsonl
    python benchmarks/transport --out FILE.jsonl --peer FOLDER     # a clone of github.com/njwfish/count_bridges
    python benchmarks/transport --out FILE.jsonl --table           # of what the file has
    python benchmarks/transport --out FILE.jsonl --picture FILE.png

Each method learns from 50,000 samples of both laws, and carries 4,000 others in 10 steps. A result is a line of the
file. What it has is not done again. The row "true" is another 4,000 samples of the two moons.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from .measures import laws, measures
from .methods import METHODS, count_bridges

HELD = 4000  # samples that are carried, beside the ones of the training


def one(method, seed, steps, peer, count):
    x_0, x_1 = laws(count + HELD, seed)
    began = time.process_time()
    if method == "true":
        drawn = laws(HELD, seed + 1000)[0]
    else:
        more = (peer,) if METHODS[method] is count_bridges else ()
        drawn = METHODS[method](x_0[:count], x_1[:count], x_1[count:], seed, steps, *more)
    seconds = time.process_time() - began
    drawn = np.asarray(drawn).reshape(-1, 2)
    found = measures(drawn.astype(np.float64), x_0[count:].astype(np.float64))
    return {
        "method": method,
        "seed": seed,
        "steps": steps,
        "count": count,
        "seconds": round(seconds, 1),
        **found,
    }, drawn


def table(lines):
    """Markdown, with mean and standard deviation over the seeds."""
    names = ("energy distance", "MMD", "sliced W", "seconds")
    rows = ["| method | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for method in dict.fromkeys(line["method"] for line in lines):
        mine = [line for line in lines if line["method"] == method]
        cells = [np.array([line[name] for line in mine]) for name in names]
        spread = [f" ± {each.std(ddof=1):.2g}" if len(mine) > 1 else "" for each in cells[:-1]]
        shown = [f"{each.mean():.3g}{more}" for each, more in zip(cells, spread, strict=False)]
        rows.append(f"| {method} | {' | '.join(shown)} | {cells[-1].mean():.0f} |")
    return "\n".join(rows)


def drawn_file(out, method, seed):
    """Where the samples of a result are, beside the file of results."""
    return out.with_name(f"{out.stem}-{method.replace(' ', '-')}-{seed}.npy")


def picture(path, out, count):
    """The start, each method's samples of seed 0, and true ones."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    panels = {"start: eight Gaussians": laws(count + HELD, 0)[1][count:]}
    for method in (*METHODS, "true"):
        if drawn_file(out, method, 0).exists():
            panels[method] = np.load(drawn_file(out, method, 0))
    figure = Figure(figsize=(7, 2.5 * -(-len(panels) // 3)), layout="constrained")
    places = figure.subplots(-(-len(panels) // 3), 3).flat
    for axes in places[len(panels) :]:
        axes.axis("off")
    for axes, (name, x) in zip(places, panels.items(), strict=False):
        axes.scatter(*x[:2000].T, s=1.5, linewidths=0, color="C0" if name != "true" else "C2")
        axes.set_title(name, fontsize=10)
        axes.set(xlim=(0, 160), ylim=(0, 160), aspect="equal")
        axes.tick_params(labelsize=9)
    figure.savefig(path, dpi=130)


def main(given=None):
    parser = argparse.ArgumentParser(prog="python benchmarks/transport", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the file that results are added to")
    parser.add_argument("--table", action="store_true", help="print the table of that file, and do nothing else")
    parser.add_argument("--picture", type=Path, help="draw the samples beside that file, and do nothing else")
    parser.add_argument("--peer", help="a clone of github.com/njwfish/count_bridges; without one it is left out")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--steps", type=int, default=1000, help="of a training, of 256 samples")
    parser.add_argument("--count", type=int, default=50_000, help="samples of each law")
    options = parser.parse_args(given)
    there = options.out.read_text().splitlines() if options.out.exists() else []
    lines = [json.loads(line) for line in there]
    lines = [line for line in lines if (line["steps"], line["count"]) == (options.steps, options.count)]
    if options.table:
        print(table(lines))
        return 0
    if options.picture:
        picture(options.picture, options.out, options.count)
        return 0
    torch.set_num_threads(1)
    done = {(line["method"], line["seed"]) for line in lines}
    for method in ("true", *METHODS):
        for seed in range(options.seeds):
            left_out = METHODS.get(method) is count_bridges and not options.peer
            if (method, seed) in done or left_out:
                continue
            line, drawn = one(method, seed, options.steps, options.peer, options.count)
            with options.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            np.save(drawn_file(options.out, method, seed), drawn)
            print(json.dumps(line), flush=True)
    return 0
