from collections import Counter
from functools import partial
from itertools import permutations

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset
from torch.utils.data import BatchSampler, DataLoader

from extrabert_hf.data.collators import DataCollatorForMultiTask, DataCollatorForSentences
from extrabert_hf.data.mixing import MixingSampler
from extrabert_hf.data.multitask import MultiTaskDataset, MultiTaskSampler
from extrabert_hf.errors import InputError

SIZES = {"sst": 9, "para": 40, "sts": 5}
ORDERS = [dict(order) for order in permutations(SIZES.items())]
LENGTHS = {
    task: torch.randint(3, 60, (size,), generator=torch.Generator().manual_seed(size)).tolist()
    for task, size in SIZES.items()
}
SAMPLERS = {
    "longest": MultiTaskSampler,
    "shortest": partial(MultiTaskSampler, epoch_length="shortest"),
    "seven steps": partial(MultiTaskSampler, epoch_length=7),
    "two of para": partial(MultiTaskSampler, examples_per_item={"para": 2}),
    "by length": partial(MultiTaskSampler, lengths=LENGTHS),
    "proportional": partial(MixingSampler, mixing="proportional"),
    "temperature": partial(MixingSampler, mixing="temperature", temperature=5.0),
    "annealed": partial(MixingSampler, mixing="annealed", num_epochs=4),
    "weights": partial(MixingSampler, mixing={"sts": 1, "sst": 2, "para": 0.5}, epoch_length=11),
    "mixed by length": partial(
        MixingSampler, mixing="annealed", num_epochs=4, examples_per_item={"sts": 3}, lengths=LENGTHS
    ),
}

every_sampler = pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)


