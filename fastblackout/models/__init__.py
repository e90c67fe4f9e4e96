"""Networks, their descriptions and the moving average of weights. Needs torch; `import fastblackout` does not."""

from .config import NetworkConfig, register_network
from .ema import ModelEMA, ema_decay, ema_of
from .mlp import ResidualMLP
from .ncsnpp import PRESETS, NCSNpp, celeba64, cifar10, mnist, small
from .score_sde import load_score_sde

__all__ = [
    "PRESETS",
    "ModelEMA",
    "NCSNpp",
    "NetworkConfig",
    "ResidualMLP",
    "celeba64",
    "cifar10",
    "ema_decay",
    "ema_of",
    "load_score_sde",
    "mnist",
    "register_network",
    "small",
]
