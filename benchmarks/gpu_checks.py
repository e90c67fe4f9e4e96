"""Checks of the GPU kernels on the card: every op gives the CPU's bits, whatever its arguments and however it is run.

python benchmarks/gpu_checks.py OP BACKEND [--seconds S] [--device D] runs the checks of one op and prints a JSON line.
gpu.py starts a process for each, on what it has built, so that a kernel that crashes or hangs ends nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from gpu_cases import NO_DRAW, OPS, PLAIN, Arguments, arguments, cases, direct, public
from torch import Tensor, nn

import fastblackout as fb

# What a wrong value sets off: (argument, value, how the rule begins).
WRONG: dict[str, tuple[tuple[str, float, str], ...]] = {
    "thin": (("x", 200, "counts"), ("p", 1.5, "probability")),
    "bridge_step": (("logits", math.nan, "logits"), ("p", math.nan, "probability")),
    "tau_leap_step": (("logits", math.inf, "logits"), ("x", -1, "counts")),
    "birth_loss": (("logits", math.nan, "logits"),),
    "binomial": (("x", -1, "counts"), ("prob", 1.5, "probability")),
    "poisson": (("rate", math.nan, "probability"),),
    "categorical": (("x", 200, "counts"), ("probs", math.nan, "probability")),
    "categorical_bridge": (("logits", math.nan, "logits"), ("after", math.nan, "probability")),
    "transition_rows": (("p", 1.5, "probability"),),
    "thin_log_prob": (("x", -1, "counts"), ("p", math.nan, "probability")),
    "bridge_log_prob": (("b", -1, "counts"),),
}
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_GUARD = 64  # bytes on either side of an output


def poison(value: Tensor) -> None:
    size = value.element_size()
    value.view(_INTEGERS[size]).fill_(int.from_bytes(b"\xa5" * size, "little", signed=size > 1))


class Output:
    """A tensor full of a pattern, within a larger buffer whose other bytes must keep theirs."""

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, layout: str, device: Any) -> None:
        rank, size = len(shape), torch.empty((), dtype=dtype).element_size()
        axes, larger, cut = list(range(rank)), list(shape), [slice(None)] * rank
        if layout == "channels_last":
            axes = [0, *range(2, rank), 1] if rank > 2 else axes[::-1]
        elif layout == "sliced":
            larger, cut = [2 * n for n in shape], [slice(0, None, 2)] * rank
        elif layout == "inner":
            larger, cut = [n + 3 for n in shape], [slice(1, n + 1) for n in shape]
        memory = [larger[axis] for axis in axes]
        used = math.prod(memory) * size
        self.buffer = torch.full((used + 2 * _GUARD,), 0xA5, dtype=torch.uint8, device=device)
        whole = self.buffer[_GUARD : _GUARD + used].view(dtype).view(memory)
        self.value = whole.permute([axes.index(axis) for axis in range(rank)])[tuple(cut)]

    def check(self, name: str, expected: Tensor) -> None:
        same(name, self.value, expected)
        poison(self.value)
        assert bool((self.buffer == 0xA5).all()), f"{name}: bytes outside it were written"


def same(name: str, got: Tensor, expected: Tensor) -> None:
    a, b = (t.detach().cpu().contiguous() for t in (got, expected))
    assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{name}: {a.dtype} {a.shape}, not {b.dtype} {b.shape}"
    wrong = (a.view(_INTEGERS[a.element_size()]) != b.view(_INTEGERS[b.element_size()])).reshape(-1).nonzero()
    if len(wrong):
        at = int(wrong[0])
        raise AssertionError(f"{name}: {len(wrong)} wrong, {at}: {a.view(-1)[at].item()}, not {b.view(-1)[at].item()}")


def moved(a: Arguments, device: Any, layout: str = "contiguous") -> Arguments:
    """The arguments on a device, arrays in a layout."""
    result = dict(a)
    for name, value in a.items():
        if isinstance(value, Tensor):
            place = Output(value.shape, value.dtype, layout if value.ndim > 1 else "contiguous", device)
            result[name] = place.value.copy_(value)
    return result


def check_case(kernels: Any, device: Any, op: str, case: dict[str, Any], number: int) -> None:
    """One case, into poisoned outputs, against the CPU."""
    a, rng = arguments(op, case, number), fb.Philox(case["seed"], 2**32 - 1000, 2**32 - 1 - number)
    expected, layout = public(op, a, rng), case["layout"]
    out = {n: Output(e.shape, e.dtype, layout if e.ndim > 1 else "contiguous", device) for n, e in expected.items()}
    flag = torch.zeros(1, dtype=torch.int32, device=device)
    values = {name: made.value for name, made in out.items()}
    direct(kernels, op, moved(a, device, layout), rng.tensor(device), values, flag)
    for name, made in out.items():
        made.check(name, expected[name])
    assert flag.item() == 0, f"flag {flag.item()}"


def captured(
    step: Callable[[], dict[str, Tensor]], device: torch.device
) -> tuple[Callable[[], Any], dict[str, Tensor]]:
    """(replay, the tensors it writes); on the CPU, which has no graphs, the replay is a call."""
    if device.type == "cpu":
        made: dict[str, Tensor] = {}
        return lambda: made.update(step()), made
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = step()
    return graph.replay, made


def check_graph(op: str, backend: str, device: torch.device, shape: tuple[int, ...]) -> None:
    """Each replay draws with the key it finds on the device, which the captured step itself advances."""
    a, rng = arguments(op, PLAIN | {"shape": shape}), fb.Philox(2**63 + 1, 5)
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
    if op not in NO_DRAW:
        assert not torch.equal(draws[0], draws[1]) and not torch.equal(draws[1], draws[2]), "a replay drew the same"


def check_flags(op: str, backend: str, device: torch.device, shape: tuple[int, ...]) -> None:
    """Wrong values are told by fb.check_values, though calls with right ones follow, and only once."""
    good, rng = moved(arguments(op, PLAIN | {"shape": shape}), device), fb.Philox(1)
    with fb.check_values():
        public(op, good, rng, backend)
    for name, value, rule in WRONG[op]:
        bad = good | {name: good[name].clone()}
        bad[name].view(-1)[-1] = value
        try:
            with fb.check_values():
                public(op, bad, rng, backend)
                public(op, good, rng, backend)
        except ValueError as error:
            assert f"{op}: {rule}" in str(error), f"flag of {name} = {value}: {error}"
        else:
            raise AssertionError(f"fb.check_values says nothing of {name} = {value}")
        fb.check_values.check()


def check_ranks(op: str, backend: str, device: torch.device, shape: tuple[int, ...]) -> None:
    """256 samples in 1, 2, 3 and 8 parts, each with its first_sample, give what they give at once."""
    batch = 16 if device.type == "cpu" else 256
    a, rng = arguments(op, PLAIN | {"shape": (batch, *shape[1:])}), fb.Philox(2**64 - 1, 1000, 3)
    there, expected = moved(a, device), public(op, a, rng)
    for ranks in (1, 2, 3, 8):
        parts = []
        for rows in torch.arange(batch).chunk(ranks):
            first, end = int(rows[0]), int(rows[-1]) + 1
            part = {n: v[first:end] if isinstance(v, Tensor) else v for n, v in there.items()}
            parts.append(public(op, part, rng.at(first_sample=1000 + first), backend))
        for name, value in expected.items():
            same(f"{ranks} parts: {name}", torch.cat([part[name] for part in parts]), value)


class _Times(nn.Module):
    """Nothing but a product, which has one result on every device."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.015))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return x * self.weight


