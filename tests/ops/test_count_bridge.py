"""fb.count_bridge: its bits, odd dtypes and errors. tests/training/test_count_bridge.py has its law."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fastblackout as fb
from support.helpers import assert_named, using

RNG = fb.Philox(seed=51, first_sample=3, call=2)


def test_the_bits_do_not_depend_on_backend_threads_dtype_and_split():
    generator = torch.Generator().manual_seed(0)
    x_0, x_1 = torch.randint(-300, 300, (2, 6, 50), generator=generator)
    w = torch.linspace(0, 1, 6, dtype=torch.float64)
    for slack in (0.0, 5.0):
        whole = fb.count_bridge(x_0, x_1, w, slack=slack, rng=RNG)
        assert whole.dtype == torch.int32
        assert torch.equal(whole[0], x_0[0].int()) and torch.equal(whole[5], x_1[5].int())
        assert torch.equal(fb.count_bridge(x_0, x_1, w, slack=slack, rng=RNG, backend="reference"), whole)
        assert torch.equal(fb.count_bridge(x_0.double(), x_1.short(), w, slack=slack, rng=RNG), whole)
        for threads in (1, 2):
            with using("cpu", threads):
                assert torch.equal(fb.count_bridge(x_0, x_1, w, slack=slack, rng=RNG), whole)
        halves = [
            fb.count_bridge(x_0[part], x_1[part], w[part], slack=slack, rng=RNG.at(first_sample=3 + part.start))
            for part in (slice(0, 4), slice(4, 6))
        ]
        assert torch.equal(torch.cat(halves), whole)
        assert not torch.equal(fb.count_bridge(x_0, x_1, w, slack=slack, rng=RNG.at(call=3)), whole)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32])
def test_differences_of_small_dtypes_do_not_wrap(dtype):
    x_0, x_1 = torch.tensor([[0, 250]]).to(dtype), torch.tensor([[250, 0]]).to(dtype)
    assert fb.count_bridge(x_0, x_1, 1.0, rng=RNG).tolist() == [[250, 0]]


@pytest.mark.filterwarnings("ignore:.*(beta state|prototype stage)")
def test_errors_of_the_draw_are_named():
    x = torch.zeros(2, 3, dtype=torch.int32)
    floats, dense = x.float(), "must be a dense tensor"
    nested = torch.nested.nested_tensor([floats[0], floats[1, :2]])
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(x)
    for call, error, rule, value in (
        (lambda: fb.count_bridge(x, x[:, :2], 0.5), ValueError, "x_1: must have the shape of x_0, (2, 3)", "(2, 2)"),
        (lambda: fb.count_bridge(x + 0.5, x, 0.5), ValueError, "x_0: must hold whole numbers", "0.5"),
        (lambda: fb.count_bridge(x, x.double() + torch.nan, 0.5), ValueError, "x_1: must hold whole numbers", "nan"),
        (lambda: fb.count_bridge(x, x.long() + 2**30, 0.5), ValueError, "x_1: must be in -536870912..536870912", "10"),
        (lambda: fb.count_bridge([1], x, 0.5), TypeError, "x_0: must be a tensor (B, ...) of whole numbers", "list"),
        (lambda: fb.count_bridge(floats.to_sparse(), x, 0.5), TypeError, f"x_0: {dense}", "sparse_coo"),
        (lambda: fb.count_bridge(x, floats.to_sparse_csr(), 0.5), TypeError, f"x_1: {dense}", "sparse_csr"),
        (lambda: fb.count_bridge(nested, nested, 0.5), TypeError, f"x_0: {dense}", "a nested tensor"),
        (lambda: fb.count_bridge(x.to("meta"), x, 0.5), ValueError, "x_0: must have values", "meta"),
        (lambda: fb.count_bridge(floats.to(torch.float8_e5m2), x, 0.5), TypeError, "x_0: must be a tensor", "float8"),
        (lambda: torch.vmap(lambda y: fb.count_bridge(y, y, 0.5))(x), ValueError, "rng: must be a key tensor", "all"),
        (lambda: fb.count_bridge(x, fake, 0.5), TypeError, "x_1: must have its values", "FakeTensor"),
        (lambda: fb.count_bridge(x, x, 0.5, backend="zzz"), ValueError, "backend: must be one of", "'zzz'"),
        (lambda: fb.count_bridge(x, x, 0.5, slack=2, backend="cuda"), ValueError, "backend: 'cuda' does not", "'cuda'"),
        (lambda: fb.count_bridge(x, x, torch.zeros(2, device="meta").double()), ValueError, "w: must have", "meta"),
        (lambda: fb.count_bridge(x, x, 1.5), ValueError, "w: must be in [0, 1]", "1.5"),
        (lambda: fb.count_bridge(x, x, torch.zeros(3).double()), ValueError, "w: must be a number or have", "(3,)"),
        (lambda: fb.count_bridge(x, x, 0.5, slack=-1), ValueError, "slack: must be in 0..2^28", "-1"),
        (lambda: fb.count_bridge(x, x, 0.5, slack="a"), TypeError, "slack: must be a number", "str"),
    ):
        assert_named(call, error, f"count_bridge: {rule}", value)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_states_of_unsigned_dtypes(dtype):
    x_0, x_1 = torch.tensor([[3, 40000]]), torch.tensor([[9, 7]])
    drawn = fb.count_bridge(x_0.to(dtype), x_1.to(dtype), 0.5, rng=fb.Philox(1))
    assert torch.equal(drawn, fb.count_bridge(x_0, x_1, 0.5, rng=fb.Philox(1)))


def test_a_state_beyond_64_bits_is_refused():
    x = torch.from_numpy(np.array([[2**64 - 5]], np.uint64))
    with pytest.raises(ValueError, match="^count_bridge: x_0: must be in -536870912..536870912"):
        fb.count_bridge(x, x, 0.5, rng=fb.Philox(1))
    with pytest.raises(ValueError, match=r"^count_bridge: w: must be a number or have shape \(2,\), got \(3,\)"):
        fb.count_bridge(torch.zeros(2, 3), torch.zeros(2, 3), np.full(3, 0.5), rng=fb.Philox(1))
