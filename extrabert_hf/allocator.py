"""Memory that a process frees and soon takes again, kept in the process."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT_BLOCK = 2**27
"""Bytes: a larger block goes back as ever, the hole that it would leave might stay unused."""
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """
    Tells glibc's malloc to keep what is freed for what comes next; nothing where another one allocates.

    Left alone, it maps large blocks anew each time, and the kernel zeroes them page by page, as it does in each step
    the gradient of MiniLM's word embeddings, 47 MB.

    Returns:
        `bool`: whether it was told.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK) and mallopt(M_TRIM_THRESHOLD, LARGEST_INT))
