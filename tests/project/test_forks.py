"""Programs that tests start as forks behave as those that Python starts."""

import signal

import pytest

from support.forks import Fork


def test_a_fork_has_arguments_a_folder_and_an_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBLACKOUT_OF_A_TEST", "of a test")
    code = "import os, sys; print(sys.argv, os.getcwd(), os.environ['FASTBLACKOUT_OF_A_TEST'], sys.stdin.read())"
    process = Fork(code, "a b", 3, folder=tmp_path)
    assert process.communicate() == (f"['-c', 'a b', '3'] {tmp_path} of a test \n", "")
    assert process.returncode == 0


def test_it_ends_as_python_does():
    process = Fork("import atexit, sys; atexit.register(print, 'ended'); print('begun'); sys.exit(7)")
    assert (process.communicate(), process.returncode) == (("begun\nended\n", ""), 7)
    process = Fork("1 / 0")
    out, err = process.communicate()
    assert (out, process.returncode) == ("", 1) and err.endswith("\nZeroDivisionError: division by zero\n")


def test_it_is_killed_where_it_does_not_end_in_time():
    process = Fork("import time; print('begun', flush=True); time.sleep(600)")
    assert process.stdout.readline() == "begun\n" and process.poll() is None
    assert process.communicate(timeout=0.01) == ("", "") and process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_several_run_at_once():
    with Fork("input()") as closed, Fork("import time; time.sleep(600)") as waiting:
        assert closed.wait() == 1 and "EOFError" in closed.stderr.read()  # no stdin
        assert waiting.poll() is None
        waiting.send_signal(signal.SIGINT)
        assert waiting.communicate()[1].endswith("\nKeyboardInterrupt\n")
        assert waiting.returncode == -signal.SIGINT
