"""A model as a folder: config.json and model.safetensors, read as files that may be damaged or foreign."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_files import atomic_write, own, read_plain, sync_directory
from ..ground.extras import lacking, pip_line
from ..ground.json_files import BRIDGE_FORMAT, CELLS_FORMAT, MODEL_FORMAT, read_json
from ..models.config import NetworkConfig, bytes_of_weights

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
_NEXT = f".{WEIGHTS}.next"  # the weights until config.json has their digest
HUB = "huggingface_hub"
_READERS = {
    MODEL_FORMAT: "fb.BlackoutModel.from_pretrained reads this one",
    BRIDGE_FORMAT: "fb.CountBridge.from_pretrained reads this one",
    CELLS_FORMAT: "fb.cells.CellModel.load reads this one",
}
# The errors that a damaged description may cause when it is read, or when a model is built from it.
DAMAGE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError)


def write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], kind: str = MODEL_FORMAT) -> Path:
    """A model that the folder holds stays readable until config.json is renamed, and from then on the new one is."""
    import safetensors.torch

    folder.mkdir(parents=True, exist_ok=True)
    # Clones, as tensors that share their memory are refused.
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    content = safetensors.torch.save(copies)
    head = {"format": kind, "format_version": FORMAT_VERSION, "files": _digests(content), "model": config}
    with suppress(OSError, ValueError, RecursionError):  # no earlier model
        os.replace(_weights(folder, read_json(folder / CONFIG)), folder / WEIGHTS)
    atomic_write(own(folder / _NEXT), content)
    atomic_write(own(folder / CONFIG), (json.dumps(head, indent=1) + "\n").encode())
    os.replace(folder / _NEXT, folder / WEIGHTS)
    sync_directory(folder)
    return folder


def read(
    folder: str | os.PathLike[str], op: str = "from_pretrained", kind: str = MODEL_FORMAT
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description of a model and its tensors; ValueError where a file is missing, damaged or foreign."""
    import safetensors
    import safetensors.torch

    place = Path(folder)
    if not place.is_dir():
        if kind == CELLS_FORMAT:
            raise unfit(folder, "there is no such folder", op)
        place = _from_hub(str(folder))
    try:
        head = read_json(place / CONFIG)
        content = read_plain(_weights(place, head))
        tensors = safetensors.torch.load(content)
    except (OSError, ValueError, RecursionError, safetensors.SafetensorError) as error:
        raise unfit(folder, error, op) from None
    if not isinstance(head, dict) or head.get("format") != kind or not isinstance(head.get("model"), dict):
        found = str(head.get("format")) if isinstance(head, dict) else ""
        other = _READERS.get(found, "fb.load_run reads runs of a training")
        raise unfit(folder, f"{CONFIG} has no format {kind!r} ({other})", op)
    if head.get("format_version") != FORMAT_VERSION:
        raise unfit(folder, f"format version must be {FORMAT_VERSION}, got {head.get('format_version')!r}", op)
    if head.get("files") != _digests(content):
        raise unfit(folder, f"{WEIGHTS} is not the file whose SHA-256 {CONFIG} gives", op)
    return head["model"], tensors


def _weights(place: Path, head: Any) -> Path:
    """Where the weights are: a save that was killed may have left them under their first name."""
    first = place / _NEXT
    left = first.is_file() and isinstance(head, dict) and head.get("files") == _digests(read_plain(first))
    return first if left else place / WEIGHTS


def _digests(content: bytes) -> dict[str, str]:
    return {WEIGHTS: hashlib.sha256(content).hexdigest()}


def check_size(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """ValueError where the network that is described is larger than the weights."""
    if config["network"] is not None:
        needed = bytes_of_weights(NetworkConfig.from_dict(config["network"]))
        if needed > (there := sum(value.nbytes for value in tensors.values())):
            raise ValueError(f"its network has {needed} bytes of weights, but {WEIGHTS} {there}")


def unfit(folder: str | os.PathLike[str], error: Exception | str, op: str = "from_pretrained") -> ValueError:
    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
    return ValueError(f"{op}: folder: must hold a model, got {folder}: {' '.join(reason.split())[:500]}")


def push(repo_id: str, save: Callable[[Path], Path], options: Mapping[str, Any]) -> str:
    """The address of the repository that holds the model."""
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise lacking("push_to_hub: repo_id", HUB) from None
    api = huggingface_hub.HfApi(token=options.get("token"))
    address = api.create_repo(repo_id, exist_ok=True, **options)
    with tempfile.TemporaryDirectory() as folder:
        api.upload_folder(repo_id=repo_id, folder_path=save(Path(folder)))
    return str(address)


def _from_hub(name: str) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise unfit(name, "there is no such folder")
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise unfit(name, f"there is no such folder (to read it from the Hugging Face Hub: {pip_line(HUB)})") from None
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # of its many kinds, all that keep the files from being there
        raise unfit(name, error) from None
