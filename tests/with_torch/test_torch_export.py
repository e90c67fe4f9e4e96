"""Every op through torch.export, for any batch and key, to the bit; and no registered op without its opcheck."""

import warnings

import pytest
import torch

import fastblackout as fb
from fastblackout.call import torch_registry
from support import torch_ops, torch_states
from support.arrays import bits

pytestmark = torch_ops.WARNINGS
SAME_FOR_ALL = (torch_states.COUNT, torch_states.STATES, torch_states.STATES)  # the one shape without a batch


class Module(torch.nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, *given):
        return tuple(value for value in self.call(*given) if value is not None)


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.slow)])  # Dynamo, as to compile
@pytest.mark.parametrize("call", torch_ops.TRACED, ids=torch_ops.IDS)
def test_export(call, strict):
    module, given = Module(call), torch_ops.given(call)
    batch = torch.export.Dim("batch", min=2, max=64)
    shapes = tuple(None if value.shape == SAME_FOR_ALL else {0: batch} for value in given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            module, (*given, torch_ops.KEYS[0].tensor()), dynamic_shapes={"given": (*shapes, None)}, strict=strict
        )
    for size, key in ((4, torch_ops.KEYS[0]), (7, torch_ops.KEYS[1])):
        given = torch_ops.given(call, size, seed=size)
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
