"""A network of one's own, trained on digits with Lightning (pip install lightning).

    python examples/lightning_loop.py

The same as examples/plain_loop.py, to the bit. With several devices each gets its part of a batch.
"""

from typing import Any

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

import fastblackout as fb
from fastblackout.evaluation.plots import sample_grid


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        last = nn.Linear(128, 128, bias=False)  # two numbers of each count: see the table of heads
        nn.init.zeros_(last.weight)  # so that a training begins at the law of each pixel
        self.layers = nn.Sequential(nn.Linear(65, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), last)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layers(torch.cat((x.flatten(1), time[:, None] / 500 - 1), 1))
        return outputs.view(-1, 2, 8, 8)


class Training(lightning.LightningModule):
    def __init__(self, model: fb.BlackoutModel) -> None:
        super().__init__()
        self.model, self.average = model, fb.models.ModelEMA(model, max_decay=0.99)
        self.losses: list[float] = []

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        (x_0,) = batch
        key = fb.Philox(0, first_sample=self.global_rank * len(x_0), call=self.global_step)
        ranks = self.trainer.world_size
        loss: torch.Tensor = fb.loss(self.model, x_0, rng=key, global_batch=ranks * len(x_0)).mean()
        self.losses.append(loss.item())
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        self.average.update(self.model)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=2e-3)


def train(steps: int = 300, **options: Any) -> tuple[list[float], torch.Tensor]:
    torch.manual_seed(0)
    images = torch.from_numpy(fb.data.load("digits").train)
    model = fb.BlackoutModel(Dense(), fb.Schedule.cosine(1000), 16, head="beta-binomial", input="normalized")
    model.fit_input(images)
    order = RandomSampler(images, num_samples=50 * steps, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(images), 50, sampler=order)
    training = Training(model)
    lightning.Trainer(max_epochs=1, gradient_clip_val=1.0, **options).fit(training, loader)
    return training.losses, training.average.model.sample((16, 1, 8, 8), steps=20, grid="early", rng=3)


if __name__ == "__main__":
    losses, samples = train()
    print(f"{losses[0]:.3f} nats a pixel at first, {sum(losses[-30:]) / 30:.3f} at the end")
    sample_grid(samples.cpu().numpy(), 16, "digits.png")
