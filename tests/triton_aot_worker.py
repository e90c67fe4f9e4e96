"""Compiles the Triton kernels ahead of time for one target through their real JIT path; started by test_triton_aot.py.

A stub driver names the target, so that kernel.warmup specialises and compiles as on that GPU; no GPU is touched. Prints
one JSON line: a list of facts for each kernel compiled.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver


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

from fastblackout.backends import triton as backend  # noqa: E402

compiled = []  # (case, kernel name, compiled kernel)
case = ""


class Warmup:
    def __init__(self, name, kernel):
        self.name, self.kernel = name, kernel

    def __getitem__(self, grid):
        def call(*args, **options):
            compiled.append((case, self.name, self.kernel.warmup(*args, grid=grid, **options)))

        return call


for _stem in (
    "table", "thin", "bridge", "tau_leap", "birth_loss", "binomial", "poisson", "categorical", "transition",
):  # fmt: skip
    _module = sys.modules[f"fastblackout.kernels.{_stem}"]
    for _name, _value in list(vars(_module).items()):
        if isinstance(_value, triton.runtime.JITFunction) and _name.endswith("_kernel"):
            setattr(_module, _name, Warmup(_name, _value))


def doubles(rows):
    return torch.zeros(rows, dtype=torch.float64)


FLAG = torch.zeros(1, dtype=torch.int32)
U8, I16, I32, I64 = torch.uint8, torch.int16, torch.int32, torch.int64
F32, BF16, F16, F64 = torch.float32, torch.bfloat16, torch.float16, torch.float64


def key(seed=0, call=0):
    return torch.tensor([seed - (1 << 64) if seed >> 63 else seed, 0, call])


KEY = key()


def thin(counts=U8, inputs=F32, most=255, shape=(4, 3072), strided=False, key=KEY, asked=(True, True, True)):
    x, made = torch.zeros(shape, dtype=counts), torch.zeros(shape, dtype=inputs)
    if strided:
        x = torch.zeros(shape[1], shape[0], dtype=counts).t()
    one = torch.zeros(shape[0])
    outputs = [t if wanted else None for t, wanted in zip((x.clone(), x.clone(), made), asked, strict=True)]
    backend.thin(x, doubles(shape[0]), doubles(shape[0]), key, most, one, one, *outputs, FLAG)


def bridge(
    counts=U8, logits=F32, inputs=F32, most=255, given=False, stochastic=True, fall=False, shape=(4, 3072), key=KEY
):
    x, y, one = torch.zeros(shape, dtype=counts), torch.zeros(shape, dtype=logits), torch.zeros(shape[0])
    p = doubles(shape[0])
    backend.bridge(
        x, None if given else y, y if given else None, p, p, p if fall else None, p if fall else None, key, most, one,
        stochastic, one, one, x, torch.zeros(shape, dtype=inputs), FLAG,
    )  # fmt: skip


def tau_leap(counts=U8, logits=F32, inputs=F32, most=255, shape=(4, 3072), key=KEY):
    x, y, one = torch.zeros(shape, dtype=counts), torch.zeros(shape, dtype=logits), torch.zeros(shape[0])
    over = torch.zeros(shape[0], dtype=I64)
    backend.tau_leap(
        x, y, None, doubles(shape[0]), key, most, one, one, one, x, torch.zeros(shape, dtype=inputs), over, FLAG
    )


def loss(logits=F32, births=U8, shape=(4, 3072)):
    x, k, one = torch.zeros(shape, dtype=logits), torch.zeros(shape, dtype=births), torch.zeros(shape[0])
    backend.birth_loss(x, k, doubles(shape[0]), one, one, FLAG)


def grad(logits=F32, births=U8, shape=(4, 3072)):
    x, k, one = torch.zeros(shape, dtype=logits), torch.zeros(shape, dtype=births), torch.zeros(shape[0])
    backend.birth_loss_grad(x, k, doubles(shape[0]), one, x.clone(), FLAG)


def binomial(counts=I32, prob=F32, pair=False, shape=(4, 3072), key=KEY):
    n, p = torch.zeros(shape, dtype=counts), torch.zeros(shape, dtype=prob)
    backend.binomial(n, p, p if pair else None, key, n, FLAG)


def poisson(rate=F32, shape=(4, 3072), key=KEY):
    backend.poisson(torch.zeros(shape, dtype=rate), key, torch.zeros(shape, dtype=I64), FLAG)


def categorical(counts=U8, probs=F64, states=256, index=None, shape=(4, 3072), key=KEY):
    x, p = torch.zeros(shape, dtype=counts), torch.zeros(1, states, states, dtype=probs)
    backend.categorical(x, p, index, key, x, FLAG)


def table(counts=U8, states=256, index=None, shape=(4, 3072), key=KEY, build=True):
    guide = torch.zeros(1, states, 256, dtype=torch.uint16)
    thresholds = torch.zeros(1, states, states, dtype=I64)
    if build:
        backend.build_categorical_table(doubles(states * states).view(1, states, states), thresholds, guide, FLAG)
    x = torch.zeros(shape, dtype=counts)
    backend.categorical_table(x, thresholds, guide, index, key, x, FLAG)


def states_bridge(counts=U8, weights=None, logits=True, states=16, index=None, shape=(4, 3072), key=KEY):
    x, p = torch.zeros(shape, dtype=counts), doubles(states * states).view(1, states, states)
    given = None if weights is None else torch.zeros(*shape, states, dtype=weights)
    x_0 = x if weights is None else None
    backend.categorical_bridge(x, x_0, given, logits, p, p, index, key, x.clone(), FLAG)


def transition(counts=U8, bridged=False, each=False, shape=(4, 3072), states=256):
    x, p = torch.zeros(shape, dtype=counts), doubles(shape[0])
    backend.transition_rows(p, p, torch.zeros(shape[0], states, states, dtype=F64), FLAG)
    q = doubles(x.numel()).view(shape) if each else p
    backend.log_prob(int(bridged), x, x, x if bridged else None, q, q, torch.zeros(shape, dtype=F64), FLAG)


MAIN = {
    "thin": lambda: thin(),
    "bridge bfloat16": lambda: bridge(logits=BF16, inputs=BF16),
    "tau_leap": lambda: tau_leap(),
    "thin wide": lambda: thin(I32, most=1000, asked=(True, False, True)),
    "birth_loss": lambda: loss(),
    "birth_loss chunks": lambda: loss(shape=(4, 30720)),
    "birth_loss_grad": lambda: grad(),
    "binomial": lambda: binomial(),
    "poisson": lambda: poisson(),
    "categorical": lambda: categorical(),
    "categorical table": lambda: table(),
    "categorical bridge logits": lambda: states_bridge(weights=F32),
    "transition": lambda: transition(),
}
REST = {
    "thin int16 bfloat16": lambda: thin(I16, BF16),
    "thin int32 float16": lambda: thin(I32, F16),
    "thin float64": lambda: thin(inputs=F64, asked=(False, False, True)),
    "thin strided": lambda: thin(strided=True, shape=(4, 31)),
    "thin odd": lambda: thin(shape=(4, 31), asked=(True, False, False)),
    "bridge": lambda: bridge(fall=True),
    "bridge int32 float16": lambda: bridge(I32, F16, F16, given=True),
    "bridge nearest": lambda: bridge(stochastic=False),
    "bridge wide": lambda: bridge(I32, most=1000, fall=True),
    "tau_leap int16 bfloat16": lambda: tau_leap(I16, BF16, BF16),
    "tau_leap int32 float16": lambda: tau_leap(I32, F16, F16, most=1000),
    "birth_loss bfloat16": lambda: loss(BF16, F32),
    "birth_loss float16": lambda: loss(F16, I32),
    "birth_loss_grad bfloat16": lambda: grad(BF16, I16),
    "birth_loss_grad float16": lambda: grad(F16),
    "binomial pair": lambda: binomial(U8, F64, pair=True),
    "binomial float": lambda: binomial(F32, BF16),
    "poisson float64": lambda: poisson(F64),
    "poisson float16": lambda: poisson(F16),
    "categorical float32": lambda: categorical(I64, F32, index=torch.zeros(4, dtype=I64)),
    "categorical table int16": lambda: table(I16, index=torch.zeros(4, dtype=I64), build=False),
    "categorical bridge x_0": lambda: states_bridge(I32, index=torch.zeros(4, dtype=I64)),
    "categorical bridge probs": lambda: states_bridge(I16, F64, logits=False),
    "categorical bridge bfloat16": lambda: states_bridge(weights=BF16),
    "transition bridged": lambda: transition(I32, bridged=True, each=True),
}


def respecialised():
    """Distinct kernels of each op over keys, call numbers, sizes and limits; one each where nothing is specialised."""
    global case
    keys = [key(seed, call) for seed in (0, 1, 16, 1 << 63) for call in (0, 1, 16)]
    for number, (k, shape, most) in enumerate(zip(
        keys, [(1, 1), (2, 31), (16, 17), (1, 4999), (17, 33), (3, 1)] * 2, [1, 16, 17, 200, 254, 2] * 2, strict=True
    )):  # fmt: skip
        case = f"again {number}"
        thin(key=k, shape=shape, most=most, asked=(True, False, False))
        poisson(key=k, shape=shape)
        categorical(key=k, shape=shape, states=most)
        table(key=k, shape=shape, states=most)
        states_bridge(key=k, shape=shape, states=most + 1)
        states_bridge(weights=F32, key=k, shape=shape, states=most + 1)
        transition(shape=shape, states=most)
        if number % 4 == 0:
            bridge(key=k, shape=shape, most=most)
            thin(I32, key=k, shape=shape, most=most + 300, asked=(True, False, False))
    kinds = {}
    for _, name, kernel in compiled:
        kinds.setdefault(name, set()).add(kernel.hash)
    return {name: len(hashes) for name, hashes in kinds.items()}


def instructions(text):
    """Per iteration of the longest loop, inner loops left out: every forward branch is taken to fall through."""
    lines, labels, back = [], {}, []
    for line in text.splitlines():
        if match := re.match(r"\s*(\.L_x_\d+):", line):
            labels[match[1]] = len(lines)
        elif re.search(r"/\*[0-9a-f]{4,}\*/", line):
            lines.append(line)
            if (match := re.search(r"BRA.*?\(?(\.L_x_\d+)", line)) and match[1] in labels:
                back.append((labels[match[1]], len(lines)))
    loops = sorted((end - start, start, end) for start, end in back if end - start > 1)
    if not loops:
        return 0
    length, start, end = loops[-1]
    inside, covered = [(s, e) for _, s, e in reversed(loops[:-1]) if start <= s and e <= end], start
    for s, e in sorted(inside):
        length -= max(0, e - max(s, covered))
        covered = max(covered, e)
    return length


def facts(name, kernel):
    asm = kernel.asm
    if IS_HIP:
        text = asm["amdgcn"]

        def number(field):
            return int(re.search(rf"\.{field}:?\s+(\d+)", text)[1])

        return {
            "registers": number("vgpr_count"), "spills": number("vgpr_spill_count"),
            "stack": number("private_segment_fixed_size"), "denormals": number("amdhsa_float_denorm_mode_32"),
            "fma": len(re.findall(r"v_(?:fma|fmac|mad|mac)_(?:f32|legacy)", text)),
            "divisions": text.count("v_div_fixup_f32"),
        }  # fmt: skip
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(asm["cubin"])
        usage, sass = (
            subprocess.run([tools / tool, option, cubin], capture_output=True, text=True, check=True).stdout
            for tool, option in (("cuobjdump", "-res-usage"), ("nvdisasm", "-c"))
        )
    ptx = asm["ptx"]
    return {
        "registers": int(re.search(r"REG:(\d+)", usage)[1]), "stack": int(re.search(r"STACK:(\d+)", usage)[1]),
        "spills": len(re.findall(r"\b(?:STL|LDL)\b", sass)), "sass": len(re.findall(r"/\*[0-9a-f]{4,}\*/ ", sass)),
        "hot": instructions(sass), "float_fma": len(re.findall(r"\b[FD]FMA", sass)),
        "inexact": re.findall(r"\bfma\.\S+|\S+\.ftz\S*|(?:div|sqrt|rcp)\.(?:full|approx)\S*|cvt\.rz\.b?f16\S*", ptx),
        "constants": re.findall(r"\b0[fd][0-9A-F]{8,16}\b", ptx) if "constants" in sys.argv else [],
        "ptx_bfloat16": "cvt.rn.bf16" in ptx,
    }  # fmt: skip


def main():
    global case
    if "keys" in sys.argv:
        return respecialised()
    for name, call in (MAIN | REST if "all" in sys.argv else MAIN).items():
        case = name
        call()
    seen, result = set(), []
    for name, kernel_name, kernel in compiled:
        if kernel.hash not in seen:
            seen.add(kernel.hash)
            result.append({"case": name, "kernel": kernel_name, **facts(kernel_name, kernel)})
    return result


if __name__ == "__main__":
    assert not backend.INTERPRETED
    print(json.dumps(main()))
