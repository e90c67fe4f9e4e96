"""What reads files that strangers may have written, each with files that it reads."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import json
import pickle
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from fastblackout.blackout import BlackoutModel
from fastblackout.data import load
from fastblackout.models import small
from fastblackout.pretrained import folder_of
from fastblackout.schedule.schedule import Schedule
from fastblackout.training.checkpoint import CONFIG, EMA, load_checkpoint, save_checkpoint
from fastblackout.training.journal import read_log
from fastblackout.training.torch_files import TorchFile
from fastblackout.training.trained_model import load_run
from fuzz.mutations import changed_json
from support.configs import rewrite_config

COUNTS = np.arange(320, dtype=np.int64).reshape(20, 8, 2) % 90


class Reader(NamedTuple):
    """read(content, folder): writes `content` into the empty folder as the file that is read, and reads it. seeds: the
    contents of such files. mutate: what makes another content of one, where bytes at random would say nothing."""

    read: Callable[[bytes, Path], Any]
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[bytes, int], bytes] | None = None


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _arrays() -> list[bytes]:
    return [_npy(COUNTS), _npy(COUNTS.astype(np.uint8).T), _npy(COUNTS[..., None].astype(">u2")), _npy(COUNTS[0])]


def _read_npy(content: bytes, folder: Path) -> None:
    (folder / "counts.npy").write_bytes(content)
    load("array", folder / "counts.npy")


def _archives() -> list[bytes]:
    found = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, images=COUNTS, labels=np.arange(20) % 3)
        found.append(stream.getvalue())
    return found


def _read_npz(content: bytes, folder: Path) -> None:
    (folder / "counts.npz").write_bytes(content)
    load("array", folder / "counts.npz")


def _read_member(content: bytes, folder: Path) -> None:
    """An archive whose checksums are right."""
    with zipfile.ZipFile(folder / "counts.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", content)
    load("array", folder / "counts.npz")


def _idx(array: np.ndarray) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def _read_idx(content: bytes, folder: Path, compress: Callable[[bytes], bytes] = gzip.compress) -> None:
    """The content takes the place of the file of images, or of the file of labels. The other three files are right."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images, labels = _idx(COUNTS), _idx(np.arange(20) % 10)
    kind = "labels-idx1" if content[3:4] == b"\1" else "images-idx3"
    for part in ("train", "t10k"):
        for name, right in (("images-idx3", images), ("labels-idx1", labels)):
            mine = part == "train" and name == kind
            (raw / f"{part}-{name}-ubyte.gz").write_bytes(compress(content) if mine else gzip.compress(right))
    load("mnist", folder)


def _read_gzip(content: bytes, folder: Path) -> None:
    _read_idx(content, folder, compress=bytes)


def _batches() -> list[bytes]:
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [3, 4], b"batch_label": b"one of two"}
    return [pickle.dumps(batch, protocol) for protocol in (2, 4)]


def _read_cifar(content: bytes, folder: Path) -> None:
    batches = folder / "cifar-10-batches-py"
    batches.mkdir()
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        (batches / name).write_bytes(content if name == "data_batch_1" else _batches()[0])
    load("cifar10", folder)


def _pictures() -> list[bytes]:
    found = []
    for form in ("PNG", "GIF", "TIFF", "PPM", "BMP", "JPEG", "WEBP"):
        stream = io.BytesIO()
        Image.fromarray(COUNTS[0].astype(np.uint8)).save(stream, form)
        found.append(stream.getvalue())
    return found


def _read_image(content: bytes, folder: Path) -> None:
    for number in range(10):
        (folder / f"{number}.png").write_bytes(content)
    load("folder", folder)


def _stacks() -> list[bytes]:
    found = []
    for dtype in (np.uint16, np.float32):
        for compression in ({}, {"compression": "tiff_lzw"}):
            stream = io.BytesIO()
            first, *others = (Image.fromarray(each) for each in COUNTS.astype(dtype))
            first.save(stream, "TIFF", save_all=True, append_images=others, **compression)
            found.append(stream.getvalue())
    return found


def _read_stack(content: bytes, folder: Path) -> None:
    (folder / "counts.tif").write_bytes(content)
    load("array", folder / "counts.tif")


