"""How a network is executed: compiled or as it is written, in which precision; and a step as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..ground.values import check_name
from .config import COMPILE, PRECISIONS

if TYPE_CHECKING:
    from torch import Tensor

    from ..typing import Compile, Precision

EAGER_STEPS = 3  # of a CUDA graph, before the capture: libraries choose algorithms and kernels are compiled in them
WORTH_COMPILING = 1_000_000  # samples through a network: fewer take less time than compiling it, which takes minutes


@dataclass(frozen=True)
class Execution:
    """What "auto" came to. compiled: by torch.compile. precision: "fp32", "bf16" or "tf32"."""

    device: torch.device
    compiled: bool
    precision: str

    def lay_out(self, network: nn.Module) -> None:
        """Stores the weights as what runs them likes them best; copies of the network are made after this."""
        if self.compiled:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def compile(self, network: nn.Module) -> None:
        """Has the network compiled at its first call, in place: its weights keep their names."""
        if self.compiled:
            network.compile()

    def autocast(self) -> torch.autocast:
        """Within the block, networks run in bfloat16 if that is the precision. Weights stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    @contextmanager
    def of(self, network: nn.Module) -> Iterator[None]:
        """Within the block, the network is executed so. What was compiled is kept by torch for the next block."""
        before = network._compiled_call_impl
        self.lay_out(network)
        if before is None and not hasattr(network, "_orig_mod"):  # else its owner has compiled it
            self.compile(network)
        try:
            with self.settings(), self.autocast():
                yield
        finally:
            network._compiled_call_impl = before

    @contextmanager
    def settings(self) -> Iterator[None]:
        """Within the block, torch's settings for the whole process: TF32 or not, and cuDNN's search for the fastest
        algorithm for each shape. On a CPU there are none."""
        if self.device.type != "cuda":
            yield
            return
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
        try:
            matmul.allow_tf32 = cudnn.allow_tf32 = self.precision == "tf32"
            cudnn.benchmark = True
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


@contextmanager
def execution(model: Any, compile: Compile = "auto", precision: Precision = "auto") -> Iterator[None]:
    """Within the block, the network of a model is executed as `fastblackout sample` executes it for many samples.

    Outside of it a network runs as your program has set torch: by default in float32, not compiled.

    Parameters
    ----------
    model : BlackoutModel, CountBridge or torch.nn.Module
        The model, or the network itself.
    compile : {"auto", "on", "off"}, default "auto"
        Whether the network is compiled by torch.compile, at its first call. That takes minutes for a large network.
        "auto" is "on" on a GPU with Triton, and "off" on a CPU.
    precision : {"auto", "fp32", "bf16", "tf32"}, default "auto"
        "bf16" is autocast to bfloat16. "tf32" is float32 whose products are rounded to TF32, on a GPU alone. "auto" is
        "bf16" on a GPU that has it, else "fp32".

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    TypeError
        If the model has no network that is a torch module.
    ValueError
        If an argument is none of these names, or the device cannot do what it asks for.

    Notes
    -----
    Another precision gives other outputs of the network, so other samples. A compiled network's weights are laid out
    anew, channels last, and stay so after the block. So enter it once before you capture a CUDA graph of the network.
    On a GPU the block also sets TF32 (on for "tf32" alone) and cuDNN's search for algorithms, for the whole process,
    and restores both after it.

    Examples
    --------
    >>> run = fb.load_pretrained("digits", device="cpu")
    >>> with fb.execution(run.model, precision="bf16"):
    ...     images = run.model.sample((2, *run.shape), steps=5, rng=1)
    """
    inner = model
    while not hasattr(inner, "network") and hasattr(inner, "module"):
        inner = inner.module
    network = getattr(inner, "network", inner)
    if not isinstance(network, nn.Module):
        rule = "must have a network that is a torch.nn.Module"
        raise TypeError(f"execution: model: {rule}, got {type(model).__name__}")
    check_name("execution", "compile", compile, COMPILE)
    check_name("execution", "precision", precision, PRECISIONS)
    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    with execution_for("execution", compile, precision, device).of(network):
        yield


def execution_for(
    command: str,
    compile: str,
    precision: str,
    device: torch.device,
    work: int = WORTH_COMPILING,
    tried: bool = False,
) -> Execution:
    """The execution that the options ask for. work: how many samples will pass through the network. tried: whether
    compiling was found to be faster on this CPU.

    "auto" is, on a GPU, bf16 where the card has it, and compiled where Triton is installed and the work is worth it; on
    a CPU it is float32 and not compiled: there bfloat16 is slower, and compiling takes so long that only a long
    training has a trial of it, see run.py.
    Raises ValueError naming the option where the device cannot do what it asks for.
    """
    on_gpu = device.type == "cuda"
    if precision == "tf32" and not on_gpu:
        raise ValueError(f"{command}: precision: tf32 needs a GPU, got device {device}")
    if precision == "auto":
        precision = "bf16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    wanted = compile == "on" or (compile == "auto" and (work >= WORTH_COMPILING if on_gpu else tried))
    problem = why_not_compiled(device) if wanted else None
    if compile == "on" and problem is not None:
        raise ValueError(f"{command}: compile: on needs {problem}, got device {device} without")
    return Execution(device, wanted and problem is None, precision)


def why_not_compiled(device: torch.device) -> str | None:
    """What torch.compile lacks on the device, or None."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return None if has_triton() else "Triton and a GPU that it compiles for"
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:  # torch's own class for this moved between versions
        return f"a C++ compiler ({' '.join(str(error).split())[:100]})"
    return None


class StepGraph:
    """A training step as one CUDA graph: for small networks, whose launches take the host longer than the GPU's work.

    Calls `step` with tensors for its first EAGER_STEPS calls, then captures it once and replays it for ever.

    step: takes tensors of the same shapes at each call and returns tensors; what else it reads and writes must lie in
    the same memory each time. All random numbers must come from keys among its tensors or from the device's default
    generator, whose seed at a replay is the one set last before it.
    """

    def __init__(self, step: Callable[..., tuple[Tensor, ...]], device: torch.device) -> None:
        self._step, self._device = step, device
        self._stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._eager = 0

    def __call__(self, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if self._eager < EAGER_STEPS:  # on the stream of the capture, between what the current one did and will do
            self._eager += 1
            current = torch.cuda.current_stream(self._device)
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                outputs = self._step(*given)
            current.wait_stream(self._stream)
            return outputs
        if self._graph is None:
            self._inputs = [value.clone() for value in given]
            self._graph = torch.cuda.CUDAGraph()
            # thread_local: the threads that make batches and write checkpoints may go on meanwhile.
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                self._outputs = self._step(*self._inputs)
        for own, value in zip(self._inputs, given, strict=True):
            own.copy_(value)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)
