"""The ops in JAX, under jit and vmap, and birth_loss under grad: `import fastblackout.jax as fbj`.

They draw what the ops of fastblackout draw with the key fbj.philox(key), to the bit.

- Arrays of JAX are traced. Python numbers, NumPy arrays and fb.Prob pairs of them are constants and keep float64.
  JAX's own arrays are float32 unless jax_enable_x64 is set.
- Under vmap one key for all slices draws the same in each. Split it first, and map over the parts.
- Wrong values in arrays raise the errors of the ops when the call runs, in whatever JAX raises then. The CUDA kernels
  raise nothing, also inside fb.check_values. They clamp counts and probabilities, as help(fb.check_values) says, and
  without jax_enable_x64 Poisson counts to 2^31 - 1, where the CPU raises.

Compiled programs call the kernels through XLA's foreign function interface (FFI): on the CPU its kernels, on an NVIDIA
GPU the CUDA kernels, if fastblackout was built with them. (The latter were checked in the SIMT shim, and have not run
on a GPU yet.) Elsewhere jax.pure_callback hands the arrays to Python through the host's memory.
https://github.com/fastblackout/fastblackout/blob/main/docs/ops.md says when, and `fastblackout info` whether this
version of JAX takes the kernels.
"""

from __future__ import annotations

from ..ground.extras import pip_line as _pip_line
from ..ground.named import name_all as _name_all

try:
    import jax as _jax  # noqa: F401
except ImportError as error:
    _text = f"fastblackout.jax: jax: must be installed ({_pip_line('jax')}), got: {error}"
    raise ModuleNotFoundError(_text) from None

from .keys import philox
from .ops import binomial, birth_loss, bridge_step, poisson, tau_leap_step, thin

__all__ = ["binomial", "birth_loss", "bridge_step", "philox", "poisson", "tau_leap_step", "thin"]

_name_all(globals())
