import platform
import subprocess
import sys

import pytest

from extrabert_hf import machine

IN_A_NEW_PROCESS = f"""
import ctypes, resource, runpy
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def faults():
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(40_000_000)))  # 9,766 pages, or 20 huge ones
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    libc.memset(block, 1, ctypes.c_size_t(40_000_000))
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
left_alone = [faults(), faults()]
assert runpy.run_path({machine.__file__!r})["keep_freed_memory"]()
kept = [faults(), faults()]
print(left_alone[1], kept[1])
"""


@pytest.mark.launch
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator than glibc's")
def test_a_large_block_that_is_taken_again_is_not_zeroed_by_the_kernel_again():
    printed = subprocess.run([sys.executable, "-c", IN_A_NEW_PROCESS], capture_output=True, text=True, check=True)
    left_alone, kept = map(int, printed.stdout.split())
    assert kept < left_alone / 10


def test_another_allocator_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    assert not machine.keep_freed_memory()
