"""The law that a network gives of a few pixels of one noised image: what is drawn beside their true counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..ops import thin
from ..philox import Philox

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..schedule.schedule import Schedule

SHARES = (0.03, 0.1, 0.3, 0.7)  # of the particles alive, about; the laws narrow from the first to the last


class PixelLaws(NamedTuple):
    """x_0: the image (C, H, W). pixels: indices (P,) into its counts. alive: survival probabilities (T,).
    x_t: the image noised at each, (T, C, H, W). laws: Pr(x_0 = 0..max_count | x_t), float64 (T, P, max_count + 1)."""

    x_0: NDArray[Any]
    pixels: NDArray[np.int64]
    alive: NDArray[np.float64]
    x_t: NDArray[Any]
    laws: NDArray[np.float64]


@torch.inference_mode()
def pixel_laws(model: Any, schedule: Schedule, x_0: Tensor, label: Tensor | None, rng: Philox) -> PixelLaws:
    """The laws of four pixels of the image x_0 (C, H, W), noised at the times of the schedule nearest to SHARES.

    model: a BlackoutModel in eval mode whose head gives a law. label: integer (1,) of a class-conditional one.

        Pr(x_0 = x_t + n | x_t) = Pr(N = n), N the births that are left, by the head
    """
    counts = x_0.cpu().numpy()
    pixels = spread_pixels(counts)
    times = sorted({1 + int(np.abs(schedule.p[1:] - share).argmin()) for share in SHARES}, reverse=True)
    k, most = torch.tensor(times, device=x_0.device), model.max_count
    many = x_0.expand(len(times), *x_0.shape).contiguous()
    noised = thin(
        many, schedule.survival(k), rng=rng, max_count=most, center=model.center(k), scale=model.scale(k),
        outputs=("x_t", "model_input"),
    )  # fmt: skip
    outputs = model(noised.model_input, k, None if label is None else label.expand(len(times)))
    seen = noised.x_t.flatten(1)[:, pixels].double()
    rows = [each.flatten(1, x_0.ndim)[:, pixels].double() for each in model.head_object.arrays(outputs, many)]
    flat = [each.reshape(seen.numel(), -1) for each in rows]  # of one number, or of all states
    offset = model.offset(k).repeat_interleave(len(pixels))[:, None]
    births = model.head_object.log_law(flat, most - seen.reshape(-1, 1), offset, most).exp()
    n = torch.arange(most + 1, device=x_0.device)
    of_births = n - seen.reshape(-1, 1).long()
    laws = torch.where(of_births >= 0, births.gather(1, of_births.clamp(min=0)), 0.0).view(*seen.shape, -1)
    return PixelLaws(counts, pixels, schedule.p[times], noised.x_t.cpu().numpy(), laws.cpu().numpy())


def spread_pixels(image: NDArray[Any]) -> NDArray[np.int64]:
    """Four pixels whose counts are spread evenly from the least to the largest of an image (C, H, W), each the
    nearest to its middle of those that come closest; fewer where the image has fewer."""
    rows, columns = np.indices(image.shape)[1:]
    height, width = image.shape[1:]
    far = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2).ravel()
    flat, chosen = image.ravel().astype(np.float64), []
    for wanted in np.linspace(flat.min(), flat.max(), min(4, flat.size)):
        order = np.lexsort((far, np.abs(flat - wanted)))
        chosen.append(next(int(pixel) for pixel in order if pixel not in chosen))
    return np.array(chosen)
