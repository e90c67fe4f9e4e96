"""What the CUDA kernels cost, read from the machine code in fastblackout._cuda, and whether cards take their launches
(support/card.py): no GPU is needed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fastblackout
from fastblackout.backends import available
from support import cuda_counts, product, sass
from support.card import CARDS, Card
from support.cuda_module import ARCHITECTURES, built, module_path, needs_tools
from support.draws import DRAWS
from support.helpers import by_day
from support.op_table import OPS, PLAIN
from support.simt import _simt

# At most 64 registers a thread let four blocks of 256 share a multiprocessor.
REGISTERS = 64
# Of the kernels of laws. Three blocks: a float64 takes two registers. For logits of all states nvcc keeps more loads in
# flight for sm_100 and sm_120; with log n! they have two blocks, and so has "bayes-logistic", which has a
# multiprocessor's shared memory for what walks leave (csrc/cuda/bayes.cuh).
LAWS = {
    "law_lossesINS1_18BetaBinomialLosses": 80, "law_gradsINS1_18BetaBinomialLosses": 80, "16BetaBinomialStep": 64,
    "law_lossesINS1_22NegativeBinomialLosses": 80, "law_gradsINS1_22NegativeBinomialLosses": 80,
    "20NegativeBinomialStep": 64,
    "law_lossesINS1_11BayesLosses": 128, "law_gradsINS1_11BayesLosses": 128, "9BayesStep": 128,
}  # fmt: skip
MORE_REGISTERS = LAWS | {"thin_wide": 128, "bridge_wide": 128}  # two blocks: table and hats need the room
MORE_REGISTERS["bridge_sharedILb1E"] = 128  # two blocks: of its two tables shared memory has no room for more
KERNELS = (
    "thin_sharedILb0E", "thin_sharedILb1E", "bridge_sharedILb0E", "bridge_sharedILb1E", "loss_kernel", "loss_grad",
    "philox_kernel", "thin_wide", "bridge_wide", "tau_leap_kernel",
    *(f"{op}_kernel" for op in DRAWS),
    "categorical_rows", "categorical_element", "categorical_table_kernel", "build_table_kernel",
    "categorical_bridge_kernelILNS1_2X0E0E",  # x_0 known
    "categorical_bridge_kernelILNS1_2X0E1E",  # by logits
    "categorical_bridge_kernelILNS1_2X0E2E",  # by probabilities
    "transition_rows_kernel", "log_prob_kernel", "energy_squares", "energy_grad",
    "convert_kernel", "model_input_kernel", *LAWS,
)  # fmt: skip
USUAL = 48 * 1024  # bytes of shared memory that a block has unless a launch asks for more
# Static bytes and those of the launch, of the kernels that have to ask: the most of any call.
ASKS = {"thin_wide": 58368, "bridge_wide": 93952, "bridge_sharedILb1E": 81664}
# Of no op, or of a call that the cover has not: launched by FB_LAUNCH, which gives no shared memory.
GIVEN_NONE = {"philox_kernel", "convert_kernel", "model_input_kernel", "categorical_element"}
WIDE = PLAIN | {"shape": (2, 7), "max_count": 300}
SMALL = {op: (2, 5000) for op in OPS if op.endswith("loss")}  # several chunks
# SASS instructions an element, thresholds resident; building them is left out. Of which dtypes: see cuda_counts.py.
INSTRUCTIONS = {"thin_shared": 40, "bridge_shared": 182, "loss_kernel": 145, "loss_grad": 138}
# Of the hot loops: {kernel: {"load": (accesses of 16 bytes, others at most), "store": the same}}. The others are of
# numbers of a sample (its gain, and in the gradient its weight) and, in bridge_shared, of the key for a draw that ties.
HOT = {
    "thin_shared": {"load": (1, 0), "store": (2, 0)},
    "bridge_shared": {"load": (3, 1 + 4 * 3), "store": (0, 0)},  # counts, narrow and wide network outputs
    "loss_kernel": {"load": (2, 2 + 2), "store": (0, 0)},  # 64 and 32 bits of narrow ones: as wide as they are used
    "loss_grad": {"load": (2, 2), "store": (1, 0)},
}
# Accesses of 16 bytes in a kernel ("") and the functions it calls: a branch for each width of values, 64 bits twice.
WORDS = {
    ("thin_sharedILb1E", ""): (1, 2),
    ("thin_sharedILb1E", "store_tile_input"): (0, 1),
    ("thin_sharedILb0E", ""): (1, 2),
    ("thin_sharedILb0E", "load_other_counts"): (5, 0),
    ("thin_sharedILb0E", "store_other"): (0, 8),
    ("bridge_sharedILb0E", ""): (3, 0),
    ("bridge_sharedILb0E", "store_tile"): (0, 2),
    ("bridge_sharedILb0E", "load_other_counts"): (5, 0),
    ("bridge_sharedILb0E", "store_other"): (0, 8),
    ("bridge_sharedILb0E", "gather_floats"): (2, 0),
    ("loss_kernel", ""): (2, 0),
    ("loss_kernel", "gather_floats"): (2, 0),
    ("loss_grad", ""): (2 + 2, 1 + 1),
    ("loss_grad", "scatter_floats"): (0, 2),
}


def kernel_of(name):
    return max(
        (kernel for kernel in KERNELS if kernel in name), key=len, default=name
    )  # of beta_binomial, not binomial


@needs_tools
def test_all_architectures_and_kernels_are_there():
    found = sass.resources(module_path())
    for architecture in available.build_facts()["cuda_architectures"]:
        assert set(KERNELS) == set(map(kernel_of, found[architecture])), architecture


@needs_tools
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_registers_and_shared_memory(architecture):
    for name, used in sass.resources(module_path())[built(architecture)].items():
        assert used.registers <= MORE_REGISTERS.get(kernel_of(name), REGISTERS), f"{name}: {used}"
        assert used.stack == used.local == 0, f"{name}: {used}"  # where registers would be spilled to
        # 48 KiB, and 1 KiB that sm_90 and later keep for themselves; test_every_launch_fits has what launches add
        assert used.shared <= 49 * 1024, f"{name}: {used}"


def launched(card, op, case, number=0):
    a = product.arguments(op, case, number)
    outputs = {name: torch.empty_like(value) for name, value in product.public(op, a, case["key"]).items()}
    product.launch(product.CudaKernels(card), op, a, case["key"], outputs)
    return card.launches()


@needs_tools
@pytest.mark.parametrize("capability", by_day(CARDS, "120"))
def test_every_launch_fits(capability):
    """Each call of the product's cover is the first on its card. Prints the bytes of a block, kernel by kernel."""
    built(CARDS[capability].code)
    refused, used = [], {}
    for op in OPS:
        for number, case in enumerate(product.cases(op)):
            try:
                made = launched(Card(capability), op, case | {"shape": SMALL.get(op, (2, 16))}, number)
            except RuntimeError as error:
                refused.append(f"{error}: {case}")
                continue
            for one in made:
                assert one.opted_in == (one.fixed + one.given > USUAL), one.name
                name = kernel_of(one.name.decode())
                used[name] = max(used.get(name, (0, 0)), (one.fixed + one.given, one.fixed))
    for name, (most, fixed) in sorted(used.items(), key=lambda entry: -entry[1][0]):
        asks = "asks" if most > USUAL else ""
        print(f"{capability} {name}: {fixed} + {most - fixed} = {most} of {CARDS[capability].shared} {asks}")
    assert refused == []
    assert {name: most for name, (most, _) in used.items() if most > USUAL} == ASKS
    assert set(KERNELS) - set(used) == GIVEN_NONE


