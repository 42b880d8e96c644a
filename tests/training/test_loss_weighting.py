import json

import pytest
import torch
from torch.testing import assert_close

from extrabert_hf.errors import InputError
from extrabert_hf.training.loss_weighting import LOSS_WEIGHTINGS, FamoWeighting, UncertaintyWeighting
from extrabert_hf.training.multitask_arguments import MultiTaskArguments

TASKS = ["sst", "para", "sts"]
for_each_weighting = pytest.mark.parametrize("name", LOSS_WEIGHTINGS)


def random_losses(count, seed=0):
    """Losses of several scales, before and after each step."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.tensor([1.6, 0.05, 3.0], dtype=torch.float64)
    return scales * torch.rand(count, 2, 3, generator=generator, dtype=torch.float64).add(0.1)


def trained(name, losses):
    weighting = LOSS_WEIGHTINGS[name](TASKS)
    for before, after in losses:
        weighting.coefficients(before)
        weighting.update(before, after if weighting.needs_losses_after else None)
    return weighting


def gradient_of(scalarizer, losses):
    losses = losses.clone().requires_grad_()
    scalarizer(losses).backward()
    return losses.grad


def test_famo_is_that_of_torchjd():
    scalarization = pytest.importorskip("torchjd.scalarization")
    oracle, ours = scalarization.FAMO(3).double(), FamoWeighting(TASKS)
    for before, after in random_losses(50):
        assert_close(ours.coefficients(before), gradient_of(oracle, before), rtol=1e-9, atol=0)
        oracle.update(after)
        ours.update(before, after)
    assert_close(ours.numbers, oracle._w.detach(), rtol=1e-9, atol=1e-12)
    assert ours.numbers.abs().max() > 0.05


def test_uncertainty_is_that_of_torchjd_with_its_log_variances_in_adam():
    scalarization = pytest.importorskip("torchjd.scalarization")
    oracle, ours = scalarization.UW(3).double(), UncertaintyWeighting(TASKS)
    adam = torch.optim.Adam(oracle.parameters(), lr=0.025)
    for before, _ in random_losses(50):
        adam.zero_grad()
        assert_close(ours.coefficients(before), gradient_of(oracle, before), rtol=1e-9, atol=0)
        adam.step()
        ours.update(before)
    assert_close(ours.numbers, oracle.log_var.detach(), rtol=1e-9, atol=1e-12)
    assert ours.numbers.abs().max() > 0.5


def test_uncertainty_reaches_half_the_inverse_of_constant_losses():
    losses = torch.tensor([1.6, 0.05, 3.0])
    weighting = trained("uncertainty", [(losses, losses)] * 2000)
    assert_close(weighting.coefficients(losses).float(), 0.5 / losses, rtol=1e-2, atol=0)


def test_famo_gives_the_task_whose_loss_falls_least_the_largest_weight():
    before = torch.ones(3)
    weighting = trained("famo", [(before, torch.tensor([0.9, 0.99, 0.95]))] * 20)
    weights = weighting.coefficients(before)
    assert weights[1] > weights[2] > weights[0]
    assert weights.sum() == pytest.approx(1)


def test_the_scale_of_a_loss_changes_nothing_for_famo():
    losses = random_losses(20)
    scale = torch.tensor([7.0, 1.0, 0.2], dtype=torch.float64)
    plain, scaled = trained("famo", losses), trained("famo", losses * scale)
    assert_close(scaled.numbers, plain.numbers, rtol=1e-5, atol=1e-8)


@for_each_weighting
def test_a_restored_weighting_continues_exactly(name):
    losses = random_losses(9)
    whole, half = trained(name, losses), trained(name, losses[:4])
    restored = LOSS_WEIGHTINGS[name](TASKS)
    restored.load_state_dict(json.loads(json.dumps(half.state_dict())))
    for before, after in losses[4:]:
        restored.coefficients(before)
        restored.update(before, after if restored.needs_losses_after else None)
    assert restored.state_dict() == whole.state_dict()


@for_each_weighting
@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_an_overflow_leaves_the_state_as_it_is(name, loss):
    weighting = trained(name, random_losses(3))
    state = weighting.state_dict()
    bad, good = torch.tensor([1.0, loss, 1.0]), torch.ones(3)
    assert weighting.coefficients(bad).tolist() == [1.0, 1.0, 1.0]
    weighting.update(bad, good if weighting.needs_losses_after else None)
    if weighting.needs_losses_after:
        weighting.update(good, bad)
    assert weighting.state_dict() == state


@for_each_weighting
def test_a_loss_of_zero_gives_finite_weights(name):
    zero = torch.tensor([0.0, 1.0, 0.0])
    weighting = trained(name, [(zero, torch.tensor([1.0, 0.0, 0.0]))] * 3000)
    assert weighting.numbers.isfinite().all() and weighting.numbers.abs().max() < 100
    assert weighting.coefficients(zero).isfinite().all()
    assert weighting.coefficients(torch.zeros(3)).isfinite().all()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "the state of a loss weighting is damaged: 'tasks'"),
        (
            FamoWeighting(["sst", "sts"]).state_dict(),
            r"must be of the tasks \['sst', 'para', 'sts'\], got \['sst', 's",
        ),
        (FamoWeighting(TASKS).state_dict() | {"numbers": [1.0]}, "is damaged"),
    ],
)
def test_another_state_is_refused(state, message):
    with pytest.raises(InputError, match=message):
        FamoWeighting(TASKS).load_state_dict(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss_weighting": "magic"}, "`loss_weighting` must be one of 'none', 'uncertainty', 'famo', got 'magic'"),
        ({"loss_weighting": "famo"}, "`aggregator` 'sum', got 'pcgrad': add `--aggregator sum`"),
        (
            {"loss_weighting": "famo", "aggregator": "sum", "mixing": "proportional"},
            "`mixing` 'together', got 'proportional': add `--mixing together`",
        ),
        ({"loss_weighting_learning_rate": 0.0}, "`loss_weighting_learning_rate` must be above 0, got 0.0"),
        ({"loss_weighting_learning_rate": 0.1}, "`loss_weighting_learning_rate` needs a `loss_weighting`, got it wi"),
        (
            {"loss_weighting": "famo", "aggregator": "sum", "train_tasks": ["sst"]},
            r"`loss_weighting` 'famo' needs two trained tasks or more, got \['sst'\]: leave out --loss_weighting",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        MultiTaskArguments(**arguments)


def test_the_arguments_make_the_weighting():
    famo = MultiTaskArguments(loss_weighting="famo", loss_weighting_learning_rate=0.1, aggregator="sum")
    weighting = famo.weighting(TASKS)
    assert type(weighting) is FamoWeighting and (weighting.tasks, weighting.learning_rate) == (TASKS, 0.1)
    assert famo.weighting(["sst"]) is None
    assert MultiTaskArguments().weighting(TASKS) is None