def items_of(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return list(sampler)


def rows_of(items, task):
    return Counter(row for item in items for row in item.get(task, ()))


def split(sequence, size):
    return [sequence[start : start + size] for start in range(0, len(sequence), size)]


def step_counts(sampler):
    """Steps of the first epoch that hold a task, by task."""
    return Counter(task for step in split(items_of(sampler), sampler.batch_size) for task in step[0])


@pytest.fixture
def tasks():
    """Tokenised rows whose numbers can be read off: row 7 of the second task starts with token 1007."""
    return {
        task: Dataset.from_list(
            [
                {"input_ids": ids if task == "sst" else [ids, ids[:1]], "labels": row, "length": len(ids)}
                for row, length in enumerate(LENGTHS[task])
                for ids in [[1000 * index + row] * length]
            ]
        )
        for index, task in enumerate(SIZES)
    }


@every_sampler
@pytest.mark.parametrize("batch_size", [1, 3, 4, 7, 16])
def test_every_step_is_full_and_len_is_true_for_every_order_of_sizes(make, batch_size):
    for sizes in ORDERS:
        sampler = make(sizes, batch_size, seed=0)
        for epoch in (0, 1, 3):
            items = items_of(sampler, epoch)
            assert len(sampler) == len(items) == sampler.steps * batch_size
            assert len(sampler) == len(items)  # reading changes nothing


@every_sampler
def test_order_is_a_function_of_seed_and_epoch(make):
    first, second, other = (make(SIZES, 4, seed=seed) for seed in (7, 7, 8))
    for epoch in (3, 0, 2, 3):
        assert items_of(first, epoch) == items_of(make(SIZES, 4, seed=7), epoch)
    assert items_of(second, 3) == items_of(first, 3)  # what was read before does not matter
    assert items_of(first, 0) != items_of(first, 1)
    assert items_of(first, 0) != items_of(other, 0)


@every_sampler
def test_rows_of_a_task_are_used_equally_often_after_any_number_of_epochs(make):
    for sizes in ORDERS[::2]:
        sampler = make(sizes, 4, seed=0)
        used = {task: Counter(range(size)) for task, size in sizes.items()}  # each row once before
        for epoch in range(6):
            for task in sizes:
                used[task] += rows_of(items_of(sampler, epoch), task)
                assert used[task].keys() == set(range(sizes[task]))
                assert max(used[task].values()) - min(used[task].values()) <= 1


@every_sampler
@pytest.mark.parametrize(("per_device", "accumulation"), [(4, 1), (2, 2), (1, 4), (3, 1)])
def test_two_processes_take_the_very_steps_of_one(make, per_device, accumulation):
    batch_size = per_device * 2 * accumulation
    sampler = make(SIZES, batch_size, seed=0)
    shards = [
        BatchSamplerShard(BatchSampler(sampler, per_device, drop_last=False), num_processes=2, process_index=rank)
        for rank in range(2)
    ]
    ranks = [list(shard) for shard in shards]
    assert [len(shard) for shard in shards] == [len(rank) for rank in ranks] == [sampler.steps * accumulation] * 2
    together = [item for pair in zip(*ranks, strict=True) for batch in pair for item in batch]
    assert together == list(sampler)  # nothing dropped, nothing filled up
    for step in split(list(zip(*ranks, strict=True)), accumulation):
        assert len({tuple(item) for pair in step for batch in pair for item in batch}) == 1


@every_sampler
def test_lengths_change_no_epochs_rows(make):
    plain, sorted_ = (make(SIZES, 4, seed=0, lengths=lengths) for lengths in (None, LENGTHS))
    for epoch in range(3):
        for task in SIZES:
            assert rows_of(items_of(plain, epoch), task) == rows_of(items_of(sorted_, epoch), task)


@pytest.mark.parametrize("make", [MultiTaskSampler, partial(MixingSampler, mixing="proportional")])
def test_with_lengths_a_step_holds_rows_of_like_length(make):
    def spread(sampler):
        steps = split(items_of(sampler), sampler.batch_size)
        lengths = [[LENGTHS["para"][row] for row in rows_of(step, "para").elements()] for step in steps]
        return sum(max(step) - min(step) for step in lengths if step)

    bucketed, plain = (make(SIZES, 8, seed=0, lengths=lengths) for lengths in ({"para": LENGTHS["para"]}, None))
    assert spread(bucketed) < 0.5 * spread(plain)


def test_an_item_holds_every_task_in_order():
    for sizes in ORDERS:
        assert all(tuple(item) == tuple(sizes) for item in MultiTaskSampler(sizes, 4, seed=0))


def test_an_item_holds_as_many_rows_of_a_task_as_asked_for():
    items = items_of(MultiTaskSampler(SIZES, 4, seed=0, examples_per_item={"para": 3, "sts": 2}))
    assert {tuple(map(len, item.values())) for item in items} == {(1, 3, 2)}
    items = items_of(MixingSampler(SIZES, 4, seed=0, mixing="proportional", examples_per_item={"para": 3}))
    assert {(task, len(rows)) for item in items for task, rows in item.items()} == {
        ("sst", 1),
        ("para", 3),
        ("sts", 1),
    }


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({}, 10),  # 40 rows of para in steps of 4
        ({"epoch_length": "shortest"}, 2),  # 5 of sts
        ({"epoch_length": 23}, 23),
        ({"examples_per_item": {"para": 4}}, 3),  # now sst's 9 rows are the longest
        ({"examples_per_item": {"sts": 2}, "epoch_length": "shortest"}, 1),
    ],
)
def test_steps_of_an_epoch_are_those_of_the_longest_or_shortest_task_or_as_given(arguments, steps):
    assert MultiTaskSampler(SIZES, 4, seed=0, **arguments).steps == steps


@pytest.mark.parametrize("batch_size", [1, 4, 7, 64])
def test_by_the_end_of_an_epoch_the_longest_has_seen_every_row_once_more(batch_size):
    sampler = MultiTaskSampler(SIZES, batch_size, seed=0)
    used = {task: Counter() for task in SIZES}
    for epoch in range(5):
        for task, size in SIZES.items():
            used[task] += rows_of(items_of(sampler, epoch), task)
            assert all(used[task][row] > epoch for row in range(size))


def test_tasks_of_one_size_are_shuffled_apart():
    items = items_of(MultiTaskSampler({"sst": 40, "para": 40}, 4, seed=0))
    assert sum(item["sst"] == item["para"] for item in items) < 10


def test_rows_are_looked_up_without_their_length(tasks):
    dataset = MultiTaskDataset(tasks)
    rows = dataset[{"sts": (4, 0), "sst": (8,)}]
    assert list(rows) == ["sts", "sst"]
    assert [row["labels"] for row in rows["sts"]] == [4, 0]
    assert rows["sst"] == [{"input_ids": tasks["sst"][8]["input_ids"], "labels": 8}]
    assert len(dataset) == 54
    assert dataset.sizes == SIZES
    assert dataset.lengths == LENGTHS