@needs_tools
def test_a_card_that_refuses_shared_memory_is_named():
    card = Card("90", shared=USUAL)
    with pytest.raises(RuntimeError, match="^thin: CUDA: a block needs 58368 bytes of shared memory, .* has 49152$"):
        launched(card, "thin", WIDE)
    assert card.launches() == [] and len(launched(card, "thin", PLAIN | {"shape": (2, 7)})) == 1


@needs_tools
def test_shared_memory_is_asked_for_once_a_kernel_and_device():
    card = Card("90", stream=4096)
    made = [*launched(card, "thin", WIDE), *launched(card, "thin", WIDE)][-2:]
    assert card.asked() == 1 and {(one.device, one.stream) for one in made} == {(card.device, 4096)}
    assert card.device_in_use() == 0
    launched(Card("90"), "thin", WIDE)
    assert card.asked() == 1, "of the other card"


@needs_tools
@pytest.mark.skipif(_simt is None, reason="the SIMT shim is not built: FASTBLACKOUT_SIMT=1")
@pytest.mark.parametrize("op", OPS)
def test_grids_are_those_of_the_shim(op):
    case = PLAIN | {"shape": (2, 3000)}
    last, a = launched(Card("90"), op, case)[-1], product.arguments(op, case)
    product.launch(product.kernels_of("simt-forward"), op, a, case["key"], product.public(op, a, case["key"]))
    assert (last.blocks, last.threads) == _simt.last_launch()


