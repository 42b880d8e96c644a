import time
from types import SimpleNamespace

from datasets import Dataset

from benchmarks.measures import in_turn, rates_in_turn


def test_every_contender_is_tried_once_a_round_in_the_same_order():
    order = []
    figures = in_turn(["ours", "peer", "plain"], lambda name: order.append(name) or len(order), rounds=2)
    assert order == ["ours", "peer", "plain"] * 2
    assert figures == {"ours": [1, 4], "peer": [2, 5], "plain": [3, 6]}


def test_only_training_is_timed_and_the_warm_up_is_not_counted():
    trained_on = []

    def contender(rows):
        time.sleep(0.1)  # loading a model
        return SimpleNamespace(
            remove_callback=lambda callback: None,
            train=lambda: trained_on.append(len(rows["sst"])) or time.sleep(0.02),
        )

    rows = {"sst": Dataset.from_dict({"sentence1": ["a"] * 30})}
    rates = rates_in_turn({"ours": contender, "peer": contender}, rows, rounds=2, batch_size=2)
    assert trained_on == [8, 8, 30, 30, 30, 30]
    assert [len(figures) for figures in rates.values()] == [2, 2]
    assert all(rate <= 1500 for figures in rates.values() for rate in figures)
    assert max(rates["ours"]) > 250  # with loading it were 30 rows in 0.12 s, with the warm-up more


def test_steps_of_several_tasks_are_counted_once_and_a_short_one_too():
    def contender(rows):
        return SimpleNamespace(remove_callback=lambda callback: None, train=lambda: time.sleep(0.1))

    rows = {task: Dataset.from_dict({"sentence1": ["a"] * 7}) for task in ("sst", "sts")}
    rates = rates_in_turn({"ours": contender}, rows, rounds=1, batch_size=3, unit="steps/s")
    assert 10 < rates["ours"][0] <= 30  # 3 steps in 0.1 s or a little more
