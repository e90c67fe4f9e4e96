# Types of the CPU's kernels. The functions of the package check their arguments; these check what could crash.
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

R = TypeVar("R")

class Kernel(Protocol):
    # size: samples, and elements of one. isa: its place in `isas`, or -1. fields: the fields of the op and its outputs,
    # in the order of csrc/include/fastblackout/ops.h.
    def __call__(self, size: tuple[int, int], threads: int, isa: int, /, *fields: Any) -> None: ...

bessel: Kernel
beta: Kernel
beta_binomial: Kernel
binomial: Kernel
binomial_log_prob: Kernel
birth_loss: Kernel
birth_loss_backward: Kernel
birth_loss_each: Kernel
birth_loss_each_backward: Kernel
bridge_log_prob: Kernel
bridge_step: Kernel
build_categorical_table: Kernel
categorical: Kernel
categorical_bridge: Kernel
categorical_rows: Kernel
categorical_table: Kernel
energy_loss: Kernel
energy_loss_backward: Kernel
gamma: Kernel
group_norm_silu: Kernel
group_norm_silu_gradient: Kernel
hypergeometric: Kernel
keep_counts: Kernel
negative_binomial: Kernel
normal: Kernel
poisson: Kernel
posterior_loss: Kernel
posterior_loss_backward: Kernel
posterior_step: Kernel
power_series: Kernel
redraw: Kernel
tau_leap_step: Kernel
thin: Kernel
thin_cells: Kernel
thin_log_prob: Kernel
transition_rows: Kernel

# Of the processor: the instruction set that was chosen, all that were compiled, and whether one is emulated here.
def isa() -> str: ...
def isas() -> list[str]: ...
def emulated(isa: str, /) -> bool: ...

# Of the short way of plain calls (fastblackout/call/short.py). None: the call is left to the long way.
class Call(Protocol):
    def __call__(
        self, backend: str, values: tuple[Any, ...], request: tuple[Any, ...], spec: tuple[Any, ...], /
    ) -> Any: ...  # what the op returns

call_bessel: Call
call_beta: Call
call_beta_binomial: Call
call_binomial: Call
call_birth_loss_backward: Call
call_bridge_log_prob: Call
call_bridge_step: Call
call_energy_loss_backward: Call
call_gamma: Call
call_hypergeometric: Call
call_negative_binomial: Call
call_normal: Call
call_poisson: Call
call_posterior_loss_backward: Call
call_posterior_step: Call
call_tau_leap_step: Call
call_thin: Call
call_thin_log_prob: Call
# Of losses: (outputs, what a gradient needs), as call_loss_by of csrc/bindings/short_function.h says.
loss_birth_loss: Call
loss_energy_loss: Call
loss_posterior_loss: Call

def learn(table: Any, known: Any, /) -> bool: ...
def quick_scale(slopes: Any, upstream: Any, weight: Any, /) -> Tensor | None: ...
def quick_energy_gradient(
    values: tuple[Any, ...], norms: Any, upstream: Any, memory: Any, spec: tuple[Any, ...], /
) -> Tensor | None: ...
def quick_settings(backend: str, /) -> tuple[int, int] | None: ...  # threads and instruction set, for tests

# Of XLA: handlers by op, as capsules.
def xla_handlers() -> dict[str, Any]: ...

# Calls a function with the processor's usual treatment of subnormal numbers.
def with_default_floats(function: Callable[[], R], /) -> R: ...

# For tests: they turn ways of drawing on or off and return whether they were on, and show what kernels compute with.
def use_vbmi(use: bool, /) -> bool: ...
def use_gathers(use: bool, /) -> bool: ...
def philox(counter: Sequence[int], key: Sequence[int], isa: int, /) -> list[tuple[int, int, int, int]]: ...
def thresholds(p: float, q: float, unit: int, lane: int, isa: int, /) -> list[int]: ...
