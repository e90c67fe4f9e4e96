"""Samples by a pipeline of diffusers, the folder that it is saved in, and the model card in it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, ModelMixin
from huggingface_hub import ModelCardData
from torch import Tensor

from .._version import __version__
from ..blackout import BlackoutModel, saved
from ..ground.values import check_integer, check_name, is_number
from ..models.interface import classes_of, labels_on
from ..sampling.sampler import evaluating
from .network import BlackoutNetwork
from .scheduler import BlackoutScheduler, key_from

if TYPE_CHECKING:
    from ..philox import Philox
    from ..typing import Grid, LastStep, Rounding

OUTPUTS = ("pil", "np", "pt", "counts")
_CARD = """---
{header}
---

# A Blackout Diffusion model of counts

It draws samples of {shape} counts {counts}, by [Blackout Diffusion](https://arxiv.org/abs/2305.11089): a sample begins
black, and the network says at each step how many counts are still to be born.

| | |
|---|---|
| head | {head} |
| schedule | {schedule} |
| labels | {labels} |
| parameters | {parameters} |

It needs `pip install 'fastblackout[diffusers]'`:

```python
from fastblackout.diffusers import BlackoutPipeline

pipeline = BlackoutPipeline.from_pretrained("this repository or folder")
image = pipeline({call}, generator=0).images[0]
```

With the same `generator` it draws the same samples. Written by fastblackout {version}.
"""


class BlackoutPipeline(DiffusionPipeline):
    """Samples of a Blackout Diffusion model, as pipelines of diffusers give them.

    Parameters
    ----------
    unet : ModelMixin
        The network: a `BlackoutNetwork`, or a UNet2DModel whose outputs suit the scheduler's head. Of
        `num_class_embeds` classes the last stands for none.
    scheduler : BlackoutScheduler
        The scheduler.

    Notes
    -----
    `save_pretrained`, `from_pretrained`, `to` and the rest are as in diffusers. `from_pretrained` needs this module
    to be imported, since diffusers imports no module because a folder names it.

    References
    ----------
    Santos et al. 2023, arXiv 2305.11089.

    Examples
    --------
    >>> from fastblackout.diffusers import BlackoutPipeline
    >>> run = fb.load_pretrained("digits", device="cpu")
    >>> pipeline = BlackoutPipeline.from_model(run.model, run.shape)
    >>> pipeline.set_progress_bar_config(disable=True)
    >>> counts = pipeline(2, num_inference_steps=5, generator=3, output_type="counts").images
    >>> bool((counts == run.model.sample((2, *run.shape), steps=5, rng=3)).all())
    True
    """

    model_cpu_offload_seq = "unet"

    def __init__(self, unet: ModelMixin, scheduler: BlackoutScheduler) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @classmethod
    def from_model(
        cls,
        model: BlackoutModel,
        shape: Sequence[int],
        rounding: Rounding = "stochastic",
        last_step: LastStep | None = None,
    ) -> BlackoutPipeline:
        """The pipeline of a model.

        Parameters
        ----------
        model : BlackoutModel
            The model. Its network is one of the package, or a model of diffusers if `fit_input` was not called.
        shape : sequence of int
            The shape (C, H, W) of a sample.
        rounding : {"stochastic", "nearest"}, default "stochastic"
            As in `fb.sample`.
        last_step : {"draw", "mean"}, optional
            As in `fb.sample`.

        Returns
        -------
        BlackoutPipeline
            It shares the model's weights.

        Raises
        ------
        ValueError
            If nothing describes the network.
        """
        stock = isinstance(model.network, ModelMixin) and model.fitted is None
        unet = model.network if stock else BlackoutNetwork.from_model(model, shape)
        return cls(unet, BlackoutScheduler.from_model(model, rounding, last_step))

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int | None = None,
        class_labels: int | Sequence[int] | Tensor | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        generator: torch.Generator | Philox | int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        grid: Grid | Sequence[float] | None = None,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Draw samples.

        Parameters
        ----------
        batch_size : int, optional
            How many: by default as many as there are labels, else 1.
        class_labels : int, sequence of int or torch.Tensor, optional
            The class of all, or of each.
        guidance_scale : float, optional
            The scale s of diffusers: 1 is no guidance. The guidance w of `fb.sample` is s - 1. By default as the model
            was tuned, where no grid is given, else 1.
        num_inference_steps : int, optional
            How many steps: by default as in `fb.sample`.
        generator : torch.Generator, Philox or int, optional
            Where the draws come from. The samples are what `fb.sample` draws with the same `generator`, or with this
            Philox or seed as `rng`, to the bit.
        output_type : {"pil", "np", "pt", "counts"}, default "pil"
            Images; floats in 0..1, NumPy (B, H, W, C) or torch (B, C, H, W); or the counts themselves, torch (B, C, H,
            W). The first three divide by max_count.
        return_dict : bool, default True
            False for a tuple.
        grid : {"cosine", "index", "early"} or sequence of float, optional
            Where the times lie, as in `fb.sample`.

        Returns
        -------
        ImagePipelineOutput
            The samples as `images`.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If an argument is out of range. All is checked before anything is drawn.
        """
        op, unet, scheduler = "BlackoutPipeline", self.unet, self.scheduler
        size, device = unet.config.sample_size, self._execution_device
        size = (size, size) if isinstance(size, int) else tuple(size)
        channels = unet.config.in_channels - scheduler.config.noise_channels
        most = scheduler.config.max_count
        check_name(op, "output_type", output_type, OUTPUTS)
        if output_type != "counts" and most is None:
            raise ValueError(f"{op}: output_type: must be counts where there is no max_count, got {output_type!r}")
        if output_type == "pil" and channels not in (1, 3):
            raise ValueError(f"{op}: output_type: must be np, pt or counts for {channels} channels, got 'pil'")
        batch, labels = self._labels(op, batch_size, class_labels)
        scheduler.set_timesteps(num_inference_steps, device, grid=grid)
        guidance = self._guidance(op, guidance_scale, class_labels is not None)
        key, none = key_from(op, "generator", generator), {}
        given = {} if labels is None else {"class_labels": labels.to(device)}
        if labels is not None:
            none["class_labels"] = torch.full_like(given["class_labels"], unet.config.num_class_embeds - 1)
        x = scheduler.initial_sample((batch, channels, *size), device)
        with evaluating(unet):
            for n, t in enumerate(self.progress_bar(scheduler.timesteps)):
                model_input = scheduler.scale_model_input(x, t, key).to(unet.dtype)
                output, without = unet(model_input, t, **given).sample, None
                if guidance is not None and guidance[n]:
                    without = unet(model_input, t, **none).sample
                how = {"guidance": None if guidance is None else guidance[n], "unconditional_output": without}
                x = scheduler.step(output, t, x, key, predict=False, **how).prev_sample
        self.maybe_free_model_hooks()
        images = x if output_type == "counts" else self._images(x, most, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _labels(self, op: str, batch_size: Any, class_labels: Any) -> tuple[int, Tensor | None]:
        """(the number of samples, labels (B,) of a network that has classes)"""
        usual = len(class_labels) if getattr(class_labels, "ndim", None) or isinstance(class_labels, Sequence) else 1
        batch = check_integer(op, "batch_size", usual if batch_size is None else batch_size, 1, 1 << 31)
        labels, classes = labels_on(op, class_labels, batch, self.unet, argument="class_labels"), classes_of(self.unet)
        if labels is None and classes:
            labels = torch.full((batch,), classes)
        return batch, None if labels is None else labels.long()

    def _guidance(self, op: str, scale: Any, labelled: bool) -> list[float] | None:
        """The guidance w of each step; None for a run without."""
        plan = self.scheduler.plan
        if scale is None:
            return plan.guidance if labelled and any(plan.guidance) else None
        if not is_number(scale) or not 1 <= scale < float("inf"):
            raise ValueError(f"{op}: guidance_scale: must be a number of at least 1, got {scale!r}")
        if scale != 1 and not labelled:
            raise ValueError(f"{op}: guidance_scale: needs class_labels, got {scale!r} without")
        return [float(scale) - 1] * len(plan.guidance) if scale != 1 else None

    def _images(self, x: Tensor, most: int, output_type: str) -> Any:
        shares = x.float() / most
        if output_type == "pt":
            return shares
        rows = shares.permute(0, 2, 3, 1).cpu().numpy()
        return self.numpy_to_pil(rows) if output_type == "pil" else rows

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], metadata: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Write the pipeline to a folder, with a model card, README.md, unless there is one.

        Parameters
        ----------
        save_directory : str or os.PathLike
            The folder, which is made where there is none.
        metadata : dict, optional
            What the card's header says beside what it says anyway, for example license and datasets.
        **options : object
            Of `DiffusionPipeline.save_pretrained`, but not push_to_hub.

        Raises
        ------
        ValueError
            For push_to_hub=True: call the method `push_to_hub`.
        """
        if options.pop("push_to_hub", False):
            rule = "must be False (the method push_to_hub does it, with the card)"
            raise ValueError(f"BlackoutPipeline.save_pretrained: push_to_hub: {rule}, got True")
        super().save_pretrained(save_directory, **options)
        card = Path(save_directory) / "README.md"
        if not card.exists():
            card.write_text(_model_card(self.unet, self.scheduler, metadata or {}))

    def push_to_hub(self, repo_id: str, metadata: dict[str, Any] | None = None, **options: Any) -> str:
        """Write the pipeline and its card to a repository of the Hugging Face Hub, which is made where there is none.

        Parameters
        ----------
        repo_id : str
            "owner/name".
        metadata : dict, optional
            As of `save_pretrained`.
        **options : object
            Of `huggingface_hub.create_repo`: private, token and more.

        Returns
        -------
        str
            The address of the repository.
        """

        def save(folder: Path) -> Path:
            self.save_pretrained(folder, metadata)
            return folder

        return saved.push(repo_id, save, options)


def _model_card(unet: ModelMixin, scheduler: BlackoutScheduler, metadata: Mapping[str, Any]) -> str:
    """Markdown. metadata: what the header says beside what it says anyway."""
    config, classes = scheduler.config, unet.config.num_class_embeds
    size = unet.config.sample_size
    header = {
        "library_name": "fastblackout",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["fastblackout", "diffusers", "blackout-diffusion", "count-data"],
        **metadata,
    }
    shape = (unet.config.in_channels - config.noise_channels, *((size, size) if isinstance(size, int) else size))
    return _CARD.format(
        header=ModelCardData(**header).to_yaml(),
        shape=" x ".join(map(str, shape)),
        counts="without a bound" if config.max_count is None else f"in 0..{config.max_count}",
        head=config.head,
        schedule=scheduler.schedule,
        labels="none" if classes is None else f"0..{classes - 2}",
        parameters=f"{sum(each.numel() for each in unet.parameters()):,}",
        call="batch_size=1" if classes is None else "class_labels=[0]",
        version=__version__,
    )
