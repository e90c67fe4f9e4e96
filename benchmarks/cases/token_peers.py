"""What discrete diffusion on tokens is written with elsewhere, in torch: MDLM and SEDD, and D3PM's rows of a matrix."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cases.peers import Calls

PART = 16  # tokens of which each has a row of as many probabilities as there are words
ROW_A_TOKEN = "torch.multinomial, a row a token"


def redraw(tokens: torch.Tensor, times: Sequence[torch.Tensor], states: int, masks: bool) -> Calls:
    """Tokens that stay with probability exp(-t), else are the mask, the last of `states`, or uniform.

    As MDLM (q_xt) and SEDD (sample_transition of Absorbing and of Uniform) write it; and a matrix row for each of PART
    tokens. times: of each call, broadcasting with the tokens.
    """

    def transition(i: int) -> torch.Tensor:
        move_chance = 1 - torch.exp(-times[i % len(times)])
        move = torch.rand(tokens.shape) < move_chance
        return torch.where(move, states - 1 if masks else torch.randint_like(tokens, states), tokens)

    def dense(i: int) -> torch.Tensor:
        stay = torch.exp(-times[i % len(times)][:1, :PART])[..., None]
        law = torch.zeros(states) if masks else torch.full((states,), 1 / states)
        law[-1] = 1.0 if masks else law[-1]
        rows = stay * torch.nn.functional.one_hot(tokens[:1, :PART], states) + (1 - stay) * law
        return torch.multinomial(rows.reshape(-1, states), 1).reshape(1, PART)

    return {"torch, as MDLM and SEDD": transition, ROW_A_TOKEN: dense}


def unmask(tokens: torch.Tensor, masked: Sequence[torch.Tensor], times: Sequence[torch.Tensor], mask: int) -> Calls:
    """x_s of known tokens, s = 0.7 t: the bridge of the absorbing process in two lines."""

    def call(i: int) -> torch.Tensor:
        x_t, t = masked[i % len(masked)], times[i % len(times)][:, None].float()
        chance = (torch.exp(-0.7 * t) - torch.exp(-t)) / (1 - torch.exp(-t))
        return torch.where((x_t == mask) & (torch.rand(x_t.shape) < chance), tokens, x_t)

    return {"torch, two lines": call}


def rows(given: torch.Tensor, logits: bool) -> Calls:
    """A state from each row of weights or logits: as SEDD and MDLM do (sample_categorical), and by multinomial."""

    def gumbel(_: int) -> torch.Tensor:
        weights = given.softmax(-1) if logits else given
        norm = 1e-10 - (torch.rand_like(weights) + 1e-10).log()
        return (weights / norm).argmax(-1)

    def multinomial(_: int) -> torch.Tensor:
        weights = given.softmax(-1) if logits else given
        return torch.multinomial(weights.reshape(-1, weights.shape[-1]), 1).reshape(weights.shape[:-1])

    return {"torch, as SEDD and MDLM": gumbel, "torch.multinomial": multinomial}
