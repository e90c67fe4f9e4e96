"""What learns from samples of both laws, and then carries others, `start`, from the second to the first."""

import sys

import torch

import fastblackout as fb

from .measures import HIGH

BATCH, RATE, STEPS, DECAY = 256, 1e-3, 10, 0.999  # STEPS: of the sampler
NOISE = 8


def trained(model, steps, loss):
    """loss(step): of the model, (B,)."""
    average = fb.models.ModelEMA(model, max_decay=DECAY)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    for step in range(steps):
        optimizer.zero_grad()
        loss(step).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model)
    return average.model


def order(x, seed):
    """step -> its rows of x, (BATCH, 2, 1, 1)."""
    places = fb.data.BatchOrder(len(x), BATCH, seed)
    return lambda step: torch.from_numpy(x[places.indices(step)])[..., None, None]


def network(seed):
    torch.manual_seed(seed)
    return fb.models.ResidualMLP((2, 1, 1), noise_channels=NOISE, channels=16)


def bridge(x_0, x_1, start, seed, steps, slack=0.0):
    """Unpaired: x_0 and x_1 come in orders of their own."""
    model = fb.CountBridge(network(seed), HIGH, "implicit", noise_channels=NOISE, slack=slack)
    first, second = order(x_0, 2 * seed), order(x_1, 2 * seed + 1)
    model = trained(model, steps, lambda step: model.loss(first(step), second(step), rng=fb.Philox(seed, call=step)))
    return model.sample(torch.from_numpy(start)[..., None, None], STEPS, rng=seed)


def with_slack(*given):
    return bridge(*given, slack=100.0)


def blackout(x_0, x_1, start, seed, steps):
    """From nothing: it does not see x_1. The same network, head and times of the sampler."""
    how = {"head": "implicit", "noise_channels": NOISE, "input": "unit"}
    model = fb.BlackoutModel(network(seed), fb.Schedule.cosine(1000), HIGH, **how)
    first = order(x_0.astype("uint8"), 2 * seed)
    model = trained(model, steps, lambda step: model.loss(first(step), rng=fb.Philox(seed, call=step), draws=4))
    return model.sample((len(start), 2, 1, 1), STEPS, rng=seed)


def count_bridges(x_0, x_1, start, seed, steps, folder):
    """The network, loss, bridge without slack and training of github.com/njwfish/count_bridges, by its configurations
    discrete_moons, mlp, energy_score, adam_big, cosine and ema. Only the number of steps is ours."""
    sys.path.insert(0, folder)
    from architecture.mlp import MLP
    from bridges.torch.skellam import SkellamBridge
    from models.energy import EnergyScoreLoss
    from schedule import cosine_warmup_constant_lr
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    from training import Trainer

    torch.manual_seed(seed)
    net = MLP([2, 1, 100], 128, 2, layers=4, act_fn="softplus")
    model = EnergyScoreLoss(net, noise_dim=100, m_samples=32, lambda_energy=1.0)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    of_rate = cosine_warmup_constant_lr(optimizer, warmup_steps=100, start_factor=0.01)
    trainer = Trainer(
        device="cpu", batch_size=BATCH, clip_grad_norm=1.0, optimizer=optimizer, scheduler=of_rate, num_epochs=1
    )
    way, first, second = SkellamBridge(), order(x_0, 2 * seed), order(x_1, 2 * seed + 1)
    for step in range(steps):
        batch = {"x_0": first(step).flatten(1), "x_1": second(step).flatten(1)}
        trainer.training_step(model, way, batch, avg_model=average)
    return way.sampler(torch.from_numpy(start), {}, average.module.eval(), n_steps=STEPS)


METHODS = {
    "CountBridge": bridge,
    "Blackout, from nothing": blackout,
    "count_bridges": count_bridges,
    "CountBridge, slack 100": with_slack,
}
