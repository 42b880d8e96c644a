import logging
from collections import Counter
from itertools import permutations, product

import pytest

from extrabert_hf.data.mixing import MixingSampler, task_counts, task_shares
from extrabert_hf.errors import InputError

SIZES = {"sst": 9, "para": 40, "sts": 5}
MIXINGS = ["proportional", "temperature", "annealed", {"sts": 1, "sst": 2, "para": 0.5}]


@pytest.mark.parametrize("mixing", MIXINGS, ids=str)
@pytest.mark.parametrize("epoch", [0, 1, 4, 9])
def test_shares_are_named_in_order_and_sum_to_one(mixing, epoch):
    for sizes in map(dict, permutations(SIZES.items())):
        shares = task_shares(sizes, mixing, epoch=epoch, num_epochs=5)
        assert list(shares) == list(sizes)
        assert sum(shares.values()) == pytest.approx(1)
        assert shares == pytest.approx(task_shares(SIZES, mixing, epoch=epoch, num_epochs=5))


def test_proportional_shares_are_those_of_the_rows():
    assert task_shares(SIZES, "proportional") == pytest.approx({"sst": 9 / 54, "para": 40 / 54, "sts": 5 / 54})


def test_temperature_goes_from_one_task_alone_to_all_alike():
    assert task_shares(SIZES, "temperature", temperature=1.0) == pytest.approx(task_shares(SIZES, "proportional"))
    assert task_shares({"a": 1, "b": 4, "c": 9}, "temperature") == pytest.approx({"a": 1 / 6, "b": 2 / 6, "c": 3 / 6})
    assert task_shares(SIZES, "temperature", temperature=1e9) == pytest.approx(dict.fromkeys(SIZES, 1 / 3))
    assert task_shares(SIZES, "temperature", temperature=1e-4) == pytest.approx({"sst": 0, "para": 1, "sts": 0})


def test_annealing_starts_proportional_and_ends_at_the_power_of_a_fifth():
    shares = [task_shares(SIZES, "annealed", epoch=epoch, num_epochs=5) for epoch in range(7)]
    assert shares[0] == pytest.approx(task_shares(SIZES, "proportional"))
    assert shares[2] == pytest.approx(task_shares(SIZES, "temperature", temperature=1 / 0.6))
    assert shares[4] == pytest.approx(task_shares(SIZES, "temperature", temperature=5.0))
    assert shares[4] == shares[5] == shares[6]
    assert [share["para"] for share in shares[:5]] == sorted((share["para"] for share in shares[:5]), reverse=True)


def test_one_epoch_of_annealing_is_proportional():
    assert task_shares(SIZES, "annealed", num_epochs=1) == pytest.approx(task_shares(SIZES, "proportional"))


def test_counts_sum_to_the_steps_and_are_within_one_of_the_quota():
    for weights, steps in product(product([0, 1, 2, 7, 31], repeat=3), [0, 1, 2, 10, 97]):
        if any(weights):
            shares = task_shares(SIZES, dict(zip(SIZES, weights, strict=True)))
            counts = task_counts(shares, steps)
            assert list(counts) == list(SIZES)
            assert sum(counts.values()) == steps
            assert all(abs(counts[task] - shares[task] * steps) < 1 for task in SIZES)


def test_the_largest_remainders_are_rounded_up():
    assert task_counts({"a": 0.26, "b": 0.34, "c": 0.40}, steps=10) == {"a": 3, "b": 3, "c": 4}


def test_whole_quotas_are_kept_whatever_the_rounding_of_their_shares():
    for numbers in product([1, 2, 3, 6, 7, 11], repeat=4):
        shares = {task: number / sum(numbers) for task, number in zip("abcd", numbers, strict=True)}
        assert tuple(task_counts(shares, sum(numbers)).values()) == numbers