def test_a_task_may_lack_lengths(tasks):
    dataset = MultiTaskDataset(tasks | {"sst": tasks["sst"].remove_columns("length")})
    assert dataset.lengths == {task: LENGTHS[task] for task in ("para", "sts")}
    assert len(items_of(MultiTaskSampler(dataset.sizes, 4, seed=0, lengths=dataset.lengths))) == 40


@every_sampler
def test_rows_looked_up_together_are_those_looked_up_one_by_one(make, tasks):
    dataset = MultiTaskDataset(tasks)
    items = items_of(make(SIZES, 4, seed=0))
    assert dataset.__getitems__(items) == [dataset[item] for item in items]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.launch)])
def test_a_loader_gives_the_samplers_rows_whatever_its_workers(tasks, workers):
    dataset = MultiTaskDataset(tasks)
    for name in ("two of para", "mixed by length"):
        sampler = SAMPLERS[name](SIZES, 4, seed=0)
        sampler.set_epoch(2)
        collator = DataCollatorForMultiTask(DataCollatorForSentences(pad_token_id=0))
        loader = DataLoader(dataset, batch_size=2, sampler=sampler, collate_fn=collator, num_workers=workers)
        batches = list(loader)
        assert len(batches) == len(loader) == sampler.steps * 2
        expected = [
            {task: [row for item in items for row in item[task]] for task in items[0]}
            for items in split(list(sampler), 2)
        ]
        assert [{task: batch[task]["labels"].tolist() for task in batch} for batch in batches] == expected
        for batch in batches:
            for index, task in enumerate(SIZES):
                if task in batch:
                    first_tokens = batch[task]["input_ids"].flatten(1)[:, 0]
                    assert torch.equal(first_tokens, 1000 * index + batch[task]["labels"])


@pytest.mark.parametrize("make", [MultiTaskSampler, partial(MixingSampler, mixing="proportional")])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": {}}, "`sizes` must name at least 1 task, got none."),
        ({"sizes": {"sst": 3, "sts": 0}}, "`sizes` must be a whole number, 1 or more, got 0 for 'sts'."),
        ({"batch_size": 0}, "`batch_size` must be a whole number, 1 or more, got 0."),
        ({"seed": -1}, "`seed` must be a whole number, 0 or more, got -1."),
        ({"examples_per_item": {"qqp": 2}}, "`examples_per_item` must name tasks of sst, para, sts, got qqp."),
        (
            {"examples_per_item": {"sst": 0}},
            "`examples_per_item` must be a whole number, 1 or more, got 0 for 'sst'.",
        ),
        (
            {"examples_per_item": {"sst": -2}},
            "`examples_per_item` must be a whole number, 1 or more, got -2 for 'sst'.",
        ),
        ({"lengths": {"qqp": [1]}}, "`lengths` must name tasks of sst, para, sts, got qqp."),
        ({"lengths": {"sts": [1] * 4}}, "`lengths` must have 5 numbers for 'sts', got 4."),
        ({"epoch_length": 0}, "or a number of steps, 1 or more, got 0."),
        ({"epoch_length": 2.5}, "or a number of steps, 1 or more, got 2.5."),
        ({"epoch_length": "medium"}, "or a number of steps, 1 or more, got 'medium'."),
    ],
)
def test_arguments_that_do_not_fit_are_an_error_of_one_line(make, arguments, message):
    with pytest.raises(InputError) as error:
        make(**{"sizes": SIZES, "batch_size": 4, "seed": 0} | arguments)
    assert str(error.value).endswith(message)
    assert "\n" not in str(error.value)


def test_an_epoch_length_of_the_other_sampler_is_refused():
    with pytest.raises(InputError, match="`epoch_length` must be 'longest', 'shortest' or a number of steps"):
        MultiTaskSampler(SIZES, 4, seed=0, epoch_length="total")
    with pytest.raises(InputError, match="`epoch_length` must be 'total' or a number of steps"):
        MixingSampler(SIZES, 4, seed=0, mixing="proportional", epoch_length="longest")
