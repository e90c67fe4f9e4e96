"""A full disk, without one: a limit on the size of files."""

import contextlib
import os
import resource
import sys


@contextlib.contextmanager
def no_file_beyond(size):
    """Writing beyond `size` bytes fails with OSError, here and in child processes, as it does on a full disk.

    Python writes no bytecode meanwhile: it takes what fits for the whole module (CPython's issue 126606), and every
    later import of that module would fail.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    here, name = sys.dont_write_bytecode, "PYTHONDONTWRITEBYTECODE"
    children = os.environ.get(name)
    sys.dont_write_bytecode, os.environ[name] = True, "1"
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = here
        if children is None:
            del os.environ[name]
        else:
            os.environ[name] = children
