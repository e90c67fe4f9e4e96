"""Choosing a backend, an instruction set and threads; what importing the package touches; tables with two copies."""

import functools
import hashlib
import importlib.util
import inspect
import json
import os
import pickle
import pkgutil
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastblackout as fb
from fastblackout.backends import available, select
from support.arrays import same
from support.helpers import BACKENDS, ISAS, using
from support.known_answers import PHILOX, words_of
from support.op_table import OPS
from support.right_calls import calls
from support.short_way import long_way

_cpu = available.load("_cpu")
X = np.random.default_rng(0).integers(0, 256, (4, 3, 100, 100), dtype=np.uint8)
RNG = fb.Philox(61)


def run_python(code, tmp_path, **environment):
    """A fresh interpreter on the package under test, outside every source tree. Its output, or the failure."""
    package = str(Path(fb.__file__).parents[1])
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FASTBLACKOUT_")}
    command, environment = [sys.executable, "-c", code], {**clean, "PYTHONPATH": package, **environment}
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)


def test_use_backend_nests_and_ends():
    assert select.select("thin", "auto", "cpu") == "cpu"
    with fb.use_backend("reference"):
        assert select.select("thin", "auto", "cpu") == "reference"
        assert select.select("thin", "cpu", "cpu") == "cpu"  # the argument wins
        with fb.use_backend("cpu", isa="scalar", threads=3):
            assert (select.select("thin", "auto", "cpu"), select.isa(), select.threads()) == ("cpu", 0, 3)
        assert select.select("thin", "auto", "cpu") == "reference" and select.isa() == -1
        with pytest.raises(KeyError), fb.use_backend("cpu"):
            raise KeyError
        assert select.select("thin", "auto", "cpu") == "reference"
        seen = []
        worker = threading.Thread(target=lambda: seen.append(select.select("thin", "auto", "cpu")))
        worker.start()
        worker.join()
        assert seen == ["cpu"]  # a choice is of its own thread
    assert select.select("thin", "auto", "cpu") == "cpu"


def test_wrong_choices():
    for arguments, text in (
        ({"backend": "numpy"}, "backend: must be one of auto, reference, cpu, cuda, triton, got 'numpy'"),
        ({"isa": "sse"}, f"isa: must be one of {', '.join(ISAS)} on this processor, got 'sse'"),
        ({"threads": 0}, "threads: must be an integer in 1..2147483647, got 0"),
        ({"threads": 1.5}, "threads: must be an integer in 1..2147483647, got 1.5"),
        ({"threads": True}, "threads: must be an integer in 1..2147483647, got True"),
        ({"threads": 2**31}, "threads: must be an integer in 1..2147483647, got 2147483648"),
        ({"threads": 10**40}, f"threads: must be an integer in 1..2147483647, got {10**40}"),
        ({"backend": ["cpu"]}, "backend: must be one of auto, reference, cpu, cuda, triton, got ['cpu']"),
        ({"isa": ["avx2"]}, f"isa: must be one of {', '.join(ISAS)} on this processor, got ['avx2']"),
    ):
        with pytest.raises(ValueError, match=f"^use_backend: {re.escape(text)}$"), fb.use_backend(**arguments):
            pass


def test_an_instruction_set_the_processor_lacks(monkeypatch):
    class Old:
        isas = staticmethod(lambda: ["scalar"])

    monkeypatch.setattr(select, "cpu_module", lambda op: Old)
    with pytest.raises(ValueError, match="^use_backend: isa: must be one of scalar on this processor, got 'avx2'$"):
        fb.use_backend(isa="avx2").__enter__()


@pytest.mark.parametrize("name", OPS)
def test_backends_that_cannot_run_say_why(name):
    op, arguments = calls(np.asarray)[name]
    for backend in ("triton", "cuda"):
        error = (ValueError, TypeError, RuntimeError)
        with pytest.raises(error, match=f"^{name}: backend: .*{backend}") as caught:
            op(**arguments | {"backend": backend})
        assert "\n" not in str(caught.value)


def test_absent_kernels_are_an_error_in_one_line(monkeypatch):
    monkeypatch.setattr(available, "load", lambda name: f"{name} was not built")
    with long_way(), pytest.raises(RuntimeError, match="^thin: backend: 'cpu' is absent: _cpu was not built$"):
        fb.thin(X, 0.5)  # the short way keeps the functions that it found
    assert fb.thin(X[:1], 0.5, backend="reference").x_t.shape == (1, 3, 100, 100)
    report = fb.capabilities()["cpu"]
    assert not report["available"] and report["detail"] == "_cpu was not built" and report["ops"] == []


