"""Checkpoints of a run: a folder each, complete or absent, and never a reason to run foreign code; and a thread that
writes them.

RUN/checkpoints/step-00001200/config.json           format, version, step, SHA-256 of the files and of itself, the run
RUN/checkpoints/step-00001200/network.safetensors   the network's weights
RUN/checkpoints/step-00001200/ema.safetensors       their exponential moving average: what sampling uses
RUN/checkpoints/step-00001200/state/optimizer.safetensors   what only a resumed training needs
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..atomic_files import atomic_write, naming, read_plain, sync_directory
from ..ground.json_files import CELLS_FORMAT, MODEL_FORMAT, read_json
from ..ground.terminal import visible
from .ranks import current

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FORMAT = "fastblackout-checkpoint"
FORMAT_VERSION = 1
NETWORK, EMA, OPTIMIZER = "network.safetensors", "ema.safetensors", "state/optimizer.safetensors"
CONFIG, BEST = "config.json", "best"
# Keys of a description. A trial has found compiled steps to be faster on the machine of the training.
TRIED = "compiled"
SINCE_LOG = "since_log"  # what the next record of the log is made of; see journal.SinceLog
_STEP = re.compile(r"step-(\d{8,})")
_TEMPORARY = ".unfinished-"


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint folder.

    Parameters
    ----------
    path : pathlib.Path
        The folder.
    step : int
        The number of training steps done.
    config : dict
        The run's description.
    digests : dict of str to str
        The SHA-256 of each of its files.
    """

    path: Path
    step: int
    config: dict[str, Any]
    digests: dict[str, str]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Read the tensors of one of its files.

        Parameters
        ----------
        name : str
            The file, such as "ema.safetensors".

        Returns
        -------
        dict of str to torch.Tensor
            The tensors, on the CPU.

        Raises
        ------
        ValueError
            If the file is missing or damaged.
        """
        import safetensors
        import safetensors.torch

        file = self.path / name
        try:
            content = read_plain(file)
        except FileNotFoundError:
            raise ValueError(f"checkpoint: {file}: is missing") from None
        except ValueError as error:
            raise ValueError(f"checkpoint: {file}: {error}") from None
        if hashlib.sha256(content).hexdigest() != self.digests.get(name):
            raise ValueError(f"checkpoint: {file}: is damaged: its SHA-256 is not the one config.json gives")
        try:
            return safetensors.torch.load(content)
        except safetensors.SafetensorError as error:
            raise ValueError(f"checkpoint: {file}: is not a safetensors file: {error}") from None


def save_checkpoint(
    run: str | os.PathLike[str],
    step: int,
    config: Mapping[str, Any],
    tensors: Mapping[str, Mapping[str, Tensor]],
    keep: int = 2,
) -> Path:
    """Write RUN/checkpoints/step-<step> and then delete all but the newest `keep`.

    config: what JSON can hold. tensors: for each of NETWORK, EMA, OPTIMIZER its named tensors. The folder is written
    under another name, flushed to the disk and renamed. So a kill or a full disk (OSError) leaves the older ones whole.
    """
    folder = Path(run) / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    tidy(run, keep)  # what lies about may be what the disk lacks
    final = _write_folder(step_folder(run, step), step, config, tensors)
    tidy(run, keep)
    return final


def tidy(run: str | os.PathLike[str], keep: int) -> None:
    """Delete all but the newest `keep` checkpoints, and what a process left behind that was killed while it wrote one
    or deleted one."""
    folder = Path(run) / "checkpoints"
    for stale in (*folder.glob(f"{_TEMPORARY}*"), *_step_folders(folder)[: -max(keep, 1)]):
        shutil.rmtree(stale, ignore_errors=True)


def step_folder(run: str | os.PathLike[str], step: int) -> Path:
    """Where a run's checkpoint of a step lies."""
    return Path(run) / "checkpoints" / f"step-{step:08d}"