@needs_tools
@pytest.mark.parametrize("kernel", KERNELS)
def test_no_spills(kernel):
    """Nothing goes to local memory in the code either, of one architecture."""
    assert sass.spills(sass.kernel(module_path(), built("90"), kernel)) == []


@needs_tools
@pytest.mark.parametrize("kernel", INSTRUCTIONS)
@pytest.mark.parametrize("architecture", by_day(ARCHITECTURES, "90"))
def test_instructions_an_element(architecture, kernel):
    found, most = cuda_counts.instructions(module_path(), built(architecture), kernel), INSTRUCTIONS[kernel]
    assert 0.5 * most < found <= most, f"{found:.1f} instructions an element"


@needs_tools
@pytest.mark.parametrize("name", cuda_counts.TILE)
def test_accesses_of_shared_memory(name):
    """On an H100, for which benchmarks/gpu/predicted.py counts their wavefronts."""
    module, architecture = module_path(), built("90")
    want = {"LDS": 2 * cuda_counts.KERNELS[name].elements}  # the look-ups
    for access in cuda_counts.TILE[name]:
        want[access.code] = want.get(access.code, 0) + access.of_tile
    assert want == {code: cuda_counts.shared_accesses(module, architecture, name, code) for code in want}
    all_of_them = cuda_counts.shared_accesses(module, architecture, name, r"(?:LDS|STS)\S*")
    assert all_of_them == sum(want.values())


@needs_tools
@pytest.mark.parametrize("kernel, most", [("14poisson_kernel", 145), ("15binomial_kernel", 175)])
@pytest.mark.parametrize("architecture", by_day(ARCHITECTURES, "90"))
def test_usual_trials_have_no_float64_operation(architecture, kernel, most):
    """Two loops make words for a trial, the shorter one by float32 (csrc/include/fastblackout/fast_element.h)."""
    lines = sass.kernel(module_path(), built(architecture), kernel)
    loops = [[text for _, text in lines[first:end]] for first, end in sass.loops(lines)]
    usual, exact = sorted((loop for loop in loops if sum("IMAD.WIDE.U32" in text for text in loop) >= 14), key=len)
    float64 = re.compile(r"\bD(ADD|MUL|FMA|SETP)\b|64H|F64")
    assert len(usual) <= most and not any(map(float64.search, usual))
    assert sum(float64.search(text) is not None for text in exact) > 200


@needs_tools
@pytest.mark.parametrize("kernel", HOT)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hot_loops_take_16_bytes_an_access(architecture, kernel):
    found = cuda_counts.loop_accesses(module_path(), built(architecture), kernel)
    for kind, (words, others) in HOT[kernel].items():
        assert found[kind].count(128) == words and len(found[kind]) - words <= others, f"{kind}: {found[kind]}"


@needs_tools
@pytest.mark.parametrize("kernel, function", WORDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_dtype_has_accesses_of_16_bytes(architecture, kernel, function):
    bodies = sass.functions(sass.kernel(module_path(), built(architecture), kernel))
    found = sass.accesses(next(body for name, body in bodies.items() if function in name))
    assert (found["load"].count(128), found["store"].count(128)) == WORDS[kernel, function]


@needs_tools
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_room_for_kept_tables(architecture):
    """33 MiB in each of the two files of kernels that keep tables, and in no other."""
    room = [size for size in sass.module_memory(module_path(), built(architecture)) if size > 1024]
    assert len(room) == 2 and all(32 * 2**20 < size < 33 * 2**20 for size in room), room


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
        "    _cuda.thin((0, 0, 1, 16, 0, 'thin'), array, *[None] * 3, 255, None, None, array, None, None)\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    root = str(Path(fastblackout.__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert re.fullmatch(r"thin: CUDA: [^\n]+\n", done.stdout), done.stdout
    assert "Traceback" not in done.stderr
