"""The short way beside what torch keeps: generators, the default device, modes and transforms that look at calls."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from fastblackout.call.keys import resolve_rng
from support import short_way
from support.short_way import BIRTHS, KEY, LOGITS, PAIR, WEIGHT, P, X, bridge, loss, same, thin

pytestmark = short_way.only


@pytest.mark.parametrize("generator", (None, torch.Generator()), ids=("torch's own", "given"))
def test_a_seed_is_drawn_once_and_last(generator: Any) -> None:
    """As the long way draws it, and none by calls that are left to it."""
    source, drawn = generator or torch.default_generator, {"rng": None, "generator": generator}
    keys = [resolve_rng(None, drawn_from, "thin") for drawn_from in (source.manual_seed(5), source)]
    source.manual_seed(5)
    assert thin(X, fb.Prob(P, P), **drawn) is None and bridge(X, LOGITS, fb.Prob(P, P), **drawn) is None
    assert same(thin(X, PAIR, **drawn), fb.thin(X, PAIR, rng=keys[0]))
    assert same(bridge(X, LOGITS, PAIR, **drawn), fb.bridge_step(X, LOGITS, PAIR, rng=keys[1]))


def test_the_default_device_is_not_asked() -> None:
    """Neither for outputs nor, on every way, for keys."""
    compiled = torch.compile(lambda x: fb.thin(x, 0.5).x_t, backend="eager", fullgraph=True)
    with torch.device("meta"):
        assert KEY.tensor().device == compiled(X).device == X.device
        assert loss(LOGITS, BIRTHS)[0].device == LOGITS.device
        for outputs in (("x_t", "births"), ["x_t", "births"]):
            assert fb.thin(X, PAIR, outputs=outputs).births.device == X.device


def test_calls_that_others_look_at_go_the_long_way() -> None:
    class Mode(torch.utils._python_dispatch.TorchDispatchMode):
        seen: list[str] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.seen.append(str(func))
            return func(*args, **(kwargs or {}))

    class Other(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {})).as_subclass(torch.nn.Buffer)

    with Other():
        assert thin(X, PAIR) is None and loss(LOGITS, BIRTHS) is None
    with Mode():
        assert thin(X, PAIR) is None and loss(LOGITS, BIRTHS) is None
        fb.birth_loss(LOGITS, BIRTHS, WEIGHT)
    assert any("birth_loss" in name for name in Mode.seen)

    def within(y: Any) -> Any:
        assert bridge(X, LOGITS, PAIR) is None and loss(LOGITS, BIRTHS) is None
        return y.sum()

    torch.func.grad(within)(LOGITS)
