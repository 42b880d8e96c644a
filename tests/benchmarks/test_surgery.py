import pytest
import torch

from benchmarks.measures import seconds_of
from benchmarks.runner import load_rows
from benchmarks.surgery import (
    mean_backward,
    mean_backward_by_task,
    surgery_trainer,
    torchjd_pcgrad,
    whole_vector_pcgrad,
)
from benchmarks.workloads import Setting, quiet_libraries
from extrabert_hf.tasks import PAPER_TASKS

TWO = ("sst", "sts")  # with two tasks the order of the projections does not matter
SHIFTS = (-20.0, 20.0)  # labels far below or far above the predictions


@pytest.fixture
def trainer_on(tiny_encoder, tmp_path):
    """Builds the trainer of a backward method, in float32; the model is the same each time."""
    setting = Setting(tiny_encoder, batch_size=4, bf16=False, output_dir=str(tmp_path))

    def build(method, tasks=("sst", "para", "sts"), rows=4):
        if method is torchjd_pcgrad:
            pytest.importorskip("torchjd")
        with quiet_libraries():
            return surgery_trainer(setting, {t: load_rows(PAPER_TASKS[t], "sample", rows) for t in tasks}, method)

    return build


def train(trainer, shift=0.0):
    """Returns an epoch's losses and the last step's gradient of each parameter; `shift` is added to sts labels."""
    step, losses, gradients = trainer.training_step, [], {}

    def record(model, inputs, *rest):
        inputs["sts"]["labels"] += shift
        losses.append(step(model, inputs, *rest))
        gradients.update({name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad})
        return losses[-1]

    trainer.training_step = record
    torch.manual_seed(0)  # dropout is the same each time
    with quiet_libraries():
        assert seconds_of(trainer) > 0
    return losses, gradients


def assert_close(first, second):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_one_backward_a_task_gives_the_gradients_of_the_plain_mean(trainer_on):
    _, plain = train(trainer_on(mean_backward))
    _, by_task = train(trainer_on(mean_backward_by_task))
    assert_close(plain, by_task)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize(("method", "factor"), [(whole_vector_pcgrad, 2), (torchjd_pcgrad, 1)])
def test_the_other_methods_give_our_update_of_the_encoder_where_heads_are_frozen(trainer_on, method, factor, shift):
    updates = []
    for compared in (None, method):
        trainer = trainer_on(compared, TWO)
        trainer.model.poolings.requires_grad_(False)
        trainer.model.heads.requires_grad_(False)
        updates.append(train(trainer, shift)[1])
    ours, other = updates
    assert_close(ours, {name: gradient * factor for name, gradient in other.items()})


def test_one_of_these_shifts_makes_the_tasks_conflict(trainer_on):
    trainers = [trainer_on(None, TWO) for _ in SHIFTS]
    for trainer, shift in zip(trainers, SHIFTS, strict=True):
        train(trainer, shift)
    assert sorted(cosine < 0 for trainer in trainers for *_, cosine in trainer.conflicts.rows) == [False, True]


def test_a_head_gets_its_own_gradient_from_ours_and_from_torchjd_and_half_of_it_from_the_mean_of_two(trainer_on):
    ours, of_torchjd, of_mean = (train(trainer_on(method, TWO))[1] for method in (None, torchjd_pcgrad, mean_backward))
    own = {name: gradient for name, gradient in ours.items() if not name.startswith("backbone")}
    assert_close(own, {name: of_torchjd[name] for name in own})
    assert_close(own, {name: of_mean[name] * 2 for name in own})


@pytest.mark.parametrize("method", [None, mean_backward_by_task, whole_vector_pcgrad, torchjd_pcgrad])
def test_every_method_trains_all_of_the_same_model_on_the_same_batches(trainer_on, method):
    plain_losses, _ = train(trainer_on(mean_backward, rows=10))
    trainer = trainer_on(method, rows=10)
    start = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    losses, _ = train(trainer)
    assert len(losses) == len(plain_losses) == 3
    assert losses[0] == plain_losses[0]
    assert all((parameter != start[name]).any() for name, parameter in trainer.model.named_parameters())
    assert trainer.optimizer.defaults["fused"]
