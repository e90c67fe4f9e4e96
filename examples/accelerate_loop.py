"""A network of one's own, trained on digits with accelerate (pip install accelerate).

    python examples/accelerate_loop.py

The same as examples/plain_loop.py, to the bit. `accelerate launch` runs it in several processes, each with its part
of a batch.
"""

import torch
from accelerate import Accelerator
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


def train(steps: int = 300) -> tuple[list[float], torch.Tensor]:
    accelerator = Accelerator()
    torch.manual_seed(0)
    images = torch.from_numpy(fb.data.load("digits").train)
    model = fb.BlackoutModel(Dense(), fb.Schedule.cosine(1000), 16, head="beta-binomial", input="normalized")
    model.fit_input(images)
    average = fb.models.ModelEMA(model, max_decay=0.99).to(accelerator.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    order = RandomSampler(images, num_samples=50 * steps, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(images), 50, sampler=order)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    ranks, losses = accelerator.num_processes, []
    for step, (x_0,) in enumerate(loader):
        key = fb.Philox(0, first_sample=accelerator.process_index * len(x_0), call=step)
        loss = fb.loss(model, x_0, rng=key, global_batch=ranks * len(x_0)).mean()
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(accelerator.unwrap_model(model))
        losses.append(accelerator.reduce(loss.detach(), "mean").item())
    return losses, average.model.sample((16, 1, 8, 8), steps=20, grid="early", rng=3)


if __name__ == "__main__":
    losses, samples = train()
    print(f"{losses[0]:.3f} nats a pixel at first, {sum(losses[-30:]) / 30:.3f} at the end")
    sample_grid(samples.cpu().numpy(), 16, "digits.png")
