"""fb.energy_loss refuses what is wrong, by name, whether its logits need a gradient or not."""

import numpy as np
import pytest
import torch

import fastblackout as fb


@pytest.mark.parametrize(
    "name, wrong, rule",
    [
        ("logits", torch.nan, "must be finite in float32, got nan"),
        ("logits", -torch.inf, "must be finite in float32, got -inf"),
        ("births", -1.0, "must be finite .*, got -1"),
        ("births", torch.inf, "must be finite .*, got inf"),
        ("x_t", 101, r"must be whole numbers in 0\.\.100, got 101"),
        ("x_t", -1, r"must be whole numbers in 0\.\.100, got -1"),
    ],
)
@pytest.mark.parametrize("graded", [False, True])
def test_wrong_values(name, wrong, rule, graded, backend):
    x_t = torch.randint(0, 101, (4, 3, 20, 30), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    given = {"logits": torch.zeros(3, 4, 3, 20, 30), "x_t": x_t, "births": 100.0 - x_t}
    given[name][..., 3, 2, 19, 7] = wrong
    given["logits"].requires_grad_(graded)
    with pytest.raises(ValueError, match=f"^energy_loss: {name}: {rule}"):
        fb.energy_loss(**given, weight=1.0, offset=-1.0, max_count=100)


@pytest.mark.parametrize(
    "changes, kind, text",
    [
        (
            {"logits": torch.zeros(1, 2, 3)},
            ValueError,
            r"logits: shape must be .*S in 2\.\.8, \(S, 2, 3\), got \(1, 2, 3\)",
        ),
        ({"logits": torch.zeros(9, 2, 3)}, ValueError, r"logits: shape must be .*, got \(9, 2, 3\)"),
        ({"logits": torch.zeros(2, 3)}, ValueError, r"logits: shape must be .*, got \(2, 3\)"),
        (
            {"logits": torch.zeros(2, 2, 3, dtype=torch.int32)},
            TypeError,
            "logits: dtype must be one of float32, .*, got int32",
        ),
        ({"logits": np.zeros((2, 2, 3), np.float32)}, TypeError, "logits: must be of the library of x_t, got ndarray"),
        ({"births": torch.zeros(2, 4)}, ValueError, r"births: shape must be that of x_t, \(2, 3\), got \(2, 4\)"),
        ({"x_t": torch.zeros(2, 3).half()}, TypeError, "x_t: dtype must be one of uint8, .*, got float16"),
        ({"x_t": torch.zeros((), dtype=torch.uint8)}, ValueError, "x_t: must have a batch dimension"),
        ({"x_t": torch.zeros(2, 3, dtype=torch.int32)}, ValueError, "max_count: must be given for int32"),
        ({"max_count": 256}, ValueError, r"max_count: must be in 1\.\.255"),
        ({"weight": torch.nan}, ValueError, "weight: must be finite, got nan"),
        ({"weight": [1.0] * 3}, ValueError, "weight: shape must be"),
        ({"offset": 1e39}, ValueError, "offset: must be finite, got inf"),
        ({"backend": "gpu"}, ValueError, "backend: must be one of auto"),
    ],
)
@pytest.mark.parametrize("graded", [False, True])
def test_errors(changes, kind, text, graded):
    x = torch.ones(2, 3, dtype=torch.uint8)
    given = {"logits": torch.zeros(2, 2, 3), "x_t": x, "births": x, "weight": 1.0} | changes
    if graded and isinstance(given["logits"], torch.Tensor) and given["logits"].is_floating_point():
        given["logits"] = given["logits"].requires_grad_()
    with pytest.raises(kind, match=f"^energy_loss: {text}"):
        fb.energy_loss(**given)
