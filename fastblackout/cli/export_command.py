"""`fastblackout export`: a trained model without what only a training needs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..ground.terminal import say
from .outputs import check_writable


def add_export(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `fastblackout export`, and what runs it."""
    parser.add_argument("path", metavar="RUN", help="A run or a checkpoint.")
    parser.add_argument("folder", metavar="FOLDER", help="The folder to write, a new one.")
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from ..training.checkpoint import export_checkpoint
    from .of_run import path_of

    check_writable("export: folder", Path(options.folder))
    folder = export_checkpoint(path_of(options), options.folder)
    say(folder, f"next: fastblackout sample {folder}")
    return 0
