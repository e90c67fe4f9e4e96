"""Heads that give a law of each pixel: the law in training, in sampling and in the likelihood bounds."""

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import betaln, gammaln, logsumexp

import fastblackout as fb
from fastblackout.blackout import BlackoutModel
from fastblackout.blackout.losses import blackout_loss, loss_unit
from fastblackout.heads import head_named
from fastblackout.heads.head import Predicted, StepProbs
from fastblackout.heads.negative_binomial import log_mass, size_and_mean
from fastblackout.models import small
from fastblackout.reference import portfloat
from fastblackout.sampling.sampler import sample_in_batches
from fastblackout.training import trainer
from fastblackout.training.config import preset
from fastblackout.training.held_out import HeldOut
from fastblackout.training.trained_model import load_run
from fastblackout.tuning.even_times import Errors
from support import bayes_law, negative_binomial_law
from support.helpers import by_day, chi_square_counts
from support.squares import squares

torch.set_num_threads(1)
SCHEDULE = fb.Schedule.cosine(50)
SHAPE, MOST = (5, 1, 4, 4), 20
RNG = fb.Philox(2**40, first_sample=2, call=9)
FALSE_ALARM = 1e-6  # of each statistical check, at fixed seeds
# Numbers that a network gives each pixel.
CASES = [
    ("beta-binomial", (-0.4, 0.3)),
    ("bayes-logistic", (0.1, -0.5)),
    ("bayes-logistic", (0.2, -0.4, -1.0, 0.5, 0.3)),
    ("bayes-logistic", (0.2, 0.0, -0.4, -1.0, 0.5, 0.0, 0.3, -0.2)),
    ("negative-binomial", (1.2, -0.5)),
]
of_cases = pytest.mark.parametrize(("head", "numbers"), CASES)


class Fixed(torch.nn.Module):
    """The numbers of each pixel, single float operations of it and of its label, so that batching changes no bit."""

    def __init__(self, numbers, slope=0.0):
        super().__init__()
        self.numbers, self.slope = numbers, slope

    def forward(self, x, time, labels=None):
        shift = 0.0 if labels is None else labels.view(-1, 1, 1, 1).float() * 0.25
        return torch.cat([x * self.slope / (n + 1) + each + shift for n, each in enumerate(self.numbers)], 1)


def law_model(head="beta-binomial", numbers=(-0.4, 0.3), most=MOST, slope=0.0):
    return BlackoutModel(Fixed(numbers, slope), SCHEDULE, most, input="unit", head=head)


