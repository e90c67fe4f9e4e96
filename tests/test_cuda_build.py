"""What the CUDA kernels cost, read from the machine code in fastblackout._cuda: no GPU is needed."""

import functools
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import fastblackout
from fastblackout import natives

ARCHITECTURES = ["80", "90", "100", "120"]
# Registers a thread: at most 64 lets four blocks of 256 share a multiprocessor. The bridge gets 80, three blocks:
# with 64 some releases of nvcc spill, and the two tables of attrition leave no room for a fourth. The samplers of an
# element with its own p or rate work in float64 throughout.
SHARED_P = {"thin_shared": 64, "bridge_sharedILb0E": 80, "bridge_sharedILb1E": 80}
OTHERS = {"loss_chunks": 64, "loss_sums": 64, "loss_grad": 64}
ELEMENT = {
    "thin_element": 128,
    "bridge_element": 128,
    "tau_leap_kernel": 128,
    "binomial_kernel": 128,
    "poisson_kernel": 128,
}
STATES = dict.fromkeys(
    (
        "categorical_rows",
        "categorical_element",
        "categorical_table_kernel",
        "build_table_kernel",
        "categorical_bridge_kernelILNS1_2X0E0E",  # x_0 known, by logits, by probabilities
        "categorical_bridge_kernelILNS1_2X0E1E",
        "categorical_bridge_kernelILNS1_2X0E2E",
        "transition_rows_kernel",
        "log_prob_kernel",
    ),
    64,
)
BUDGETS = SHARED_P | OTHERS | ELEMENT | STATES
SASS_PER_PIXEL = 60


@functools.cache
def tool(name):
    triton = pytest.importorskip("triton", reason=f"{name} comes with triton, which is not installed")
    found = sorted(Path(triton.__file__).parent.rglob(name))
    assert found, f"triton holds no {name}"
    return str(found[0])


@functools.cache
def module_path():
    module = natives.load("_cuda")
    if isinstance(module, str):
        pytest.skip(f"no CUDA kernels to look at: {module}")
    return module.__file__


@functools.cache
def resources():
    """{architecture: {kernel: [(registers, stack, local, shared) of each instance]}}"""
    text = subprocess.run(
        [tool("cuobjdump"), "-res-usage", module_path()], capture_output=True, text=True, check=True
    ).stdout
    found, architecture, kernel = {}, None, None
    for line in text.splitlines():
        if match := re.search(r"arch = sm_(\d+)", line):
            architecture = match[1]
        elif match := re.search(r"Function (\S+):", line):
            kernel = next((name for name in BUDGETS if name in match[1]), match[1])
        elif match := re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line):
            registers, stack, shared, local = map(int, match.groups())
            found.setdefault(architecture, {}).setdefault(kernel, []).append((registers, stack, local, shared))
    return found


def test_all_architectures_and_kernels_are_there():
    for architecture in natives.build_facts()["cuda_architectures"]:
        assert set(BUDGETS) <= set(resources()[architecture.removeprefix("sm_")]), architecture


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_registers_and_shared_memory(architecture):
    if f"sm_{architecture}" not in natives.build_facts()["cuda_architectures"]:
        pytest.skip(f"this build has no sm_{architecture}: its nvcc does not know it")
    for kernel, instances in resources()[architecture].items():
        for registers, _, local, shared in instances:
            assert registers <= BUDGETS[kernel], f"{kernel}: {registers} registers"
            # 48 KiB, and 1 KiB that sm_90 and later keep for themselves
            assert local == 0, f"{kernel}: {local} bytes of local memory"
            assert shared <= 49 * 1024, f"{kernel}: {shared} bytes of shared memory"


@functools.cache
def disassembly(architecture):
    """The text of every cubin of an architecture."""
    with tempfile.TemporaryDirectory() as folder:
        take = [tool("cuobjdump"), "-xelf", f"sm_{architecture}", module_path()]
        subprocess.run(take, cwd=folder, capture_output=True, check=True)
        show = [tool("nvdisasm"), "-c"]
        cubins = sorted(map(str, Path(folder).glob("*.cubin")))
        return [subprocess.run([*show, c], capture_output=True, text=True, check=True).stdout for c in cubins]


def sass(architecture, part):
    """Instructions and labels of the kernel whose mangled name holds `part`: [("label" | "instruction", text)]"""
    if f"sm_{architecture}" not in natives.build_facts()["cuda_architectures"]:
        pytest.skip(f"this build has no sm_{architecture}: its nvcc does not know it")
    for text in disassembly(architecture):
        lines, inside = [], False
        for line in text.splitlines():
            if match := re.match(r"\s*\.section\s+\.text\.(\S+?),", line):
                inside = part in match[1]
            elif inside and (match := re.match(r"(\.L_x_\d+):", line)):
                lines.append(("label", match[1]))
            elif inside and (match := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?);", line)):
                lines.append(("instruction", match[1]))
        if lines:
            return lines
    raise AssertionError(f"no kernel {part} for sm_{architecture}")


def local_accesses(lines):
    return [text for kind, text in lines if kind == "instruction" and re.search(r"\b(LDL|STL)\b", text)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kernel", ["thin_sharedILb0E", "thin_sharedILb1E", *sorted(set(BUDGETS) - {"thin_shared"})])
def test_no_spills(architecture, kernel):
    assert local_accesses(sass(architecture, kernel)) == []


def longest_block(lines):
    """Instructions of the longest stretch without a label or a branch: the 16 draws of a thread."""
    longest = length = 0
    for kind, text in lines:
        ends = kind == "label" or re.search(r"\b(BRA|EXIT|CALL|RET|BSYNC)\b", text)
        length = 0 if ends else length + 1
        longest = max(longest, length)
    return longest


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_instructions_a_pixel(architecture):
    """thin, uint8 to uint8, thresholds resident: the draws of 16 elements are one stretch without a branch."""
    count = longest_block(sass(architecture, "thin_sharedILb1E"))
    assert 16 * 40 < count <= 16 * SASS_PER_PIXEL, f"{count / 16:.1f} instructions a pixel"


def test_module_needs_no_cuda_library():
    text = subprocess.run(["ldd", module_path()], capture_output=True, text=True, check=True).stdout
    assert "libcuda" not in text and "libcudart" not in text and "not found" not in text


def test_a_launch_without_a_driver_raises_one_line():
    """In a process of its own that sees no device, with or without a driver."""
    module_path()
    code = (
        "import os; os.environ['CUDA_VISIBLE_DEVICES'] = ''\n"
        "from fastblackout import _cuda\n"
        "array = (0, 0, (1, 16), (16, 1))\n"
        "try:\n"
        "    _cuda.thin((0, 0, 1, 16, 0, 0, 'thin'), array, array, None, None, 0, 0, 0, 0, 255)\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    root = str(Path(fastblackout.__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert re.fullmatch(r"thin: CUDA: [^\n]+\n", done.stdout), done.stdout
    assert "Traceback" not in done.stderr
