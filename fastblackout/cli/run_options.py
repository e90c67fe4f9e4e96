"""The options of the commands that work on a run: `sample`, `evaluate`, `tune` and `plot`."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from typing import Any

from ..pretrained import names
from ..sampling.rules import COMPAT, LAST_STEPS, SAMPLERS
from ..training.config import COMPILE, HELP, PRECISIONS
from .json_output import add_json

Command = Callable[[argparse.Namespace], int]

_GRIDS = ("cosine", "index", "early")


def _grid(text: str) -> str | list[float]:
    """The name of a grid, or a list of times."""
    if text in _GRIDS:
        return text
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        rule = f"must be {', '.join(_GRIDS)}, or numbers with commas between them, got {text!r}"
        raise argparse.ArgumentTypeError(rule) from None


def _numbers(text: str) -> float | list[float]:
    """A number, or several with commas between them."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, or numbers with commas, got {text!r}") from None
    return numbers if len(numbers) > 1 else numbers[0]


def _steps(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers with commas, as 5,10,20, got {text!r}") from None


_N: Any = {"type": int, "metavar": "N"}
_X: Any = {"type": float, "metavar": "X"}


def add_sample(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("--num", **_N, default=64, help="how many samples (64)")
    what = "number of the first sample (0): with --first 25000 another process or machine draws the second half"
    parser.add_argument("--first", **_N, default=0, help=what)
    what = "npz: counts (N, C, H, W); adm: arr_0, uint8 (N, H, W, 3), for ADM's evaluator; png: a folder of pictures"
    parser.add_argument("--format", choices=["npz", "adm", "png"], default="npz", help=f"{what} (npz)")
    parser.add_argument("--out", metavar="FILE", help=".npz file, or folder for png; default RUN/samples[.npz]")
    parser.add_argument("--gif", action="store_true", help="also write the film as an animated GIF")
    add_json(parser)
    parser.add_argument("--force", action="store_true", help="overwrite the files")
    parser.add_argument("--label", **_N, help="class to draw, of a conditional run; default: all in turn")
    parser.set_defaults(run=later("sample"))


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("--num", **_N, default=1000, help="how many samples a set (1000)")
    what = "how many sets of samples, with seeds SEED, SEED + 1, ... (4); most of the time goes into them"
    parser.add_argument("--seeds", **_N, default=4, help=what)
    parser.add_argument("--data", metavar="PATH", help="the data, of a run that was moved or not trained here")
    parser.add_argument("--bits", **_N, default=100, help="how many held-out images the likelihood is of (100)")
    what = "the weights of FID's network (a file of torch-fidelity's releases): FID, KID, IS, precision, recall"
    parser.add_argument("--inception", metavar="FILE", help=what)
    parser.add_argument("--no-stand-in", action="store_true", help="no features of a network that stands in for it")
    parser.add_argument("--reference", **_N, help="training images whose features are compared with (all)")
    add_json(parser)
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.set_defaults(run=later("evaluate"))


def add_tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", metavar="RUN", help="a run or a checkpoint; default: as of sample")
    parser.add_argument(
        "--steps", type=_steps, default=[5, 10, 20], metavar="N,N", help="numbers of steps, at least 2 (5,10,20)"
    )
    what = "minutes of search, shared equally by the numbers of steps (30); more of them go on with the same search, 0 "
    what += "takes times that need none"
    parser.add_argument("--minutes", **_X, default=30.0, help=what)
    parser.add_argument("--data", metavar="PATH", help="the data, of a run that was moved or not trained here")
    parser.add_argument("--num", **_N, default=600, help="samples of a trial (600)")
    parser.add_argument("--seed", **_N, default=1, help="seed of the draws and of the search (1)")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", **_N, default=0, help="CPU threads; 0: as in the training")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json(parser)
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.set_defaults(run=later("tune"))


def add_plot(parser: argparse.ArgumentParser) -> None:
    _add_run(parser, in_batches=False)
    parser.add_argument("--out", metavar="FOLDER", help="folder of the pictures; default RUN/plots")
    add_json(parser)
    parser.add_argument("--force", action="store_true", help="overwrite the files")
    what = "the data, whose first held-out image has its laws drawn, of a run that was moved or not trained here"
    parser.add_argument("--data", metavar="PATH", help=what)
    parser.set_defaults(run=later("plot"), num=4, batch=4, compile="off", precision="fp32")


def _add_run(parser: argparse.ArgumentParser, in_batches: bool = True) -> None:
    shipped = f"a model that comes with the package ({', '.join(names())})"
    which = f"a run, a checkpoint or {shipped}; default: the only run in runs/, or runs/digits"
    parser.add_argument("path", nargs="?", metavar="RUN", help=which)
    what = "reverse steps, at most the schedule's; default: as tuned, else 100, or 10 with an implicit head"
    parser.add_argument("--steps", **_N, help=what)
    where = f"where steps lie: {', '.join(_GRIDS)} (early: most where few particles are alive), or survival "
    where += "probabilities, as 0,.0004,.004,.05,1, or time indices; default: as tuned, else early, or cosine with a "
    where += "mean head"
    parser.add_argument("--grid", type=_grid, metavar="GRID", help=where)
    what = "strength of classifier-free guidance, or one a step, as .5,.25,0; default: as tuned, else or with --grid 0"
    parser.add_argument("--guidance", type=_numbers, metavar="X", help=what)
    what = f"rule of a reverse step: {', '.join(SAMPLERS)} (bridge)"  # as choices they do not fit into 80 columns
    parser.add_argument("--sampler", choices=SAMPLERS, metavar="NAME", help=what)
    kinds = ["stochastic", "nearest"]
    parser.add_argument("--rounding", choices=kinds, help="of births to whole numbers (stochastic)")
    parser.add_argument("--attrition", **_X, help="chance that a step also removes a count (0)")
    what = "draw births as in the other steps, or take their mean, which leaves less noise (as tuned; else mean where "
    what += "a head gives a law of counts to 255 or more, but for tables; else draw)"
    parser.add_argument("--last-step", choices=LAST_STEPS, help=what)
    what = "draw as the paper's authors' program does, to compare with it: every time of the schedule, births rounded "
    what += "to the nearest number, dropout left on (with seeded masks); for runs of head mean"
    parser.add_argument("--compat", choices=COMPAT, help=what)
    parser.add_argument("--seed", **_N, default=1, help="seed of the draws (1)")
    if in_batches:
        parser.add_argument("--batch", **_N, default=250, help="samples at a time; does not change the samples (250)")
    parser.add_argument("--weights", choices=["ema", "network"], default="ema", help="averaged, or the last (ema)")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", **_N, default=0, help="CPU threads; 0: as in the training")
    if in_batches:
        what = "compile the network by torch.compile; auto: on a GPU, for a million network calls or more (auto)"
        parser.add_argument("--compile", choices=COMPILE, default="auto", help=what)
        parser.add_argument("--precision", choices=PRECISIONS, default="auto", help=f"{HELP['precision']} (auto)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def later(name: str) -> Command:
    """The function NAME_command of the module of that name, which is imported only where it runs."""

    def run(options: argparse.Namespace) -> int:
        command = f"{name}_command"
        return getattr(importlib.import_module(f".{command}", __package__), command)(options)

    return run
