"""`fastblackout split | thin | downsample`: counts of single cells from file to file."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from ..ground.terminal import say
from .outputs import check_writable
from .parser import Parser, numbers

_N: Any = {"type": int, "metavar": "N"}
_X: Any = {"type": float, "metavar": "X"}
_NEW = "A new .h5ad file or .zarr store, which must not exist"


def add_split(parser: Parser) -> None:
    """Adds the options of `fastblackout split`, and what runs it."""
    counts = _of_files(parser, "PART", f"{_NEW}, for each of two or more parts.", nargs="+")
    what = "The share of each part, as .8,.2. Default: equal shares."
    counts.add_argument("--folds", type=numbers, metavar="X,X", help=what)
    what = "Counts are negative binomial, with variance mean + mean^2 / X. Default: they are Poisson counts."
    counts.add_argument("--overdispersion", **_X, help=what)
    parser.set_defaults(run=_split)


def add_thin(parser: Parser) -> None:
    """Adds the options of `fastblackout thin`, and what runs it."""
    counts = _of_files(parser, "OUT", f"{_NEW}.", nargs=1)
    counts.add_argument("--alive", **_X, required=True, help="Keep each molecule with probability X.")
    parser.set_defaults(run=_thin)


def add_downsample(parser: Parser) -> None:
    """Adds the options of `fastblackout downsample`, and what runs it."""
    counts = _of_files(parser, "OUT", f"{_NEW}.", nargs=1)
    what = "Keep N molecules of each cell, drawn without replacement; all where it has no more."
    counts.add_argument("--counts-per-cell", **_N, required=True, help=what)
    parser.set_defaults(run=_downsample)


def _of_files(parser: Parser, name: str, what: str, **how: Any) -> Any:
    """Adds what the three have in common; the group of the others."""
    parser.add_argument("file", metavar="FILE", help="Raw counts of cells: an AnnData in an .h5ad file or .zarr store.")
    parser.add_argument("out", metavar=name, help=what, **how)
    counts = parser.add_argument_group("counts")
    counts.add_argument("--layer", metavar="NAME", help="The layer with the raw counts. Default: X.")
    counts.add_argument("--seed", **_N, default=0, help="The seed of the draw. Default: 0.")
    return counts


def _split(options: Namespace) -> int:
    from ..cells import split

    folds = options.folds or len(options.out)
    return _written(options, split, folds, options.overdispersion, out=options.out)


def _thin(options: Namespace) -> int:
    from ..cells import thin

    return _written(options, thin, options.alive, out=options.out[0])


def _downsample(options: Namespace) -> int:
    from ..cells import downsample

    return _written(options, downsample, options.counts_per_cell, out=options.out[0])


def _written(options: Namespace, function: Any, *how: Any, **out: Any) -> int:
    for path in options.out:
        check_writable(f"{options.command}: out", Path(path))
    function(options.file, *how, layer=options.layer, rng=options.seed, **out)
    say(*options.out)
    return 0
