"""fastblackout.distributions: its draws are the ops', its laws scipy's, its interface torch.distributions'."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Binomial as TorchBinomial
from torch.distributions import Independent, kl_divergence
from torch.distributions import Multinomial as TorchMultinomial
from torch.distributions import NegativeBinomial as TorchNegativeBinomial
from torch.distributions import Poisson as TorchPoisson

import fastblackout as fb
from fastblackout.distributions import BetaBinomial, Binomial, Hypergeometric, Multinomial, NegativeBinomial, Poisson
from support.helpers import chi_square

CHECK = {"validate_args": True}  # torch.compile turns the default off for the whole process
P, LOGIT = torch.tensor([0.2, 0.7]), torch.tensor([-1.5, 0.4])
LAWS = {
    "binomial": (Binomial(30, probs=0.3), stats.binom(30, np.float32(0.3))),
    "binomial by logits": (Binomial(30, logits=-2.0), stats.binom(30, 1 / (1 + np.exp(2.0)))),
    "poisson": (Poisson(4.5), stats.poisson(4.5)),
    "negative binomial": (NegativeBinomial(2.5, probs=0.75), stats.nbinom(2.5, 0.25)),
    "negative binomial by logits": (NegativeBinomial(2.5, logits=1.5), stats.nbinom(2.5, 1 / (1 + np.exp(1.5)))),
    "hypergeometric": (Hypergeometric(40, 30, 20), stats.hypergeom(70, 40, 20)),
    "beta-binomial": (BetaBinomial(0.5, 2.0, 20), stats.betabinom(20, 0.5, 2.0)),
}


@pytest.mark.parametrize("name", LAWS)
def test_the_law(name):
    ours, law = LAWS[name]
    drawn = ours.sample((100_000,), rng=fb.Philox(11))
    assert drawn.shape == (100_000,) and drawn.dtype == torch.int64
    assert chi_square(drawn.numpy(), law) > 1e-6  # seven laws, one fixed seed: a false alarm in 1.7e5
    x = torch.arange(0, 21)
    np.testing.assert_allclose(ours.log_prob(x).numpy(), law.logpmf(x.numpy()), rtol=2e-6)
    np.testing.assert_allclose([float(ours.mean), float(ours.variance)], [law.mean(), law.var()], rtol=1e-5)


def test_draws_are_the_ops():
    n, key = torch.tensor([[200], [3]], dtype=torch.int16), fb.Philox(5)
    shape, wide = (4, 2, 2), torch.zeros(4, 2, 2)
    calls = {
        Binomial(n, P): lambda: fb.binomial(n.expand(shape), P.double(), rng=key),
        Binomial(n, logits=LOGIT): lambda: fb.binomial(
            n.expand(shape), fb.Prob(torch.sigmoid(LOGIT.double()), torch.sigmoid(-LOGIT.double())), rng=key
        ),
        Poisson(P).expand((2, 2)): lambda: fb.poisson(P + wide, rng=key),
        NegativeBinomial(P, logits=LOGIT).expand((2, 2)): lambda: fb.negative_binomial(
            P.double() + wide, mean=P.double() * LOGIT.double().exp(), rng=key
        ),
        Hypergeometric(n, 9, 5): lambda: fb.hypergeometric(n.expand(4, 2, 1), bad=9, draws=5, rng=key),
        BetaBinomial(P, 2.0, n): lambda: fb.beta_binomial(n.expand(shape), P, torch.tensor(2.0), rng=key),
    }
    for ours, op in calls.items():
        drawn = ours.sample((4,), rng=key)
        assert torch.equal(drawn, op()) and drawn.dtype == op().dtype and not drawn.requires_grad
        assert torch.equal(ours.sample((2,), rng=fb.Philox(5, first_sample=2)), drawn[2:])
        assert torch.equal(ours.sample((4,), rng=key.tensor()), drawn)
    assert Binomial(n, P).sample().dtype == torch.int16 and Binomial(n.float(), P).sample().dtype == torch.int64
    torch.manual_seed(3)
    first = Poisson(P).sample((9,))
    torch.manual_seed(3)
    assert torch.equal(Poisson(P).sample((9,)), first)
    generators = [torch.Generator().manual_seed(8) for _ in range(2)]
    assert torch.equal(*(Poisson(P).sample((9,), generator=each) for each in generators))


def test_what_torch_makes_of_a_parameter_changes_no_law():
    # torch derives logits from probs by clamping them: p = 0 becomes 1e-7.
    for ours in (Binomial(1 << 40, torch.tensor([0.0])), NegativeBinomial(2.0, torch.tensor([0.0]))):
        assert torch.isfinite(ours.logits).all()  # looked at
        for each in (ours, ours.expand((3, 1))):
            assert (each.sample((50,), rng=fb.Philox(1)) == 0).all()
            assert (each.log_prob(torch.tensor(0)) == 0).all()
    # Both tails of logits are kept.
    assert Binomial(1, logits=torch.tensor(-60.0)).log_prob(torch.tensor(1)) == pytest.approx(-60.0)
    assert Binomial(1, logits=torch.tensor(60.0)).log_prob(torch.tensor(0)) == pytest.approx(-60.0)


@pytest.mark.parametrize(
    "ours, theirs, make",
    [
        (Binomial, TorchBinomial, lambda kind, w: kind(9, logits=w)),
        (Poisson, TorchPoisson, lambda kind, w: kind(w.exp())),
        (NegativeBinomial, TorchNegativeBinomial, lambda kind, w: kind(2.5, logits=w)),
    ],
)
def test_as_torchs_own(ours, theirs, make):
    grads, w = [], torch.tensor([-1.0, 0.3], dtype=torch.float64, requires_grad=True)
    for kind in (ours, theirs):
        law = make(kind, w)
        logs = law.log_prob(torch.tensor([2.0, 5.0], dtype=torch.float64))
        grads.append(torch.autograd.grad(logs.sum(), w)[0])
        assert isinstance(law, theirs)
        grads.append(torch.stack([logs, law.mean, law.variance]).detach())
    torch.testing.assert_close(grads[0], grads[2], rtol=1e-12, atol=0)
    torch.testing.assert_close(grads[1], grads[3], rtol=1e-12, atol=1e-12)
    law = Independent(make(ours, w.detach()), 1)
    assert law.sample((7,)).shape == (7, 2) and law.log_prob(law.sample()).shape == ()
    if ours is not NegativeBinomial:
        one, other = make(ours, w.detach()), make(ours, w.detach() / 2)
        expected = kl_divergence(make(theirs, w.detach()), make(theirs, w.detach() / 2))
        torch.testing.assert_close(kl_divergence(one, other), expected)


def test_a_beta_binomial_has_what_a_distribution_has():
    ours = BetaBinomial(torch.tensor([0.5, 3.0]), 2.0, 6)
    values = ours.enumerate_support()
    assert values.shape == (7, 2) and values.dtype == torch.int64
    torch.testing.assert_close(ours.log_prob(values).exp().sum(0), torch.ones(2))
    wide = ours.expand((4, 2))
    assert wide.batch_shape == (4, 2) and torch.equal(wide.mean, ours.mean.expand(4, 2))
    assert torch.equal(ours.support.check(torch.tensor([[7, 6]])), torch.tensor([[False, True]]))
    a = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    BetaBinomial(a, 2.0, 6).log_prob(torch.tensor(2)).backward()
    step = 1e-6
    ends = [stats.betabinom(6, 0.5 + sign * step, 2.0).logpmf(2) for sign in (1, -1)]
    assert float(a.grad) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)
    with pytest.raises(NotImplementedError, match="BetaBinomial: enumerate_support: total_count"):
        BetaBinomial(1.0, 1.0, torch.tensor([3, 4])).enumerate_support()
    assert int(BetaBinomial(2.0, 1.0).total_count) == 1  # a Bernoulli law, as torch's Binomial has it


def test_a_multinomial_is_as_torchs_own():
    w = torch.tensor([[-1.0, 0.3, 0.0], [40.0, -900.0, 39.0]], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[2.0, 1.0, 4.0], [4.0, 0.0, 3.0]], dtype=torch.float64)
    for make in (lambda kind: kind(7, probs=3 * torch.softmax(w, -1)), lambda kind: kind(7, logits=w)):
        ours, theirs = make(Multinomial), make(TorchMultinomial)
        torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=1e-12, atol=0)
        grads = [torch.autograd.grad(make(kind).log_prob(x).sum(), w)[0] for kind in (Multinomial, TorchMultinomial)]
        torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-12)
        assert isinstance(ours, TorchMultinomial) and torch.equal(ours.mean, theirs.mean)
        drawn, weights = ours.sample((5,), rng=fb.Philox(5)), torch.softmax(w.detach(), -1)
        assert drawn.dtype == torch.int64 and drawn.shape == (5, 2, 3) and (drawn.sum(-1) == 7).all()
        assert torch.equal(drawn, fb.multinomial(torch.full((5, 2), 7), weights, rng=fb.Philox(5)))
        wide = ours.expand((4, 2))
        assert torch.equal(wide.sample(rng=fb.Philox(5)), drawn[:4]) and wide.log_prob(x).shape == (4, 2)
        loose = type(ours)(7, logits=w, validate_args=False)
        outside = torch.tensor([2.0, 1.0, 3.0]), torch.tensor([2.5, 1.5, 3.0]), torch.tensor([-1.0, 5.0, 3.0])
        assert all((loose.log_prob(each) == -torch.inf).all() for each in outside)
    assert Multinomial(3, logits=torch.tensor([0.0, -1000.0])).log_prob(torch.tensor([2, 1])) == pytest.approx(
        -998.9014
    )
    given = Multinomial(2**40, torch.tensor([1.0, 0.0]))
    assert given.sample(rng=fb.Philox(1)).tolist() == [2**40, 0]


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: Binomial(10, 1.5, **CHECK), "parameter probs"),
        (lambda: Binomial(-1, 0.5, **CHECK), "parameter total_count"),
        (lambda: Binomial(2.5, 0.5, **CHECK), "parameter total_count"),
        (lambda: Poisson(-1.0, **CHECK), "parameter rate"),
        (lambda: NegativeBinomial(0.0, 0.5, **CHECK), "parameter total_count"),
        (lambda: Multinomial(3, torch.tensor([-1.0, 3.0]), **CHECK), "parameter probs"),
        (lambda: Multinomial(3, torch.ones(2), **CHECK).log_prob(torch.tensor([1, 3])), "within the support"),
        (lambda: Hypergeometric(3, -1, 2, **CHECK), "parameter bad"),
        (lambda: Hypergeometric(3, 1, 5, **CHECK), "draws: must be at most good"),
        (lambda: Hypergeometric(3, 1, 2, **CHECK).log_prob(torch.tensor(0)), "within the support"),
        (lambda: BetaBinomial(0.0, 1.0, **CHECK), "parameter concentration1"),
        (lambda: BetaBinomial(1.0, 1.0, torch.tensor(2.5), **CHECK), "parameter total_count"),
        (lambda: Binomial(3, 0.5, **CHECK).log_prob(torch.tensor(4)), "within the support"),
        (lambda: Poisson(1.0, **CHECK).log_prob(torch.tensor(0.5)), "within the support"),
        (lambda: BetaBinomial(1.0, 1.0, 3, **CHECK).log_prob(torch.tensor(-1)), "within the support"),
    ],
)
def test_wrong_arguments(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_gradients_at_the_ends():
    """Where a probability is 0 or 1, or a rate 0, and the value has a chance."""
    for make, value, wanted in (
        (lambda p: Binomial(5, probs=p), 0, (0.0, -5.0)), (lambda p: Binomial(5, probs=p), 5, (1.0, 5.0)),
        (lambda p: NegativeBinomial(5.0, probs=p), 0, (0.0, -5.0)), (Poisson, 0, (0.0, -1.0)),
        (lambda p: Multinomial(3, torch.stack((p, 1 - p))), [0, 3], (0.0, -3.0)),
    ):  # fmt: skip
        at = torch.tensor(wanted[0], requires_grad=True)
        chance = make(at).log_prob(torch.tensor(value))
        chance.backward()
        assert chance.item() == 0 and at.grad.item() == pytest.approx(wanted[1])


def test_numbers_beside_tensors():
    assert Poisson(torch.tensor(3)).log_prob(torch.tensor(2)) == pytest.approx(stats.poisson(3).logpmf(2))
    assert Poisson(torch.tensor(3)).sample(rng=fb.Philox(1)).dtype == torch.int64
    there = torch.ones(2, device="meta")
    made = BetaBinomial(there, 2.0, 10, validate_args=False)
    assert {each.device.type for each in (made.concentration0, made.total_count, made.mean)} == {"meta"}
