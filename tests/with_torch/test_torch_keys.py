"""Keys of torch.func._random as rng of the ops."""

import numpy as np
import pytest
import torch

import fastblackout as fb

random = pytest.importorskip("torch.func._random", reason="it came with torch 2.13")

X = torch.full((3, 200), 200, dtype=torch.uint8)


def drawn(key, x=X):
    return fb.thin(x, 0.5, rng=key).x_t


def test_a_key_of_torch_is_a_seed():
    key = random.key(42)
    seed = int(random.bits(random.fold_in(key, 0x6662), 1, dtype=torch.uint64))
    assert torch.equal(drawn(key), drawn(fb.Philox(seed)))
    assert (drawn(key, X.numpy()) == drawn(key).numpy()).all()
    assert torch.equal(
        fb.poisson(torch.full((9,), 3.0), rng=key), fb.poisson(torch.full((9,), 3.0), rng=fb.Philox(seed))
    )
    parts = [drawn(each) for each in (key, *random.split(key, 3), random.fold_in(key, 7))]
    for at, one in enumerate(parts):
        # Independent draws of 600 counts of standard deviation 7 agree in a twentieth of the places.
        assert all((one == other).float().mean() < 0.2 for other in parts[:at])


def test_traced():
    compiled = torch.compile(drawn, backend="eager", fullgraph=True)
    for seed in (1, 2):
        assert torch.equal(compiled(random.key(seed)), drawn(random.key(seed)))


@pytest.mark.filterwarnings("ignore:.*performance drop")  # torch maps its keys one by one
def test_a_key_for_each_slice_of_vmap():
    keys = random.split(random.key(1), 3)
    rate = torch.tensor([[2.0, 3.0]]).expand(3, 2)
    mapped = torch.vmap(lambda rate, key: fb.poisson(rate, rng=key))(rate, keys)
    assert torch.equal(mapped, torch.stack([fb.poisson(rate[0], rng=key) for key in keys]))


def test_only_such_keys():
    for key in (torch.zeros(2, dtype=torch.int64), torch.zeros(3, dtype=torch.uint64), random.split(random.key(1), 2)):
        with pytest.raises(
            TypeError, match=r"^thin: rng: a key tensor must be int64 \(3,\), or uint64 \(2,\) as torch"
        ):
            drawn(key)
    with pytest.raises(TypeError, match="^thin: rng: must be a fastblackout.Philox or its seed .*, got ndarray"):
        drawn(np.zeros(2, np.uint64))
