"""Options: parsers whose help has two lengths and whose errors are one line, and the options of commands on a run.

These commands are `sample`, `evaluate`, `tune` and `plot`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import textwrap
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn, get_args

from ..ground.terminal import visible, width
from ..pretrained import names
from ..sampling.names import COMPAT, LAST_STEPS, SAMPLERS
from ..training.config import COMPILE, HELP, PRECISIONS
from ..training.ranks import let_first_speak, speaks
from ..typing import Grid
from .outputs import add_json

Group = argparse._ArgumentGroup
# Kinds of options: a whole number, and any.
N: Any = {"type": int, "metavar": "N"}
X: Any = {"type": float, "metavar": "X"}
_GRIDS = get_args(Grid)
_MOVED = "Read the data at PATH. A run that was moved, or trained elsewhere, needs it."


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, which name the command.

    most_used: the options that --help shows, by their destinations; none: it shows all. --help-all shows all, in the
    same groups. before_help is called with the arguments that stand before either.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(add_help=False, allow_abbrev=False, formatter_class=_Formatter, **options)
        self.most_used: Collection[str] = ()
        self.before_help: Callable[[argparse.Namespace], None] = lambda given: None
        self._positionals.title, self._optionals.title = "arguments", "help"
        self.add_argument("-h", "--help", action=_Help, help="Show this page.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but a command refuses by itself what it does not know: its error names it."""
        given, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return given, unknown

    def error(self, message: str) -> NoReturn:
        let_first_speak()
        self.exit(2, visible(f"{self.prog}: error: {message} (see {self.prog} --help)") + "\n" if speaks() else None)

    def format_help(self, every: bool = False) -> str:
        """The page of the most used options, or of every one."""

        def shown(action: argparse.Action) -> bool:
            return every or not (self.most_used and action.option_strings) or action.dest in self.most_used

        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        arguments, help_options, *groups = self._action_groups
        for group in (arguments, *groups, help_options):
            formatter.start_section(group.title)
            formatter.add_arguments(filter(shown, group._group_actions))
            formatter.end_section()
        formatter.add_text(self.epilog)
        if not all(map(shown, self._actions)):
            formatter.add_text(f"More options: {self.prog} --help-all")
        return formatter.format_help()


def numbers(text: str) -> float | list[float]:
    """A number, or several with commas between them."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, or numbers with commas, got {text!r}") from None
    return found if len(found) > 1 else found[0]


class Command(Parser):
    """The parser of one command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_argument("--help-all", action=_Help, help="Show all options.")


class _Help(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: Any, given: argparse.Namespace, values: Any, option: str | None = None) -> None:
        parser.before_help(given)
        parser._print_message(parser.format_help(every=option == "--help-all"), sys.stdout)
        parser.exit()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Wraps the options to the terminal, but to 80 columns at most, and keeps the lines of the examples."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=width())

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)  # names such as beta-binomial stay whole


def _grid(text: str) -> str | list[float]:
    """The name of a grid, or a list of times."""
    if text in _GRIDS:
        return text
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        rule = f"must be {', '.join(_GRIDS)}, or numbers with commas between them, got {text!r}"
        raise argparse.ArgumentTypeError(rule) from None


