import pytest
import torch

from extrabert_hf.data.samplers import LengthBucketSampler

LENGTHS = torch.randint(3, 60, (403,), generator=torch.Generator().manual_seed(1)).tolist()


def batches(order, size):
    return [sorted(order[start : start + size]) for start in range(0, len(order), size)]


def test_every_row_comes_once_an_epoch():
    sampler = LengthBucketSampler(LENGTHS, batch_size=16, seed=0)
    assert sorted(sampler) == list(range(403))
    assert len(sampler) == 403


def test_order_is_a_function_of_seed_and_epoch():
    first, second = (LengthBucketSampler(LENGTHS, batch_size=16, seed=7) for _ in range(2))
    list(first)  # what was read before does not matter
    for epoch in (3, 0, 3):
        first.set_epoch(epoch)
        second.set_epoch(epoch)
        assert list(first) == list(second)
    second.set_epoch(1)
    assert list(first) != list(second)


def test_two_processes_of_eight_make_the_batches_of_one_process_of_sixteen():
    order = list(LengthBucketSampler(LENGTHS, batch_size=16, seed=0))
    of_one = batches(order, 16)
    micro = batches(order, 8)
    rank0, rank1 = micro[0::2], micro[1::2]
    of_two = [sorted(a + b) for a, b in zip(rank0, rank1, strict=False)]
    assert of_two[:25] == of_one[:25]


def test_padding_is_less_than_half_of_a_random_order():
    def padded(order):
        sizes = [[LENGTHS[i] for i in batch] for batch in batches(order, 16)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in sizes)

    assert padded(list(LengthBucketSampler(LENGTHS, batch_size=16, seed=0))) < 0.5 * padded(
        torch.randperm(403).tolist()
    )


def test_long_batches_are_not_all_first():
    order = list(LengthBucketSampler(LENGTHS, batch_size=16, seed=0))
    means = [sum(LENGTHS[i] for i in batch) for batch in batches(order, 16)[:-1]]
    assert means != sorted(means, reverse=True)


@pytest.mark.parametrize("rows", [1, 15, 16, 17])
def test_few_rows_are_all_there(rows):
    assert sorted(LengthBucketSampler(LENGTHS[:rows], batch_size=16, seed=0)) == list(range(rows))
