import itertools

import pytest
import torch

from extrabert_hf import machine
from extrabert_hf.machine import choose_bf16

on_cpu = pytest.mark.skipif(torch.accelerator.is_available(), reason="speaks of machines without an accelerator")


@on_cpu
@pytest.mark.parametrize(("bf16_seconds", "faster"), [(0.5, True), (0.95, False), (4.0, False)])
def test_bfloat16_is_chosen_where_its_products_are_faster(monkeypatch, bf16_seconds, faster):
    seconds, clock, numbers = {torch.float32: 1.0, torch.bfloat16: bf16_seconds}, [0.0], itertools.count()

    def product(states, weight):
        other_work = 100 * (next(numbers) % 3 > 0)  # during most of the products
        clock[0] += seconds[states.dtype] + other_work

    monkeypatch.setattr(torch, "matmul", product)
    monkeypatch.setattr(machine.time, "perf_counter", lambda: clock[0])
    chosen, reason = choose_bf16()
    assert chosen is faster
    assert f"{bf16_seconds:.2g} times as long as float32's" in reason