def check_sample(options: dict[str, Any], backend: str, device: torch.device) -> None:
    """fb.sample as a captured loop, as a loop, and on the CPU."""
    schedule = fb.Schedule.logit(100)
    model = fb.models.BlackoutModel(_Times(), schedule, options.get("max_count", 255))
    given: dict[str, Any] = {"steps": 12, "rng": fb.Philox(2**63, 3)}
    given |= {name: value for name, value in options.items() if name != "max_count"}
    expected = fb.sample(model, schedule, (6, 2, 5, 7), **given)
    assert expected.any()
    model = model.to(device)
    with fb.use_backend(backend):
        for graph in (False, True):
            drawn = fb.sample(model, schedule, (6, 2, 5, 7), cuda_graph=graph, **given)
            same(f"sample {options}, cuda_graph={graph}", drawn, expected)


SAMPLERS: tuple[dict[str, Any], ...] = (
    {}, {"attrition": 0.1, "rounding": "nearest"}, {"sampler": "tau-leap"}, {"max_count": 1000},
)  # fmt: skip


def run(op: str, backend: str, device: torch.device, seconds: float) -> dict[str, Any]:
    """{"op", "backend", "done": checks run in time, "of", "failures": texts}"""
    start, done = time.monotonic(), 0
    failures: list[str] = []
    todo: list[tuple[str, Callable[[], None]]]
    if op == "sample":
        todo = [(str(how), partial(check_sample, how, backend, device)) for how in SAMPLERS]
    else:
        kernels = importlib.import_module(f"fastblackout.backends.{backend}")
        shape = (3, 5) if device.type == "cpu" else (3, 3, 32, 32)  # on a CPU: Triton's interpreter
        single = (check_graph, check_flags, check_ranks)
        todo = [(f.__name__, partial(f, op, backend, device, shape)) for f in single]
        for number, case in enumerate(cases(op)):
            todo.append((str(case), partial(check_case, kernels, device, op, case, number)))
    for name, call in todo:
        if time.monotonic() - start > seconds or len(failures) == 5:  # after a CUDA error all others fail as well
            break
        try:
            call()
        except Exception as error:  # reported, and the others still run
            failures.append(f"{name}: {type(error).__name__}: {error}"[:500])
        done += 1
    return {"op": op, "backend": backend, "done": done, "of": len(todo), "failures": failures}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("op", choices=(*OPS, "sample"))
    parser.add_argument("backend", choices=("cuda", "triton"))
    parser.add_argument("--seconds", type=float, default=60.0, help="start no check after these (60)")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(run(asked.op, asked.backend, asked.device, asked.seconds)))
