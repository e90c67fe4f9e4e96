"""A command that runs a network keeps the memory that it frees."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys
import numpy as np
from fastblackout.cli import command_line

sys.argv = ["fastblackout", *{command}]
try:
    command_line.main({arguments})
except SystemExit:
    pass
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        together = [np.ones(3 << 20) for _ in range(4)]  # 96 MiB, more than malloc keeps of itself
        del together
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
pages()
print(pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
@pytest.mark.parametrize(
    ("command", "arguments", "kept"),
    [(["sample", "-"], "", True), (["info"], "", False), ([], "['sample', '-']", False)],
    ids=["command", "other", "function"],
)
def test_a_command_keeps_freed_memory_and_a_caller_in_python_decides(command, arguments, kept, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COUNT.format(command=command, arguments=arguments)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert (int(done.stdout.split()[-1]) < 64) == kept, done.stdout  # a page is 4 KiB, or 2 MiB where those are huge
