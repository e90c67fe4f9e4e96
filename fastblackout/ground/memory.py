"""What becomes of memory that is freed."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_* of glibc's malloc.h
_LARGE = 32 << 20  # bytes; glibc itself arrives at this threshold in a process that frees such blocks


def keep_freed_memory() -> None:
    """Has glibc keep freed blocks of up to 32 MB for later allocations, where it would give them back to the system.

    A training step on a CPU allocates the same blocks as the one before. What has been given back the system hands out
    again page by page, each page zeroed: 20,000 to 28,000 of them in a step of the small network on 64 images. This
    changes the whole process, and what it has once used it mostly keeps, which is for the command to decide and not for
    a library. Elsewhere than with glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, -1)
