import torch
from datasets import Dataset

from benchmarks.measures import measure_flops


def test_operations_are_counted_a_row_and_told_beside_the_machine_s_own_rate():
    left, right = torch.ones(8, 500), torch.ones(500, 1000)
    rows = {"sst": Dataset.from_dict({"sentence1": ["a"] * 4})}
    flops = measure_flops(lambda rows: lambda: left @ right, rows, rate=100.0, bf16=False)
    assert flops["training"] == 2 * 8 * 500 * 1000 / 4 * 100 / 1e9
    assert flops["share"] == flops["training"] / flops["float32"]
