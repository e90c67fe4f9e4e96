"""The one object for a network of one's own: its loss, what it learns of the data, saving, samples and imputation."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import fastblackout as fb
from fastblackout.blackout.losses import blackout_loss, loss_unit
from fastblackout.heads import HEADS, head_named
from fastblackout.models.interface import model_and_head
from fastblackout.schedule.tables import early_times
from fastblackout.schedule.times import draw_indices_by_tensor
from support import ROOT
from support.forks import Fork
from support.helpers import assert_named, by_day
from support.own_models import SCHEDULE, Cut, Flat, X, made, trained

torch.set_num_threads(1)


# --- the loss


@pytest.mark.parametrize("head", [name for name in HEADS if name != "implicit"])
def test_the_loss_is_that_of_the_head_in_its_unit(head):
    model, key = trained(made(head).fit_input(X)), fb.Philox(5, first_sample=3, call=2)
    k = SCHEDULE.draw(4, rng=fb.Philox(5, first_sample=0, call=2), times="early", max_count=40)
    expected = blackout_loss(model, SCHEDULE, X[:4], k, key, model.weight) * loss_unit(
        SCHEDULE, model.weight, 40, 6, head
    )
    assert torch.equal(fb.loss(model, X[:4], k=k, rng=key), expected)
    again = {name: fb.loss(model, X[:4], rng=rng) for name, rng in (("int", 7), ("key", fb.Philox(7)))}
    again["tensor"], again["method"] = fb.loss(model, X[:4], rng=fb.Philox(7).tensor("cpu")), model.loss(X[:4], rng=7)
    assert all(torch.equal(each, again["int"]) for each in again.values())
    generator = torch.Generator().manual_seed(1)
    one, other = (fb.loss(model, X[:4], generator=generator) for _ in range(2))
    assert not torch.equal(one, other)


LAWS = [name for name in HEADS if head_named(name).gives_law]


@pytest.mark.parametrize("head", LAWS)
def test_a_mask_says_where_the_loss_counts(head):
    """Two masks that are each other's rest have the whole loss together, and outputs elsewhere have no slope."""
    model, key = trained(made(head).fit_input(X)), fb.Philox(5)
    mask = torch.rand(X[:6].shape, generator=torch.Generator().manual_seed(1)) < 0.5
    whole, one, rest = (fb.loss(model, X[:6], rng=key, mask=each) for each in (None, mask, ~mask))
    assert torch.allclose(one + rest, whole, rtol=1e-5, atol=1e-5)
    assert torch.equal(fb.loss(model, X[:6], rng=key, mask=torch.ones_like(mask)), whole)
    kept = []
    hook = model.register_forward_hook(lambda model, given, output: (output.retain_grad(), kept.append(output))[0])
    fb.loss(model, X[:6], rng=key, mask=mask).sum().backward()
    hook.remove()
    slopes = kept[0].grad.unflatten(1, (-1, X.shape[1]))  # numbers of a count, counts
    seen = mask[:, None].expand(slopes.shape)
    assert (slopes[~seen] == 0).all() and slopes[seen].abs().sum() > 0


def test_wrong_masks_are_named():
    model = made("negative-binomial").fit_input(X)
    for mask, error, rule, value in (
        (torch.ones(X[:2].shape), TypeError, "mask: must be a bool tensor", "torch.float32"),
        ([True], TypeError, "mask: must be a bool tensor", "list"),
        (torch.ones(3, 1, 1, 1, dtype=torch.bool), ValueError, "mask: must broadcast to", "(3, 1, 1, 1)"),
    ):
        assert_named(lambda: fb.loss(model, X[:2], mask=mask), error, rule, value)  # noqa: B023
    every = torch.ones(X[:2].shape, dtype=torch.bool)
    assert_named(
        lambda: fb.loss(made("mean"), X[:2], mask=every), ValueError, "mask: must be None for head 'mean'", "a"
    )


