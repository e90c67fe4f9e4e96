"""fb.count_bridge and fb.CountBridge: exact laws, keys and backends, samples of a network that is right, errors."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import fastblackout as fb
from fastblackout.heads import HEADS, head_named
from support.helpers import assert_named, chi_square_counts
from support.new_heads import add_heads

torch.set_num_threads(1)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; about 30 of them a run
RNG = fb.Philox(seed=51, first_sample=3, call=2)


@pytest.fixture(autouse=True)
def states(monkeypatch):
    add_heads(monkeypatch)


X = np.arange(-60, 61)  # states that hold all of the laws here but 1e-12


def law(x_0, x_1, w, slack, ratio=1.0):
    """Pr(x_w = x) for x in X by Bayes' rule, of a process of expected births slack * ratio and deaths slack / ratio."""
    if slack == 0:
        d = x_1 - x_0
        return stats.binom.pmf((X - x_0) * (1 if d >= 0 else -1), abs(d), w)
    if w in (0, 1):
        return ((x_1 if w else x_0) == X).astype(float)
    up, down = slack * ratio, slack / ratio
    before = stats.skellam.pmf(X - x_0, up * w, down * w)
    after = stats.skellam.pmf(x_1 - X, up * (1 - w), down * (1 - w))
    return before * after / stats.skellam.pmf(x_1 - x_0, up, down)


def seen(x):
    return np.bincount(x.numpy().ravel() - X[0], minlength=X.size)


def agree(drawn, probabilities):
    """Whether counts of draws agree with a law by a chi-square test, and none is impossible."""
    can = probabilities > 0
    if drawn[~can].any() or can.sum() < 2:
        return not drawn[~can].any()
    return chi_square_counts(drawn[can], drawn.sum() * probabilities[can]) > FALSE_ALARM


# --- the draw


@pytest.mark.parametrize("slack", [0.0, 0.4, 6.0])
@pytest.mark.parametrize("x_0,x_1,w", [(0, 9, 0.3), (5, -7, 0.8), (-4, -4, 0.5), (-3, 2, 1.0), (8, 1, 0.0)])
def test_the_law_is_that_of_a_birth_and_death_process_of_known_ends(x_0, x_1, w, slack):
    ends = (torch.full((2, 40_000), each) for each in (x_0, x_1))
    drawn = seen(fb.count_bridge(*ends, w, slack=slack, rng=RNG))
    for ratio in (1.0, 2.5):  # the slack alone tells: not which of births and deaths are the more frequent
        expected = law(x_0, x_1, w, slack, ratio)
        assert abs(expected.sum() - 1) < 1e-9
        assert agree(drawn, expected)


@pytest.mark.parametrize("slack", [0.0, 3.0])
def test_one_bridge_after_another_is_one_bridge(slack):
    """x_v given x_0 and x_w has the slack of its shorter time."""
    x_0, x_1, w, v = 2, 9, 0.7, 0.25
    ends = [torch.full((2, 40_000), each) for each in (x_0, x_1)]
    x_w = fb.count_bridge(*ends, w, slack=slack, rng=RNG)
    x_v = fb.count_bridge(ends[0], x_w, v / w, slack=slack * w, rng=RNG.at(call=9))
    assert agree(seen(x_v), law(x_0, x_1, v, slack))


# --- the model


class Exact(nn.Module):
    """The logits of the law of x_0 given x_t where x_0 and x_1 have the joint law `joint`."""

    def __init__(self, joint, slack, low):
        super().__init__()
        self.low, high = low, low + len(joint) - 1
        self.middle, self.half, self.table = (low + high) / 2, (high - low) / 2, {}
        self.joint, self.slack = joint, slack

    def of(self, k):
        if k not in self.table:
            p = sum(
                self.joint[a, b] * np.eye(len(self.joint))[a][:, None] * law(self.low + a, b, k / 1000, self.slack)
                for a, b in np.ndindex(self.joint.shape)
            )
            self.table[k] = torch.from_numpy(np.log(np.maximum(p, 1e-30)).T).float()  # (X, states)
        return self.table[k]

    def forward(self, x, time, labels=None, conditions=None):
        at = torch.round(x * self.half + self.middle).long() - int(X[0])
        logits = self.of(int(time[0]) + 1)[at]  # (B, C, ..., states)
        return logits.movedim(-1, 1).flatten(1, 2)


@pytest.mark.parametrize("slack,low", [(0.0, 0), (1.5, -2)])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_network_that_knows_the_law_gives_the_law(slack, low, steps):
    joint = np.array([[4, 1, 0, 1], [0, 6, 0, 0], [1, 0, 0, 9]]) / 22  # x_0 = low.., x_1 = 0..3
    bridge = fb.CountBridge(Exact(joint, slack, low), low + 2, "states", low=low, slack=slack)
    generator = np.random.default_rng(steps)
    x_1 = torch.from_numpy(generator.choice(4, (30_000, 1, 2), p=joint.sum(0)))
    x_0 = bridge.sample(x_1, steps, rng=fb.Philox(8))
    counts = np.bincount(x_0.numpy().ravel() - low, minlength=3)
    assert counts.size == 3 and x_0.dtype == torch.int32
    assert stats.chisquare(counts, counts.sum() * joint.sum(1)).pvalue > FALSE_ALARM


