"""What a call costs beside its numbers: small arrays in all forms that users give, 4x3x8x8, beside torch and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb

SHAPE = 4, 3, 8, 8
SOURCE = torch.Generator().manual_seed(1)
X = torch.randint(0, 200, SHAPE, dtype=torch.uint8, generator=SOURCE)
ALIVE = torch.rand(4, generator=SOURCE)
LOGITS, BIRTHS = torch.randn(SHAPE, generator=SOURCE), torch.randint(0, 9, SHAPE, generator=SOURCE)
X_NUMPY, X_INT, X_FLOAT, ALIVE_DOUBLE = X.numpy(), X.int(), X.float(), ALIVE.double()
LOGITS_NUMPY, BIRTHS_NUMPY, BIRTHS_FLOAT, P = LOGITS.numpy(), BIRTHS.numpy(), BIRTHS.float(), torch.full(SHAPE, 0.3)
MASK, WEIGHTS = X > 20, torch.rand(4, 48, 10, generator=SOURCE)
STEP = fb.Schedule.cosine(1000).bridge(500, 400)

Draw = Callable[[int], Any]
FORMS: dict[str, Draw] = {
    "thin": lambda i: fb.thin(X, 0.3, rng=fb.Philox(i)),
    "thin, a pair": lambda i: fb.thin(X, fb.Prob(0.25, 0.75), rng=fb.Philox(i)),
    "thin, a tensor of probabilities": lambda i: fb.thin(X, ALIVE, rng=fb.Philox(i)),
    "thin, a float64 tensor of probabilities": lambda i: fb.thin(X, ALIVE_DOUBLE, rng=fb.Philox(i)),
    "thin, NumPy": lambda i: fb.thin(X_NUMPY, 0.3, rng=fb.Philox(i)),
    "thin, int32": lambda i: fb.thin(X_INT, 0.3, rng=fb.Philox(i), max_count=255),
    "thin, float32": lambda i: fb.thin(X_FLOAT, 0.3, rng=fb.Philox(i), max_count=255),
    "thin, a mask": lambda i: fb.thin(X, 0.3, rng=fb.Philox(i), mask=MASK),
    "bridge_step": lambda i: fb.bridge_step(X, LOGITS, STEP, rng=fb.Philox(i)),
    "bridge_step, births": lambda i: fb.bridge_step(X, births=BIRTHS, step=STEP, rng=fb.Philox(i)),
    "birth_loss": lambda i: fb.birth_loss(LOGITS, BIRTHS, 1.0),
    "birth_loss, NumPy": lambda i: fb.birth_loss(LOGITS_NUMPY, BIRTHS_NUMPY, 1.0),
    "binomial": lambda i: fb.binomial(BIRTHS, 0.3, rng=fb.Philox(i)),
    "binomial, NumPy": lambda i: fb.binomial(BIRTHS_NUMPY, 0.3, rng=fb.Philox(i)),
    "categorical_rows": lambda i: fb.categorical_rows(WEIGHTS, rng=fb.Philox(i)),
}
GENERATOR = np.random.Generator(np.random.PCG64(1))
PEERS: dict[str, dict[str, Draw]] = {
    "thin": {"torch.binomial": lambda i: torch.binomial(X.float(), ALIVE.view(4, 1, 1, 1).expand(SHAPE))},
    "thin, NumPy": {"Generator.binomial": lambda i: GENERATOR.binomial(X_NUMPY, 0.3)},
    "binomial": {"torch.binomial": lambda i: torch.binomial(BIRTHS_FLOAT, P)},
    "binomial, NumPy": {"Generator.binomial": lambda i: GENERATOR.binomial(BIRTHS_NUMPY, 0.3)},
    "categorical_rows": {"torch.multinomial": lambda i: torch.multinomial(WEIGHTS.flatten(0, 1), 1)},
}
PEERS |= dict.fromkeys([form for form in FORMS if form.startswith("thin,") and form != "thin, NumPy"], PEERS["thin"])


@pytest.mark.parametrize("form", FORMS)
def test_small_calls(bench: Any, form: str) -> None:
    def check() -> None:
        made = FORMS[form](1)
        with fb.use_backend("reference"):
            wanted = FORMS[form](1)
        for one, other in zip(*(each if isinstance(each, tuple) else (each,) for each in (made, wanted)), strict=True):
            assert np.array_equal(one, other)

    bench(f"{form}, 4x3x8x8", X.numel(), FORMS[form], PEERS.get(form, {}), check)
