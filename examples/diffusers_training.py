"""Unconditional training as in the tutorial of diffusers, changed to counts (pip install 'fastblackout[diffusers]').

    python examples/diffusers_training.py     # digits, half a minute on a CPU

The loop is the one of "Train a diffusion model" in the documentation of diffusers. Lines that differ from it end in
"changed". Data, sizes and learning rate are smaller than there.
"""

import torch
from accelerate import Accelerator
from diffusers.optimization import get_cosine_schedule_with_warmup
from torch.utils.data import DataLoader, TensorDataset

import fastblackout as fb  # changed: added
from fastblackout.diffusers import BlackoutPipeline, BlackoutScheduler, unet2d  # changed: added


def train_loop(epochs: int = 8, folder: str = "digits-pipeline") -> tuple[list[float], BlackoutPipeline]:
    torch.manual_seed(0)
    dataset = TensorDataset(torch.from_numpy(fb.data.load("digits").train))  # changed: counts in 0..16, not floats
    train_dataloader = DataLoader(dataset, batch_size=50, shuffle=True)
    model = unet2d((1, 8, 8), "beta-binomial", max_count=16, channels=32, layers=1)  # changed: two output channels
    noise_scheduler = BlackoutScheduler(max_count=16, head="beta-binomial")  # changed
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    lr_scheduler = get_cosine_schedule_with_warmup(optimizer, 20, len(train_dataloader) * epochs)

    accelerator = Accelerator()
    model, optimizer, train_dataloader, lr_scheduler = accelerator.prepare(
        model, optimizer, train_dataloader, lr_scheduler
    )
    losses, generator = [], torch.Generator().manual_seed(accelerator.process_index)  # changed
    for _ in range(epochs):
        for (clean_images,) in train_dataloader:
            timesteps = torch.randint(0, len(noise_scheduler), (len(clean_images),), device=clean_images.device)
            noisy_images = noise_scheduler.add_noise(clean_images, generator, timesteps)  # changed: no normal noise
            with accelerator.accumulate(model):
                model_input = noise_scheduler.scale_model_input(noisy_images, timesteps)  # changed: added
                prediction = model(model_input, timesteps, return_dict=False)[0]
                loss = noise_scheduler.loss(prediction, clean_images, noisy_images, timesteps).mean()  # changed
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()
            losses.append(loss.item())

    pipeline = BlackoutPipeline(accelerator.unwrap_model(model), noise_scheduler)  # changed
    pipeline.save_pretrained(folder)
    return losses, pipeline


if __name__ == "__main__":
    losses, pipeline = train_loop()
    print(f"{losses[0]:.3f} nats a pixel at first, {sum(losses[-30:]) / 30:.3f} at the end")
    for n, image in enumerate(pipeline(4, num_inference_steps=20, generator=torch.Generator().manual_seed(0)).images):
        image.resize((64, 64), 0).save(f"digit-{n}.png")