def test_the_loss_of_a_law_is_its_negative_log_probability():
    joint = np.array([[4, 1, 0, 1], [0, 6, 0, 0], [1, 0, 0, 9]]) / 22
    net = Exact(joint, 0.7, -1)
    bridge = fb.CountBridge(net, 1, "states", low=-1, slack=0.7)
    x_0, x_1 = torch.tensor([[-1, 1], [0, 1]]).repeat(30, 1), torch.tensor([[0, 3], [1, 0]]).repeat(30, 1)
    k = torch.full((60,), 400)
    x_t = fb.count_bridge(x_0, x_1, 0.4, slack=0.7, rng=RNG)
    log_p = torch.log_softmax(net.of(400).double(), 1)[x_t.long() - X[0]]
    expected = -log_p.gather(-1, x_0[..., None] + 1)[..., 0].mean(1)
    np.testing.assert_allclose(bridge.loss(x_0, x_1, k=k, rng=RNG), expected, rtol=1e-5)


class Linear(nn.Module):
    def __init__(self, outputs, more=0):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2 + more + 1, 2 * outputs)

    def forward(self, x, time, labels=None, conditions=None):
        seen = [x.flatten(1), time[:, None] / 1000, *([] if conditions is None else [conditions])]
        return self.layer(torch.cat(seen, 1))


def made(head, more=0, **how):
    noise = 3 if head == "implicit" else 0
    outputs = head_named(head).numbers_per_count(how.get("high", 12) - how.get("low", -2))[0]
    how = {"high": 12, "low": -2} | how
    return fb.CountBridge(Linear(outputs, noise + more), **how, head=head, noise_channels=noise)


ENDS = [
    torch.from_numpy(np.random.default_rng(seed).integers(-2, 13, (12, 2))).to(dtype)
    for seed, dtype in ((1, torch.int64), (2, torch.float32))
]


@pytest.mark.parametrize("head", [name for name in HEADS if name != "mean"])
def test_every_head_trains_and_samples_whatever_the_split(head):
    bridge = made(head, slack=2.0)
    bridge.loss(*ENDS, rng=1).mean().backward()
    assert bridge.network.layer.weight.grad.abs().sum() > 0
    whole, x_0 = bridge.loss(*ENDS, rng=RNG.at(first_sample=0)), bridge.sample(ENDS[1], 3, rng=RNG.at(first_sample=0))
    assert -2 <= int(x_0.min()) <= int(x_0.max()) <= 12
    for part in (slice(0, 5), slice(5, 12)):
        key = RNG.at(first_sample=part.start)
        mine = bridge.loss(*(each[part] for each in ENDS), rng=key, global_batch=12)
        np.testing.assert_allclose(mine.detach(), whole[part].detach(), rtol=1e-5)
        assert torch.equal(bridge.sample(ENDS[1][part], 3, rng=key), x_0[part])
    with fb.use_backend("reference"):
        assert torch.equal(bridge.sample(ENDS[1], 3, rng=RNG.at(first_sample=0)), x_0)


