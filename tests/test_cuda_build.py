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
# At most 64 registers a thread let four blocks of 256 share a multiprocessor.
REGISTERS = 64
KERNELS = (
    "thin_sharedILb0E", "thin_sharedILb1E", "bridge_sharedILb0E", "bridge_sharedILb1E", "loss_kernel", "loss_grad",
    "philox_kernel", "thin_element", "bridge_element", "tau_leap_kernel", "binomial_kernel", "poisson_kernel",
    "categorical_rows", "categorical_element", "categorical_table_kernel", "build_table_kernel",
    "categorical_bridge_kernelILNS1_2X0E0E",  # x_0 known
    "categorical_bridge_kernelILNS1_2X0E1E",  # by logits
    "categorical_bridge_kernelILNS1_2X0E2E",  # by probabilities
    "transition_rows_kernel", "log_prob_kernel",
)  # fmt: skip
SASS_PER_PIXEL = 45  # thin, uint8 to uint8, thresholds resident; building them is counted apart


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
            kernel = next((name for name in KERNELS if name in match[1]), match[1])
        elif match := re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line):
            registers, stack, shared, local = map(int, match.groups())
            found.setdefault(architecture, {}).setdefault(kernel, []).append((registers, stack, local, shared))
    return found


def test_all_architectures_and_kernels_are_there():
    for architecture in natives.build_facts()["cuda_architectures"]:
        assert set(KERNELS) == set(resources()[architecture.removeprefix("sm_")]), architecture


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_registers_and_shared_memory(architecture):
    if f"sm_{architecture}" not in natives.build_facts()["cuda_architectures"]:
        pytest.skip(f"this build has no sm_{architecture}: its nvcc does not know it")
    for kernel, instances in resources()[architecture].items():
        for registers, stack, local, shared in instances:
            assert registers <= REGISTERS, f"{kernel}: {registers} registers"
            assert stack == local == 0, f"{kernel}: {stack} bytes of stack, {local} of local memory"
            # 48 KiB, and 1 KiB that sm_90 and later keep for themselves; bridge_shared asks for its own at the launch
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
@pytest.mark.parametrize("kernel", KERNELS)
def test_no_spills(architecture, kernel):
    assert local_accesses(sass(architecture, kernel)) == []


def loops(lines):
    """[(first, end)] of every loop in the text: from the label of a branch back to the branch."""
    labels, found = {}, []
    for at, (kind, text) in enumerate(lines):
        if kind == "label":
            labels[text] = at
        elif (match := re.search(r"\bBRA\b.*\((\.L_x_\d+)\)", text.replace("`", ""))) and match[1] in labels:
            found.append((labels[match[1]], at + 1))
    return found


def count(lines, first, end):
    return sum(kind == "instruction" for kind, _ in lines[first:end])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_instructions_a_pixel(architecture):
    """All of the loop over a thread's tiles of 16 pixels, rare ties and the branch to a model input included, with the
    loop inside that draws 8 of them counted twice; every other loop inside once."""
    lines = sass(architecture, "thin_sharedILb1E")
    philox = [loop for loop in loops(lines) if sum("IMAD.WIDE.U32" in text for _, text in lines[slice(*loop)]) >= 36]
    tile, draw = max(philox, key=lambda loop: loop[1] - loop[0]), min(philox, key=lambda loop: loop[1] - loop[0])
    assert tile[0] < draw[0] < draw[1] < tile[1], "a loop over tiles around one that draws"
    assert sum("LDS" in text for _, text in lines[slice(*draw)]) >= 16, "two entries of the table for each of 8 pixels"
    instructions = count(lines, *tile) + count(lines, *draw)
    assert 16 * 25 < instructions <= 16 * SASS_PER_PIXEL, f"{instructions / 16:.1f} instructions a pixel"


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
