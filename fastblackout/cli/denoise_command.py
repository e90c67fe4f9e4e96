"""`fastblackout denoise`: images of few photons given more, from file to file."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ground.terminal import say
from .options import N, Parser, numbers
from .outputs import add_json, check_free, check_json, give_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..training.trained_model import Run

_SUFFIXES = (".tif", ".tiff", ".npy")
_SHOWN = 8  # images in the picture
_SHOWN_SIDE = 512  # pixels of each of them at most
_DRAWS = 16


def add_denoise(parser: Parser) -> None:
    what = "Counts of photons: a TIFF file, of one image or a stack, or a .npy file (N, H, W) or (N, C, H, W)."
    parser.add_argument("image", metavar="IMAGE", help=what)
    data = parser.add_argument_group("data")
    what = "A run, or a checkpoint, of images at the dose that is wanted. Default: the only run in runs/."
    data.add_argument("--model", metavar="RUN", dest="path", help=what)
    what = "The share of the dose of the training that IMAGE was taken at, in (0, 1]: one number, or one for each "
    what += "image, with commas. It is the exposure time of IMAGE divided by the one of the training images."
    data.add_argument("--share", type=numbers, metavar="P", required=True, help=what)
    samples = parser.add_argument_group("samples")
    what = "Draw each image N times; 0: write only the mean that the network gives in one call. "
    what += f"Default: {_DRAWS}."
    samples.add_argument("--draws", **N, help=what)
    samples.add_argument("--steps", **N, help="Steps of each draw. Default: 20, or all of a shorter schedule.")
    what = "Write the mean of the rate of photons, by a model of noisy images alone, and no draws."
    samples.add_argument("--rate", action="store_true", help=what)
    samples.add_argument("--seed", **N, default=0, help="The seed of the draws. Default: 0.")
    speed = parser.add_argument_group("speed")
    what = "Ask the network about squares of N x N pixels. Default: as large as its training images."
    speed.add_argument("--tile", **N, help=what)
    what = "How many pixels neighbouring squares have in common at least. Default: a quarter of their side."
    speed.add_argument("--overlap", **N, help=what)
    what = "The most squares in one call of the network. Default: 64."
    speed.add_argument("--batch", **N, default=64, help=what)
    speed.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda or cuda:N. Default: auto.")
    output = parser.add_argument_group("output")
    what = "The mean: a .tif or .tiff file of float32, or a .npy file. The draws go to FILE-draws.npy, "
    what += "(draws, N, C, H, W), and a picture of image, mean and a draw, at most the middle 512 x 512 pixels, to "
    what += "FILE.png. Default: IMAGE-denoised.tif in the working folder."
    output.add_argument("--out", metavar="FILE", help=what)
    add_json(output)
    output.add_argument("--force", action="store_true", help="Overwrite the files.")
    output.add_argument("--quiet", action="store_true", help="Show no progress.")
    parser.most_used = ("path", "share", "draws", "steps", "rate", "seed", "tile", "device", "out", "force")
    parser.set_defaults(run=_denoise)


def _denoise(options: Namespace) -> int:
    import numpy as np

    from ..atomic_files import atomic_file
    from ..data.files import check_stack, write_stack
    from ..evaluation.plots import sample_grid
    from ..photons import denoise, rate, usual_steps
    from ..training.trained_model import load_run
    from .runs import path_of

    for name in ("draws", "steps"):
        if options.rate and (given := getattr(options, name)) is not None:
            raise ValueError(f"denoise: {name}: must be left out with --rate, got {given}")
    images = _read(Path(options.image))
    suffix = ".tif" if images.ndim == 3 else ".npy"
    out = Path(options.out or f"{Path(options.image).stem}-{'rate' if options.rate else 'denoised'}{suffix}")
    suffix = out.suffix.lower()
    if suffix not in _SUFFIXES or (images.ndim == 4 and suffix != ".npy"):
        rule = "must end in .npy for images of channels" if images.ndim == 4 else "must end in .tif, .tiff or .npy"
        raise ValueError(f"denoise: out: {rule}, got {out}")
    if suffix != ".npy":
        check_stack("denoise: out", images.shape)
    draws = 0 if options.rate else _DRAWS if options.draws is None else options.draws
    files = {"mean": out, "picture": out.with_suffix(".png")}
    if draws:
        files["draws_file"] = out.with_name(f"{out.stem}-draws.npy")
    if any(_same(file, Path(options.image)) for file in files.values()):
        raise ValueError(f"denoise: out: must write other files than the image itself, got {out}")
    check_free("denoise: out", list(files.values()), options.force)
    if options.json and any(_same(Path(options.json), file) for file in (Path(options.image), *files.values())):
        raise ValueError(
            f"denoise: json: must be another file than the image and what is made of it, got {options.json}"
        )
    check_json(options, options.force)
    run = load_run(path_of(options), options.device)
    steps = usual_steps(run.model) if options.steps is None else options.steps
    how = {**_tiles(images, run, options), "batch": options.batch, "progress": not options.quiet}
    if options.rate:
        mean, made = rate(run.model, images, options.share, **how), None
    else:
        found = denoise(run.model, images, options.share, draws, steps, options.seed, **how)
        mean, made = found.mean, found.draws if draws else None
    if suffix == ".npy":
        with atomic_file(out) as file:
            np.save(file, mean)
    else:
        write_stack(out, mean)
    if made is not None:
        with atomic_file(files["draws_file"]) as file:
            np.save(file, made if made.ndim == 5 else made[:, :, None])
    shares = np.broadcast_to(np.asarray(options.share), len(images))[:_SHOWN].reshape(-1, *[1] * (images.ndim - 1))
    seen = [_middle(each[:_SHOWN]) for each in (images, mean, *([] if made is None else [made[0]]))]
    seen[0] = seen[0] / shares
    rows = np.stack(seen, 1).reshape(-1, *([1] if images.ndim == 3 else []), *seen[0].shape[1:])
    white = max(1, round(float(np.quantile(mean[:_SHOWN], 0.999))))
    sample_grid(rows, white, files["picture"], len(seen))
    say(f"model: {run.checkpoint.path}", *files.values())
    shown = f"image divided by the share, mean{'' if made is None else ', a draw'}"
    say(f"picture: {shown}; white is {white} photons")
    give_json(options, {"checkpoint": run.checkpoint.path, "images": len(images), "share": options.share,
                        "draws": draws, "steps": steps, "seed": options.seed, **files})  # fmt: skip
    return 0


def _read(file: Path) -> NDArray[Any]:
    """(N, H, W) or (N, C, H, W)."""
    from ..data.array_files import read_npy
    from ..data.files import read_stack

    suffix = file.suffix.lower()
    if suffix not in _SUFFIXES or not file.is_file():
        there = "" if file.exists() else ", which does not exist"
        raise ValueError(f"denoise: image: must be a {', '.join(_SUFFIXES)} file, got {file}{there}")
    images = read_npy(file) if suffix == ".npy" else read_stack(file)
    if images.ndim == 2:
        images = images[None]
    if images.ndim not in (3, 4):
        rule = "must have shape (H, W), (N, H, W) or (N, C, H, W)"
        raise ValueError(f"denoise: image: {rule}, got {images.shape}")
    return images


def _same(one: Path, other: Path) -> bool:
    """Whether both are one file, which may not be there yet."""
    return (one.exists() and other.exists() and one.samefile(other)) or one.resolve() == other.resolve()


def _middle(images: NDArray[Any]) -> NDArray[Any]:
    """At most the middle _SHOWN_SIDE x _SHOWN_SIDE pixels of images (..., H, W)."""
    rows, columns = (slice(first := max(0, side - _SHOWN_SIDE) // 2, first + _SHOWN_SIDE) for side in images.shape[-2:])
    return images[..., rows, columns]


def _tiles(images: NDArray[Any], run: Run, options: Namespace) -> dict[str, Any]:
    """The options tile and overlap. Images larger than the training images are tiled without being asked."""
    channels, *sides = run.shape
    given = 1 if images.ndim == 3 else images.shape[1]
    if given != channels:
        raise ValueError(f"denoise: image: must have {channels} channels like the training images, got {given}")
    tile, size = options.tile, list(images.shape[-2:])
    if tile is None and size != sides:
        tile, fixed = min(sides), run.model.fitted is not None
        if fixed or min(size) < tile:
            rule = f"must be {'' if fixed else 'at least '}as large as the training images, {sides[0]}x{sides[1]}"
            rule += ", for a model with fit_input" if fixed else ""
            raise ValueError(f"denoise: image: {rule}, got {size[0]}x{size[1]}")
    return {"tile": tile, "overlap": options.overlap}
