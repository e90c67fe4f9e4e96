"""Measures ways of denoising images of photons beside one another: `python benchmarks/photons --data ROOT --out FILE`.

The rates are images of Fashion-MNIST, or the grey of CIFAR-10, of `--doses` photons at a pixel of 255. FILE has a line
of JSON for each result; what is in it by the same options is not measured again, so that a run may be ended and go on.
A table of these results is printed at the end. Photons that were counted are not among the images: scikit-image,
tifffile and deepinv come with none.

Figures: PSNR and SSIM of the estimated rate, as a share of the dose, beside the true one; the share of counts that lie
in intervals of 50% and 90% of the draws, by randomized ranks among them, over the pixels of rates above 0; processor
seconds on one thread, of denoising alone but for the first row of a method, which has the training too; calls of the
network for each image.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fastblackout as fb

from .methods import METHODS, SHARE, Row, Task, thinned


def task_of(images: Any, judged: Any, dose: float, seed: int, seconds: float) -> tuple[Task, np.ndarray]:
    """The counts of a dose by a seed, and the true rates of those that are judged, as shares of the dose."""

    def counts(pixels: Any, scale: float, call: int) -> torch.Tensor:
        rates = torch.from_numpy(pixels.astype(np.float64) / 255 * scale)
        return fb.poisson(rates, rng=fb.Philox(seed, call=call)).to(torch.int32)

    high, truth = counts(images, dose / SHARE, 0), counts(judged, dose / SHARE, 1)
    noisy = thinned(high, SHARE, fb.Philox(seed, call=2)).x_t
    seen = thinned(truth, SHARE, fb.Philox(seed, call=3)).x_t
    return Task(noisy, high, seen, truth, dose, seed, seconds), judged / 255.0


def grey(pixels: Any) -> Any:
    """(N, 1, H, W) of (N, 1 or 3, H, W), uint8: the luma of ITU-R BT.601."""
    if pixels.shape[1] == 1:
        return pixels
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.rint(np.tensordot(pixels, weights, (1, 0))).astype(np.uint8)[:, None]


def measured(row: Row, rates: np.ndarray, dose: float, seed: int) -> dict[str, float]:
    """The figures of a result."""
    from skimage.metrics import structural_similarity

    found = row.rate / dose
    errors = ((found - rates) ** 2).mean((1, 2, 3))
    pairs = zip(found[:, 0], rates[:, 0], strict=True)
    ssim = [structural_similarity(a.astype(float), b, data_range=1.0) for a, b in pairs]
    figures = {"psnr": float(-10 * np.log10(errors).mean()), "ssim": float(np.mean(ssim)), "calls": row.calls}
    if row.draws is not None:
        lit, random = rates > 0, np.random.default_rng(seed)
        below, equal = (row.draws < row.of).sum(0)[lit], (row.draws == row.of).sum(0)[lit]
        place = (below + random.random(below.shape) * (equal + 1)) / (len(row.draws) + 1)
        for level in (50, 90):
            inside = abs(place - 0.5) <= level / 200
            figures[f"coverage_{level}"] = float(inside.mean())
    return figures


def table(records: list[dict[str, Any]]) -> str:
    """A line for each dose and result: means over seeds, and the standard error of the PSNR where there are several."""
    lines = ["| photons | method | PSNR | SSIM | in 50% | in 90% | seconds | calls | seeds |", "|--:|---|" + "--:|" * 7]
    for dose, name in dict.fromkeys((each["dose"], each["name"]) for each in records):
        same = [each for each in records if (each["dose"], each["name"]) == (dose, name)]

        def mean(key: str, form: str, same: list[dict[str, Any]] = same) -> str:
            values = [each[key] for each in same if key in each]
            return format(np.mean(values), form) if values else ""

        psnr = mean("psnr", ".2f")
        if len(same) > 1:
            psnr += f" ± {np.std([each['psnr'] for each in same], ddof=1) / len(same) ** 0.5:.2f}"
        cells = [f"{dose:g}", name, psnr, mean("ssim", ".3f"), mean("coverage_50", ".1%"), mean("coverage_90", ".1%")]
        lines.append(f"| {' | '.join([*cells, mean('seconds', '.0f'), mean('calls', '.0f'), str(len(same))])} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/photons", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", metavar="ROOT", required=True, help="the folder of the images, as `fb.data.load` has it"
    )
    parser.add_argument("--images", choices=("fashion-mnist", "cifar10"), default="fashion-mnist")
    parser.add_argument("--out", type=Path, metavar="FILE", default=Path("photons.jsonl"))
    parser.add_argument("--doses", type=float, nargs="+", default=[1, 5, 20])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1800, help="processor seconds of each training")
    parser.add_argument("--judged", type=int, default=256, help="how many images are denoised")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = fb.data.load(options.images, options.data)
    train, held_out = grey(data.train), grey(data.held_out[: options.judged])
    records = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    how = {"set": options.images, "training_seconds": options.seconds, "images": options.judged}
    records = [each for each in records if each.items() >= how.items()]
    done = {(each["dose"], each["seed"], each["method"]) for each in records}
    for dose in options.doses:
        for seed in range(options.seeds):
            task, rates = task_of(train, held_out, dose, seed, options.seconds)
            for method in options.methods:
                if (dose, seed, method) in done:
                    continue
                torch.manual_seed(seed)
                rows, began = [], time.process_time()
                for row in METHODS[method](task):
                    seconds, began = time.process_time() - began, time.process_time()
                    figures = {"name": row.name, **measured(row, rates, dose, seed), "seconds": seconds}
                    rows.append({**how, "dose": dose, "seed": seed, "method": method, **figures})
                with options.out.open("a") as file:  # all rows of a method at once: it is done or not
                    file.write("".join(json.dumps(each) + "\n" for each in rows))
                records += rows
                print(*rows, sep="\n", flush=True)
    print(table(records))
    return 0
