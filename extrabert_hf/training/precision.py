"""Whether bfloat16 is there and faster, by measurement."""

import time

import torch

WORTH_IT = 1.2
"""Autocast adds casts of its own: a product must gain more than this to gain in the end."""

PRECISIONS = {"bf16": "bfloat16 autocast", "fp16": "float16 autocast", "no": "float32"}
"""What the `Trainer` calls mixed precision -> what it is."""


def choose_bf16(use_cpu: bool = False) -> tuple[bool, str]:
    """
    Decides for or against bfloat16 autocast on the device that will train.

    On CUDA the hardware's support decides, on CPU a matrix product of an encoder layer's size, timed in both types.

    Args:
        use_cpu (`bool`, defaults to `False`):
            Whether training runs on the CPU though an accelerator is there.

    Returns:
        `tuple[bool, str]`: the choice, and its reason in a few words.
    """
    if not use_cpu and torch.cuda.is_available():
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
        return supported, "the GPU computes in it" if supported else "the GPU does not compute in it"
    if not use_cpu and torch.accelerator.is_available():
        return False, f"not tried on {torch.accelerator.current_accelerator().type}"
    times = _matmul_seconds(torch.bfloat16) / _matmul_seconds(torch.float32)
    return times * WORTH_IT < 1, f"its matrix products take {times:.2g} times as long as float32's on this CPU"


def _matmul_seconds(dtype: torch.dtype) -> float:
    states, weight = torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        torch.matmul(states, weight)
        seconds.append(time.perf_counter() - start)
    return min(seconds[2:])  # the first ones warm up