def test_equal_remainders_favour_the_task_named_first():
    assert task_counts({"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}, steps=6) == {"a": 2, "b": 2, "c": 1, "d": 1}
    assert task_counts({"a": 0.7, "b": 0.3}, steps=15) == {"a": 11, "b": 4}  # 10.5 and 4.5
    assert task_counts({"a": 1 / 9, "b": 1 / 9, "c": 7 / 9}, steps=3) == {"a": 1, "b": 0, "c": 2}  # all a third


@pytest.mark.parametrize("mixing", MIXINGS, ids=str)
def test_an_epoch_has_the_steps_its_counts_say(mixing):
    sampler = MixingSampler(SIZES, 4, seed=0, mixing=mixing, num_epochs=3)
    for epoch in range(4):
        sampler.set_epoch(epoch)
        items = list(sampler)
        counts = sampler.counts(epoch)
        assert counts == task_counts(task_shares(SIZES, mixing, 2.0, epoch, 3), sampler.steps)
        assert Counter(task for item in items for task in item) == {task: 4 * counts[task] for task in counts}
        assert all(len(item) == 1 for item in items)
        assert all(items[start].keys() == items[start + 3].keys() for start in range(0, len(items), 4))


def test_the_total_is_what_all_tasks_need():
    assert MixingSampler(SIZES, 4, seed=0, mixing="proportional").steps == 3 + 10 + 2
    arguments = {"mixing": "proportional", "examples_per_item": {"para": 3}}
    assert MixingSampler(SIZES, 4, seed=0, **arguments).steps == 3 + 4 + 2
    assert MixingSampler(SIZES, 4, seed=0, epoch_length=8, **arguments).steps == 8


def test_turns_are_shuffled_anew_each_epoch():
    sampler = MixingSampler(SIZES, 4, seed=0, mixing="proportional")
    turns = [sampler.tasks_of_steps(epoch) for epoch in range(3)]
    assert sorted(turns[0]) == sorted(turns[1]) == sorted(turns[2])
    assert len(set(map(tuple, turns))) == 3
    assert turns[0] != sorted(turns[0])
    assert MixingSampler(SIZES, 4, seed=1, mixing="proportional").tasks_of_steps(0) != turns[0]


def test_a_task_without_a_step_is_logged_and_has_none(caplog):
    with caplog.at_level(logging.WARNING):
        sampler = MixingSampler(SIZES, 4, seed=0, mixing={"sst": 1, "para": 1, "sts": 0.01}, epoch_length=4)
    assert [record.getMessage() for record in caplog.records] == [
        "none of the 4 steps of the first epoch trains on ['sts']: the share is too small"
    ]
    assert {task for item in sampler for task in item} == {"sst", "para"}


def test_nothing_is_logged_where_every_task_has_a_step(caplog):
    MixingSampler(SIZES, 4, seed=0, mixing="proportional")
    assert not caplog.records


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mixing": "even"}, "`mixing` must be one of 'proportional', 'temperature', 'annealed' or a weight for each"),
        ({"mixing": {}}, "`mixing` must weigh exactly the tasks sst, para, sts, got none."),
        ({"mixing": {"sst": 1}}, "`mixing` must weigh exactly the tasks sst, para, sts, got sst."),
        (
            {"mixing": SIZES | {"qqp": 1}},
            "`mixing` must weigh exactly the tasks sst, para, sts, got sst, para, sts, qqp",
        ),
        ({"mixing": SIZES | {"sst": -1}}, "`mixing` must have weights of 0 or more, got -1 for 'sst'."),
        ({"mixing": SIZES | {"sst": float("nan")}}, "`mixing` must have weights of 0 or more, got nan for 'sst'."),
        ({"mixing": dict.fromkeys(SIZES, 0)}, "`mixing` must have a weight above 0, got"),
        ({"mixing": "temperature", "temperature": 0.0}, "`temperature` must be above 0, got 0.0."),
        ({"mixing": "temperature", "temperature": -2.0}, "`temperature` must be above 0, got -2.0."),
        ({"mixing": "annealed", "num_epochs": 0}, "`num_epochs` must be 1 or more, got 0."),
    ],
)
def test_arguments_that_do_not_fit_are_an_error_of_one_line(arguments, message):
    with pytest.raises(InputError) as error:
        MixingSampler(SIZES, 4, seed=0, **arguments)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
