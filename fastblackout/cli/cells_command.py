"""Single cells on the command line.

`train FILE.h5ad` makes a model, which `sample`, `impute` and `evaluate` take. `split`, `thin` and `downsample` bring
counts from file to file. The options are few, as the model is one. `train h5ad --data FILE.h5ad` trains a network of
one's own choice instead.
"""

from __future__ import annotations

import os
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ground.terminal import say
from .options import N, Parser, X, numbers
from .outputs import add_json, check_free, check_json, check_writable, give_json

if TYPE_CHECKING:
    from ..cells import CellModel

_MODEL = "The folder of a cell model, that `train FILE.h5ad` wrote."
_OR_ZARR = ": an AnnData in an .h5ad file or a .zarr store"
_SAMPLES = "samples.h5ad"
_NEW = "A new .h5ad file or .zarr store, which must not exist"
_WITH_PATHS = ("--data", "--out")  # options of other models, behind which a file of cells may stand


def is_of_cells(arguments: Sequence[str]) -> bool:
    """Whether a command is of a file of cells, or of a cell model: by the words behind its name."""
    arguments = list(arguments)
    pairs = zip(arguments, arguments[1:], strict=False)
    words = [word for before, word in pairs if before not in _WITH_PATHS and not word.startswith("-")]
    if arguments[:1] == ["train"]:
        return any(word.rstrip("/").endswith((".h5ad", ".zarr")) for word in words)
    return arguments[:1] in (["sample"], ["evaluate"]) and any(is_cell_model(Path(word)) for word in words)


def is_cell_model(folder: Path) -> bool:
    """Whether a folder holds a model that `CellModel.save` wrote."""
    from ..ground.json_files import CELLS_FORMAT, read_json  # they import NumPy, which the help does without

    try:
        return bool(read_json(folder / "config.json").get("format") == CELLS_FORMAT)
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def add_train(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE.h5ad", help=f"Raw counts of single cells{_OR_ZARR}.")
    data = parser.add_argument_group("data")
    what = "The column of obs with the types of the cells, which are then drawn by type."
    data.add_argument("--labels", "--labels-key", metavar="NAME", help=what)
    data.add_argument("--batch-key", metavar="NAME", help="The column of obs with the batches.")
    data.add_argument("--layer", metavar="NAME", help="The layer with the raw counts. Default: X.")
    what = "The column of obs with the depths, in any unit. Default: the sum of counts over all genes of the file."
    data.add_argument("--size-factor", metavar="NAME", help=what)
    what = "A column of obs with numbers that counts depend on. It may be given several times."
    data.add_argument("--covariate", metavar="NAME", action="append", default=[], help=what)
    what = "The genes to model: a column of booleans of var, such as highly_variable, or a text file of names. "
    data.add_argument("--genes", metavar="NAME", help=f"{what}Default: all.")
    training = parser.add_argument_group("training")
    what = "Train for N steps at most. Default: 60 passes, but 500 at least and 20,000 at most."
    training.add_argument("--steps", **N, help=what)
    training.add_argument("--width", **N, default=256, help="The width of the network. Default: 256.")
    training.add_argument("--seed", **N, default=0, help="The seed of the training. Default: 0.")
    training.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda or cuda:N. Default: auto.")
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="MODEL", help="The model's folder. Default: runs/FILE.")
    _add_output(output, "a model in MODEL")
    output.add_argument("--quiet", action="store_true", help="Show no progress.")
    parser.set_defaults(run=_train)


def add_sample(parser: Parser) -> None:
    parser.add_argument("path", metavar="MODEL", help=_MODEL)
    samples = parser.add_argument_group("samples")
    samples.add_argument("--num", **N, default=500, help="Draw N cells. Default: 500.")
    what = "The type of all cells. Default: types as frequent as in the training."
    samples.add_argument("--label", metavar="NAME", help=what)
    what = "The depth of all cells: counts of all genes, or the unit of its column. Default: of training cells."
    samples.add_argument("--depth", **X, help=what)
    samples.add_argument("--batch", metavar="NAME", help="The batch of all cells. Default: as in the training.")
    what = "A covariate of all cells, as age=60. It may be given several times. Default: as in the training."
    samples.add_argument("--covariate", type=_named, metavar="NAME=X", action="append", help=what)
    _add_draws(samples)
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="FILE.h5ad", help=f"Default: MODEL/{_SAMPLES}.")
    _add_output(output, "FILE.h5ad")
    parser.set_defaults(run=_sample)


