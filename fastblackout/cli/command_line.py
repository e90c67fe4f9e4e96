"""The command line: `fastblackout train | sample | evaluate | plot | export | convert | info | bench`.

Errors are one line and an exit status.

0: done. 1: it failed (bad data, a damaged checkpoint, a full disk), or the reader of its pipe has left. 2: the command
itself is wrong. 130: interrupted by Ctrl-C. 143: ended by SIGTERM.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, NoReturn

from .._version import __version__
from ..ground.memory import keep_freed_memory
from ..ground.terminal import drop_unwritable, open_streams, visible, width
from ..pretrained import names
from ..sampling.rules import COMPAT, LAST_STEPS, SAMPLERS
from ..training.config import COMPILE, HELP, PRECISIONS
from ..training.ranks import current, end_process, let_first_speak, speaks, together
from ..training.ranks.single import Single
from ..training.stopping import Terminated, ctrl_c_ends_the_process, end_soon_on_signals, sigterm_raises
from .convert_command import add_convert
from .export_command import add_export
from .json_output import add_json, text_aside
from .train_command import add_train

Command = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> NoReturn:
        let_first_speak()
        self.exit(2, visible(f"{self.prog}: error: {message} (see {self.prog} --help)") + "\n" if speaks() else None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status. Only argparse's own exits (--help, a wrong option) leave by SystemExit.

    With the environment variable FASTBLACKOUT_DEBUG=1 errors keep their traceback.
    """
    is_process = arguments is None
    open_streams()
    try:
        with ctrl_c_ends_the_process("fastblackout") if is_process else nullcontext():
            options = build_parser().parse_args(arguments)
            if is_process and options.command in _SHARED:  # it runs a network
                keep_freed_memory()
                end_soon_on_signals(f"fastblackout {options.command}")
        with sigterm_raises():
            status = _run(options)
        return end_process(status, is_process and status in (130, 143))
    except BrokenPipeError:  # the reader of a pipe, such as head, has left: no message is needed
        return 1
    finally:
        drop_unwritable()


def _run(options: argparse.Namespace) -> int:
    try:
        with text_aside(options), _together(options) as ranks:
            ranks.same(options.command, {n: v for n, v in vars(options).items() if n not in _MAY_DIFFER})
            status = options.run(options)
        sys.stdout.flush()  # so that a closed pipe is noticed here and not when Python exits
        return status
    except KeyboardInterrupt as stop:
        return _fail(options, stop, str(stop) or "stopped", 130)
    except Terminated as stop:
        return _fail(options, stop, stop.message, 143)
    except BrokenPipeError:
        raise
    except _FAILURES as error:
        if os.environ.get("FASTBLACKOUT_DEBUG") == "1":
            raise
        message = str(error)
        if isinstance(error, OSError) and error.strerror:
            message = error.strerror + (f": {error.filename}" if error.filename else "")
        return _fail(options, error, message or type(error).__name__, 1)


# torch reports lack of memory and trouble with a driver as RuntimeError.
_FAILURES = (OSError, ValueError, TypeError, FloatingPointError, ImportError, MemoryError, RuntimeError)


_SHARED = ("train", "sample", "evaluate")

# Options whose values may depend on the host, of several that work together.
_MAY_DIFFER = ("run", "stdout", "path", "data", "inception", "out", "json", "quiet", "device", "threads")


def _together(options: argparse.Namespace) -> AbstractContextManager[Single]:
    """With the other processes of a launch, for the commands that share their work."""
    shared = options.command in _SHARED
    return together(f"fastblackout {options.command}") if shared else nullcontext(current())


def _fail(options: argparse.Namespace, error: BaseException, message: str, status: int) -> int:
    message = " ".join(message.split()).removeprefix(f"{options.command}: ")
    if speaks(error):
        with suppress(OSError):  # stderr may be the closed pipe
            print(visible(f"fastblackout {options.command}: {message}"), file=sys.stderr)
    return status


