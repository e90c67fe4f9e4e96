"""`fastblackout convert`: its options, and what it does."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..ground.terminal import say
from .outputs import check_writable


def add_convert(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `fastblackout convert`, and what runs it."""
    what = "The checkpoint, a .pth file. Only tensors and numbers are read."
    parser.add_argument("file", metavar="FILE", help=what)
    parser.add_argument("out", metavar="OUT", help="The run's folder, new or empty.")
    options = parser.add_argument_group("needed")
    what = (
        "Who wrote it. score-sde: score_sde_pytorch; lanl: the paper's authors on top of it; countsdiff: refused, as "
    )
    what += "fastblackout does not have CountsDiff's networks."
    programs = ["score-sde", "lanl", "countsdiff"]
    options.add_argument("--from", dest="program", choices=programs, required=True, help=what)
    what = "What it was trained on. This gives the images' size and largest count, and the end of the schedule."
    sets = ["cifar10", "celeba64", "mnist-binary"]
    options.add_argument("--dataset", choices=sets, required=True, help=what)
    parser.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    from ..training.convert import convert

    check_writable("convert: out", Path(options.out))
    saved = convert(options.file, options.out, options.program, options.dataset)
    say(saved, f"next: fastblackout sample {options.out}")
    return 0
