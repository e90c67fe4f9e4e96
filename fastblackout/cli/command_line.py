"""The command line: `fastblackout train | sample | evaluate | ...`, as `fastblackout --help` lists them.

Errors are one line and an exit status.

0: done. 1: it failed (bad data, a damaged checkpoint, a full disk), or the reader of its pipe has left. 2: the command
itself is wrong. 130: interrupted by Ctrl-C. 143: ended by SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

from .._version import __version__
from ..ground.process import keep_freed_memory
from ..ground.terminal import drop_unwritable, open_streams, visible, wrap
from ..training.ranks import Single, current, end_process, let_first_speak, place_of, speaks
from ..training.stopping import Terminated, ctrl_c_ends_the_process, end_soon_on_signals, sigterm_raises
from . import cells_command as of_cells
from .denoise_command import add_denoise
from .options import Command, Parser, add_evaluate, add_plot, add_sample, add_tune, later
from .outputs import add_json, text_aside
from .train_command import add_convert, add_export, add_train


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status. Only argparse's own exits (--help, a wrong option) leave by SystemExit.

    With the environment variable FASTBLACKOUT_DEBUG=1 errors keep their traceback.
    """
    is_process = arguments is None
    open_streams()
    try:
        with ctrl_c_ends_the_process("fastblackout") if is_process else nullcontext():
            arguments = sys.argv[1:] if arguments is None else arguments
            options = build_parser(of_cells.is_of_cells(arguments)).parse_args(arguments)
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
    if options.command in _SHARED and place_of().count > 1:
        from ..training.rank_group import together

        return together(f"fastblackout {options.command}")
    return nullcontext(current())


def _fail(options: argparse.Namespace, error: BaseException, message: str, status: int) -> int:
    message = re.sub(rf"^({options.command}|CellModel(\.\w+)?): ", "", " ".join(message.split()))
    if speaks(error):
        with suppress(OSError):  # stderr may be the closed pipe
            print(visible(f"fastblackout {options.command}: {message}"), file=sys.stderr)
    return status


def build_parser(of_a_cell_model: bool = False) -> Parser:
    """The parser of all commands, some of which have other options for a model of cells. A further command adds its
    parser and sets `run`."""
    parser = Parser(prog="fastblackout", description=_ABOUT, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"fastblackout {__version__}", help="Show the version.")
    parser.set_defaults(run=_greet)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Command)

    def command(name: str, arguments: str, about: str, examples: str | None = None, more: str = "") -> Command:
        usage, examples = f"fastblackout {name} {arguments}", f"examples:\n{_EXAMPLES[examples or name]}"
        return commands.add_parser(name, usage=usage, help=about, description=f"{about}.{more}", epilog=examples)

    if of_a_cell_model:
        for name, (add, arguments, about) in _CELLS.items():
            add(command(name, f"{arguments} [OPTION ...]", about, "cells"))
    else:
        more = {name: _of_cells_instead(name) for name in _CELLS}
        add_train(command("train", "DATASET [OPTION ...]", "Train a model", more=more["train"]))
        add_sample(command("sample", "[RUN] [OPTION ...]", "Draw samples of a trained model", more=more["sample"]))
        judge = "Judge the samples of a trained model"
        add_evaluate(command("evaluate", "[RUN] [OPTION ...]", judge, more=more["evaluate"]))
    impute = "MODEL FILE.h5ad [OPTION ...]"
    of_cells.add_impute(command("impute", impute, "Fill in counts of cells that were not observed"))
    part = "Divide counts of cells into parts, from file to file"
    of_cells.add_split(command("split", "FILE PART PART ... [OPTION ...]", part))
    of_cells.add_thin(
        command("thin", "FILE OUT --alive X [OPTION ...]", "Keep a share of the molecules of cells, from file to file")
    )
    equal = "Bring cells to an equal depth, from file to file"
    of_cells.add_downsample(command("downsample", "FILE OUT --counts-per-cell N [OPTION ...]", equal))
    denoise = "IMAGE --share P [OPTION ...]"
    add_denoise(command("denoise", denoise, "Draw what a longer exposure would have shown, by a trained model"))
    add_tune(command("tune", "[RUN] [OPTION ...]", "Search for the best times and guidance of few steps"))
    add_plot(command("plot", "[RUN] [OPTION ...]", "Draw a run's losses, schedule, film and laws of pixels"))
    add_export(command("export", "RUN FOLDER", "Write the model of a run into a folder, to hand on"))
    convert = "FILE OUT --from PROGRAM --dataset NAME"
    add_convert(command("convert", convert, "Make a run of another program's checkpoint"))
    info = command("info", "[OPTION ...]", "Say what is installed, what is not and why; list the recipes")
    output = info.add_argument_group("output")
    add_json(output)
    output.add_argument("--force", action="store_true", help="Overwrite FILE.")
    info.set_defaults(run=later("info"))
    bench = command("bench", "[ARGUMENT ...]", "Compare the speed of every op with its peers (in a clone)")
    what = "`-- ARGUMENT ...` are for pytest; `report [FILE ...]` writes tables and plots of results."
    bench.add_argument("arguments", nargs="*", metavar="ARGUMENT", help=what)
    bench.set_defaults(run=_bench)
    return parser