def build_parser() -> Parser:
    """The parser of all commands. A further command adds its parser and sets `run`."""
    about = "Exact kernels for count-valued diffusion, and Blackout Diffusion models."
    parser = Parser(prog="fastblackout", description=about, epilog=_EPILOG, formatter_class=_Formatter)
    parser.add_argument("--version", action="version", version=f"fastblackout {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def command(name: str, about: str, add_help: bool = True) -> Parser:
        told: Any = {"help": about, "description": f"{about[0].upper()}{about[1:]}.", "add_help": add_help}
        return commands.add_parser(name, epilog=f"examples:\n{_EXAMPLES[name]}", formatter_class=_Formatter, **told)

    add_train(command("train", "train a model", add_help=False))
    _add_sample(command("sample", "draw samples from a run"))
    _add_evaluate(command("evaluate", "judge a run's samples"))
    _add_tune(command("tune", "search the times and the guidance of a run's few steps"))
    _add_plot(command("plot", "draw a run's losses, schedule, film and laws"))
    add_export(command("export", "write the model of a run to a folder of its own, to hand on"))
    add_convert(command("convert", "make a run of another program's checkpoint"))
    info = command("info", "say what was built, and why not, and which recipes there are")
    add_json(info)
    info.add_argument("--force", action="store_true", help="overwrite FILE")
    info.set_defaults(run=_later("info"))
    bench = command("bench", "compare every op with its peers (in a clone)")
    what = "`-- ARGUMENT ...` for pytest; or `report [FILE ...]`: tables and plots of results"
    bench.add_argument("arguments", nargs="*", metavar="ARGUMENT", help=what)
    bench.set_defaults(run=_later("bench"))
    return parser


_EXAMPLES = {
    "train": """\
  fastblackout train digits
  fastblackout train digits --resume              (after an interruption)
  fastblackout train digits --steps 20000 --out runs/digits-long
  fastblackout train mnist --data ROOT --download
  fastblackout train array --data counts.npy --epochs 20
  fastblackout train cifar10 --data ROOT --recipe best --batch 128
""",
    "sample": """\
  fastblackout sample
  fastblackout sample digits                      (comes with the package)
  fastblackout sample runs/mnist --num 16 --seed 7 --out more.npz
  fastblackout sample runs/mnist --steps 20 --sampler tau-leap --force
  fastblackout sample runs/cifar10 --num 25000 --first 25000 --format adm
""",
    "evaluate": """\
  fastblackout evaluate
  fastblackout evaluate runs/mnist --seeds 1 --bits 0    (the quickest)
  fastblackout evaluate runs/mnist --data ROOT --json numbers.json
""",
    "tune": """\
  fastblackout tune runs/mnist --steps 5,10,20 --minutes 60
  fastblackout tune runs/digits --steps 5 --minutes 2
""",
    "export": """\
  fastblackout export runs/digits digits-model
""",
    "plot": """\
  fastblackout plot
  fastblackout plot runs/mnist --data ROOT --steps 20 --out pictures --force
""",
    "convert": """\
  fastblackout convert checkpoint.pth runs/authors --from lanl --dataset cifar10
""",
    "info": """\
  fastblackout info
  fastblackout info --json -
""",
    "bench": """\
  fastblackout bench -- --quick
  fastblackout bench report
""",
}
_EPILOG = """\
examples:
  fastblackout train digits && fastblackout sample && fastblackout evaluate
  fastblackout train --help

exit status: 0 done, 1 failed or a wrong value, 2 an option that does not
exist or cannot be read, 130 interrupted, 143 terminated
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Wraps the options to the terminal, but to 80 columns at most, and keeps the lines of the examples."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=width())


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


def _add_sample(parser: argparse.ArgumentParser) -> None:
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
    parser.set_defaults(run=_later("sample"))


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
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
    parser.set_defaults(run=_later("evaluate"))


def _add_tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", metavar="RUN", help="a run or a checkpoint; default: as of sample")
    parser.add_argument("--steps", type=_steps, default=[5, 10, 20], metavar="N,N", help="numbers of steps (5,10,20)")
    what = "minutes of search, shared equally by the numbers of steps (30); more of them go on with the same search"
    parser.add_argument("--minutes", **_X, default=30.0, help=what)
    parser.add_argument("--data", metavar="PATH", help="the data, of a run that was moved or not trained here")
    parser.add_argument("--num", **_N, default=600, help="samples of a trial (600)")
    parser.add_argument("--batch", **_N, default=200, help="samples at a time (200)")
    parser.add_argument("--seed", **_N, default=1, help="seed of the draws and of the search (1)")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", **_N, default=0, help="CPU threads; 0: as in the training")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json(parser)
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.set_defaults(run=_later("tune"))


def _add_plot(parser: argparse.ArgumentParser) -> None:
    _add_run(parser, in_batches=False)
    parser.add_argument("--out", metavar="FOLDER", help="folder of the pictures; default RUN/plots")
    add_json(parser)
    parser.add_argument("--force", action="store_true", help="overwrite the files")
    what = "the data, whose first held-out image has its laws drawn, of a run that was moved or not trained here"
    parser.add_argument("--data", metavar="PATH", help=what)
    parser.set_defaults(run=_later("plot"), num=4, batch=4, compile="off", precision="fp32")


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
    what = "strength of classifier-free guidance, or one a step, as .5,.25,0; default: as tuned, else 0"
    parser.add_argument("--guidance", type=_numbers, metavar="X", help=what)
    what = f"rule of a reverse step: {', '.join(SAMPLERS)} (bridge)"  # as choices they do not fit into 80 columns
    parser.add_argument("--sampler", choices=SAMPLERS, metavar="NAME", help=what)
    kinds = ["stochastic", "nearest"]
    parser.add_argument("--rounding", choices=kinds, help="of births to whole numbers (stochastic)")
    parser.add_argument("--attrition", **_X, help="chance that a step also removes a count (0)")
    what = "draw births as in the other steps, or take their mean, which leaves less noise (mean where a head gives a "
    what += "law of counts to 255 or more, but for tables; else draw)"
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


def _later(name: str) -> Command:
    """The function NAME_command of the module of that name, which is imported only where it runs."""

    def run(options: argparse.Namespace) -> int:
        command = f"{name}_command"
        return getattr(importlib.import_module(f".{command}", __package__), command)(options)

    return run


if __name__ == "__main__":
    sys.exit(main())
