"""`fastblackout convert`: its options, and what it does."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..ground.terminal import say
from .outputs import check_writable


def add_convert(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `fastblackout convert`, and what runs it."""
    parser.add_argument("file", metavar="FILE", help="the checkpoint, a .pth file; only tensors and numbers are read")
    parser.add_argument("out", metavar="OUT", help="the run's folder, new or empty")
    what = "who wrote it: score_sde_pytorch, or the paper's authors on top of it; CountsDiff's networks are others, "
    what += "which fastblackout does not have, and are refused"
    programs = ["score-sde", "lanl", "countsdiff"]
    parser.add_argument("--from", dest="program", choices=programs, required=True, help=what)
    what = "what it was trained on: gives the images' size and largest count, and the end of the schedule"
    sets = ["cifar10", "celeba64", "mnist-binary"]
    parser.add_argument("--dataset", choices=sets, required=True, help=what)
    parser.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    from ..training.convert import convert

    check_writable("convert: out", Path(options.out))
    saved = convert(options.file, options.out, options.program, options.dataset)
    say(saved, f"next: fastblackout sample {options.out}")
    return 0