def counts(seed):
    return torch.randint(0, MOST + 1, SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def shapes_of(first, second, log_q):
    mean, size = 1 / (1 + np.exp(-(first + log_q))), np.exp(np.clip(second + 1, -5, 7))
    return mean * size, (1 - mean) * size


def log_beta_binomial(n, room, a, b):
    choose = gammaln(room + 1) - gammaln(n + 1) - gammaln(room - n + 1)
    return choose + betaln(n + a, room - n + b) - betaln(a, b)


def losses_of(head, arrays, x_t, births, q, cut=False):
    """-log Pr(births) of each element, float64. cut: births up to the bound stand for all above it, too."""
    x, born, log_q = x_t.double(), births.double(), torch.as_tensor(np.log(q))
    if head == "bayes-logistic":
        return bayes_law.losses(arrays, x_t, births, log_q, MOST)
    log_q = log_q.view(-1, 1, 1, 1) if log_q.ndim else log_q
    if head == "beta-binomial":
        a, b = shapes_of(*(each.numpy() for each in (*arrays, log_q)))
        return -torch.from_numpy(log_beta_binomial(born.numpy(), MOST - x.numpy(), a, b))
    found = negative_binomial_law.losses(arrays, x, born, log_q, MOST)
    if cut and (full := births == MOST - x_t).any():
        size, theta = negative_binomial_law.size_and_theta(arrays, x, log_q, MOST)
        found[full] = -torch.from_numpy(scipy.stats.nbinom.logsf(born - 1, size, 1 / (1 + theta)))[full]
    return found


def outputs_of(model, numbers, *asked):
    return [each.double() for each in model(*asked).chunk(len(numbers), 1)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return squares(tmp_path_factory.mktemp("data") / "squares.npz")


@pytest.mark.parametrize("weight", ["uniform", "likelihood"])
@of_cases
def test_the_loss_is_minus_the_logarithm_of_the_law(head, numbers, weight):
    model, k, x_0 = law_model(head, numbers, slope=0.5), torch.tensor([1, 3, 17, 44, 50]), counts(1)
    labels = torch.arange(5) % 2
    loss = blackout_loss(model, SCHEDULE, x_0, k, RNG, weight, labels=labels)
    noised = fb.thin(x_0, SCHEDULE.survival(k), rng=RNG, max_count=MOST, center=model.center(k), scale=model.scale(k))
    arrays = outputs_of(model, numbers, noised.model_input, k, labels)
    wanted = losses_of(head, arrays, noised.x_t, noised.births, SCHEDULE.q[k.numpy()]).flatten(1).sum(1)
    np.testing.assert_allclose(loss.numpy(), wanted * SCHEDULE.weight(weight, k), rtol=1e-5)
    steps = SCHEDULE.weight(weight, np.arange(1, 51))
    assert loss_unit(SCHEDULE, weight, MOST, 16, head) == pytest.approx(1 / (16 * steps.mean()))


@of_cases
def test_one_step_from_black_draws_the_law_itself(head, numbers):
    """Of each pixel, by chi-square, cut at the bound; and several pixels' births are drawn apart."""
    shape = (20000, 1, 2, 2)
    drawn = fb.sample(law_model(head, numbers), SCHEDULE, shape, steps=1, rng=RNG).long().view(-1, 4).numpy()
    arrays = [torch.full((1, 1, 1, MOST + 1), each).double() for each in numbers]
    births = torch.arange(MOST + 1).view(1, 1, 1, -1)
    law = np.exp(-losses_of(head, arrays, torch.zeros_like(births), births, SCHEDULE.q[50], cut=True)).numpy().ravel()
    assert law.sum() == pytest.approx(1, abs=1e-9) and (law[-1] > 0.1) == (head == "negative-binomial")
    for pixel in drawn.T:
        assert chi_square_counts(np.bincount(pixel, minlength=MOST + 1), 20000 * law) > FALSE_ALARM
    pairs = np.bincount((drawn[:, 0] > 5) * 2 + (drawn[:, 3] > 5), minlength=4)
    high = law[6:].sum()
    assert chi_square_counts(pairs, 20000 * np.outer((1 - high, high), (1 - high, high)).ravel()) > FALSE_ALARM


@of_cases
def test_steps_are_those_of_posterior_step(head, numbers):
    """With guidance of the head's numbers, whatever the split and the loop."""
    model, labels, x = law_model(head, numbers, slope=0.7), torch.arange(5) % 2, torch.zeros(SHAPE, dtype=torch.uint8)
    times = [int(k) for k in SCHEDULE.grid(3)]
    seen = fb.thin(x, 1.0, rng=RNG, max_count=MOST, center=model.center(50), scale=model.scale(50)).model_input
    for n, (k_t, k_s) in enumerate(itertools.pairwise(times)):
        outputs = 1.5 * model(seen, k_t, labels) - 0.5 * model(seen, k_t)
        how = {"family": head, "offset": model.offset(k_t), "max_count": MOST}
        how |= {"center": model.center(k_s), "scale": model.scale(k_s), "rng": RNG.at(call=n)}
        x, seen = fb.posterior_step(x, outputs.chunk(len(numbers), 1), SCHEDULE.bridge(k_t, k_s), **how)
    how = {"labels": labels, "steps": 3, "grid": "cosine", "guidance": 0.5}
    for graph in (False, True):
        assert torch.equal(fb.sample(model, SCHEDULE, SHAPE, rng=RNG, cuda_graph=graph, **how), x)
    assert torch.equal(torch.cat(list(sample_in_batches(model, SCHEDULE, SHAPE, 2, RNG, **how))), x)


@of_cases
def test_one_step_of_the_bound_is_the_law_of_the_image(head, numbers):
    """The step from black to the image: -log of the law, cut at the bound; no draw takes part."""
    model, x_0 = law_model(head, numbers, slope=0.7), counts(2)
    bits = fb.bits_per_dim(model, SCHEDULE, x_0, rng=RNG, steps=1, draws=4, repeats=2).discrete
    seen = (torch.zeros(SHAPE).double() - model.center(50)) * model.scale(50)
    arrays, black = outputs_of(model, numbers, seen.float(), 50), torch.zeros_like(x_0)
    assert (x_0 == MOST).any()
    wanted = losses_of(head, arrays, black, x_0, SCHEDULE.q[50], cut=True).mean((1, 2, 3))
    np.testing.assert_allclose(bits.per_image, wanted / np.log(2), rtol=1e-6)
    assert bits.monte_carlo_error < 1e-9


def test_the_bound_of_a_step_is_the_exact_divergence():
    """Two steps about a pixel whose law is known, against sums over x_t and the births of both steps."""
    first, second, most, times = 0.2, 1.0, 6, (50, 25, 0)
    assert tuple(map(int, SCHEDULE.grid(2, kind="index"))) == times
    model = law_model(numbers=(first, second), most=most)
    x_0 = torch.full((1, 1, 40, 40), 4, dtype=torch.uint8)
    got = fb.bits_per_dim(model, SCHEDULE, x_0, rng=RNG, steps=2, grid="index", draws=8, repeats=4).discrete
    total, births = 0.0, np.arange(most + 1)
    for n, (k_t, k_s) in enumerate(itertools.pairwise(times)):
        alive = 0.0 if n == 0 else SCHEDULE.p[k_t]
        true = SCHEDULE.survival(k_s) if n == 0 else SCHEDULE.bridge(k_t, k_s)
        a, b = shapes_of(first, second, np.log(SCHEDULE.q[k_t]))
        for x_t, weight in enumerate(scipy.stats.binom.pmf(np.arange(5), 4, alive)):
            room = np.arange(most - x_t + 1)
            assumed = SCHEDULE.bridge(k_t, k_s).p
            law = log_beta_binomial(room, most - x_t, a, b)
            step = logsumexp(scipy.stats.binom.logpmf(births[:, None], room, assumed) + law, axis=1)
            real = scipy.stats.binom.pmf(births, 4 - x_t, float(true.p))
            total += weight * (scipy.special.xlogy(real, real) - real * np.where(real > 0, step, 0)).sum()
    assert abs(got.bits - total / np.log(2)) < 5 * got.monte_carlo_error + 1e-9
    assert got.monte_carlo_error < 0.005 * got.bits


@pytest.mark.parametrize("most", [1, 255, 3000])
def test_the_beta_binomial_law_by_ratios_is_the_op(most):
    """Also where all is at an end, or the widest and narrowest."""
    room = torch.tensor([0, 1, most // 2, most]).double()[:, None]
    n, offset = torch.arange(most + 1).double(), torch.full_like(room, -0.7)
    for first, second in itertools.product((-2000.0, -40.0, 0.5, 40.0, 2000.0), (-30.0, 0.3, 30.0)):
        size = np.exp(np.clip(second + 1, -5, 7))
        a, b = (max(scipy.special.expit(side * (first - 0.7)) * size, 1e-300) for side in (1, -1))
        arrays = [torch.full_like(room, first), torch.full_like(room, second)]
        got = head_named("beta-binomial").log_law(arrays, room, offset, most)
        torch.testing.assert_close(got, fb.beta_binomial_log_prob(n, room, a, b), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("head", ["beta-binomial", "negative-binomial"])
def test_a_bound_takes_no_log_gamma_for_every_count(head, monkeypatch):
    """The logarithms of the NumPy reference, each a thousand times as slow as a term of a sum by ratios."""
    x_0 = torch.randint(0, 256, SHAPE, generator=torch.Generator().manual_seed(3))
    asked, log = [], portfloat.log

    def counted(x):
        asked.append(np.size(x))
        return log(x)

    monkeypatch.setattr(portfloat, "log", counted)
    fb.bits_per_dim(law_model(head, most=255, slope=0.7), SCHEDULE, x_0, rng=RNG, steps=5, draws=1, repeats=2)
    assert sum(asked) < 255 * 2 * x_0.numel()


def test_the_continuous_bound_is_the_entropy_where_the_mean_is_exact():
    """A pixel of Binomial(8, 0.3): its posterior is binomial with logit(f) = logit(0.3) + log q, at every p."""
    f = 0.3
    model = law_model(numbers=(np.log(f / (1 - f)), 5.0), most=8)
    x_0 = torch.from_numpy(scipy.stats.binom.rvs(8, f, size=(16, 1, 8, 8), random_state=1).astype(np.uint8))
    bound = fb.bits_per_dim(model, SCHEDULE, x_0, rng=RNG, steps=5, draws=32, repeats=4).continuous
    wanted = -scipy.stats.binom.logpmf(x_0.numpy(), 8, f).mean() / np.log(2)
    assert bound.monte_carlo_error < 0.01 * wanted
    assert abs(bound.bits - wanted) < 5 * bound.monte_carlo_error + 0.01 * wanted


def test_the_bounds_of_the_true_head_are_the_entropy_of_the_data():
    """Pixels that are negative binomial themselves: both bounds are their entropy, the head being their posterior."""
    numbers, most = (-1.0, 0.5), 255
    m, r = negative_binomial_law.numbers_of(numbers, most)
    law = scipy.stats.nbinom(r, r / (r + m))
    x_0 = law.rvs((4, 1, 8, 8), random_state=np.random.default_rng(1)).clip(0, most)
    entropy = -law.logpmf(x_0).mean() / np.log(2)
    how = {"rng": RNG, "steps": 4, "draws": 8, "repeats": 4}
    model = law_model("negative-binomial", numbers, most)
    for bound in fb.bits_per_dim(model, SCHEDULE, torch.from_numpy(x_0), **how):
        # 6 standard errors, and what the schedule's last p > 0 takes
        assert abs(bound.bits - entropy) < 6 * bound.monte_carlo_error + 1e-3


@of_cases
def test_a_law_has_finite_slopes_at_every_room(head, numbers):
    arrays = [torch.full((MOST + 1, 1), number, dtype=torch.float64, requires_grad=True) for number in numbers]
    room = torch.arange(MOST + 1, dtype=torch.float64)[:, None]
    logs = head_named(head).log_law(arrays, room, torch.full_like(room, -0.3), MOST)
    for grad in torch.autograd.grad(logs.gather(1, (room // 2).long()).sum(), arrays):
        assert torch.isfinite(grad).all()


# --- the sums of one law alone


@pytest.mark.parametrize("numbers", [numbers for head, numbers in CASES if head == "bayes-logistic"])
def test_the_bayes_laws_of_the_bounds_are_finite_sums(numbers):
    """The mean, and a step's law, against sums written out."""
    x_t = counts(3)
    outputs = torch.cat([torch.full(SHAPE, each, dtype=torch.float64) for each in numbers], 1)
    offset, room, n = torch.linspace(-3, 0, 5, dtype=torch.float64), (MOST - x_t).double(), torch.arange(21.0)
    law = torch.softmax(bayes_law.log_weights(list(outputs.chunk(len(numbers), 1)), x_t, offset, MOST), -1)  # of x_0
    mean = (law * torch.arange(21, dtype=torch.float64)).sum(-1) - x_t
    head, at = head_named("bayes-logistic"), Predicted(room, room, outputs, offset, MOST)
    torch.testing.assert_close(torch.exp(head.log_mean(at)), mean, rtol=1e-10, atol=1e-12)
    step = fb.Prob(*(torch.full((5, 1, 1, 1), side, dtype=torch.float64) for side in (0.3, 0.7)))
    total = torch.zeros(SHAPE, dtype=torch.float64)
    for born in range(21):
        got = head.log_law_of_step(at, torch.full_like(room, born), step)
        chance = torch.from_numpy(scipy.stats.binom.pmf(born, n.numpy(), 0.3))
        wanted = torch.stack([law.gather(-1, (x_t.long() + b).clamp(max=20)[..., None])[..., 0] * chance[b]
                              * (x_t.long() + b <= 20) for b in range(21)]).sum(0)  # fmt: skip
        torch.testing.assert_close(torch.exp(got), wanted, rtol=2e-6, atol=1e-9)
        total += torch.exp(got)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-10, atol=0)


def test_the_negative_binomial_law_cut_at_the_room_has_the_tail_there():
    """Against scipy's distribution functions, for rooms far below and far above the mean."""
    random = np.random.default_rng(4)
    room = np.floor(np.exp(random.uniform(0, 9, 400)))
    size, mean = np.exp(random.uniform(-7, 16, 400)), np.exp(random.uniform(-6, 12, 400))
    got = log_mass(*(torch.from_numpy(each) for each in (room, size, mean, room))).numpy()
    wanted = scipy.stats.nbinom.logsf(room - 1, size, size / (size + mean))
    likely = wanted > -600
    assert likely.sum() > 200
    np.testing.assert_allclose(got[likely], wanted[likely], rtol=1e-7, atol=1e-9)
    births = torch.arange(MOST + 1, dtype=torch.float64)
    for scale in (0.1, 5.0, 1e3):
        law = log_mass(births, *(torch.full_like(births, each) for each in (1.5, scale, MOST)))
        assert torch.exp(law).sum().item() == pytest.approx(1, abs=1e-12)
    none = torch.zeros(3, dtype=torch.float64)
    assert not log_mass(none, none + 2, none + 7, none).any()


def test_the_negative_binomial_bounds_are_by_the_law_of_the_step_that_is_drawn():
    """The mean of all births, and KL of a step, against sums written out over the births and the cut law."""
    outputs = torch.cat([torch.full(SHAPE, each, dtype=torch.float64) for each in (0.7, -0.5)], 1)
    offset, room = torch.linspace(-3, 0, 5, dtype=torch.float64), MOST - counts(3).double()
    arrays, head = outputs.chunk(2, 1), head_named("negative-binomial")
    size, mean = size_and_mean(arrays, room, offset.view(-1, 1, 1, 1), MOST)
    n = torch.arange(20_000)
    known = np.vectorize(lambda s, m: (scipy.stats.nbinom.pmf(n, s, s / (s + m)) * n.numpy()).sum())(
        size[:, :, :2], mean[:, :, :2]
    )
    got = torch.exp(head.log_expected(arrays, room, offset, MOST))
    np.testing.assert_allclose(got[:, :, :2], np.where(room[:, :, :2] > 0, known, 0), rtol=1e-9)
    births = torch.floor(room * torch.rand(SHAPE, generator=torch.Generator().manual_seed(2)).double())
    births[:, :, 0] = room[:, :, 0]  # up to the bound
    true, assumed = (fb.Prob(*torch.tensor([[p], [1 - p]], dtype=torch.float64)) for p in (0.3, 0.35))
    step = StepProbs(torch.zeros(5, dtype=torch.int64), true, assumed)
    got = head.step_divergence(Predicted(births, room, outputs, offset, MOST), step, RNG)
    wanted = torch.zeros(SHAPE).double()
    for at in np.ndindex(SHAPE):
        b, left = np.arange(int(births[at]) + 1), int(room[at])
        of_step = scipy.stats.nbinom(float(size[at]), float(1 / (1 + 0.35 * mean[at] / size[at])))
        law = np.append(of_step.pmf(np.arange(left)), of_step.sf(left - 1))[: len(b)]
        chance = scipy.stats.binom.pmf(b, int(births[at]), 0.3)
        wanted[at] = (chance * np.log(chance / law)).sum()
    torch.testing.assert_close(got, wanted, rtol=1e-7, atol=1e-10)


# --- in a training


@pytest.mark.parametrize("head", by_day(["beta-binomial", "mean", "implicit"], "beta-binomial"))
def test_a_training_ends_with_times_of_few_steps(data, tmp_path, monkeypatch, head):
    """The times of Errors.even for the weights that are kept, where it costs at most a twentieth of the training."""
    monkeypatch.setattr(trainer, "NUMBER", 4)
    options = {"steps": 20, "channels": 8, "threads": 1, "warmup": 2, "schedule_steps": 50, "log_every": 2}
    options |= {"held_out_every": 0, "sample_every": 0, "checkpoint_every": 20, "head": head}
    for name, batch in (("long", 128), ("short", 127)):
        fb.train(data, tmp_path / name, preset("array", **options | {"batch": batch}), progress=False)
    run = load_run(tmp_path / "long")
    found = run.model.tuned
    assert list(found) == [2, 3, 5, 10, 20] * (head != "implicit") and load_run(tmp_path / "short").model.tuned == {}
    errors = Errors(run.model, run.schedule, torch.from_numpy(data.held_out[:4]), None, fb.Philox(0))
    for steps, one in found.items():
        assert one.times == tuple(errors.even(steps)) and one.distance is None and not any(one.guidance)


def test_the_held_out_constant_is_a_binomial_for_each_pixel(data):
    model = BlackoutModel(small((1, 4, 4), channels=8, outputs=2), SCHEDULE, MOST, input="unit", head="beta-binomial")
    held = HeldOut(data, model, 1.0, torch.device("cpu"), 64)
    most, count = data.max_count, len(data.train)
    share = np.clip(np.maximum(data.train.mean(0), 0.5 / count) / most, 0, 1 - 0.5 / (most * count))
    alive = SCHEDULE.survival(held.k)
    noised = fb.thin(held.x_0, alive, rng=fb.Philox(297), max_count=most, outputs=("x_t", "births"))
    q = alive.q.view(-1, 1, 1, 1).numpy()
    law = scipy.stats.binom(most - noised.x_t.numpy().astype(int), share * q / (share * q + 1 - share))
    wanted = -law.logpmf(noised.births.numpy()).sum((1, 2, 3)).mean()
    assert held.constant_loss == pytest.approx(wanted, rel=1e-9)
    assert held.describe().endswith(f"; {wanted:.4f} without a network, by one binomial law for each pixel")


@pytest.mark.parametrize("given", [{"sampler": "tau-leap"}, {"attrition": 0.1}, {"rounding": "nearest"}])
def test_other_samplers_are_refused(given):
    ((name, got),) = given.items()
    with pytest.raises(ValueError, match=f"^sample: {name}: must be .* for head 'beta-binomial', .*, got {got}$"):
        fb.sample(law_model(), SCHEDULE, SHAPE, 2, **given)
