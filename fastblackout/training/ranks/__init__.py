"""Several processes at one training, sampling or evaluation, as torchrun and `accelerate launch` start them: ranks."""

from .launch import RankFailed, current, end_process, let_first_speak, speaks, together

__all__ = ["RankFailed", "current", "end_process", "let_first_speak", "speaks", "together"]