@pytest.mark.parametrize("batch,total,first", [(1, 1, 0), (7, 7, 0), (5, 64, 11), (3, 1 << 31, (1 << 31) - 3)])
@pytest.mark.parametrize("steps", [1, 100, 5_000])
def test_times_by_operations_of_torch_are_those_of_the_host(batch, total, first, steps):
    schedule = fb.Schedule.logit(steps)
    table = torch.from_numpy(early_times(schedule.p, 300))
    for seed in (0, 1, 2**64 - 1, 0x1234_5678_9ABC_DEF0):
        key = fb.Philox(seed, first_sample=first, call=seed % 5)
        how = {"rng": key, "global_batch": total}
        tensor = key.tensor("cpu")
        assert torch.equal(draw_indices_by_tensor(steps, batch, tensor, total, None), schedule.draw(batch, **how))
        early = schedule.draw(batch, times="early", max_count=300, **how)
        assert torch.equal(draw_indices_by_tensor(steps, batch, tensor, total, table.__getitem__), early)


@pytest.mark.parametrize("head", by_day(["mean", "implicit", "beta-binomial"], "beta-binomial"))
def test_a_step_compiles_to_one_graph_for_all_steps(head):
    model = trained(made(head, Cut() if head == "implicit" else None, input="unit"))
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    part = {"global_batch": 16}
    step = torch.compile(lambda x, key: fb.loss(model, x, rng=key, **part), backend=backend, fullgraph=True)
    wrapped = torch.compile(model, backend=backend)
    for call in range(20):
        key = fb.Philox(3, first_sample=5, call=call)
        expected = fb.loss(model, X[:4], rng=key, **part)
        torch.testing.assert_close(step(X[:4], key.tensor("cpu")), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(fb.loss(wrapped, X[:4], rng=key, **part), expected, rtol=1e-5, atol=1e-6)
    assert len(graphs) == 2
    torch._dynamo.reset()


RANK = """
import sys, torch, fastblackout as fb
sys.path.insert(0, {tests!r})
from support.own_models import X, made, trained
rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{{store}}", rank=rank, world_size=2)
model = trained(made().fit_input(X))
if {wrap!r} == "DistributedDataParallel":
    replica = torch.nn.parallel.DistributedDataParallel(model)
else:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    replica = fully_shard(model, mesh=init_device_mesh("cpu", (2,))) or model
part = X[:8][4 * rank : 4 * rank + 4]
fb.loss(replica, part, rng=fb.Philox(9, first_sample=4 * rank), global_batch=8).mean().backward()
gradients = [p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad for p in model.parameters()]
if rank == 0:
    torch.save(gradients, store + ".grads")
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("wrap", by_day(["DistributedDataParallel", "FSDP"], "DistributedDataParallel"))
def test_two_processes_have_the_gradients_of_one(tmp_path, wrap):
    store, code = str(tmp_path / "store"), RANK.format(tests=str(ROOT / "tests"), wrap=wrap)
    ranks = [Fork(code, rank, store) for rank in range(2)]
    said = [rank.communicate() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    model = trained(made().fit_input(X))
    fb.loss(model, X[:8], rng=fb.Philox(9)).mean().backward()
    for parameter, got in zip(model.parameters(), torch.load(store + ".grads", weights_only=True), strict=True):
        torch.testing.assert_close(got, parameter.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"x_0": [[1.0]]}, TypeError, "x_0: must be a tensor of counts .B, C, ...., got list"),
        ({"x_0": X[:0]}, TypeError, r"x_0: must be a tensor of counts .B, C, ...., got shape \(0, 2, 3, 1\)"),
        ({"x_0": X[:, :, :0]}, TypeError, r"x_0: must be a tensor of counts .B, C, ...., got shape \(300, 2, 0, 1\)"),
        ({"model": nn.Identity()}, TypeError, "model: must be a BlackoutModel, or have max_count"),
        ({"draws": 1}, ValueError, "draws: must be in 2..1024, got 1"),
        ({"global_batch": 3}, ValueError, "global_batch: must be in 4..2147483648, got 3"),
        ({"k": 3}, TypeError, r"k: must be a tensor of integers .4,., got int"),
        ({"k": torch.ones(3)}, TypeError, r"k: must be a tensor of integers .4,., got .3,."),
        ({"k": torch.tensor([0, 1, 2, 3])}, ValueError, "k: must be in 1..100, got 0"),
        ({"labels": [1.0, 2, 3, 4]}, TypeError, "labels: must be an integer, or integers of shape .4,., got torch.fl"),
        ({"rng": "3"}, TypeError, "rng: must be a fastblackout.Philox or its seed .*, got str"),
        ({"rng": -3}, ValueError, r"rng: must be in 0..18446744073709551615, got -3"),
        ({"rng": 3, "generator": torch.Generator()}, ValueError, "rng: must not be given together with generator"),
        ({"conditions": torch.ones(4)}, ValueError, r"conditions: must have shape \(4, D\), got \(4,\)"),
        (
            {"conditions": torch.full((4, 1), torch.nan)},
            ValueError,
            r"conditions: must be finite, got \[nan\] in row 0",
        ),
        ({"conditions": torch.ones(4, 1, dtype=torch.int64)}, TypeError, "conditions: must be a tensor of floats"),
    ],
)
def test_wrong_arguments_of_the_loss_are_named(given, error, message):
    with pytest.raises(error, match=f"^loss: {message}"):
        fb.loss(**{"model": made().fit_input(X), "x_0": X[:4], **given})


# --- samples, bounds and imputation


def test_methods_are_the_functions():
    model = trained(made().fit_input(X)).eval()
    x_0, shape = X[:4], (4, 2, 3, 1)
    drawn = fb.sample(model, SCHEDULE, shape, 4, rng=fb.Philox(3), grid="early")
    assert torch.equal(model.sample(shape, 4, rng=3, grid="early"), drawn)
    how = {"rng": fb.Philox(3), "draws": 2, "repeats": 2}
    bits, again = fb.bits_per_dim(model, SCHEDULE, x_0, **how), model.bits_per_dim(x_0, **{**how, "rng": 3})
    assert bits.discrete.bits == again.discrete.bits
    one, other = (model.sample(shape, 4, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, other)


def test_outputs_of_diffusers_are_unwrapped():
    class Output(nn.Module):
        def forward(self, x, time):
            return SimpleNamespace(sample=x.repeat(1, 2, 1, 1))

    class Nothing(nn.Module):
        def forward(self, x, time):
            return None

    plain = made(network=Output(), data_mean=8.0, data_std=7.0)
    assert plain(torch.ones(1, 2, 3, 1), 3).shape == (1, 4, 3, 1)
    with pytest.raises(TypeError, match="network's output: must be a tensor, or an object .* got NoneType"):
        made(network=Nothing(), data_mean=8.0, data_std=7.0)(torch.ones(1, 2, 3, 1), 3)


class Conditioned(Flat):
    num_classes = 3

    def __init__(self):
        super().__init__(2, conditions=2)

    def forward(self, x, time, labels=None, conditions=None):
        self.seen = labels, conditions
        shift = 0 if labels is None else labels.view(-1, 1, 1, 1)
        return super().forward(x, time, labels, conditions) + shift


def test_conditions_reach_the_network_with_labels_and_without():
    model = trained(made(network=Conditioned()).fit_input(X)).eval()
    labels, numbers = torch.tensor([0, 1, 2, 0]), torch.arange(8.0).view(4, 2)
    how = {"labels": labels, "conditions": numbers, "guidance": 0.5}
    whole = model.sample((4, 2, 3, 1), 3, rng=1, **how)
    assert model.network.seen[0].tolist() == [3] * 4  # the guided part of a step: no class
    assert torch.equal(model.network.seen[1], numbers)
    parts = list(fb.sampling.sample_in_batches(model, SCHEDULE, (4, 2, 3, 1), 3, 1, steps=3, **how))
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(model.sample((4, 2, 3, 1), 3, rng=1, labels=labels, conditions=numbers + 5), whole)
    double = model.sample((4, 2, 3, 1), 3, rng=1, **{**how, "conditions": numbers.double()})
    assert torch.equal(double, whole)
    for wrong in (numbers[:3], numbers.repeat(2, 1)):
        with pytest.raises(ValueError, match=r"^sample: conditions: must have shape \(4, D\), got"):
            next(fb.sampling.sample_in_batches(model, SCHEDULE, (4, 2, 3, 1), 2, 1, steps=3, conditions=wrong))
    bits = [model.bits_per_dim(X[:4], rng=1, draws=2, repeats=2, batch=n, conditions=numbers) for n in (2, 256)]
    assert bits[0].discrete.bits == pytest.approx(bits[1].discrete.bits, rel=1e-6)
    wrapped = model_and_head("loss", nn.DataParallel(model))[0]
    for each in (model, nn.DataParallel(model), wrapped):
        fb.loss(each, X[:4], labels, conditions=numbers, rng=1)
        assert torch.equal(model.network.seen[0], labels) and torch.equal(model.network.seen[1], numbers)


class Classes(Flat):
    """It must be given labels."""

    num_classes = 3

    def __init__(self):
        super().__init__(2)
        self.shift, self.seen = nn.Embedding(4, 1), []

    def forward(self, x, time, labels):
        self.seen.append(labels)
        return super().forward(x, time) + self.shift(labels).view(-1, 1, 1, 1)


@pytest.mark.parametrize("around", [lambda network: network, nn.DataParallel], ids=["bare", "wrapped"])
def test_a_network_with_classes_always_gets_labels(around):
    network = Classes()
    model = trained(made(network=around(network)).fit_input(X)).eval()
    bridge = fb.CountBridge(around(network), high=40, head="beta-binomial")
    shape, how = (4, 2, 3, 1), {"steps": 2, "rng": 1}

    def seen(call):
        network.seen.clear()
        call()
        assert all(each.dtype == torch.int64 for each in network.seen)
        return [each.tolist() for each in network.seen]

    without = {
        "loss": lambda: fb.loss(model, X[:4], rng=1), "sample": lambda: model.sample(shape, **how),
        "graph": lambda: model.sample(shape, cuda_graph=True, **how), "bridge": lambda: bridge.sample(X[:4], **how),
        "bits": lambda: model.bits_per_dim(X[:4], draws=2, repeats=2, rng=1),
        "impute": lambda: model.impute(X[:4], X[:4] > 9, runs=1, **how), "forward": lambda: model(X[:4].float(), 3),
        "bridge loss": lambda: bridge.loss(X[:4], X[4:8], rng=1),
    }  # fmt: skip
    for name, call in without.items():
        assert (found := seen(call)) and all(set(each) == {3} for each in found), name
    mine = [0, 1, 2, 0]
    for more in ({}, {"cuda_graph": True}):
        guided = seen(lambda more=more: model.sample(shape, labels=torch.tensor(mine), guidance=0.5, **how, **more))
        assert guided == [mine, [3] * 4] * 2
    none = model.sample(shape, labels=torch.full((4,), 3), **how)
    assert torch.equal(model.sample(shape, **how), none)


@pytest.mark.parametrize(
    "given", [[2, 2, 2, 2], (2, 2, 2, 2), np.full(4, 2, np.uint8), 2, np.int16(2), torch.tensor(2)]
)
def test_labels_are_one_number_or_one_for_each(given):
    model = trained(made(network=Classes()).fit_input(X)).eval()
    labels, shape, how = torch.full((4,), 2), (4, 2, 3, 1), {"steps": 2, "rng": 1}
    wanted = model.sample(shape, labels=labels, **how)
    assert torch.equal(model.sample(shape, labels=given, **how), wanted)
    assert torch.equal(torch.cat([*fb.sampling.sample_in_batches(model, SCHEDULE, shape, 3, 1, given, 2)]), wanted)
    assert torch.equal(fb.loss(model, X[:4], given, rng=1), fb.loss(model, X[:4], labels, rng=1))


def test_what_was_not_observed_has_the_mean_of_its_law():
    """By a model that knows no more than each feature's own law, whose mean the mean of the data is."""
    model = made("negative-binomial", max_count=1000).fit_input(X)
    observed = torch.tensor([True, False]).view(2, 1, 1)
    x = X[:40]
    mean = model.impute(x, observed, runs=8, steps=4, rng=1)
    assert mean.dtype == torch.float32 and torch.equal(mean[:, 0], x[:, 0].float())
    draws = model.impute(x, observed, draws=8, steps=4, rng=1)
    assert draws.shape == (8, 40, 2, 3, 1) and draws.dtype == torch.int16
    assert torch.equal(draws[:, :, 0], x[:, 0].expand(8, -1, -1, -1).to(draws.dtype))
    wanted, error = X[:, 1].double().mean(0), X[:, 1].double().std(0) / (8 * 40) ** 0.5
    for found in (mean[:, 1].double().mean(0), draws[:, :, 1].double().mean((0, 1))):
        assert ((found - wanted).abs() < 5 * error).all()  # a false alarm in 1e6 for each of 6 numbers
    at_once = model.impute(x, observed, runs=1, steps=1, rng=1)[:, 1].double()  # nothing is drawn
    torch.testing.assert_close(at_once, wanted.expand(40, -1, -1), rtol=1e-4, atol=0)
    assert torch.equal(model.impute(x, observed, draws=8, steps=4, rng=1, batch=7), draws)
    large = made("negative-binomial", max_count=1 << 20).fit_input(X)
    exact = large.impute(torch.full((2, 2, 3, 1), 65_537), torch.tensor(True), runs=7, steps=1, rng=1)
    assert (exact == 65_537).all()  # what is known is not averaged
    unbounded = made("negative-binomial", max_count=None).fit_input(X)
    exact = unbounded.impute(torch.full((2, 2, 3, 1), (1 << 24) + 1), torch.tensor(True), runs=3, steps=1, rng=1)
    assert exact.dtype == torch.float64 and (exact == (1 << 24) + 1).all()
    with pytest.raises(ValueError, match="x_0: must hold integers for a model without a max_count, got torch.fl"):
        unbounded.loss(X[:4].float(), rng=1)
    key = fb.Philox(1, first_sample=3 * 40)
    again = model.sample(tuple(x.shape), 4, rng=key, known=x, mask=observed)
    assert torch.equal(again, draws[3])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"x": X.float()}, TypeError, "x: must be a tensor of integer counts, got torch.float32"),
        ({"x": X + 40}, ValueError, "x: counts must lie in 0..40, got 80"),
        ({"observed": torch.ones(2)}, TypeError, "observed: must be a bool tensor, got torch.float32"),
        ({"observed": torch.ones(5, dtype=torch.bool)}, ValueError, r"observed: must broadcast to \(300, 2, 3, 1\)"),
        ({"draws": 0}, ValueError, "draws: must be in 1..1048576, got 0"),
        ({"steps": 0}, ValueError, "steps: must be in 1..100, got 0"),
        ({"runs": 0}, ValueError, "runs: must be in 1..1048576, got 0"),
    ],
)
def test_wrong_arguments_of_impute_are_named(given, error, message):
    observed = torch.ones(1, dtype=torch.bool)
    with pytest.raises(error, match=f"^impute: {message}"):
        made().fit_input(X).impute(**{"x": X, "observed": observed, **given})


def test_a_copy_draws_alike():
    model = trained(made(input="log1p").fit_input(X)).eval()
    again = copy.deepcopy(model)
    assert torch.equal(again.sample((2, 2, 3, 1), 3, rng=1), model.sample((2, 2, 3, 1), 3, rng=1))
