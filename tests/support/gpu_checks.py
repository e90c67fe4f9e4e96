"""Checks of a GPU backend beyond the product: CUDA graphs, flags, parts of a batch, streams, processes, fb.sample.

gpu_torch_checks.py has the checks of torch.compile. test_gpu.py runs them on the card, test_gpu_script.py on the CPU,
where a backend is "cpu" or Triton's interpreter.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import fastblackout as fb
from fastblackout.reference.philox import Stream, philox4x32
from support import process_calls
from support.helpers import KEYS
from support.known_answers import PHILOX, words_of
from support.op_table import OPS, PLAIN
from support.product import arguments, kernels_of, launch, moved, poison, public, same


def captured(
    step: Callable[[], dict[str, Tensor]], device: torch.device, warm: bool = True
) -> tuple[Callable[[], Any], dict[str, Tensor]]:
    """(replay, the tensors it writes); on the CPU, which has no graphs, the replay is a call. warm: it runs before."""
    if device.type == "cpu":
        made: dict[str, Tensor] = {}
        return lambda: made.update(step()), made
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2 if warm else 0):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = step()
    return graph.replay, made


def check_philox(device: torch.device, module: Any = None) -> None:
    """Random123's known answers by each Philox of the CUDA kernels, the hot loop's too, in every thread."""
    from fastblackout.backends import cuda

    for answer in PHILOX:
        counter, key, result = words_of(answer)
        words = torch.zeros(64, 3, 4, dtype=torch.int64, device=device)
        cuda.philox(words, torch.tensor([*counter, *key], device=device), None, module=module)
        assert words.tolist() == [[list(result)] * 3] * 64, answer


def check_first(op: str, backend: str, device: torch.device, shape: tuple[int, ...]) -> None:
    """An op that runs for the first time in a capture, once another has run: its kernels are loaded there. For CUDA:
    Triton's kernels must have run before."""
    rng, other = fb.Philox(7, first_sample=5), "poisson" if op == "normal" else "normal"
    public(other, moved(arguments(other, PLAIN | {"shape": shape}), device), rng.tensor(device), backend)
    a = arguments(op, PLAIN | {"shape": shape})
    there, key = moved(a, device), rng.tensor(device)
    replay, made = captured(lambda: public(op, there, key, backend), device, warm=False)
    replay()
    for name, expected in public(op, a, rng).items():
        same(f"first call in a capture: {name}", made[name], expected)


def draws_by_key(op: str) -> bool:
    return len(OPS[op].factors.get("key", KEYS)) > 1


def check_graph(op: str, backend: str, device: torch.device, shape: tuple[int, ...]) -> None:
    """Each replay draws with the key it finds on the device, which the captured step itself advances."""
    a, rng = arguments(op, PLAIN | {"shape": shape}), fb.Philox(2**63 + 1, first_sample=5)
    there, key = moved(a, device), rng.tensor(device)

    def step() -> dict[str, Tensor]:
        result = public(op, there, key, backend)
        key[2:].add_(1)
        return result

    replay, made = captured(step, device)
    draws = []
    for _ in range(3):
        for value in made.values():
            poison(value)
        call = int(key[2].item())
        replay()
        for name, expected in public(op, a, rng.at(call=call)).items():
            same(f"CUDA graph, call {call}: {name}", made[name], expected)
        draws.append(next(iter(made.values())).clone())
    if draws_by_key(op):
        assert not torch.equal(draws[0], draws[1]) and not torch.equal(draws[1], draws[2]), "a replay drew the same"


def changed(tensor: Tensor, value: float) -> Tensor:
    """With another last entry."""
    made = tensor.clone()
    made.view(-1)[-1] = value
    return made


def check_flags(op: str, backend: str, device: torch.device, shape: tuple[int, ...]) -> None:
    """Wrong values are told by fb.check_values, though calls with right ones follow, and only once."""
    good, rng = moved(arguments(op, PLAIN | {"shape": shape}), device), fb.Philox(1)
    with fb.check_values():
        public(op, good, rng, backend)
    key = rng.tensor(device)
    cases = [
        (good | {name: changed(good[name], value)}, key, f"{name} = {value}", r) for name, value, r in OPS[op].wrong
    ]
    if draws_by_key(op):
        cases.append((good, changed(key, 2**32), "the key's call", "gain"))
    for bad, its_key, what, rule in cases:
        try:
            with fb.check_values():
                public(op, bad, its_key, backend)
                public(op, good, key, backend)
        except ValueError as error:
            assert f"{op}: {rule}" in str(error), f"flag of {what}: {error}"
        else:
            raise AssertionError(f"fb.check_values says nothing of {what}")
        fb.check_values.check()