def test_capabilities():
    report = fb.capabilities()
    assert list(report) == ["reference", "cpu", "cuda", "triton"]
    ops = sorted(OPS)
    assert report["reference"]["available"] and sorted(report["reference"]["ops"]) == ops
    assert report["cpu"]["available"] and sorted(report["cpu"]["ops"]) == ops
    assert all(isa in report["cpu"]["detail"] for isa in ISAS)
    for entry in report.values():
        assert entry["detail"] and "\n" not in entry["detail"] and set(entry["ops"]) <= set(ops)
        assert isinstance(entry["available"], bool) and (entry["ops"] or not entry["available"])
    json.dumps(report)


def test_kernels_of_a_device_wait_for_one(monkeypatch):
    load = available.load
    monkeypatch.setattr(available, "load", lambda name: load("_cpu") if name == "_cuda" else load(name))
    capabilities = sys.modules["fastblackout.ops.capabilities"]  # fb.capabilities is the function
    monkeypatch.setattr(capabilities, "_device", lambda: None)
    report = fb.capabilities()["cuda"]
    assert not report["available"] and report["detail"].endswith("torch sees no CUDA device")
    assert capabilities._on_device("interpreted", ["thin"], elsewhere=True)["available"]
    monkeypatch.setattr(capabilities, "_device", lambda: "a card")
    report = fb.capabilities()["cuda"]
    assert report["available"] and report["detail"].endswith("; a card") and "thin" in report["ops"]


def test_threads_come_from_the_block_the_environment_or_torch(tmp_path):
    with fb.use_backend(threads=7):
        assert select.threads() == 7
    code = "import torch; torch.set_num_threads(3); from fastblackout.backends import select; print(select.threads())"
    assert run_python(code, tmp_path).stdout == "3\n"
    assert run_python(code, tmp_path, FASTBLACKOUT_NUM_THREADS="5").stdout == "5\n"


@pytest.mark.parametrize("text", ["99999999999999999999", str(2**31), "0", "-1", "1.5", "\u00b2", "many", "9" * 5000])
def test_a_wrong_number_of_threads_in_the_environment(text, tmp_path):
    done = run_python(
        "from fastblackout.backends import select", tmp_path, FASTBLACKOUT_NUM_THREADS=text, PYTHONUTF8="1"
    )
    last = done.stderr.strip().splitlines()[-1]
    start = "ImportError: FASTBLACKOUT_NUM_THREADS: must be an integer in 1..2147483647, got "
    assert done.returncode == 1 and last.startswith(start + repr(text)[:100])


def test_the_largest_number_of_threads():
    with fb.use_backend(threads=2**31 - 1):
        same(fb.thin(X[:, :, :2], 0.5, rng=RNG), fb.thin(X[:, :, :2], 0.5, rng=RNG, backend="reference"))


def test_dir_shows_the_public_names():
    modules = {file.name for file in pkgutil.iter_modules(fb.__path__) if file.ispkg} | {"distributions", "photons"}
    assert set(dir(fb)) >= {*fb.__all__, "cells", "photons", "processes", "data", "evaluation", "heads", "training"}
    assert set(dir(fb)) - modules <= set(fb.__all__) and dir(fb) == sorted(dir(fb))
    optional = {name for name in ("diffusers", "jax") if importlib.util.find_spec(name) is None}
    assert all(getattr(fb, name) is not None for name in set(dir(fb)) - optional)
    alone = (
        "import fastblackout as fb; print(*(getattr(fb, name).__name__ for name in ('heads', 'training', 'tuning')))"
    )
    done = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True)
    assert done.stdout.split() == ["fastblackout.heads", "fastblackout.training", "fastblackout.tuning"], done.stderr
    assert not {"quick", "natives", "importlib", "annotations", "Any", "TYPE_CHECKING"} & set(dir(fb))


def test_calls_from_many_threads_at_once():
    """The pool serves one call at a time, tables belong to a thread: results stay the same as in a lone call."""
    expected = {seed: fb.thin(X, 0.3 + seed / 20, rng=fb.Philox(seed)) for seed in range(8)}
    got = {}

    def work(seed):
        for _ in range(5):
            with using(BACKENDS[-1], 2):
                got[seed] = fb.thin(X, 0.3 + seed / 20, rng=fb.Philox(seed))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in expected]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for seed, thinned in expected.items():
        same(got[seed], thinned)


