# Types of the CUDA kernels. The functions of the package check their arguments.
from typing import Any, Protocol

from ._cpu import Call

class Kernel(Protocol):
    # where: device, stream, samples, elements of one, address of the flag, and the op's name for errors.
    # fields: the fields of the op and its outputs; a tensor is (address, dtype code, shape, strides).
    def __call__(self, where: tuple[int, int, int, int, int, str], /, *fields: Any) -> None: ...

bessel: Kernel
beta: Kernel
beta_binomial: Kernel
binomial: Kernel
birth_loss: Kernel
birth_loss_backward: Kernel
bridge_log_prob: Kernel
bridge_step: Kernel
build_categorical_table: Kernel
categorical: Kernel
categorical_bridge: Kernel
categorical_table: Kernel
energy_loss: Kernel
energy_loss_backward: Kernel
gamma: Kernel
hypergeometric: Kernel
negative_binomial: Kernel
normal: Kernel
philox: Kernel
poisson: Kernel
posterior_loss: Kernel
posterior_loss_backward: Kernel
posterior_step: Kernel
tau_leap_step: Kernel
thin: Kernel
thin_log_prob: Kernel
transition_rows: Kernel

# Of the short way of plain tensors (fastblackout/call/short.py). None: the call is left to the long way.
call_bessel: Call
call_beta: Call
call_beta_binomial: Call
call_binomial: Call
call_birth_loss_backward: Call
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
# Of losses: (outputs, what a gradient needs), as call_loss_by of csrc/bindings/short_function.h says.
loss_birth_loss: Call
loss_energy_loss: Call
loss_posterior_loss: Call

def learn(table: Any, known: Any, /) -> bool: ...
def xla_handlers() -> dict[str, Any]: ...  # of XLA, by op, as capsules
