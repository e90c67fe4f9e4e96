"""Blackout Diffusion for diffusers: a scheduler, a pipeline and networks (`pip install 'fastblackout[diffusers]'`).

They run the heads, rules and steps of fastblackout: with equal keys they draw what `fb.sample` draws, to the bit.
"""

from __future__ import annotations

from ..ground.extras import pip_line as _pip_line

try:
    import diffusers as _diffusers  # noqa: F401
except ImportError as error:
    _text = f"fastblackout.diffusers: diffusers: must be installed ({_pip_line('diffusers')}), got: {error}"
    raise ModuleNotFoundError(_text) from None

# A saved pipeline names the modules `network` and `scheduler`, so their names must stay.
from .network import BlackoutNetwork, unet2d
from .pipeline import BlackoutPipeline
from .scheduler import BlackoutScheduler, BlackoutSchedulerOutput, RedrawScheduler, RedrawSchedulerOutput

__all__ = [
    "BlackoutNetwork",
    "BlackoutPipeline",
    "BlackoutScheduler",
    "BlackoutSchedulerOutput",
    "RedrawScheduler",
    "RedrawSchedulerOutput",
    "unet2d",
]
