"""Every op through torch.export, for any batch and key, to the bit; and no registered op without its opcheck."""

import warnings

import pytest
import torch

import fastblackout as fb
from fastblackout.call import torch_registry
from support import torch_ops, torch_states
from support.arrays import bits

pytestmark = torch_ops.WARNINGS
CALLS = [*torch_ops.CALLS, torch_ops.between, *torch_states.CALLS]
SAME_FOR_ALL = (torch_states.COUNT, torch_states.STATES, torch_states.STATES)  # the one shape without a batch


def arguments(call, batch):
    if call in torch_states.CALLS:
        return torch_states.inputs(batch, seed=batch)
    x, logits, (p, q) = torch_ops.inputs(batch, seed=batch)
    return x, logits, p, q


class Module(torch.nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, *given):
        return tuple(value for value in self.call(*given) if value is not None)


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.slow)])  # Dynamo, as to compile
@pytest.mark.parametrize("call", CALLS, ids=[f"{c.__module__.rpartition('_')[2]}-{c.__name__}" for c in CALLS])
def test_export(call, strict):
    module, given = Module(call), arguments(call, 4)
    batch = torch.export.Dim("batch", min=2, max=64)
    shapes = tuple(None if value.shape == SAME_FOR_ALL else {0: batch} for value in given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            module, (*given, torch_ops.KEYS[0].tensor()), dynamic_shapes={"given": (*shapes, None)}, strict=strict
        )
    for size, key in ((4, torch_ops.KEYS[0]), (7, torch_ops.KEYS[1])):
        given = arguments(call, size)
        got = program.module()(*given, key.tensor())
        assert [bits(value) for value in got] == [bits(value) for value in module(*given, key)]


def test_export_of_rows():
    """Made of operations of torch, a part of the rows after another; a graph for any batch has no such parts."""
    module, key = Module(lambda weights, key: (fb.categorical_rows(weights, rng=key),)), torch_ops.KEYS[1].tensor()
    shapes = {"given": ({0: torch.export.Dim("batch", max=1 << 32)}, None)}  # torch 2.6 wants an end
    program = torch.export.export(module, (torch.rand(4, 5), key), dynamic_shapes=shapes, strict=False).module()
    for size in (4, 9):
        weights = torch.rand(size, 5)
        assert bits(program(weights, key)[0]) == bits(module(weights, key)[0])


def test_every_registered_op_has_an_opcheck():
    assert {name for name, _ in torch_ops.registered()} == set(torch_registry.kernels)
