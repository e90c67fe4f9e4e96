"""A denoiser of photon counts from noisy images alone (Noise2Noise): each image split in two, before and after.

    python examples/photon_split.py     # both splits, timed, and what the denoiser does

A camera gives uint16. The halves of Poisson counts are independent, so what predicts one half from the other best also
predicts the image itself best: no clean image is needed. The denoiser is the linear filter of 9 x 9 pixels that
predicts best.
"""

import timeit

import numpy as np

import fastblackout as fb

SIZE, REACH = 256, 4  # pixels of an image, and of the filter to each side
Y, X = np.mgrid[:SIZE, :SIZE] / SIZE
CLEAN = 4 + 12 * (np.sin(9 * X + 4 * Y * Y) > 0.2) * (1 + np.cos(5 * Y))
PHOTONS = np.random.default_rng(0).poisson(CLEAN, (16, SIZE, SIZE)).astype(np.uint16)


def before(photons: np.ndarray = PHOTONS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    one = np.random.default_rng(seed).binomial(photons, 0.5).astype(np.uint16)
    return one, photons - one


def after(photons: np.ndarray = PHOTONS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return fb.split(photons, rng=fb.Philox(seed))


def neighbours(images: np.ndarray) -> np.ndarray:
    """(pixels, 82): those around each pixel, and 1."""
    padded = np.pad(images.astype(np.float32), ((0, 0), (REACH, REACH), (REACH, REACH)), mode="reflect")
    window = 2 * REACH + 1
    around = np.lib.stride_tricks.sliding_window_view(padded, (window, window), (1, 2)).reshape(-1, window**2)
    return np.concatenate([around, np.ones((len(around), 1), np.float32)], 1)


def denoised(photons: np.ndarray) -> np.ndarray:
    """By the filter that predicts one half from the other, applied to the whole: twice as bright, as its target is."""
    one, other = after(photons)
    inputs = neighbours(one)
    weights = np.linalg.solve(inputs.T @ inputs, inputs.T @ other.reshape(-1).astype(np.float32))
    weights[-1] *= 2
    return (neighbours(photons) @ weights).reshape(photons.shape)


if __name__ == "__main__":
    for split in (before, after):
        print(f"{split.__name__:8}{1e3 * min(timeit.repeat(split, number=1, repeat=5)):9.1f} ms")
    images = PHOTONS[:4]
    for name, image in (("as they are", images), ("denoised", denoised(images))):
        print(f"mean squared distance to the clean image, {name}: {np.mean((image - CLEAN) ** 2):.2f}")