# Of commands that have other options for a model of cells: what adds these, the arguments, and what it does.
_CELLS = {
    "train": (of_cells.add_train, "FILE.h5ad", "Train a model of single cells"),
    "sample": (of_cells.add_sample, "MODEL", "Draw cells of a model of single cells"),
    "evaluate": (of_cells.add_evaluate, "MODEL FILE.h5ad", "Compare cells of a model with real ones"),
}


def _of_cells_instead(name: str) -> str:
    """What the help of a command says of the options that it has for a model of cells."""
    add, arguments, about = _CELLS[name]
    parser = Parser()
    add(parser)
    options = ", ".join(
        each.option_strings[0] for each in parser._actions if each.option_strings and each.dest != argparse.SUPPRESS
    )
    return "\n\n" + wrap(f"{about} by other options: {options}. `fastblackout {name} {arguments} --help` has them.")


def _bench(options: argparse.Namespace) -> int:
    """Runs the benchmarks of a clone by pytest, or writes tables and plots of their results."""
    import subprocess
    from pathlib import Path

    if not Path("benchmarks").is_dir():
        raise ValueError("bench: no benchmarks folder here; run it in a clone of the repository")
    if options.arguments[:1] == ["report"]:
        return subprocess.run([sys.executable, "benchmarks/report", *options.arguments[1:]]).returncode
    try:
        import pytest
    except ImportError:
        raise ValueError("bench: needs pytest; pip install 'fastblackout[bench]'") from None
    return int(pytest.main(["benchmarks", *options.arguments]))


def _greet(options: argparse.Namespace) -> int:
    """What is said where no command is given."""
    let_first_speak()
    if speaks():
        print(f"{_ABOUT}\n\n{_GREETING}", file=sys.stderr)
    return 2


_ABOUT = """\
fastblackout trains, samples and judges diffusion models on counts, such as
pixel values, photons or RNA molecules."""
_GREETING = """\
Three commands to try:
  fastblackout sample digits                   handwritten digits, in seconds
  fastblackout sample mnist --label 7 --num 8  sevens, of a larger network
  fastblackout info                            what this installation can do

fastblackout --help lists all commands."""
_EXAMPLES = {
    "train": """\
  fastblackout train digits
  fastblackout train digits --resume              (after an interruption)
  fastblackout train digits --steps 20000 --out runs/digits-long
  fastblackout train mnist --data ROOT --download
  fastblackout train array --data counts.npy --epochs 20
  fastblackout train cells.h5ad --labels cell_type
  fastblackout train cifar10 --data ROOT --recipe best --batch 128
""",
    "sample": """\
  fastblackout sample
  fastblackout sample digits                      (comes with the package)
  fastblackout sample runs/mnist --num 16 --seed 7 --out more.npz
  fastblackout sample runs/mnist --steps 20 --sampler tau-leap --force
  fastblackout sample runs/cells --help        (of a cell model)
  fastblackout sample runs/cifar10 --num 25000 --first 25000 --format adm
""",
    "evaluate": """\
  fastblackout evaluate
  fastblackout evaluate runs/mnist --seeds 1 --bits 0    (the quickest)
  fastblackout evaluate runs/mnist --data ROOT --json numbers.json
""",
    "cells": """\
  fastblackout train cells.h5ad --labels cell_type
  fastblackout sample runs/cells --label "B cell" --num 500
  fastblackout evaluate runs/cells held-out.h5ad --plots plots
""",
    "impute": """\
  fastblackout impute runs/cells cells.h5ad --denoise --out denoised.h5ad
  fastblackout impute runs/cells cells.h5ad --observed seen --out full.h5ad
""",
    "split": """\
  fastblackout split cells.h5ad train.h5ad test.h5ad --overdispersion 2
  fastblackout split atlas.zarr train.zarr test.zarr --folds .8,.2 --seed 1
""",
    "thin": """\
  fastblackout thin cells.h5ad half.h5ad --alive .5
""",
    "downsample": """\
  fastblackout downsample cells.h5ad equal.h5ad --counts-per-cell 1000
""",
    "denoise": """\
  fastblackout denoise short.tif --model runs/long --share .1
  fastblackout denoise short.tif --model runs/long --share .1,.2 --draws 64
  fastblackout denoise noisy.tif --model runs/noisy --share 1 --rate
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
  fastblackout sample digits                      (comes with the package)
  fastblackout train digits && fastblackout sample && fastblackout evaluate
  fastblackout train --help

exit status: 0 done, 1 failed or a wrong value, 2 an option that does not
exist or cannot be read, 130 interrupted, 143 terminated
"""


if __name__ == "__main__":
    sys.exit(main())