def test_the_energy_score_learns_joint_draws():
    """x_0 = (u, u) with u in {0, 12}; the score is proper, so the draws of a trained network lie there."""
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(6, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x, time):
            return 3 * self.inner(torch.cat((x, time[:, None] / 500 - 1), 1))

    bridge = fb.CountBridge(Net(), 12, "implicit", noise_channels=3)
    optimizer = torch.optim.Adam(bridge.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(400):
        x_0 = 12 * torch.randint(2, (128, 1), generator=generator).expand(-1, 2)
        x_1 = torch.randint(13, (128, 2), generator=generator)
        optimizer.zero_grad()
        bridge.loss(x_0, x_1, rng=fb.Philox(1, call=step)).mean().backward()
        optimizer.step()
    x_0 = bridge.sample(torch.randint(13, (500, 2), generator=generator), 4, rng=5).float()
    assert ((x_0[:, 0] - x_0[:, 1]).abs() < 4).float().mean() > 0.9  # 0.4 of independent ones
    assert 0.3 < (x_0[:, 0] > 6).float().mean() < 0.7


def test_conditions_and_the_input_reach_the_network():
    bridge = made("negative-binomial", more=2, input="log1p")
    one, other = torch.zeros(12, 2), torch.ones(12, 2)
    first, second = (bridge.loss(*ENDS, conditions=each, rng=1) for each in (one, other))
    assert not torch.equal(first, second)
    assert bridge.sample(ENDS[1], 2, conditions=other, rng=1).shape == (12, 2)
    given = []
    bridge.network.register_forward_hook(lambda network, arguments, output: given.append(arguments))
    bridge.sample(torch.tensor([[-9, 2]]), 1, conditions=other[:1], rng=1)
    assert given[0][1].tolist() == [999]
    np.testing.assert_allclose(given[0][0], [[-np.log(10), np.log(3)]], rtol=1e-6)


def test_a_saved_bridge_comes_back(tmp_path):
    network = fb.models.ResidualMLP((2, 1, 1), noise_channels=2, channels=4)
    bridge = fb.CountBridge(network, 20, "implicit", low=np.int32(-3), noise_channels=2, slack=1.5, input="log1p")
    with torch.no_grad():
        network.last.weight.normal_(generator=torch.Generator().manual_seed(1))
    bridge.save_pretrained(tmp_path / "bridge")
    again = fb.CountBridge.from_pretrained(tmp_path / "bridge")
    assert again.to_config() == bridge.to_config() and not again.training
    x_1 = torch.arange(20).view(10, 2, 1, 1)
    assert torch.equal(again.sample(x_1, 4, rng=1), bridge.sample(x_1, 4, rng=1))
    with pytest.raises(ValueError, match=r"from_pretrained: folder: .*fb.CountBridge.from_pretrained reads this one"):
        fb.BlackoutModel.from_pretrained(tmp_path / "bridge")
    own = made("negative-binomial")
    own.save_pretrained(tmp_path / "own")
    with pytest.raises(ValueError, match="network: must be given"):
        fb.CountBridge.from_pretrained(tmp_path / "own")
    back = fb.CountBridge.from_pretrained(tmp_path / "own", Linear(2))
    assert torch.equal(back.network.layer.weight, own.network.layer.weight)


def test_errors_of_the_model_are_named():
    x_0, x_1 = ENDS
    bridge, net = made("beta-binomial"), Linear(1)
    for call, error, rule, value in (
        (lambda: fb.CountBridge(1, 3, "beta-binomial"), TypeError, ": network: must be an nn.Module", "int"),
        (lambda: fb.CountBridge(net, 3, "mean"), ValueError, ": head: must be one of implicit, beta", "'mean'"),
        (lambda: fb.CountBridge(net, 3, "beta-binomial", low=3), ValueError, ": high: must be in 4..", "3"),
        (lambda: fb.CountBridge(net, 70_000, "bayes-logistic"), ValueError, ": high: must be in 1..65535", "70000"),
        (lambda: fb.CountBridge(net, 3.5, "beta-binomial"), TypeError, ": high: must be an integer", "3.5"),
        (lambda: fb.CountBridge(net, 3, "implicit"), ValueError, ": noise_channels: must be an integer of at", "0"),
        (
            lambda: fb.CountBridge(net, 3, "beta-binomial", noise_channels=1),
            ValueError,
            ": noise_channels: must be",
            "",
        ),
        (lambda: fb.CountBridge(net, 3, "beta-binomial", slack=-1), ValueError, ": slack: must be in 0..2^28", "-1"),
        (lambda: fb.CountBridge(net, 3, "beta-binomial", input="a"), ValueError, ": input: must be one of unit", "'a'"),
        (lambda: bridge.loss(x_0, x_1[:5]), ValueError, ".loss: x_1: must have the shape of x_0", "(5, 2)"),
        (lambda: bridge.loss(x_0 / 2, x_1), ValueError, ".loss: x_0: must hold whole numbers", "5"),
        (lambda: bridge.loss(x_0 - 9, x_1), ValueError, ".loss: x_0: must be in -2..12", "-11"),
        (lambda: bridge.loss(x_0[:0], x_1[:0]), ValueError, ".loss: x_0: must have shape (B, C, ...)", "(0, 2)"),
        (lambda: bridge.loss(x_0, x_1, k=torch.zeros(12).long()), ValueError, ".loss: k: must be in 1..1000", "0"),
        (lambda: bridge.loss(x_0, x_1, k=7), TypeError, ".loss: k: must be a tensor of integers (12,)", "int"),
        (lambda: bridge.loss(x_0, x_1, global_batch=4), ValueError, ".loss: global_batch: must be at least", "4"),
        (lambda: bridge.loss(x_0, x_1, draws=9), ValueError, ".loss: draws: must be in 2..8", "9"),
        (lambda: bridge.sample(x_1, 0), ValueError, ".sample: steps: must be in 1..1000", "0"),
        (lambda: bridge.sample(x_1 + 0.5, 2), ValueError, ".sample: x_1: must hold whole numbers", "5"),
        (lambda: bridge.sample(x_1.to("meta"), 2), ValueError, ".sample: x_1: must have values", "meta"),
        (lambda: bridge.sample(x_1[:, 0], 2), ValueError, ".sample: x_1: must have shape (B, C, ...)", "(12,)"),
        (lambda: bridge(x_1, 1001), ValueError, ": k: must be in 1..1000", "1001"),
    ):
        assert_named(call, error, f"CountBridge{rule}", value)
    with pytest.raises(ValueError, match=r"CountBridge: network's output: must have shape \(12, 4\) .*got \(12, 2\)"):
        fb.CountBridge(net, 3, "beta-binomial").loss(x_0.abs() % 4, x_1)
