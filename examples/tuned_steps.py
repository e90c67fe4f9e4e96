"""Where the tuned steps of the models that come with the package lie, beside the steps of two grids.

    python examples/tuned_steps.py [--out FOLDER]     # writes tuned-steps.png

A step goes from one share of particles alive to the next, from black at the left to the image at the right. A row is a
number of steps. Circles are the tuned times of a model, darker with more guidance in the step that begins there. Bars
are the times of the grids `early` and `cosine`.
"""

import argparse
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

import fastblackout as fb

MODELS = ("mnist", "fashion-mnist", "digits")
STRONGEST = 2.0  # guidance at which a circle is black


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=".", metavar="FOLDER", help="where the picture goes")
    options = parser.parse_args(arguments)
    matplotlib.use("agg")
    figure = Figure(figsize=(6.4, 9), layout="constrained")
    for axes, name in zip(figure.subplots(len(MODELS), 1, squeeze=False)[:, 0], MODELS, strict=True):
        run = fb.load_pretrained(name, device="cpu")
        schedule, most = run.schedule, run.model.max_count
        for row, (steps, tuned) in enumerate(run.model.tuned.items()):
            for kind, color, height in (("cosine", "C1", 0.25), ("early", "C0", -0.25)):
                p = schedule.p[schedule.grid(steps, kind, most)[1:-1]]
                axes.vlines(p, -row, -row + height, color=color, linewidth=1, label=kind if row == 0 else None)
            p = schedule.p[list(tuned.times[1:-1])]
            fill = [min(w / STRONGEST, 1) for w in tuned.guidance[1:]]
            axes.scatter(p, [-row] * len(p), c=fill, cmap="Greys", vmin=0, vmax=1, edgecolors="black", s=28, zorder=3)
        axes.set_xscale("log")
        axes.set_yticks([-row for row in range(len(run.model.tuned))], list(run.model.tuned))
        axes.set_ylabel("steps", fontsize=10)
        mean = run.model.data_mean * run.shape[1] * run.shape[2]
        axes.set_title(f"{name}: an image has {mean:,.0f} particles on average", loc="left", fontsize=11)
        above = axes.secondary_xaxis("top", functions=(lambda p, m=mean: p * m, lambda n, m=mean: n / m))
        above.set_xlabel("particles alive in an image", fontsize=10)
        axes.set_xlabel("share of particles alive", fontsize=10)
        axes.legend(loc="upper left", fontsize=9)
    path = Path(options.out) / "tuned-steps.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight", pad_inches=0.12)
    print(path)


if __name__ == "__main__":
    main()