def check_rounding_ties(kernels: Any, max_count: int) -> None:
    """Expected births whose 32 leading bits equal the uniform's, so that its last 16 bits decide."""
    calls = np.arange(1 << 14)
    words = np.stack(philox4x32(np.arange(16)[:, None], 0, calls[None, :], Stream.ROUNDING.word(), 5, 0))
    which = np.argwhere(words < 1 << 15)  # so that float32 holds 9 bits more
    seen = set()
    for word, block, call in which[:24]:
        i, call = int(4 * block + word), int(call)
        y = torch.full((1, 64), 0.25)
        y[0, i] = float((int(words[word, block, call]) + 0.5) * 2.0**-32)
        assert int(float(y[0, i]) * 2.0**32) == words[word, block, call]
        x, rng, flag = torch.zeros(1, 64, dtype=torch.int16), fb.Philox(5, call=call), torch.zeros(1).int()
        p, one, out = torch.ones(1, dtype=torch.float64), torch.ones(1), torch.empty_like(x)
        given = x, None, y, p, 1 - p, None, None, rng.tensor(), max_count, one, True, one, one, out, None, flag
        kernels.bridge_step(*given)
        assert torch.equal(out, fb.bridge_step(x, births=y, step=1.0, rng=rng, max_count=max_count).x_s)
        seen.add(int(out[0, i]))
    assert seen == {0, 1}, "both outcomes of a tie must occur; missing by chance once in 8 million"


