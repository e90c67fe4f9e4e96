"""What makes and hands on a run: `fastblackout train`, `convert` and `export`."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from ..data import OF_TABLE, WIDE_COUNTS, WIDE_HEAD
from ..ground.terminal import say
from ..heads import HEADS
from ..training.config import HELP, PRESETS, TrainConfig, preset
from ..training.ranks import current
from ..training.recipes import RECIPES, names, options_of
from .options import N, Parser
from .outputs import add_json, check_json, check_writable, give_json

# Which group of the help page an option of TrainConfig stands in; all others are in "training".
_GROUPS = {
    "data": ("conditional", "flip", "label_dropout"),
    "network": (
        "head", "network", "channels", "blocks", "dropout", "input", "parametrization", "noise_channels", "draws",
        "components",
    ),
    "speed": ("device", "threads", "compile", "precision", "cuda_graph", "accumulate"),
    "output": (
        "log_every", "held_out_every", "bits_every", "patience", "stop_by", "sample_every", "checkpoint_every", "keep",
        "tensorboard",
    ),
}  # fmt: skip
_MOST_USED = ("data", "download", "conditional", "head", "recipe", "steps", "batch", "resume", "device", "out", "json")


def add_train(parser: Parser) -> None:
    what = f"The data: {', '.join(PRESETS)}. folder, array and h5ad are your own: a folder of images, an array of "
    what += "counts, an AnnData. FILE.h5ad trains a model of single cells, with options of its own."
    parser.add_argument("dataset", choices=PRESETS, metavar="DATASET", help=what)
    groups = {name: parser.add_argument_group(name) for name in ("data", "network", "training", "speed", "output")}
    data, training, output = (groups[name] for name in ("data", "training", "output"))
    what = "The folder that holds the data set or the images, or a .npy, .npz or .h5ad file. digits needs none."
    data.add_argument("--data", metavar="PATH", help=what)
    data.add_argument("--download", action="store_true", help="Let torchvision fetch what is missing into --data.")
    what = "The largest count possible in an array or an AnnData. Default: the largest that it holds."
    data.add_argument("--max-count", **N, help=what)
    what = "Where the channels of an array are. Needed where it is unclear."
    data.add_argument("--channels-at", choices=["first", "last"], help=what)
    what = "The layer of an AnnData that holds the counts. Default: X."
    data.add_argument("--layer", metavar="NAME", help=what)
    what = "The column of obs of an AnnData that holds the classes, for --conditional, which it turns on."
    data.add_argument("--labels-key", metavar="NAME", help=what)
    data.add_argument("--crop", **N, help="Cut out the middle N x N pixels of images.")
    data.add_argument("--resize", **N, help="Then make the shorter side of images N pixels long, antialiased.")
    data.add_argument("--binarize", type=int, metavar="T", help="Then make a count 1 where it is at least T, else 0.")
    made = "; ".join(f"{name}: {', '.join(known)}" for name, known in RECIPES.items())
    what = f"Take the paper's options or our best in place of the defaults; any given here wins ({made})."
    training.add_argument("--recipe", choices=names(), help=what)
    what = "Go on from the newest checkpoint in the folder of the training."
    training.add_argument("--resume", action="store_true", help=what)
    output.add_argument("--out", metavar="RUN", help="The run's folder. Default: runs/DATASET, of h5ad runs/FILE.")
    options = {each.name: each for each in fields(TrainConfig)}
    rest = options.keys() - {option for group in _GROUPS.values() for option in group}
    for name, group in {**_GROUPS, "training": [option for option in options if option in rest]}.items():
        for option in group:
            _add(groups[name], options[option])
    add_json(output)
    output.add_argument("--quiet", action="store_true", help="Show no progress.")
    parser.most_used = _MOST_USED
    parser.before_help = lambda given: _tell_defaults(parser, given.dataset, given.recipe)
    parser.set_defaults(run=_train)


def _add(group: argparse._ArgumentGroup, option: Field[Any]) -> None:
    flag, choices = "--" + option.name.replace("_", "-"), option.metadata["choices"]
    if option.type == "bool":
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None)
    elif choices:
        short = sum(map(len, choices)) < 40  # else a help page of 80 columns is too narrow for the names
        group.add_argument(flag, choices=choices, metavar=None if short else "NAME")
    else:
        number, metavar = {"float": (float, "X"), "str": (str, "NAME")}.get(str(option.type), (int, "N"))
        group.add_argument(flag, type=number, metavar=metavar)


def _tell_defaults(parser: Parser, dataset: str | None, recipe: str | None) -> None:
    """Gives the options of TrainConfig their help: with the defaults of the data set that is named, else of all.

    A recipe that is named beside the data set has its options in place of these.
    """

    def config(name: str, **given: Any) -> TrainConfig:
        return preset(name, **options_of(name, recipe if dataset else None, given))

    try:
        own = config(dataset or "")
    except ValueError as error:
        parser.error(str(error).removeprefix("train: "))
    by_data = {name: config(name) for name in ([dataset] if dataset else PRESETS)}
    if dataset in (None, "array"):
        by_data[_TABLE] = preset("array", **OF_TABLE)
        by_data[_WIDE] = preset("array", **{**OF_TABLE, "head": WIDE_HEAD})
    by_head = {f"head {head}": config(dataset or "", head=head) for head in HEADS}
    for action in parser._actions:
        if action.dest in HELP:
            named = action.choices is not None and action.metavar == "NAME"
            names = f" NAME is {', '.join(map(str, action.choices or ()))}." if named else ""
            default = _defaults(action.dest, own, by_data, by_head)
            action.help = f"{HELP[action.dest]}{names}{default and f' Default: {default}.'}"


def _defaults(name: str, own: TrainConfig, by_data: dict[str, TrainConfig], by_head: dict[str, TrainConfig]) -> str:
    """The default of an option, and what it is where it differs: of a data set, a table or a head. Empty: none.

    own: what a head's options are compared with.
    """
    values = {what: getattr(config, name) for what, config in by_data.items() if what != _WIDE or name == "head"}
    ((usual, _),) = Counter(value for what, value in values.items() if what not in (_TABLE, _WIDE)).most_common(1)
    if name != "head":
        heads = {what: getattr(config, name) for what, config in by_head.items()}
        values |= {what: value for what, value in heads.items() if value != getattr(own, name)}
    others: dict[Any, list[str]] = {}
    for what, value in values.items():
        if value != usual:
            others.setdefault(value, []).append(what)
    told = [] if usual is None else [_shown(usual)]
    return "; ".join([*told, *(f"{', '.join(whose)}: {_shown(value)}" for value, whose in others.items())])


def _shown(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


_TABLE, _WIDE = "a table", f"a table of counts above {WIDE_COUNTS}"


def _train(options: argparse.Namespace) -> int:
    from ..training.run_folder import holding

    named = options.data if options.dataset == "h5ad" and options.data else options.dataset
    out = options.out or os.path.join("runs", Path(named).stem)
    if not current().first:
        return _train_in_held_folder(options, out)
    check_json(options, options.resume, how="choose another (a resumed run overwrites it)")
    with holding(out):
        return _train_in_held_folder(options, out)


def _train_in_held_folder(options: argparse.Namespace, out: str) -> int:
    from ..data import SHAPING, Dataset, load, shaping_of
    from ..training.checkpoint import Checkpoint
    from ..training.journal import check_installed, read_log
    from ..training.run import open_run, train_in_held_folder
    from ..training.trained_model import described, read_by

    given = {name: getattr(options, name) for name in HELP if getattr(options, name) is not None}
    if "steps" in given and "epochs" in given:
        raise ValueError("train: steps, epochs: give one of them, got both")
    if options.labels_key is not None:
        given.setdefault("conditional", True)
    given = options_of(options.dataset, options.recipe, given)
    config = preset(options.dataset, **given)
    asked = {"max_count": options.max_count, "channels": options.channels_at}
    asked |= {"layer": options.layer, "labels_key": options.labels_key}
    asked |= shaping_of(options.dataset, **{name: getattr(options, name) for name in SHAPING})
    done = 0

    def found() -> Checkpoint | None:
        checkpoint = open_run(Path(out), options.resume)
        if options.resume and checkpoint is None:
            say(f"{out}: holds no checkpoint to resume: a new training begins")
        return checkpoint

    checkpoint = current().from_first(found)
    if checkpoint is not None:
        (stored, dataset), done = described(checkpoint), checkpoint.step
        if dataset["name"] != options.dataset:
            raise ValueError(f"train: dataset: {out} was trained on {dataset['name']}, got {options.dataset}")
        config = stored.resumed_with(given)
        asked = _as_before(options, asked, read_by(dataset, checkpoint.config["model"].get("max_count")))
    if config.tensorboard:
        check_installed()  # before the data are read, which may take minutes

    def loaded() -> Dataset:
        return load(options.dataset, options.data, options.download, **asked)

    data = current().first_of_host_first(loaded) if options.download else loaded()
    if options.dataset == "array" and data.is_table and checkpoint is None:
        wide = {"head": WIDE_HEAD} if data.max_count > WIDE_COUNTS else {}
        config = preset("array", **{**OF_TABLE, **wide, **given})
        if wide and "head" not in given:
            say(f"head {WIDE_HEAD}, as counts of this table go up to {data.max_count}; --head names another")
    source = {"root": options.data, "channels_at": asked["channels"]}
    saved = train_in_held_folder(data, out, config, options.resume, not options.quiet, source)
    if not current().first:
        return 0
    if done and done == config.total_steps(len(data.train)):
        say(f"{out}: all {done} steps were done already{'' if config.decay else '; --steps N goes on'}")
    say(saved, f"next: fastblackout sample {out}")
    known: dict[str, Any] = {}
    for record in read_log(Path(out) / "log.jsonl"):
        known |= record
    give_json(options, {"run": out, "checkpoint": saved, **known})
    return 0


def _as_before(options: argparse.Namespace, asked: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """How a resumed run reads its data: as before. ValueError where an option given says otherwise."""
    if before["channels"] is None:  # the run's data came from a program, which need not say it
        before = {**before, "channels": asked["channels"]}
    for name, value in before.items():
        given = getattr(options, "channels_at" if name == "channels" else name, None)  # none: no option gives it
        if given is not None and given != value:
            raise ValueError(f"train: {name}: a resumed run keeps {'none' if value is None else value}, got {given}")
    return {**asked, **before}


def add_convert(parser: argparse.ArgumentParser) -> None:
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


def add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="RUN", help="A run or a checkpoint.")
    parser.add_argument("folder", metavar="FOLDER", help="The folder to write, a new one.")
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from ..training.checkpoint import export_checkpoint
    from .runs import path_of

    check_writable("export: folder", Path(options.folder))
    folder = export_checkpoint(path_of(options), options.folder)
    say(folder, f"next: fastblackout sample {folder}")
    return 0
