import json
import shutil

import pytest
import torch
from torch.testing import assert_close
from transformers import TrainerCallback

from extrabert_hf.errors import InputError
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.ownership import LAYOUT
from extrabert_hf.training.callbacks import StopAtNaN
from extrabert_hf.training.loss_weighting import LOSS_WEIGHTINGS
from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
from tests.training.multitask_runs import WEIGHTED, Recorder, interrupt_training, make_trainer

TASKS = ("sst", "para", "sts")
for_each_weighting = pytest.mark.parametrize("name", WEIGHTED)


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def losses_and_gradients(trainer):
    """Each task's loss on all rows and its gradients, by autograd and nothing of the trainer."""
    rows = {task: [trainer.train_dataset[{task: (row,)}] for row in range(8)] for task in TASKS}
    losses, gradients = [], {}
    for task in TASKS:
        trainer.model.zero_grad()
        loss = trainer.model(task=task, **trainer.data_collator(rows[task])[task]).loss
        loss.backward()
        losses.append(loss.item())
        gradients[task] = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    trainer.model.zero_grad()
    return torch.tensor(losses), gradients


@for_each_weighting
def test_the_encoders_update_is_the_weighted_sum_and_a_head_keeps_its_own_gradient(name, tmp_path):
    trainer = make_trainer(tmp_path, max_steps=1, **WEIGHTED[name])
    before, gradients = losses_and_gradients(trainer)
    recorder = Recorder()
    trainer.add_callback(recorder)
    trainer.train()
    weighting = LOSS_WEIGHTINGS[name](TASKS)
    coefficients = dict(zip(TASKS, weighting.coefficients(before).tolist(), strict=True))
    for parameter, update in recorder.gradients[0].items():
        of_tasks = {task: of_task[parameter] for task, of_task in gradients.items() if parameter in of_task}
        shared = parameter.startswith("backbone.")
        expected = sum((coefficients[task] if shared else 1) * gradient for task, gradient in of_tasks.items())
        assert_close(update, expected, rtol=1e-4, atol=1e-6, msg=lambda text, which=parameter: f"{which}: {text}")
    after, _ = losses_and_gradients(trainer)  # on the rows of the step, with the weights after the step
    weighting.update(before, after if weighting.needs_losses_after else None)
    assert trainer.weighting.numbers.tolist() == pytest.approx(weighting.numbers.tolist(), rel=1e-3)
    assert (after - before).abs().min() > 1e-4


@for_each_weighting
def test_the_log_has_the_mean_weight_of_each_task(name, tmp_path):
    whole, steps = (make_trainer(tmp_path, logging_steps=each, **WEIGHTED[name]) for each in (3, 1))
    logged = []
    for trainer in (whole, steps):
        trainer.train()
        logged.append([entry for entry in trainer.state.log_history if "loss" in entry])
    for task in TASKS:
        of_steps = [entry[f"loss_weight_{task}"] for entry in logged[1]]
        assert len(set(of_steps)) == 3
        assert logged[0][0][f"loss_weight_{task}"] == pytest.approx(sum(of_steps) / 3)
        assert steps.weighting.last_weights[task] == of_steps[-1]


def test_a_run_without_a_weighting_logs_and_keeps_none(tmp_path):
    trainer = make_trainer(tmp_path, save_strategy="steps", save_steps=3)
    trainer.train()
    assert trainer.weighting is None
    assert not any("loss_weight" in key for entry in trainer.state.log_history for key in entry)
    assert not (tmp_path / "checkpoint-3" / RunFolder.LOSS_WEIGHTING).exists()


@pytest.fixture
def saving(tmp_path):
    """Options of a run with dropout that has checkpoints in the middle of an epoch."""
    saving = {"save_strategy": "steps", "save_steps": 3, "dropout": 0.1, "optim": "adamw_torch", "max_steps": 7}
    saving |= {"rows": 20, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}  # 5 steps an epoch
    return saving | {"save_total_limit": None}


@for_each_weighting
def test_training_resumes_bit_for_bit(name, saving, tmp_path):
    whole = make_trainer(tmp_path, **saving, **WEIGHTED[name])
    whole.train()
    for step in (3, 6):
        resumed = make_trainer(tmp_path, **saving, **WEIGHTED[name])
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert all(torch.equal(tensor, weights(whole)[key]) for key, tensor in weights(resumed).items())
        assert resumed.weighting.state_dict() == whole.weighting.state_dict()
    path = tmp_path / "checkpoint-6" / RunFolder.LOSS_WEIGHTING
    assert LAYOUT.fullmatch(f"checkpoint-6/{path.name}")
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"numbers": [1.0, 0.0, 0.0]}))
    changed = make_trainer(tmp_path, **saving, **WEIGHTED[name])
    changed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert any(not torch.equal(tensor, weights(whole)[key]) for key, tensor in weights(changed).items())