def check_ranks(op: str, backend: str, device: Any, shape: tuple[int, ...], max_count: int = 100) -> None:
    """A batch in 2, 3 and 8 parts, each with its first_sample, gives what it gives at once on the reference."""
    batch = shape[0]
    a, rng, expected = _at_once(op, shape, max_count)
    there = moved(a, device)
    kernels = kernels_of(backend) if backend.startswith("simt") else None
    for ranks in (2, 3, 8):
        made = {name: torch.zeros_like(value, device=device) for name, value in expected.items()}
        edges = [batch * rank // ranks for rank in range(ranks + 1)]
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            part = {n: v[low:high] if isinstance(v, Tensor) else v for n, v in there.items()}
            own, own_rng = {n: v[low:high] for n, v in made.items()}, rng.at(first_sample=rng.first_sample + low)
            if kernels is not None:
                launch(kernels, op, part, own_rng, own)
            else:
                for name, value in public(op, part, own_rng, backend).items():
                    own[name].copy_(value)
        for name, value in expected.items():
            same(f"{ranks} parts: {name}", made[name], value)


@functools.lru_cache(64)
def _at_once(op: str, shape: tuple[int, ...], max_count: int) -> tuple[Any, fb.Philox, Any]:
    """Arguments, key and what the reference makes of them, the same for all backends."""
    rng = fb.Philox(2**64 - 1, first_sample=2**31 - 5, call=3)  # over the sign bit of the 32-bit counter
    a = arguments(op, PLAIN | {"shape": shape, "max_count": max_count})
    return a, rng, public(op, a, rng, "reference")


class Times(nn.Module):
    """Nothing but a product, which has one result on every device."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.015))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return x * self.weight


def check_sample(options: dict[str, Any], backend: str, device: torch.device) -> None:
    """fb.sample as a captured loop, as a loop, and on the CPU."""
    schedule = fb.Schedule.logit(100)
    model = fb.BlackoutModel(Times(), schedule, options.get("max_count", 255))
    given: dict[str, Any] = {"steps": 12, "rng": fb.Philox(2**63, first_sample=3)}
    given |= {name: value for name, value in options.items() if name != "max_count"}
    expected = fb.sample(model, schedule, (6, 2, 5, 7), **given)
    assert expected.any()
    model = model.to(device)
    with fb.use_backend(backend):
        for graph in (False, True):
            drawn = fb.sample(model, schedule, (6, 2, 5, 7), cuda_graph=graph, **given)
            same(f"sample {options}, cuda_graph={graph}", drawn, expected)


SAMPLERS: tuple[Any, ...] = (
    {},
    {"attrition": 0.1, "rounding": "nearest"},
    {"sampler": "tau-leap"},
    {"max_count": 1000},
)


def check_stream(op: str, backend: str, device: torch.device, shape: tuple[int, ...]) -> None:
    """Work goes to the current stream: inputs that are made late on a stream of the caller's are waited for."""
    a, rng = arguments(op, PLAIN | {"shape": shape}), fb.Philox(5, first_sample=6, call=7)
    expected, there = public(op, a, rng), moved(a, device)
    key = rng.tensor(device)
    late = {name: torch.zeros_like(value) for name, value in there.items() if isinstance(value, Tensor)}
    public(op, there, key, backend)  # compiled
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(500_000_000)  # clocks, some 0.3 s
        for name, value in late.items():
            value.copy_(there[name])
        made = public(op, there | late, key, backend)
        assert not side.query(), "the call waited for the device"
    side.synchronize()
    for name, value in expected.items():
        same(f"on a stream: {name}", made[name], value)


def check_process(name: str, backend: str, device: torch.device) -> None:
    """Every method of a process, and every function of its states, on tensors of a device: what NumPy gives."""
    process, rng = process_calls.PROCESSES[name], fb.Philox(2**63, first_sample=5)
    arrays = process_calls.arguments(process)
    tensors = {key: torch.from_numpy(value).to(device) for key, value in arrays.items()}
    tensors["posterior"].requires_grad_()  # as a network gives it
    found = process_calls.calls(process, tensors, rng)
    for call, expected in process_calls.calls(process, arrays, rng).items():
        wanted = torch.as_tensor(expected())
        with fb.use_backend(backend):
            made = found[call]()
        assert made.device == tensors["x_t"].device, f"{name}: {call}: made on {made.device}"
        # Draws are equal. So are the P(t), which the host makes; sums over states go in another order on a device.
        tolerance = 1e-12 if wanted.is_floating_point() else 0.0
        made = made.detach().cpu()
        torch.testing.assert_close(
            made,
            wanted,
            rtol=tolerance,
            atol=tolerance,
            equal_nan=True,
            msg=lambda text, c=call: f"{name}: {c}: {text}",
        )


def check_tokens(device: torch.device) -> None:
    """What operations of torch draw on a device: the CPU's bits, and wrong values told by fb.check_values."""
    words, key, random = 50_258, fb.Philox(2**63, first_sample=5), torch.Generator().manual_seed(0)
    x_0, t = torch.randint(0, words - 1, (3, 41), generator=random), torch.rand(3, 41, generator=random)
    logits = torch.randn(3, 5, 700, generator=random)
    there, rng = x_0.to(device), key.tensor(device)
    for process in (fb.Uniform(words), fb.Absorbing(words, 7), fb.Redraw(torch.ones(words) / words)):
        x_t = process.sample_forward(x_0, t, rng=key)
        x_s = process.sample_bridge(x_t, x_0, t / 3, t, rng=key)
        same("x_t", process.sample_forward(there, t, rng=rng), x_t)
        same("x_s", process.sample_bridge(x_t.to(device), there, t / 3, t, rng=rng), x_s)
        assert (x_s != x_t).any() and (x_s != x_0).any()
    for given in ({"logits": logits}, {"weights": logits.double().exp()}):
        ((name, values),) = given.items()
        expected = fb.categorical_rows(**given, rng=key)
        same(name, fb.categorical_rows(**{name: values.to(device)}, rng=rng), expected)
    if device.type == "cpu":
        return  # where wrong values are refused at once
    masked = fb.Absorbing(words)
    wrong: dict[str, Callable[[], Any]] = {
        "Absorbing.sample_forward: counts": lambda: masked.sample_forward(there + words, 1.0, rng=rng),
        "Absorbing.sample_bridge: probability": lambda: masked.sample_bridge(there, (there + 1) % 9, 0.5, 1.0, rng=rng),
        "categorical_rows: logits": lambda: fb.categorical_rows(logits=logits.to(device) - math.inf, rng=rng),
        "categorical_rows: probability": lambda: fb.categorical_rows(logits.to(device) - 9.0, rng=rng),
    }
    for text, call in wrong.items():
        told = ""
        try:
            with fb.check_values():
                call()
        except ValueError as error:
            told = str(error)
        assert text in told, (text, told)
