"""The files that samples are written to: fastblackout's own, one for ADM's evaluator, or a PNG for each sample."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..atomic_files import atomic_file, naming, sync_directory, temporary, write_npz
from ..data.cells import to_anndata, write_h5ad
from .plots import as_bytes


class SampleFiles(ABC):
    """Takes samples in parts, and has written all of them, or none, when `finish` returns; a context manager.

    out: the file or folder. num: how many samples will be added; shape: (C, H, W) of one, counts 0..max_count.
    first: the index of the first of them in the sequence that the seed stands for. dataset: what the run knows of its
    data.
    """

    suffix = ".npz"

    def __init__(
        self,
        out: Path,
        num: int,
        shape: tuple[int, int, int],
        max_count: int,
        first: int = 0,
        dataset: dict[str, Any] | None = None,
    ) -> None:
        self.out, self.num, self.shape, self.max_count, self.first = out, num, shape, max_count, first
        self.dataset = dataset or {}
        self.added = 0

    def __enter__(self) -> SampleFiles:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    @property
    def files(self) -> list[Path]:
        """What `finish` writes."""
        return [self.out]

    def add(self, part: NDArray[Any]) -> None:
        """The next samples, (n, C, H, W)."""
        self._take(part)
        self.added += len(part)

    @abstractmethod
    def _take(self, part: NDArray[Any]) -> None: ...

    @abstractmethod
    def finish(self, labels: NDArray[Any] | None = None) -> None:
        """Writes the samples, and the labels (num,) where the format has a place for them."""


class NpzFile(SampleFiles):
    """fastblackout's own: `images` (num, C, H, W) of counts, and `labels`; of a table `counts` (num, C)."""

    def _take(self, part: NDArray[Any]) -> None:
        if self.added == 0:
            self.images = np.empty((self.num, *self.shape), part.dtype)
        self.images[self.added : self.added + len(part)] = part

    def finish(self, labels: NDArray[Any] | None = None) -> None:
        is_table = self.shape[1:] == (1, 1)
        counts = {"counts": self.images[:, :, 0, 0]} if is_table else {"images": self.images}
        write_npz(self.out, **counts, **({} if labels is None else {"labels": labels}))


class AdmFile(SampleFiles):
    """What guided-diffusion (ADM) writes and its evaluator reads: `arr_0`, uint8 (num, H, W, 3), and labels in `arr_1`.

    Counts 0..max_count become 0..255, and grey images have three equal channels, as its network takes no others.
    Not compressed, as there. Source: openai/guided-diffusion, scripts/image_sample.py and evaluations.
    """

    def _take(self, part: NDArray[Any]) -> None:
        if self.added == 0:
            channels, height, width = self.shape
            self.images = np.empty((self.num, height, width, channels), np.uint8)
        self.images[self.added : self.added + len(part)] = np.moveaxis(as_bytes(part, self.max_count), 1, -1)

    def finish(self, labels: NDArray[Any] | None = None) -> None:
        arrays = [np.broadcast_to(self.images, (*self.images.shape[:3], 3)), *([] if labels is None else [labels])]
        with atomic_file(self.out) as file:
            np.savez(file, *arrays)


class PngFolder(SampleFiles):
    """A folder of 8-bit PNG files, each named by its sample's index: 000000.png. Several processes may fill one.

    Counts 0..max_count become 0..255. The files lie in a hidden folder until all are written.
    """

    suffix = ""

    def __enter__(self) -> PngFolder:
        self.made = not self.out.exists()
        self.out.mkdir(exist_ok=True)
        self.held = ExitStack()
        self.hidden = self.held.enter_context(temporary(self.out, "unfinished", is_folder=True))
        return self

    def __exit__(self, *exception: object) -> None:
        self.held.close()
        if self.made and not any(self.out.iterdir()):
            os.rmdir(self.out)

    @property
    def files(self) -> list[Path]:
        return [self.out / f"{n:06d}.png" for n in range(self.first, self.first + self.num)]

    def _take(self, part: NDArray[Any]) -> None:
        pixels = np.moveaxis(as_bytes(part, self.max_count), 1, -1)
        for n, image in enumerate(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, self.first + self.added):
            with naming(self.out):
                Image.fromarray(image).save(self.hidden / f"{n:06d}.png")

    def finish(self, labels: NDArray[Any] | None = None) -> None:
        for file in self.files:
            os.replace(self.hidden / file.name, file)
        sync_directory(self.out)


class H5adFile(SampleFiles):
    """An AnnData with the genes of the training, and the names of classes in obs: see data/cells.py."""

    suffix = ".h5ad"

    def _take(self, part: NDArray[Any]) -> None:
        from scipy.sparse import csr_matrix

        if self.added == 0:
            self.parts: list[Any] = []
        self.parts.append(csr_matrix(part[:, :, 0, 0]))

    def finish(self, labels: NDArray[Any] | None = None) -> None:
        from scipy.sparse import vstack

        write_h5ad(to_anndata(vstack(self.parts, format="csr"), self, labels, self.first), self.out)


FORMATS: dict[str, type[SampleFiles]] = {"npz": NpzFile, "adm": AdmFile, "png": PngFolder, "h5ad": H5adFile}
