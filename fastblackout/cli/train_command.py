"""`fastblackout train`: its options, and what it does."""

from __future__ import annotations

import argparse
import functools
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from ..ground.terminal import say
from ..heads import HEADS
from ..training.config import HELP, OF_TABLE, PRESETS, TrainConfig, preset
from ..training.ranks import current
from ..training.recipes import RECIPES, names, options_of
from ..training.run_lock import holding
from .json_output import add_json, check_json, give_json

_N: Any = {"type": int, "metavar": "N"}


def add_train(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `fastblackout train`, and what runs it."""
    about = "show this help message and exit; after a dataset, with its defaults"
    parser.add_argument("-h", "--help", action=_Help, nargs=0, default=argparse.SUPPRESS, help=about)
    what = f"the data: {', '.join(PRESETS)}; of your own a folder of images, or an array of counts"
    parser.add_argument("dataset", choices=list(PRESETS), metavar="dataset", help=what)
    parser.add_argument("--data", metavar="PATH", help="folder that holds the data set, or the images; .npy or .npz")
    parser.add_argument("--download", action="store_true", help="let torchvision fetch the data into --data")
    parser.add_argument("--max-count", **_N, help="array: largest count possible; default: the largest there is")
    parser.add_argument("--channels-at", choices=["first", "last"], help="array: where the channels are, if unclear")
    parser.add_argument("--crop", **_N, help="images: cut out the middle N x N pixels")
    parser.add_argument("--resize", **_N, help="images: then make the shorter side N pixels long, antialiased")
    what = "images, tables: then make a count 1 where it is at least T, else 0"
    parser.add_argument("--binarize", type=int, metavar="T", help=what)
    parser.add_argument("--out", metavar="RUN", help="the run's folder; default runs/DATASET")
    made = "; ".join(f"{name}: {', '.join(known)}" for name, known in RECIPES.items())
    what = f"options of the paper or our best in place of the defaults; any given here wins ({made})"
    parser.add_argument("--recipe", choices=names(), help=what)
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint, or begin without one")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json(parser)
    group = parser.add_argument_group("training (defaults in brackets)")
    for each in fields(TrainConfig):
        flag, text = "--" + each.name.replace("_", "-"), f"{HELP[each.name]} ({_defaults(each.name)})"
        choices = each.metadata["choices"]
        if each.type == "bool":
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text, default=None)
        elif choices:
            short = sum(map(len, choices)) < 40  # else a help page of 80 columns is too narrow for the names
            group.add_argument(flag, choices=choices, help=text, metavar=None if short else "NAME")
        else:
            number, metavar = {"float": (float, "X"), "str": (str, "NAME")}.get(str(each.type), (int, "N"))
            group.add_argument(flag, type=number, help=text, metavar=metavar)
    parser.set_defaults(run=_train)


class _Help(argparse.Action):
    """The help page: with the defaults of the data set that is named before, else of all."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *more: object) -> NoReturn:
        for action in parser._actions:
            if action.dest in HELP:
                action.help = f"{HELP[action.dest]} ({_defaults(action.dest, namespace.dataset)})"
        parser.print_help()
        parser.exit()


def _defaults(name: str, dataset: str | None = None) -> str:
    """The default of an option, and what it is where it differs: of a data set, a table or a head."""
    by_data, by_head = _configs(dataset)
    values = {what: getattr(config, name) for what, config in by_data.items()}
    same = {value for what, value in values.items() if what != _TABLE}
    usual = same.pop() if len(same) == 1 else getattr(TrainConfig, name)
    if name != "head":
        own = getattr(preset(dataset or ""), name)
        heads = {what: getattr(config, name) for what, config in by_head.items()}
        values |= {what: value for what, value in heads.items() if value != own}
    others: dict[Any, list[str]] = {}
    for what, value in values.items():
        if value != usual:
            others.setdefault(value, []).append(what)
    return "; ".join([str(usual), *(f"{', '.join(whose)}: {value}" for value, whose in others.items())])


_TABLE = "a table"


@functools.cache
def _configs(dataset: str | None) -> tuple[dict[str, TrainConfig], dict[str, TrainConfig]]:
    """What a training is told by default: of each data set that is meant and of tables, and by the head."""
    by_data = {name: preset(name) for name in ([dataset] if dataset else PRESETS)}
    if dataset in (None, "array"):
        by_data[_TABLE] = preset("array", **OF_TABLE)
    return by_data, {f"head {head}": preset(dataset or "", head=head) for head in HEADS}


def _train(options: argparse.Namespace) -> int:
    out = options.out or os.path.join("runs", options.dataset)
    if not current().first:
        return _train_in_held_folder(options, out)
    check_json(options, options.resume, how="choose another (a resumed run overwrites it)")
    with holding(out):
        return _train_in_held_folder(options, out)


def _train_in_held_folder(options: argparse.Namespace, out: str) -> int:
    from ..data import SHAPING, Dataset, load, shaping_of
    from ..training.board import check_installed
    from ..training.checkpoint import Checkpoint, has_checkpoint, load_checkpoint
    from ..training.progress_log import read_log
    from ..training.run import train_in_held_folder
    from ..training.trained_model import described, read_by

    given = {name: getattr(options, name) for name in HELP if getattr(options, name) is not None}
    if "steps" in given and "epochs" in given:
        raise ValueError("train: steps, epochs: give one of them, got both")
    given = options_of(options.dataset, options.recipe, given)
    config = preset(options.dataset, **given)
    asked = {"max_count": options.max_count, "channels": options.channels_at}
    asked |= shaping_of(options.dataset, **{name: getattr(options, name) for name in SHAPING})
    done = 0

    def found() -> Checkpoint | None:
        if options.resume and not has_checkpoint(out):
            say(f"{out}: holds no checkpoint to resume: a new training begins")
        return load_checkpoint(out) if options.resume and has_checkpoint(out) else None

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
    if data.is_table and checkpoint is None:
        config = preset(options.dataset, **{**OF_TABLE, **given})
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
        given = getattr(options, "channels_at" if name == "channels" else name)
        if given is not None and given != value:
            raise ValueError(f"train: {name}: a resumed run keeps {'none' if value is None else value}, got {given}")
    return {**asked, **before}