FORK = """
import os, signal
import numpy as np
import fastblackout as fb
x = np.full((4, 100_000), 200, np.uint8)
def draw():
    with fb.use_backend("cpu", threads=3):
        return fb.thin(x, 0.4, rng=fb.Philox(1)).x_t.tobytes()
before = draw()
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(0 if draw() == before else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert draw() == before
"""


def test_a_forked_child_can_use_threads(tmp_path):
    """The pool's threads do not exist in a child, as in a data loader's worker: it must neither hang nor differ."""
    done = run_python(FORK, tmp_path)
    assert done.returncode == 0, done.stderr


IMPORT = """
import sys, time
start = time.perf_counter()
import fastblackout as fb
took = time.perf_counter() - start
touched = [m for m in sys.modules if m.split('.')[0] in ('torch', 'triton', 'cuda', 'pynvml', 'cupy')]
print(took, touched, 'fastblackout._cuda' in sys.modules, fb.__version__)
with open('/proc/self/maps') as maps:
    print([line for line in maps if 'libcuda' in line or 'libcudart' in line])
"""


def test_import_touches_neither_torch_nor_cuda(tmp_path):
    done = run_python(IMPORT, tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    took, rest = first.split(" ", 1)
    assert float(took) < 1.0 and rest == f"[] False {fb.__version__}" and second == "[]"


NO_TORCH = """
import hashlib, pickle, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'torch':
            raise ImportError('torch is not here')
sys.meta_path.insert(0, Refuse())
import numpy as np
import fastblackout as fb
DIGEST
with open("calls", "rb") as file:
    for op, arguments in pickle.load(file):
        print(op, digest(getattr(fb, op)(**arguments)))
x = np.arange(200, dtype=np.uint8).reshape(2, 100)
assert not np.array_equal(fb.thin(x, 0.4).x_t, fb.thin(x, 0.4).x_t)  # seeds of the operating system
fb.thin(x, fb.Schedule.logit(steps=10).survival(np.array([3, 9])), rng=fb.Philox(7))
assert fb.capabilities()["cpu"]["available"] and 'torch' not in sys.modules and 'scipy' not in sys.modules
"""


def digest(made):
    parts = made if isinstance(made, (tuple, list)) else [made]
    return [hashlib.sha256(np.ascontiguousarray(part)).hexdigest() for part in parts if part is not None]


def test_the_numpy_path_needs_no_torch(tmp_path):
    """Every op and log-probability; here torch is loaded."""
    ours, wanted = [], []
    functions = {name for name in fb.ops.__all__ if inspect.isfunction(getattr(fb, name))} - {"capabilities"}
    for call, arguments in calls(np.asarray).values():
        op, more = (call.func, call.keywords) if isinstance(call, functools.partial) else (call, {})
        if op.__name__ in functions:
            ours.append((op.__name__, more | arguments))
            wanted.append(f"{op.__name__} {digest(call(**arguments))}")
    assert {name for name, _ in ours} == functions
    (tmp_path / "calls").write_bytes(pickle.dumps(ours))
    done = run_python(NO_TORCH.replace("DIGEST", inspect.getsource(digest)), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == wanted


@pytest.mark.parametrize("isa", ISAS)
def test_isa_forced_by_the_environment(isa, tmp_path):
    code = "import fastblackout._cpu as c; print(c.isa(), *c.isas())"
    done = run_python(code, tmp_path, FASTBLACKOUT_ISA=isa)
    assert done.stdout.split() == [isa, *ISAS], done.stderr


def test_a_wrong_isa_is_an_error_in_one_line(tmp_path):
    done = run_python("import fastblackout._cpu", tmp_path, FASTBLACKOUT_ISA="sse9")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last == "ImportError: FASTBLACKOUT_ISA: must be scalar, avx2 or avx512, got sse9"
    code = "import fastblackout as fb\ntry: fb.poisson(3.0)\nexcept RuntimeError as error: print(error)"
    done = run_python(code, tmp_path, FASTBLACKOUT_ISA="sse9")
    pattern = r"poisson: backend: 'cpu' is absent: .*FASTBLACKOUT_ISA: .*, got sse9\n"
    assert re.fullmatch(pattern, done.stdout), done.stdout + done.stderr


def test_native_philox_known_answers():
    for counter, key, result in map(words_of, PHILOX):
        for isa in range(len(_cpu.isas())):
            assert _cpu.philox(counter, key, isa) == [result] * 8, isa
