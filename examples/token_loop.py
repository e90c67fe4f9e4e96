"""Masking of tokens and the reverse loop of MDLM (kuleshov-group/mdlm), before and after; SEDD's noise is the same.

    python examples/token_loop.py     # both loops, timed on one thread

Every token is masked with the chance 1 - exp(-t). A step back from t to s unmasks some of the masked tokens, each by a
draw from the network's p(x_0), and leaves the others masked. Here the network is one that knows the text, nearly.
(For SEDD's uniform noise take fb.Uniform.)
"""

import math
import timeit

import torch

import fastblackout as fb

WORDS, LENGTH, STEPS = 5000, 64, 16
TIMES = torch.linspace(8, 0, STEPS + 1).tolist()
TEXT = torch.randint(0, WORDS, (4, LENGTH), generator=torch.Generator().manual_seed(0))
NOISE = torch.randn(4, LENGTH, WORDS, generator=torch.Generator().manual_seed(1))


def network(text: torch.Tensor) -> torch.Tensor:
    """Logits (batch, length, words): the words of the text stand out."""
    return NOISE[: len(text), : text.shape[1]].scatter_add(2, text[..., None], torch.full((*text.shape, 1), 20.0))


def before(text: torch.Tensor = TEXT) -> tuple[torch.Tensor, torch.Tensor]:
    noised = torch.where(torch.rand(text.shape) < 1 - math.exp(-0.5), WORDS, text)  # one training batch
    x = torch.full_like(text, WORDS)
    for t, s in zip(TIMES, TIMES[1:], strict=False):
        move_t, move_s = 1 - math.exp(-t), 1 - math.exp(-s)
        weights = torch.softmax(network(text), -1) * (move_t - move_s)
        weights = torch.cat([weights, torch.full((*text.shape, 1), move_s)], -1)
        exponential = 1e-10 - (torch.rand_like(weights) + 1e-10).log()
        x = torch.where(x == WORDS, (weights / exponential).argmax(-1), x)
    return noised, x


def after(text: torch.Tensor = TEXT, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    words = fb.Absorbing(WORDS + 1)  # the last state is the mask
    noised = words.sample_forward(text, 0.5, rng=fb.Philox(seed))
    x = torch.full_like(text, WORDS)
    for step, (t, s) in enumerate(zip(TIMES, TIMES[1:], strict=False)):
        key = fb.Philox(seed, call=step + 1)
        x_0 = fb.categorical_rows(logits=network(text), rng=key)
        x = words.sample_bridge(x, torch.where(x == WORDS, x_0, x), s, t, rng=key)
    return noised, x


if __name__ == "__main__":
    torch.set_num_threads(1)
    for loop in (before, after):
        print(f"{loop.__name__:8}{1e3 * min(timeit.repeat(loop, number=1, repeat=5)):9.1f} ms")
