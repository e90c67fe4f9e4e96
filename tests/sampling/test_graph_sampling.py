"""The sampling loop that reads its numbers from a table on the device gives the bytes of the ordinary loop.

On a machine with a CUDA device the step is also captured and replayed; elsewhere the same function runs step by step.
"""

import pytest
import torch

from fastblackout.philox import Philox
from fastblackout.sampling.rules import Bridge
from fastblackout.sampling.sampler import sample, sample_in_batches
from fastblackout.sampling.steps import Setting, run_from_table, step_from_table, table_of_steps
from support.pixel_model import OPTIONS, SCHEDULE, PixelModel

SHAPE = (6, 2, 5, 7)
RNG = Philox(seed=2**63 + 1, first_sample=3, call=99)  # the call of the key given is not used: steps count from 0


@pytest.mark.parametrize("max_count", [16, 255, 1000])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_same_bytes_as_the_ordinary_loop(options, max_count):
    model = PixelModel(max_count)
    random = torch.Generator().manual_seed(0)
    image = torch.randint(0, max_count + 1, SHAPE, generator=random)
    mask = torch.rand(SHAPE[1:], generator=random) < 0.5
    labels = torch.arange(6) % 3
    for more in (
        {},
        {"labels": labels, "guidance": 1.5},
        {"labels": labels, "guidance": [0, 0.1, 0, 2.3] * 3},
        {"known": image, "mask": mask},
        {"known": image, "mask": mask, "labels": labels, "guidance": 0.5, "start": image // 2},
        {"start": image},
    ):
        given = {"steps": 12, "rng": RNG, **options, **more}
        before = None if "start" not in more else more["start"].clone()
        expected = sample(model, SCHEDULE, SHAPE, **given)
        drawn = sample(model, SCHEDULE, SHAPE, cuda_graph=True, **given)
        assert drawn.dtype == expected.dtype and torch.equal(drawn, expected)
        assert before is None or torch.equal(before, more["start"])


@pytest.mark.parametrize("steps", [1, 2, 3, 40])
def test_any_number_of_steps_and_any_split(steps):
    model = PixelModel()
    whole = sample(model, SCHEDULE, SHAPE, steps=steps, rng=RNG)
    parts = sample_in_batches(model, SCHEDULE, SHAPE, 4, RNG, steps=steps, cuda_graph=True)
    assert torch.equal(torch.cat(list(parts)), whole)


class Network(torch.nn.Module):
    """Notes what it is given; in eval mode only."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.5))
        self.max_count, self.seen = 255, []

    center, scale, gain = PixelModel.center, PixelModel.scale, PixelModel.gain

    def forward(self, model_input, k, labels=None):
        self.seen.append((self.training, k.tolist(), model_input.clone()))
        return model_input * self.weight


def test_the_network_sees_the_same_and_its_mode_comes_back():
    networks = Network(), Network()
    for network, graph in zip(networks, (False, True), strict=True):
        sample(network, SCHEDULE, SHAPE, steps=5, rng=RNG, cuda_graph=graph)
        assert network.training
    for one, other in zip(networks[0].seen, networks[1].seen, strict=True):
        assert one[:2] == other[:2] and not one[0] and torch.equal(one[2], other[2])


def test_a_step_only_works_on_tensors():
    """The step changes x, model_input and the key's call, and reads its numbers by that call: it can be replayed."""
    setting = Setting(PixelModel(), SCHEDULE, Bridge())
    times = SCHEDULE.grid(8).tolist()
    x = torch.zeros(SHAPE, dtype=torch.uint8)
    table, state = table_of_steps(setting, x, times, [0.0] * 8, RNG)
    places = [tensor.data_ptr() for tensor in state]
    frozen = table.clone()
    for n in range(8):
        assert state.key.tolist() == [1 - 2**63, 3, n]
        step_from_table(setting, table, state)
    assert [tensor.data_ptr() for tensor in state] == places
    assert torch.equal(table, frozen)
    assert torch.equal(state.x, run_from_table(setting, x, times, [0.0] * 8, RNG).x) and not x.any()


def test_no_callback():
    with pytest.raises(ValueError, match="^sample: callback: must be None with cuda_graph, got one"):
        sample(PixelModel(), SCHEDULE, SHAPE, steps=3, rng=RNG, cuda_graph=True, callback=print)