def export_checkpoint(run: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Write the averaged weights of a run's newest checkpoint, and its description, to a new folder.

    That is all that sampling and evaluation need, and a quarter of the size. Training cannot go on from it.

    Parameters
    ----------
    run : str or os.PathLike
        The folder of a run or of a checkpoint.
    folder : str or os.PathLike
        The folder to make.

    Returns
    -------
    pathlib.Path
        The new folder.

    Raises
    ------
    ValueError
        If the checkpoint is absent or damaged, or if `folder` exists or cannot be made.
    """
    checkpoint, folder = load_checkpoint(run), Path(folder)
    if folder.exists() or not folder.parent.is_dir():
        problem = "exists" if folder.exists() else f"no such folder: {folder.parent}"
        raise ValueError(f"export: folder: must be a new one, in a folder that there is, got {folder} ({problem})")
    about = {name: value for name, value in checkpoint.config.items() if name not in ("run", TRIED, SINCE_LOG)}
    return _write_folder(folder, checkpoint.step, about, {EMA: checkpoint.tensors(EMA)})


def save_best(
    run: str | os.PathLike[str], step: int, config: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]
) -> Path:
    """Write RUN/best, in place of an earlier one: a checkpoint without what only a resumed training needs."""
    for stale in Path(run).glob(f"{_TEMPORARY}*"):  # left behind by a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    return _write_folder(Path(run) / BEST, step, config, tensors)


def describe_anew(checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
    """Write `config` in place of the description of a checkpoint, whose weights stay as they are."""
    content = _head(checkpoint.step, config, {n: d for n, d in checkpoint.digests.items() if n != CONFIG})
    atomic_write(checkpoint.path / CONFIG, content)


def _head(step: int, config: Mapping[str, Any], digests: Mapping[str, str]) -> bytes:
    """The content of config.json; digests: of the other files."""
    files = {CONFIG: "", **digests}  # first, so that its line can be deleted by hand and JSON is left
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "step": step, "files": files, "config": config}
    files[CONFIG] = digest_of(json.loads(json.dumps(head)))  # the digest of what a reader will find
    return (json.dumps(head, indent=1) + "\n").encode()


def _write_folder(
    final: Path, step: int, config: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]
) -> Path:
    import safetensors.torch

    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=final.parent))
    try:
        digests = {}
        for name, named in tensors.items():
            content = safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in named.items()})
            digests[name] = hashlib.sha256(content).hexdigest()
            _write(temporary / name, content)
        _write(temporary / CONFIG, _head(step, config, digests))
        temporary.chmod(0o755)
        if final.exists():  # an earlier best, or a resumed run has come to this step again; never half of one is left
            before = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=final.parent))
            os.rename(final, before / final.name)
            os.rename(temporary, final)
            shutil.rmtree(before, ignore_errors=True)
        else:
            os.rename(temporary, final)
        sync_directory(final.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return final


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Find the newest checkpoint of a run, or the one whose folder is given.

    Parameters
    ----------
    path : str or os.PathLike
        The folder of a run or of a checkpoint.

    Returns
    -------
    Checkpoint
        The checkpoint.

    Raises
    ------
    ValueError
        If there is none, or if its config.json is unreadable, foreign, of a newer format, or was changed since it was
        written.

    Warns
    -----
    UserWarning
        For a checkpoint without a digest of itself, which earlier versions wrote.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"checkpoint: {folder}: no such run; train one, or give the folder of one")
    if not (folder / CONFIG).is_file():
        complete = _step_folders(folder / "checkpoints")
        if not complete:
            raise ValueError(f"checkpoint: {folder}: holds no checkpoint")
        folder = complete[-1]
    file = folder / CONFIG
    try:
        head = read_json(file)
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError) as error:
        raise ValueError(f"checkpoint: {file}: is missing or not JSON: {error}") from None
    if isinstance(head, dict) and head.get("format") == MODEL_FORMAT:
        way = "fb.BlackoutModel.from_pretrained reads it"
        raise ValueError(f"checkpoint: {file}: is of a model that save_pretrained wrote, not of a training ({way})")
    if isinstance(head, dict) and head.get("format") == CELLS_FORMAT:
        way = "sample, impute and evaluate take it, as fb.cells.CellModel.load does"
        raise ValueError(f"checkpoint: {file}: is of a model of cells, not of a training ({way})")
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError(f"checkpoint: {file}: was not written by fastblackout (no format {FORMAT!r})")
    version = head.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(f"checkpoint: {file}: format version must be {FORMAT_VERSION}, got {version!r}")
    step, config, digests = head.get("step"), head.get("config"), head.get("files")
    counted = isinstance(step, int) and not isinstance(step, bool) and 0 <= step < 1 << 32
    if not counted or not isinstance(config, dict) or not isinstance(digests, dict):
        raise ValueError(f"checkpoint: {file}: is damaged: step, config or files is missing")
    if CONFIG not in digests:
        told = f"checkpoint: {visible(file)}: has no digest of itself, as earlier versions wrote it; it is not compared"
        warnings.warn(told, stacklevel=2)
    elif digests[CONFIG] != digest_of(head):
        way = f"to use it as it is now, delete the line {CONFIG} under files in it"
        raise ValueError(f"checkpoint: {file}: was changed since it was written: its SHA-256 is another ({way})")
    return Checkpoint(folder, cast(int, step), config, digests)


def digest_of(head: dict[str, Any]) -> str:
    """The SHA-256 of what a config.json says, but for this digest. How its text is laid out does not matter."""
    files = {name: digest for name, digest in head["files"].items() if name != CONFIG}
    return hashlib.sha256(json.dumps({**head, "files": files}, sort_keys=True).encode()).hexdigest()


def has_checkpoint(run: str | os.PathLike[str]) -> bool:
    """Whether a run's folder holds at least one complete checkpoint."""
    return bool(_step_folders(Path(run) / "checkpoints"))


def _step_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _STEP.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with naming(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class CheckpointWriter:
    """`save_checkpoint` in a thread, one checkpoint at a time; a context manager, whose end waits for the last.

    Each is whole or absent, as `save_checkpoint` says, and the older ones go only after it. An error of the thread,
    such as a full disk, is raised by the next `save`, `check` or `wait`.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._written: Future[Path] | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *more: object) -> None:
        with suppress(*() if kind is None else (Exception,)):  # the error that ends the block is the one to be told
            self.wait()

    def save(
        self, run: Path, step: int, config: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]], keep: int
    ) -> None:
        """Takes copies of all tensors and begins to write them, once the checkpoint before is written.

        Copies from a GPU go to pinned memory, and the thread alone waits for them.
        """
        self.wait()
        copies = {
            name: {key: value.detach().to("cpu", non_blocking=True, copy=True) for key, value in named.items()}
            for name, named in tensors.items()
        }
        devices = {value.device for named in tensors.values() for value in named.values() if value.is_cuda}
        copied = [_mark(device) for device in devices]

        def write() -> Path:
            for event in copied:
                event.synchronize()
            return save_checkpoint(run, step, config, copies, keep)

        self._written = self._thread.submit(write)

    def check(self) -> None:
        """Raises the error of a checkpoint that could not be written; waits for nothing."""
        if self._written is not None and self._written.done():
            self.wait()

    def wait(self) -> None:
        """Returns once the checkpoint that was begun is written; raises its error where it could not be."""
        if self._written is not None:
            written, self._written = self._written, None
            written.result()


def _mark(device: torch.device) -> torch.cuda.Event:
    """An event on the device after all that it was given to do so far."""
    import torch

    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event


@dataclass(frozen=True)
class _OfFirst(Checkpoint):
    def tensors(self, name: str) -> dict[str, Tensor]:
        return current().from_first(lambda: Checkpoint.tensors(self, name))


def as_first_has_it(find: Callable[[], Checkpoint | None]) -> Checkpoint | None:
    """The checkpoint that `find` finds on rank 0, whose folder other hosts need not have; every rank must then ask for
    the same of its tensors."""
    checkpoint = current().from_first(find)
    if checkpoint is None or current().count == 1:
        return checkpoint
    return _OfFirst(*(getattr(checkpoint, field.name) for field in fields(Checkpoint)))
