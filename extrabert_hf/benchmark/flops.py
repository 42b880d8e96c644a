"""How much of the machine's own speed at matrix products training reaches."""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from extrabert_hf.benchmark.contenders import Rows
from extrabert_hf.benchmark.rounds import Work, start_of

SIZE = 2048
TRIALS = 10


def measure_flops(build: Callable[[Rows], Work], rows: Rows, rate: float, bf16: bool) -> dict[str, float]:
    """
    Counts the floating-point operations of work, matrix products forward and backward, on tokens without padding.

    Args:
        build (`Callable`):
            Sets up our work, which encodes no padding.
        rows (`Mapping[str, Dataset]`):
            Of one task.
        rate (`float`):
            The rows a second that it made.
        bf16 (`bool`):
            Whether it works under bfloat16 autocast.

    Returns:
        `dict[str, float]`: in GFLOP/s `training`, `bfloat16` and `float32`, the rates of products of two square
        matrices of 2,048; and `share`, that of `training` in the rate of its precision.
    """
    counter = FlopCounterMode(display=False)
    run = start_of(build(rows))
    with counter:
        run()
    training = counter.get_total_flops() / min(map(len, rows.values())) * rate / 1e9
    products = {"bfloat16": product_rate(torch.bfloat16), "float32": product_rate(torch.float32)}
    return {"training": training, **products, "share": training / products["bfloat16" if bf16 else "float32"]}


def product_rate(dtype: torch.dtype) -> float:
    """Gives the fastest of some products of two square matrices on the device that trains, in GFLOP/s."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    left, right = (torch.randn(SIZE, SIZE, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        left @ right
        if device.type != "cpu":
            torch.accelerator.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * SIZE**3 / min(seconds) / 1e9
