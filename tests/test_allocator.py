import platform
import resource

import pytest
import torch

from extrabert_hf.allocator import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator than glibc's")
def test_a_large_block_that_is_taken_again_is_not_zeroed_by_the_kernel_again():
    assert keep_freed_memory()
    torch.empty(10_000_000).zero_()  # 40 MB, 9,766 pages
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(10_000_000).zero_()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 1_000


def test_another_allocator_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    assert not keep_freed_memory()
