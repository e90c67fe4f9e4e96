"""Compiles the Triton kernels ahead of time for one target through their real JIT path; started by test_triton_aot.py.

A stub driver names the target, so that kernel.warmup specialises and compiles as on that GPU; no GPU is touched. Prints
one JSON line: "kernels", a list of facts for each kernel compiled, and, asked for by the word keys, "kinds", the number
of kernels that calls unlike in keys and sizes alone have met.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from support import sass


class StubDriver:
    def __init__(self, target):
        self.target = target

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=0):
        return 0

    def get_active_torch_device(self):
        return torch.device("cpu")


TARGET = sys.argv[1]
IS_HIP = TARGET.startswith("gfx")
driver.set_active(StubDriver(GPUTarget("hip", TARGET, 64) if IS_HIP else GPUTarget("cuda", int(TARGET), 32)))

import fastblackout as fb  # noqa: E402
from support import triton_aot_cases as cases  # noqa: E402
from support.draws import DRAWS  # noqa: E402

compiled = []  # (case, kernel name, compiled kernel, {argument: dtype})
case = ""


class Warmup:
    def __init__(self, name, kernel):
        self.name, self.kernel = name, kernel

    def __getitem__(self, grid):
        def call(*args, **options):
            name = f"{self.name} wide" if options.get("WIDE") else self.name
            if options.get("LAW"):  # budgets are for each law
                name = name.replace("posterior", "negative_binomial")
            given = zip(self.kernel.arg_names, args, strict=False)
            dtypes = {n: str(a.dtype).removeprefix("torch.") for n, a in given if isinstance(a, torch.Tensor)}
            compiled.append((case, name, self.kernel.warmup(*args, grid=grid, **options), dtypes))

        return call


for _module in [module for name, module in sys.modules.items() if name.startswith("fastblackout.kernels.")]:
    for _name, _value in list(vars(_module).items()):
        if isinstance(_value, triton.runtime.JITFunction) and _name.endswith("_kernel"):
            setattr(_module, _name, Warmup(_name, _value))

F32, I32 = torch.float32, torch.int32


def respecialised():
    """Distinct kernels of each op over keys, call numbers, sizes and limits; one each where nothing is specialised."""
    global case
    compiled.clear()
    keys = [fb.Philox(seed, call=call).tensor() for seed in (0, 1, 16, 1 << 63) for call in (0, 1, 16)]
    shapes, limits = [(1, 1), (2, 31), (16, 17), (1, 4999), (17, 33), (3, 1)] * 2, [1, 16, 17, 200, 254, 2] * 2
    for number, (k, shape, most) in enumerate(zip(keys, shapes, limits, strict=True)):
        case = f"again {number}"
        cases.thin(key=k, shape=shape, most=most, asked=(True, False, False))
        cases.thin(I32, key=k, shape=shape, most=most + 300, asked=(True, False, False))
        cases.bridge(key=k, shape=shape, most=most)
        cases.bridge(I32, key=k, shape=shape, most=most + 300)
        cases.tau_leap(key=k, shape=shape, most=most)
        cases.law_step(key=k, shape=shape, most=most)
        cases.law_step(key=k, shape=shape, most=most, components=1)
        cases.law_step(key=k, shape=shape, most=most, components=-1)
        for op in DRAWS:
            cases.draw(op, key=k, shape=shape)
        cases.loss(shape=shape)
        cases.loss(shape=(shape[0], shape[1] + 4999))  # chunks, then their sums
        cases.grad(shape=shape)
        cases.energy(shape=shape, most=most, draws=2 + number % 7)
        cases.posterior(shape=shape, most=most)
        cases.posterior(shape=shape, most=most, components=1)
        cases.posterior(shape=shape, most=most, components=-1)
        cases.categorical(key=k, shape=shape, states=most)
        cases.table(key=k, shape=shape, states=most)
        cases.states_bridge(key=k, shape=shape, states=most + 1)
        cases.states_bridge(weights=F32, key=k, shape=(shape[0], shape[1] + 2), states=most + 1)
        cases.transition(shape=shape, states=most)
    kinds = {}
    for _, name, kernel, _ in compiled:
        kinds.setdefault(name, set()).add(kernel.hash)
    return {name: len(hashes) for name, hashes in kinds.items()}


def facts(name, case, kernel):
    asm = kernel.asm
    if IS_HIP:
        text = asm["amdgcn"]

        def number(field):
            return int(re.search(rf"\.{field}:?\s+(\d+)", text)[1])

        return {
            "registers": number("vgpr_count"),
            "spills": number("vgpr_spill_count"),
            "scalar_spills": number("sgpr_spill_count"),
            "stack": number("private_segment_fixed_size"),
            "denormals": number("amdhsa_float_denorm_mode_32"),
            "fma": len(re.findall(r"v_(?:fma|fmac|mad|mac)_(?:f32|legacy)", text)),
            "divisions": text.count("v_div_fixup_f32"),
        }
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(asm["cubin"])
        ((used,),) = (found.values() for found in sass.resources(str(cubin)).values())
        counted = {}
        if case in cases.COUNTED:
            (lines,) = sass.disassembled(str(cubin)).values()
            counted = {
                "sass": sass.count(lines),
                "hot": sass.longest_loop(lines),
                "float_fma": sum(bool(re.search(r"\b[FD]FMA", text)) for _, text in lines),
            }
    ptx = asm["ptx"]
    return counted | {
        "registers": used.registers,
        "stack": used.stack + used.local,  # where registers are spilled to
        "inexact": re.findall(r"\bfma\.\S+|\S+\.ftz\S*|(?:div|sqrt|rcp)\.(?:full|approx)\S*|cvt\.rz\.b?f16\S*", ptx),
        "constants": re.findall(r"\b0[fd][0-9A-F]{8,16}\b", ptx) if "constants" in sys.argv else [],
        "ptx_bfloat16": "cvt.rn.bf16" in ptx,
    }


def main():
    global case
    for name, call in cases.CASES.items():
        case = name
        call()
    seen, result = set(), []
    for name, kernel_name, kernel, dtypes in compiled:
        if kernel.hash not in seen:
            seen.add(kernel.hash)
            result.append({"case": name, "kernel": kernel_name, "dtypes": dtypes, **facts(kernel_name, name, kernel)})
    return {"kernels": result} | ({"kinds": respecialised()} if "keys" in sys.argv else {})


if __name__ == "__main__":
    assert not sys.modules["fastblackout.kernels.launch"].INTERPRETED
    print(json.dumps(main()))