@pytest.mark.parametrize("content", [None, "{", "[]", '{"tasks": ["sst"]}'])
def test_a_checkpoint_without_the_state_is_refused_in_a_line(content, saving, tmp_path):
    trainer = make_trainer(tmp_path, **saving, **WEIGHTED["famo"])
    trainer.train()
    checkpoint = tmp_path / "checkpoint-3"
    (checkpoint / RunFolder.LOSS_WEIGHTING).unlink()
    if content is not None:
        (checkpoint / RunFolder.LOSS_WEIGHTING).write_text(content)
    with pytest.raises(
        InputError, match=r"can't be resumed from: loss_weighting.json is missing or damaged"
    ) as caught:
        make_trainer(tmp_path, **saving, **WEIGHTED["famo"]).train(resume_from_checkpoint=str(checkpoint))
    assert "\n" not in str(caught.value)
    shutil.rmtree(checkpoint)


def test_famo_holds_the_rows_of_one_optimizer_step_and_no_more(tmp_path):
    parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "max_steps": 2}
    trainer = make_trainer(tmp_path, **parts, **WEIGHTED["famo"])
    step, held = trainer.training_step, []

    def watching(*args):
        loss = step(*args)
        held.append(len(trainer._batches))
        return loss

    trainer.training_step = watching
    trainer.train()
    assert held == [1, 2, 3, 4, 1, 2, 3, 4]
    assert trainer._batches == [] and trainer._losses_before == []
    uncertain = make_trainer(tmp_path, **parts, **WEIGHTED["uncertainty"])
    uncertain.train()
    assert uncertain._batches == []


@for_each_weighting
def test_a_frozen_encoder_trains(name, tmp_path):
    frozen = make_trainer(tmp_path, frozen=("backbone.",), **WEIGHTED[name])
    frozen.train()
    assert frozen.weighting.numbers.isfinite().all()


class ScaledTrainer(MultiTaskTrainer):
    """A trainer under the loss scale of float16."""

    def create_optimizer(self, model=None):
        self.remove_callback(StopAtNaN)
        self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
        return super().create_optimizer(model)


class OverflowingTrainer(ScaledTrainer):
    """At the second step the loss of one task is infinite."""

    def compute_loss(self, model, inputs, *args, **kwargs):
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        overflows = torch.is_grad_enabled() and self.state.global_step == 1 and inputs["task"] == "para"
        return loss * float("inf") if overflows else loss


class OverflowOfAHead(TrainerCallback):
    """At the second step a gradient of a head is infinite."""

    def on_pre_optimizer_step(self, args, state, control, *, model, **kwargs):
        if state.global_step == 1:
            next(model.heads.parameters()).grad.fill_(float("inf"))


@for_each_weighting
@pytest.mark.parametrize("frozen", [(), ("backbone.",)], ids=["encoder", "frozen encoder"])
@pytest.mark.parametrize("of", ["loss", "head"])
def test_a_step_that_overflows_teaches_the_weighting_nothing(name, frozen, of, tmp_path):
    kind = OverflowingTrainer if of == "loss" else ScaledTrainer
    skipped = make_trainer(tmp_path, trainer_class=kind, frozen=frozen, **WEIGHTED[name])
    if of == "head":
        skipped.add_callback(OverflowOfAHead())
    plain = make_trainer(tmp_path, max_steps=2, frozen=frozen, **WEIGHTED[name])
    for trainer in (skipped, plain):
        trainer.train()
    assert skipped.weighting.steps == plain.weighting.steps == 2
    assert skipped.weighting.numbers.tolist() == pytest.approx(plain.weighting.numbers.tolist(), rel=1e-3)
    assert skipped.weighting.last_weights == pytest.approx(plain.weighting.last_weights, rel=1e-3)


@for_each_weighting
def test_a_second_training_starts_with_equal_weights(name, tmp_path):
    trainer, interrupted = (make_trainer(tmp_path, max_steps=2, **WEIGHTED[name]) for _ in range(2))
    interrupt_training(interrupted, task="sts")
    for each in (trainer, interrupted):
        each.train()
    assert interrupted.weighting.state_dict() == trainer.weighting.state_dict()
    trainer.train()
    assert trainer.weighting.steps == 2