def _steps(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers with commas, as 5,10,20, got {text!r}") from None


def add_sample(parser: Parser) -> None:
    _add_run(parser)
    samples = parser.add_argument_group("samples")
    samples.add_argument("--num", **N, default=64, help="Draw N samples. Default: 64.")
    what = "Draw one class alone, of a model with labels, by its name or its number. Default: all classes in turn."
    samples.add_argument("--label", metavar="CLASS", help=what)
    _add_steps(samples)
    _add_draws(samples)
    what = "Begin with sample N of the seed's sequence: with --first 25000 another process or machine draws the second "
    samples.add_argument("--first", **N, default=0, help=f"{what}half. Default: 0.")
    _add_speed(parser)
    output = parser.add_argument_group("output")
    what = "Write the samples into this .npz or .h5ad file, or folder for png; pictures go beside it. Default: "
    what += "RUN/samples; of a model that comes with the package or was exported MODEL-samples in the working folder."
    output.add_argument("--out", metavar="FILE", help=what)
    what = "npz: counts (N, C, H, W). adm: arr_0, uint8 (N, H, W, 3), for ADM's evaluator. png: a folder of pictures. "
    what += "h5ad: an AnnData, of a table. Default: h5ad where --out ends so, else npz."
    output.add_argument("--format", choices=["npz", "adm", "png", "h5ad"], help=what)
    output.add_argument("--gif", action="store_true", help="Write the film as an animated GIF too.")
    _add_files(output, "the files")
    parser.most_used = ("num", "steps", "label", "guidance", "seed", "device", "out", "format", "gif", "force")
    parser.set_defaults(run=later("sample"))


def add_evaluate(parser: Parser) -> None:
    _add_run(parser)
    data = parser.add_argument_group("data")
    data.add_argument("--data", metavar="PATH", help=_MOVED)
    what = "The layer of an AnnData that holds the counts. Default: the one of the training."
    data.add_argument("--layer", metavar="NAME", help=what)
    samples = parser.add_argument_group("samples")
    samples.add_argument("--num", **N, default=1000, help="Draw N samples a set. Default: 1000.")
    what = "Draw N sets, with the seeds SEED, SEED + 1, ... Most of the time goes into them. Default: 4."
    samples.add_argument("--seeds", **N, default=4, help=what)
    _add_steps(samples)
    _add_draws(samples)
    figures = parser.add_argument_group("figures")
    what = "Take bits per dimension of the first N held-out images; 0: leave them out. Default: 100."
    figures.add_argument("--bits", **N, default=100, help=what)
    what = "Add FID, KID, IS, precision and recall. FILE: the weights of FID's network, of torch-fidelity's releases."
    figures.add_argument("--inception", metavar="FILE", help=what)
    what = "Leave out the distance in features of a network that stands in for FID's."
    figures.add_argument("--no-stand-in", action="store_true", help=what)
    what = "Compare features with N training images, evenly spread. Default: all."
    figures.add_argument("--reference", **N, help=what)
    _add_speed(parser)
    _add_files(parser.add_argument_group("output"), "FILE")
    parser.most_used = ("data", "num", "seeds", "steps", "guidance", "bits", "inception", "device", "json", "force")
    parser.set_defaults(run=later("evaluate"))


def add_tune(parser: Parser) -> None:
    parser.add_argument("path", nargs="?", metavar="RUN", help=f"A run or a checkpoint. {_DEFAULT_RUN}")
    parser.add_argument_group("data").add_argument("--data", metavar="PATH", help=_MOVED)
    search = parser.add_argument_group("search")
    what = "Search for these numbers of steps, at least 2. Default: 5,10,20."
    search.add_argument("--steps", type=_steps, default=[5, 10, 20], metavar="N,N", help=what)
    what = (
        "Search for X minutes, shared equally by the numbers of steps. More go on with the same search; 0 takes times "
    )
    search.add_argument("--minutes", **X, default=30.0, help=f"{what}that need none. Default: 30.")
    search.add_argument("--num", **N, default=600, help="A trial draws N samples. Default: 600.")
    search.add_argument("--seed", **N, default=1, help="The seed of the draws and of the search. Default: 1.")
    _add_device(parser.add_argument_group("speed"))
    _add_files(parser.add_argument_group("output"), "FILE")
    parser.set_defaults(run=later("tune"))


def add_plot(parser: Parser) -> None:
    _add_run(parser)
    data = parser.add_argument_group("data")
    what = "Its first held-out image has its laws drawn."
    data.add_argument("--data", metavar="PATH", help=f"{_MOVED} {what}")
    samples = parser.add_argument_group("samples")
    _add_steps(samples)
    _add_draws(samples)
    _add_device(parser.add_argument_group("speed"))
    output = parser.add_argument_group("output")
    what = "Write the pictures into this folder. Default: RUN/plots; of a model that comes with the package or was "
    output.add_argument("--out", metavar="FOLDER", help=f"{what}exported MODEL-plots in the working folder.")
    _add_files(output, "the files")
    parser.most_used = ("data", "steps", "grid", "guidance", "seed", "device", "out", "json", "force")
    parser.set_defaults(run=later("plot"), num=4, batch=4, compile="off", precision="fp32")


_DEFAULT_RUN = "Default: the only run in runs/, or runs/digits."


def _add_run(parser: Parser) -> None:
    which = f"A run, a checkpoint, or a model that comes with the package ({', '.join(names())}). {_DEFAULT_RUN}"
    parser.add_argument("path", nargs="?", metavar="RUN", help=which)


def _add_steps(group: Group) -> None:
    """The options of a sampling that are used most."""
    what = "Take N reverse steps; each calls the network once, with guidance twice. Default: as tuned, else 100, or 10 "
    what += "with head implicit."
    group.add_argument("--steps", **N, help=what)
    what = "How strongly samples are driven to their class, of a model with labels: one number, 0 or above, or one for "
    what += "each step, as .5,.25,0. Default: as tuned; else, or with --grid, 0."
    group.add_argument("--guidance", type=numbers, metavar="X", help=what)


def _add_draws(group: Group) -> None:
    """The other options of a sampling."""
    group.add_argument("--seed", **N, default=1, help="The seed of the draws. Default: 1.")
    where = f"Where the steps lie: {', '.join(_GRIDS)}. early: most of them where few particles are alive. Or a list: "
    where += "shares of particles alive, as 0,.0004,.004,.05,1, or time indices. Default: as tuned, else early, or "
    group.add_argument("--grid", type=_grid, metavar="GRID", help=f"{where}cosine with head mean.")
    rule = f"The rule of a reverse step: {', '.join(SAMPLERS)}. Default: bridge."  # choices do not fit into 80 columns
    group.add_argument("--sampler", choices=SAMPLERS, metavar="NAME", help=rule)
    what = "How births become whole numbers, with head mean or implicit. Default: stochastic."
    group.add_argument("--rounding", choices=["stochastic", "nearest"], help=what)
    what = "A step also removes each particle with chance X, with head mean or implicit. Default: 0."
    group.add_argument("--attrition", **X, help=what)
    what = "The last step draws births as the others do, or takes their mean, which leaves less noise. Default: as "
    what += "tuned; else mean where a head gives a law of counts to 255 or more, but draw for tables; else draw."
    group.add_argument("--last-step", choices=LAST_STEPS, help=what)
    what = "Draw as the program of the paper's authors does, to compare with it: at every time of the schedule, births "
    what += "rounded to the nearest number, dropout left on (with seeded masks). For runs of head mean."
    group.add_argument("--compat", choices=COMPAT, help=what)
    what = "Take the averaged weights (ema), or the weights of the last step. Default: ema."
    group.add_argument("--weights", choices=["ema", "network"], default="ema", help=what)


def _add_device(group: Group) -> None:
    what = "auto, cpu, cuda or cuda:N. Default: auto, a GPU where its kernels run, else the CPU."
    group.add_argument("--device", default="auto", metavar="NAME", help=what)
    what = "Let torch use N CPU threads. Default: 0, as in the training."
    group.add_argument("--threads", **N, default=0, help=what)


def _add_speed(parser: Parser) -> None:
    group = parser.add_argument_group("speed")
    _add_device(group)
    what = "Draw N samples at a time; the samples do not depend on it. Default: 250."
    group.add_argument("--batch", **N, default=250, help=what)
    what = "Compile the network by torch.compile. Default: auto, on a GPU, for a million network calls or more."
    group.add_argument("--compile", choices=COMPILE, default="auto", help=what)
    group.add_argument("--precision", choices=PRECISIONS, default="auto", help=f"{HELP['precision']} Default: auto.")


def _add_files(group: Group, files: str) -> None:
    add_json(group)
    group.add_argument("--force", action="store_true", help=f"Overwrite {files}.")
    group.add_argument("--quiet", action="store_true", help="Show no progress.")


def later(name: str) -> Callable[[argparse.Namespace], int]:
    """The function NAME_command of the module of that name, which is imported only where it runs."""

    def run(options: argparse.Namespace) -> int:
        command = f"{name}_command"
        return getattr(importlib.import_module(f".{command}", __package__), command)(options)

    return run
