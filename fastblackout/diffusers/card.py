"""The model card of a pipeline: README.md, whose header the Hugging Face Hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelCardData

from .._version import __version__

if TYPE_CHECKING:
    from diffusers import ModelMixin

    from .scheduler import BlackoutScheduler

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


def model_card(unet: ModelMixin, scheduler: BlackoutScheduler, metadata: Mapping[str, Any]) -> str:
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
