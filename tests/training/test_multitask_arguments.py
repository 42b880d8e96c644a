from itertools import islice

import pytest

from extrabert_hf.data.mixing import MixingSampler
from extrabert_hf.data.multitask import MultiTaskSampler
from extrabert_hf.training.multitask_arguments import EPOCH_LENGTHS, MultiTaskArguments

SIZES = {"sst": 12, "para": 40, "sts": 20}


def sampler(sizes=SIZES, num_epochs=3, **arguments):
    return MultiTaskArguments(**arguments).sampler(sizes, None, batch_size=4, seed=7, num_epochs=num_epochs)


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({}, 10),
        ({"epoch_length": "longest"}, 10),
        ({"epoch_length": "shortest"}, 3),
        ({"epoch_length": "6"}, 6),
        ({"mixing": "proportional"}, 18),
        ({"mixing": "proportional", "epoch_length": "total"}, 18),
        ({"mixing": "annealed", "epoch_length": "5"}, 5),
        ({"examples_per_item": [1, 2, 1]}, 5),
    ],
)
def test_an_epoch_has_the_length_of_the_arguments(arguments, steps):
    assert len(sampler(**arguments)) == steps * 4
    assert len(list(sampler(**arguments))) == steps * 4


def test_numbers_go_to_the_trained_tasks_in_their_order():
    arguments = {"train_tasks": ["sts", "sst"], "mixing": "weights", "mixing_weights": [3.0, 1.0], "epoch_length": "8"}
    assert MultiTaskArguments(**arguments).trained == ["sts", "sst"]
    sizes = {task: SIZES[task] for task in ("sst", "sts")}
    assert sampler(sizes, **arguments).counts(epoch=0) == {"sst": 2, "sts": 6}
    (item,) = islice(sampler(sizes, train_tasks=["sst", "sts"], examples_per_item=[1, 3]), 1)
    assert [len(item[task]) for task in ("sst", "sts")] == [1, 3]


def test_each_way_of_mixing_has_its_sampler():
    assert type(sampler()) is MultiTaskSampler
    for mixing in EPOCH_LENGTHS.keys() - {"together", "weights"}:
        temperature = 4.0 if mixing == "temperature" else 2.0
        made = sampler(mixing=mixing, mixing_temperature=temperature)
        assert type(made) is MixingSampler
        assert (made.mixing, made.temperature, made.num_epochs) == (mixing, temperature, 3)