def _saved() -> list[bytes]:
    shadow = [torch.ones(2).half(), torch.arange(6).view(2, 3).T]
    content = {"model": torch.nn.Linear(2, 3).state_dict(), "ema": {"shadow_params": shadow}, "loss": np.float32(0.5)}
    found = []
    for archive in (True, False):
        stream = io.BytesIO()
        torch.save(content, stream, _use_new_zipfile_serialization=archive)
        found.append(stream.getvalue())
    return found


def _read_saved(content: bytes, folder: Path) -> None:
    file = TorchFile(content, ("model", "ema"))
    todo = [file[key] for key in ("model", "ema") if key in (file.keys or ())]
    while todo:
        value = todo.pop()
        if (tensor := file.tensor(value)) is not None:
            tensor.sum()
        elif isinstance(value, (dict, list)):
            todo.extend(value.values() if isinstance(value, dict) else value)


def _read_pickled(content: bytes, folder: Path) -> None:
    """The pickle of an archive of torch.save, whose checksums are right."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_saved()[0])) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name.endswith("data.pkl") else old.read(name))
    _read_saved(stream.getvalue(), folder)


def _pickles() -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(_saved()[0])) as archive:
        return [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]


def _descriptions() -> list[bytes]:
    return [(folder_of("digits") / CONFIG).read_bytes()]


def _read_description(content: bytes, folder: Path) -> None:
    """A config.json with the right digest of itself."""
    shutil.copy(folder_of("digits") / EMA, folder)
    (folder / CONFIG).write_bytes(content)
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):  # else it stays as it is
        rewrite_config(folder / CONFIG, json.loads(content))
    load_run(folder, device="cpu")


@functools.cache
def _model() -> dict[str, bytes]:
    """The two files of a model that was fitted to data."""
    network = small((1, 8, 8), channels=4, outputs=2)
    model = BlackoutModel(network, Schedule.cosine(20), None, input="log1p", head="negative-binomial")
    with tempfile.TemporaryDirectory() as folder:
        model.fit_input(np.arange(640).reshape(10, 1, 8, 8)).save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _read_model(content: bytes, folder: Path, changed: str = "config.json") -> None:
    for name, right in _model().items():
        (folder / name).write_bytes(content if name == changed else right)
    BlackoutModel.from_pretrained(folder)


def _read_weights(content: bytes, folder: Path) -> None:
    _read_model(content, folder, "model.safetensors")


def _tensors() -> list[bytes]:
    tensors = {"w": torch.arange(6.0).view(2, 3), "n": torch.tensor(3), "h": torch.ones(2).bfloat16()}
    return [safetensors.torch.save(tensors)]


def _read_tensors(content: bytes, folder: Path) -> None:
    """Weights whose digest is right."""
    path = save_checkpoint(folder, 3, {"a": 1}, {EMA: {"w": torch.ones(2)}})
    (path / EMA).write_bytes(content)
    head = json.loads((path / CONFIG).read_text())
    head["files"][EMA] = hashlib.sha256(content).hexdigest()
    rewrite_config(path / CONFIG, head)
    for value in load_checkpoint(folder).tensors(EMA).values():
        value.double().sum()


def _read_log(content: bytes, folder: Path) -> None:
    (folder / "log.jsonl").write_bytes(content)
    for record in read_log(folder / "log.jsonl"):
        assert type(record["step"]) is int


def _logs() -> list[bytes]:
    return [b'{"step": 100, "loss": 0.5}\n{"step": 200, "held_out_loss": 1.5, "constant_loss": 2.5}\n']


READERS = {
    "npy": Reader(_read_npy, _arrays),
    "npz": Reader(_read_npz, _archives),
    "npz-member": Reader(_read_member, _arrays),
    "idx": Reader(_read_idx, lambda: [_idx(COUNTS), _idx(np.arange(20) % 10)]),
    "gzip": Reader(_read_gzip, lambda: [gzip.compress(_idx(COUNTS), mtime=0)]),
    "cifar": Reader(_read_cifar, _batches),
    "image": Reader(_read_image, _pictures),
    "stack": Reader(_read_stack, _stacks),
    "torch": Reader(_read_saved, _saved),
    "torch-pickle": Reader(_read_pickled, _pickles),
    "config": Reader(_read_description, _descriptions, changed_json),
    "model": Reader(_read_model, lambda: [_model()["config.json"]], changed_json),
    "model-weights": Reader(_read_weights, lambda: [_model()["model.safetensors"]]),
    "safetensors": Reader(_read_tensors, _tensors),
    "log": Reader(_read_log, _logs),
}
