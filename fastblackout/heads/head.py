"""What a head must say, what it is asked with, and what several heads compute alike."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..call.numbers import MAX_COUNT
from ..philox import Philox
from ..probability import Prob
from ..typing import Grid, LastStep, ThinOutput

CELLS = 1 << 21  # the most elements of an array in `negative_entropy`: 16 MiB of float64


class Noised(NamedTuple):
    """What a loss is taken of: counts noised at times k (B,). The numbers are one for each time, (B,)."""

    x_t: Tensor  # None where the head's `thinned` does not ask for it
    births: Tensor
    model_input: Tensor
    k: Tensor
    labels: Tensor | None
    weight: Tensor  # the weight of the loss
    number: Tensor  # `Head.number`
    rng: Philox | Tensor  # this and the next are for a head that takes noise
    draws: int
    mask: Tensor | None = None  # bools of the shape of x_t, where the loss counts, of a head that gives a law


class Query(NamedTuple):
    """What a step of a sampler asks the network: its outputs for an input at times (B,)."""

    model: Any
    model_input: Tensor
    time: Tensor
    labels: Tensor | None
    guidance: Any  # w: a number, or in a CUDA graph a tensor (B,); None in a run without guidance

    def plain(self, *noise: Tensor) -> Tensor:
        """The outputs as they are, without guidance."""
        outputs: Tensor = self.model(self.model_input, self.time, self.labels, *noise)
        return outputs

    def guided(self, *noise: Tensor, of: Callable[[Tensor], Tensor] = Tensor.float) -> Tensor:
        """of(outputs); where there is guidance (1 + w) of those with the labels and -w of those without."""
        labelled, w = of(self.plain(*noise)), self.guidance
        if w is None or (not isinstance(w, Tensor) and w == 0):  # in a CUDA graph, whose steps are alike, all are mixed
            return labelled
        without = of(self.model(self.model_input, self.time, None, *noise))
        if isinstance(w, Tensor):
            w = w.view(-1, *[1] * (labelled.ndim - 1))
            return (1 + w).float() * labelled - w.float() * without
        return (1 + w) * labelled - w * without


class Predicted(NamedTuple):
    """What a bound is taken of: noised counts (B, ...), all float64, and what the network says of them."""

    births: Tensor  # x_0 - x_t
    room: Tensor  # max_count - x_t
    outputs: Tensor  # as `Head.predict` returned them
    number: Any  # `Head.number` of the times that the network was asked about
    max_count: int


class StepProbs(NamedTuple):
    """With which probability each of the births that are left comes in a step, of all steps (S,): as the forward
    process has it, and as the sampler does; and which step it is of each sample, n (B,)."""

    n: Tensor
    true: Prob
    assumed: Prob

    def beside(self, like: Tensor) -> tuple[Prob, Prob]:
        """(true, assumed) of each sample."""
        true, assumed = (Prob(*(rows_of(side[self.n], like) for side in pair)) for pair in (self.true, self.assumed))
        return true, assumed


class Head(ABC):
    """What the outputs of a network say of the births x_0 - x_t: all that a training, a sampler and a bound ask of it.

    A subclass says at least what is abstract here: its loss, the births of a sampler's step, and their mean. A head
    that gives a law of each pixel derives from `Law` (law.py). Where the law is a family of `fb.posterior_loss` it
    derives from `FamilyLaw`, and says no more than the law. The rest is said anew where it is not right for the head as
    it stands here.
    """

    needs: ClassVar[tuple[str, ...]] = ("offset",)  # what a model must have, beside max_count, center, scale and gain
    # Outputs of fb.thin that its loss uses.
    thinned: ClassVar[tuple[ThinOutput, ...]] = ("x_t", "births", "model_input")
    largest_count: int = MAX_COUNT  # the most that max_count may be
    unbounded: ClassVar[int | None] = None  # what stands for max_count where there is no bound; None: it needs one
    takes_noise: ClassVar[bool] = False  # whether noise comes in beside the image: other noise gives another draw
    gives_law: ClassVar[bool] = False  # whether it gives a law of each pixel; if not, then:
    gives: ClassVar[str] = "one number of births"
    grid: ClassVar[Grid] = "early"  # where the steps of a run lie, by the measurements of docs/results.md
    most_steps: ClassVar[int] = 100  # the steps of a run that does not say how many
    constant: ClassVar[str] = "the best constant"  # what predicts in `constant_loss`

    def __init__(self, name: str) -> None:
        self.name = name

    def numbers_per_count(self, max_count: int) -> tuple[int, ...]:
        """How many numbers a network may give of each count, one after another along its channels; of several a
        training takes the number of its option `components`."""
        return (1,)

    def number(self, model: Any, k: Any) -> Any:
        """The number of each time k that its ops take beside the outputs."""
        return model.offset(k)

    def number_between(self, number: Any, share: Any) -> Any:
        """The same at another survival p near that time; share: 1 - p over 1 - p_k."""
        return number + torch.log(share)

    def start(self, model: Any, x_0: Tensor, numbers: int) -> Tensor:
        """Outputs (numbers, C, ...) with which the law at p = 0 has the moments of the data, for each feature on its
        own. x_0: counts (N, C, ...); numbers: how many outputs a count has."""
        return x_0.new_zeros((numbers, *x_0.shape[1:]), dtype=torch.float32)

    def last_step(self, shape: tuple[int, ...], max_count: int) -> LastStep:
        """The last step of a run that does not say which, of samples (C, H, W): see `fb.sample`."""
        return "draw"

    @abstractmethod
    def loss(self, model: Any, noised: Noised) -> Tensor:
        """The loss (B,). A NaN of the network stays NaN, and on a GPU nothing waits for the device."""

    def unit(self, weights: NDArray[Any], q: NDArray[Any], elements: int, max_count: int) -> float:
        """What losses are multiplied by to be of order 1, with their gradients; weights, q = 1 - p: of all times.

        (1 - p_k) max_count / 4 are the births of a pixel at a quarter of max_count.
        """
        return 4.0 / (elements * float((weights * q).mean()) * max_count)

    def constant_loss(self, births: Tensor, room: Tensor, mean: Tensor, share: Tensor, q: Tensor) -> Tensor:
        """The loss (B,), with weight 1, of what knows no more than each pixel's mean count, a share of max_count.
        births, room = max_count - x_t: (B, ...); q: 1 - p beside them. All float64."""
        y = q * mean
        return (y - births * torch.log(y)).flatten(1).sum(1)

    @abstractmethod
    def births(self, query: Query, x: Tensor, number: Any, key: Any) -> dict[str, Any]:
        """What the op of a step from counts x takes of the births: {"births": y} or {"logits": ..., "gain": ...}, as
        `fb.bridge_step`. key: of the step's draws; ops have streams of their own, so a draw here may use it, once."""

    def expected(self, query: Query, x: Tensor, number: Any, key: Any) -> dict[str, Any]:
        """The same with nothing drawn, as far as that can be."""
        return self.births(query, x, number, key)

    def predict(self, model: Any, asked: tuple[Any, ...], key: Philox, noises: int) -> Tensor:
        """model(*asked), for an input, times and labels; of a head that takes noise for several, (noises, B, ...)."""
        outputs: Tensor = model(*asked)
        return outputs

    @abstractmethod
    def log_mean(self, at: Predicted, between: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """log E[x_0 - x_t | x_t]. between: 1 - p (B,) of counts between the times, and of the time asked."""

    def step_divergence(self, at: Predicted, step: StepProbs, key: Philox) -> Tensor:
        """KL(the true births of a step || those that a sampler draws) of each count; here tau-leaping by the mean."""
        return divergence(at.births, self.log_mean(at), step, at.max_count)


def rows_of(value: Tensor, like: Tensor) -> Tensor:
    """Numbers (B,) beside arrays (B, ...)."""
    return value.view(-1, *[1] * (like.ndim - 1)) if value.ndim else value


def held(log_y: Tensor, between: tuple[Tensor, Tensor] | None) -> Tensor:
    """The mean births of one time, at another one: y / (1 - p) is the same. between: as of `Head.log_mean`."""
    return log_y if between is None else log_y + rows_of(torch.log(between[0] / between[1]), log_y)


def divergence(births: Tensor, log_mean: Tensor, step: StepProbs, max_count: int) -> Tensor:
    """KL(Binomial(births, true) || Poisson(assumed exp(log_mean)))."""
    log_mean = log_mean + rows_of(torch.log(step.assumed.p[step.n]), log_mean)
    known = negative_entropy(births, step.true, step.n, max_count)
    mean_births = births * rows_of(step.true.p[step.n], births)
    return known - torch.where(births > 0, mean_births * log_mean, 0.0) + torch.exp(log_mean)


def negative_entropy(births: Tensor, step: Prob, n: Tensor, max_count: int) -> Tensor:
    """E[ log Binomial(b; a, f) + log b! ] over b ~ Binomial(a, f): the part of the KL without the model in it.

    It is log a! - E[ log m! ] + a f log f + a (1 - f) log(1 - f), m ~ Binomial(a, 1 - f), computed once for each pair
    of a count a = births and a step n that occurs.
    """
    pairs, inverse = torch.unique(births.long() + rows_of(n, births) * (max_count + 1), return_inverse=True)
    a, which = pairs % (max_count + 1), pairs // (max_count + 1)
    f, g = step.p[which], step.q[which]
    mean, spread = a * f, torch.sqrt(a * f * g)
    # Bernstein's inequality: less than 2 exp(-40) of the law lies further out.
    reach = 9.0 * spread + 27.0
    low = (mean - reach).floor().clamp(min=0).long()
    width = int(torch.minimum(a, (mean + reach).ceil().long()).sub(low).max()) + 1 if len(a) else 1
    total = torch.empty(len(a), dtype=torch.float64, device=a.device)
    log_f, log_g = torch.log(f), torch.log(g)
    offsets = torch.arange(width, device=a.device)
    rows = max(1, CELLS // width)
    for first in range(0, len(a), rows):
        part = slice(first, first + rows)
        b = (low[part, None] + offsets).double()
        top = a[part, None].double()
        m = (top - b).clamp(min=0)
        fallen = torch.lgamma(top + 1.0) - torch.lgamma(m + 1.0)  # log a! / (a - b)!
        log_pmf = fallen - torch.lgamma(b + 1.0)
        log_pmf = log_pmf + torch.where(b == 0, 0.0, b * log_f[part, None])
        log_pmf = log_pmf + torch.where(m == 0, 0.0, m * log_g[part, None])
        total[part] = torch.where(b <= top, torch.exp(log_pmf) * fallen, 0.0).sum(1)
    total += torch.xlogy(a * f, f) + torch.xlogy(a * g, g)
    return total[inverse]


def moments(x_0: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each feature of counts (N, C, ...), float64 (C, ...). A feature that was 0 throughout has
    the mean of half a count in all of the data, lest a logarithm be infinite."""
    size = len(x_0)
    total, squares = x_0.sum(0, dtype=torch.float64), torch.zeros(x_0.shape[1:], dtype=torch.float64, device=x_0.device)
    mean = total / size
    for part in x_0.split(max(1, (1 << 22) // max(1, mean.numel()))):  # float64 of some rows at a time
        squares += ((part - mean) ** 2).sum(0)
    return mean.clamp(min=0.5 / size), squares / size


def logit_share(mean: Tensor, max_count: int) -> Tensor:
    """log(share / (1 - share)) of a mean count, as a share of max_count that is less than 1."""
    return torch.logit((mean / max_count).clamp(max=1 - 0.5 / max_count))


def softplus_inverse(y: Tensor) -> Tensor:
    """The x with log(1 + exp(x)) = y > 0."""
    return y + torch.log(-torch.expm1(-y))