def add_impute(parser: Parser) -> None:
    parser.add_argument("path", metavar="MODEL", help=_MODEL)
    parser.add_argument("file", metavar="FILE.h5ad", help=f"Cells with the columns of the training{_OR_ZARR}.")
    data = parser.add_argument_group("data")
    what = "Which counts were observed: a layer of booleans, or a .npy file (cells x genes of OUT.h5ad). "
    data.add_argument("--observed", metavar="NAME", help=f"{what}The layer imputed then has the mean of the others.")
    what = "All were observed: the layer expected then has the expression without the noise of counting."
    data.add_argument("--denoise", action="store_true", help=what)
    what = "With --denoise: the batch in which all are to be. Default: each cell's own."
    data.add_argument("--batch", metavar="NAME", help=what)
    samples = parser.add_argument_group("samples")
    what = "Write N draws in place of the mean, as layers imputed-0, imputed-1, ..."
    samples.add_argument("--draws", **N, help=what)
    _add_draws(samples)
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="OUT.h5ad", required=True, help="The cells and genes of the model, imputed.")
    _add_output(output, "OUT.h5ad")
    parser.set_defaults(run=_impute)


def add_evaluate(parser: Parser) -> None:
    parser.add_argument("path", metavar="MODEL", help=_MODEL)
    parser.add_argument("file", metavar="FILE.h5ad", help=f"Cells that the training did not see{_OR_ZARR}.")
    data = parser.add_argument_group("data")
    what = "The training cells: the table then has a column of real cells, and distances to training cells."
    data.add_argument("--train", metavar="FILE.h5ad", help=what)
    samples = parser.add_argument_group("samples")
    what = "Draw N sets, with the seeds SEED, SEED + 1, ...: means, with intervals of 95%%. Default: 1."
    samples.add_argument("--seeds", **N, default=1, help=what)
    _add_draws(samples)
    output = parser.add_argument_group("output")
    output.add_argument("--plots", metavar="FOLDER", help="Draw three plots into FOLDER.")
    _add_output(output, "files")
    parser.set_defaults(run=_evaluate)


def _named(text: str) -> tuple[str, float]:
    """A name and its number."""
    name, sign, number = text.rpartition("=")
    try:
        return name, float(number if sign else "")
    except ValueError:
        raise ArgumentTypeError(f"must be a name and a number, as age=60, got {text!r}") from None


def _add_draws(group: Any) -> None:
    group.add_argument("--steps", **N, default=100, help="Steps of the reverse process. Default: 100.")
    group.add_argument("--seed", **N, default=0, help="The seed of the draws. Default: 0.")
    what = "auto, cpu, cuda or cuda:N. Default: auto."
    group.add_argument("--device", metavar="NAME", default="auto", help=what)


def _add_output(group: Any, what: str) -> None:
    add_json(group)
    group.add_argument("--force", action="store_true", help=f"Overwrite {what}.")


def _train(options: Namespace) -> int:
    from ..training.run_folder import holding

    folder = Path(options.out or os.path.join("runs", Path(options.file).stem))
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"train: out: {folder} is no folder; choose another with --out")
    check_writable("train: out", folder)
    with holding(folder):
        return _train_alone(options, folder)


def _train_alone(options: Namespace, folder: Path) -> int:
    from ..cells import CellModel
    from ..training.run_folder import LOCK

    if any(entry.name != LOCK for entry in folder.iterdir()) and not (options.force and is_cell_model(folder)):
        rule = "overwrite it with --force" if is_cell_model(folder) else "it is no cell model"
        raise ValueError(f"train: out: {folder} exists: {rule}, or choose another with --out")
    check_json(options, options.force)
    model = CellModel(
        options.labels, options.batch_key, options.layer, options.size_factor, options.covariate,
        genes=_names(options.genes), steps=options.steps, width=options.width, rng=options.seed,
        device=options.device,
    )  # fmt: skip
    model.fit(options.file, progress=not options.quiet)
    model.save(folder)
    last, best = model.history_[-1], min(each["held_out_loss"] for each in model.history_)
    classes = f", {len(model.classes_)} types" if model.classes_ else ""
    seen = f"{len(model.genes_)} genes{classes}, {int(last['step'])} steps"
    say(f"{folder}: {seen}; held-out loss {best:.4f} nats a count")
    say(f"next: fastblackout sample {folder}")
    result = {"model": folder, "genes": len(model.genes_), "classes": list(model.classes_), "history": model.history_}
    give_json(options, result)
    return 0


def _names(genes: str | None) -> str | list[str] | None:
    """A column of var, or the names in a file."""
    if genes is None or not Path(genes).is_file():
        return genes
    return Path(genes).read_text(encoding="utf-8").split()


def _sample(options: Namespace) -> int:
    from ..atomic_files import own
    from ..data.cells import write_h5ad

    out = _out(options, options.out or str(Path(options.path) / _SAMPLES))
    cells = _model(options).sample(
        options.num, options.label, options.depth, options.batch, dict(options.covariate or ()) or None,
        options.steps, options.seed,
    )  # fmt: skip
    write_h5ad(cells, out if options.out else own(out))
    say(out)
    give_json(options, {"file": out, "cells": options.num, "genes": cells.n_vars})
    return 0


