"""What nvcc and ptxas make of the CUDA kernels, read: no product and sum are fused that the source does not fuse, no
subnormal is flushed. (That nothing is spilled: test_cuda_build.py.)"""

import re
import subprocess

import pytest

from support import ptx_kernels, sass
from support.cuda_module import ARCHITECTURES, needs_tools

pytestmark = ptx_kernels.needs_nvcc()
every_source = pytest.mark.parametrize("source", ptx_kernels.SOURCES)
some_sources = pytest.mark.parametrize("source", ptx_kernels.of_today(ptx_kernels.SOURCES, 5))
# fast_element.h, which draws again in float64 what float32 leaves open; the rest of a division in portfloat.h
FUSED = {"beta_binomial", "binomial", "bridge", "negative_binomial", "poisson", "tau_leap", "thin"}
FUSED |= {"birth_loss", "energy_loss", "posterior_step"}


def opcodes(source):
    return re.findall(r"^\s*(?:@!?%\w+\s+)?([a-z][\w.:]*)\s", ptx_kernels.ptx_of(source, "90"), re.MULTILINE)


@some_sources
def test_sm_80_has_the_ptx_of_sm_90(source):
    """So what is executed stands for both, and for the package's build, which does not ask for lines of the source."""
    texts = [
        ptx_kernels.ptx_of(source, code, lines=code == "90").replace(f"sm_{code}", "")
        for code in ptx_kernels.ARCHITECTURES
    ]
    bare = [re.sub(r"(?m)^\s*(\.loc|\.file)\s.*\n|^\s+\.section\s+\.debug_\w+\s*\{[^}]*\}", "", text) for text in texts]
    assert bare[0].split() == bare[1].split() and bare[0] == texts[0] != texts[1]


@every_source
def test_floats_are_rounded_one_by_one(source):
    """An add or mul without a rounding may be fused by ptxas (PTX ISA, add)."""
    floats = [opcode for opcode in opcodes(source) if re.match(r"(add|sub|mul|mad|fma|div)\b.*\.f(16|32|64)", opcode)]
    assert [opcode for opcode in floats if ".rn." not in opcode] == []
    assert {opcode for opcode in floats if opcode.startswith(("mad", "fma"))} == (
        {"fma.rn.f32"} if source in FUSED else set()
    )
    assert len(floats) > 5 or source == "philox"


@every_source
def test_no_subnormal_is_flushed(source):
    """But by the approximate instructions of fast_element.h."""
    flushing = {opcode for opcode in opcodes(source) if ".ftz" in opcode}
    assert flushing <= {"rcp.approx.ftz.f32", "sqrt.approx.ftz.f32", "ex2.approx.ftz.f32"}


@needs_tools
@some_sources
@pytest.mark.parametrize("architecture", ptx_kernels.of_today(ARCHITECTURES, 1))
def test_ptxas_fuses_nothing(source, architecture, tmp_path):
    """Of code whose divisions, roots and fused products are gone, of which machine code has FMA."""
    text = ptx_kernels.ptx_of(source, "90").replace(".target sm_90", f".target sm_{architecture}")
    text, places = re.subn(r"\bdiv(\.rn\.f\d+)", r"mul\1", text)
    text = re.sub(r"\b(?:sqrt|rcp)\.rn(\.f\d+)", r"neg\1", text)
    text = re.sub(r"\bfma(\.rn\.f\d+\s[^;]*),[^,;]*;", r"mul\1;", text)
    (tmp_path / "kernel.ptx").write_text(text)
    command = [ptx_kernels.nvcc()[0], "-cubin", f"-arch=sm_{architecture}", "kernel.ptx", "-o", "kernel.cubin"]
    subprocess.run(command, cwd=tmp_path, check=True)
    code = sass.disassembled(str(tmp_path / "kernel.cubin"))
    assert sum(map(sass.count, code.values())) > 20
    for name, lines in code.items():
        assert [words for _, words in lines if re.search(r"\b[FD]FMA", words)] == [], name
