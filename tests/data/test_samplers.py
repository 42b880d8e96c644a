from collections import Counter

import pytest
import torch

from extrabert_hf.data.samplers import LengthBucketSampler, RowStream, mixed_generator, order_by_length

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


def test_an_order_is_the_same_in_every_version_so_that_old_checkpoints_resume():
    assert list(LengthBucketSampler(LENGTHS[:10], batch_size=4, seed=0)) == [4, 3, 0, 8, 7, 1, 2, 6, 5, 9]


def test_pools_are_sorted_for_themselves_and_a_short_batch_stays_last():
    rows = torch.tensor([0, 1, 2, 3, 4, 5, 6])
    lengths = torch.tensor([1, 9, 5, 3, 2, 8, 4])
    pools = [rows[:4], rows[4:]]
    orders = {
        tuple(order_by_length(pools, lengths, batch_size=2, generator=torch.Generator().manual_seed(seed)).tolist())
        for seed in range(40)
    }
    batches = {frozenset([order[0:2], order[2:4], order[4:6]]) for order in orders}
    assert batches == {frozenset([(1, 2), (3, 0), (5, 6)])}
    assert len(orders) == 6  # every order of the three full batches
    assert {order[6] for order in orders} == {4}


@pytest.mark.parametrize(("size", "batch_size"), [(9, 4), (9, 3), (1, 2), (5, 16), (40, 7)])
def test_every_cycle_of_a_stream_is_a_permutation(size, batch_size):
    stream = RowStream(size, batch_size, seed=(3, 0))
    rows = stream.batches(first=0, count=3 * size).flatten()  # 3 * batch_size cycles
    cycles = rows.view(-1, size)
    assert (cycles.sort(dim=1).values == torch.arange(size)).all()
    assert size == 1 or len(cycles.unique(dim=0)) > 1


def test_a_stretch_of_a_stream_does_not_depend_on_where_reading_began():
    stream = RowStream(size=9, batch_size=4, seed=(0, 0))
    whole = stream.batches(first=0, count=12)
    for first in range(12):
        for count in range(1, 12 - first):
            assert torch.equal(stream.batches(first, count), whole[first : first + count])


def test_lengths_change_the_order_within_a_stretch_and_not_its_rows():
    for size in (5, 40, 403):
        plain, sorted_ = (RowStream(size, 8, (0, 0), lengths) for lengths in (None, LENGTHS[:size]))
        for first, count in ((0, 1), (0, 60), (7, 13), (60, 51)):
            expected, batches = (stream.batches(first, count) for stream in (plain, sorted_))
            assert batches.shape == (count, 8)
            assert Counter(batches.flatten().tolist()) == Counter(expected.flatten().tolist())


def test_a_batch_of_like_length_holds_no_row_twice_unless_it_joins_two_cycles():
    stream = RowStream(40, 8, (0, 0), LENGTHS[:40])  # cycles end where batches do
    assert all(len(set(batch)) == 8 for batch in stream.batches(first=3, count=200).tolist())
    stream = RowStream(41, 8, (0, 0), LENGTHS[:41])
    repeating = sum(len(set(batch)) < 8 for batch in stream.batches(first=0, count=41).tolist())
    assert repeating <= 7  # the 8 cycles have 7 seams


def test_batches_of_a_stream_hold_rows_of_like_length():
    def padded(stream):
        batches = torch.tensor(LENGTHS)[stream.batches(first=0, count=200)]  # (200, 8), about 4 cycles
        return (batches.max(dim=1, keepdim=True).values - batches).sum()

    plain, sorted_ = (RowStream(403, 8, (0, 0), lengths) for lengths in (None, LENGTHS))
    assert padded(sorted_) < 0.3 * padded(plain)


def test_stretches_are_shuffled_anew():
    stream = RowStream(40, 8, (0, 0), LENGTHS[:40])
    means = [torch.tensor(LENGTHS)[stream.batches(first, 5)].sum(dim=1) for first in (0, 5, 10, 15)]
    assert len({tuple(total.argsort().tolist()) for total in means}) > 1


def test_generators_of_near_numbers_are_unrelated():
    orders = {
        tuple(torch.randperm(20, generator=mixed_generator(seed, index, number)).tolist())
        for seed in range(4)
        for index in range(4)
        for number in range(4)
    }
    assert len(orders) == 64
    assert (
        torch.randperm(9, generator=mixed_generator(1, 2)).tolist()
        == torch.randperm(9, generator=mixed_generator(1, 2)).tolist()
    )