def _impute(options: Namespace) -> int:
    import numpy as np

    from ..data.cells import places_of, read_cells, write_h5ad

    if (options.observed is None) == (not options.denoise):
        given = "both" if options.denoise else "neither"
        raise ValueError(f"impute: observed, denoise: give one of them, got {given}")
    if options.denoise and options.draws is not None:
        raise ValueError(f"impute: draws: must be left out with --denoise, got {options.draws}")
    if not options.denoise and options.batch is not None:
        raise ValueError(f"impute: batch: must be left out without --denoise, got {options.batch!r}")
    out, model = _out(options, options.out), _model(options)
    cells = read_cells("impute", "file", options.file)
    names = [str(name) for name in cells.var_names]
    places = places_of("impute", "file", names, model.genes_)
    kept = slice(None) if len(names) == len(places) else places  # what the model has
    if options.denoise:
        layers = {"expected": model.expected(cells, batch=options.batch)}
    else:
        if options.observed in cells.layers:
            flags = cells.layers[options.observed]
            flags = np.asarray(flags.toarray() if hasattr(flags, "toarray") else flags)[:, kept]
        else:
            flags = _flags_in(options.observed)
        filled = model.impute(cells, flags, options.draws, options.steps, options.seed)
        layers = {"imputed": filled} if options.draws is None else {f"imputed-{n}": x for n, x in enumerate(filled)}
    cells = cells[:, kept].copy()
    cells.layers.update(layers)
    write_h5ad(cells, out)
    say(out)
    give_json(options, {"file": out, "cells": cells.n_obs, "genes": cells.n_vars, "layers": list(layers)})
    return 0


def _flags_in(name: str) -> Any:
    """The booleans of a .npy file."""
    from ..data.array_files import read_npy

    if not Path(name).is_file():
        raise ValueError(f"impute: observed: must be a layer of the file or a .npy file, got {name!r}")
    try:
        return read_npy(Path(name), booleans=True)
    except ValueError as error:
        raise ValueError(f"impute: observed: {str(error).removeprefix('load: ')}") from None


def _evaluate(options: Namespace) -> int:
    if options.plots is not None:
        from ..cells.report import PLOTS

        folder = Path(options.plots)
        check_writable("evaluate: plots", folder)
        if folder.exists():
            check_free("evaluate: plots", [folder / f"{name}.png" for name in PLOTS], options.force)
    check_json(options, options.force)
    report = _model(options).evaluate(options.file, options.train, options.steps, options.seed, options.seeds)
    say(*str(report).splitlines())
    plots = [] if options.plots is None else report.plot(options.plots)
    say(*plots)
    give_json(options, {**report.to_dict(), "plots": plots})
    return 0


def _model(options: Namespace) -> CellModel:
    from ..cells import CellModel

    return CellModel.load(options.path, options.device)


def _out(options: Namespace, out: str) -> Path:
    """Where an AnnData goes, looked at before any work."""
    if not out.endswith(".h5ad"):
        raise ValueError(f"{options.command}: out: must end in .h5ad, got {out}")
    check_free(f"{options.command}: out", [Path(out)], options.force)
    check_json(options, options.force)
    return Path(out)


def add_split(parser: Parser) -> None:
    counts = _of_files(parser, "PART", f"{_NEW}, for each of two or more parts.", nargs="+")
    what = "The share of each part, as .8,.2. Default: equal shares."
    counts.add_argument("--folds", type=numbers, metavar="X,X", help=what)
    what = "Counts are negative binomial, with variance mean + mean^2 / X. Default: they are Poisson counts."
    counts.add_argument("--overdispersion", **X, help=what)


def add_thin(parser: Parser) -> None:
    counts = _of_files(parser, "OUT", f"{_NEW}.", nargs=1)
    counts.add_argument("--alive", **X, required=True, help="Keep each molecule with probability X.")


def add_downsample(parser: Parser) -> None:
    counts = _of_files(parser, "OUT", f"{_NEW}.", nargs=1)
    what = "Keep N molecules of each cell, drawn without replacement; all where it has no more."
    counts.add_argument("--counts-per-cell", **N, required=True, help=what)


def _of_files(parser: Parser, name: str, what: str, **how: Any) -> Any:
    """Adds what the three have in common; the group of the others."""
    parser.set_defaults(run=_from_file_to_file)
    parser.add_argument("file", metavar="FILE", help="Raw counts of cells: an AnnData in an .h5ad file or .zarr store.")
    parser.add_argument("out", metavar=name, help=what, **how)
    counts = parser.add_argument_group("counts")
    counts.add_argument("--layer", metavar="NAME", help="The layer with the raw counts. Default: X.")
    counts.add_argument("--seed", **N, default=0, help="The seed of the draw. Default: 0.")
    return counts


def _from_file_to_file(options: Namespace) -> int:
    from .. import cells

    for path in options.out:
        check_writable(f"{options.command}: out", Path(path))
    how: dict[str, Any] = {"layer": options.layer, "rng": options.seed}
    if options.command == "split":
        cells.split(options.file, options.folds or len(options.out), options.overdispersion, out=options.out, **how)
    elif options.command == "thin":
        cells.thin(options.file, options.alive, out=options.out[0], **how)
    else:
        cells.downsample(options.file, options.counts_per_cell, out=options.out[0], **how)
    say(*options.out)
    return 0
