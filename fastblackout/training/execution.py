"""How a network is executed: compiled or as it is written, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

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
    training has a trial of it, see trial.py.
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
