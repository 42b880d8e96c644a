import gc
import math
import weakref

import pytest
import torch

from extrabert_hf.errors import InputError
from extrabert_hf.runs.gradient_conflicts import read_conflicts
from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
from tests.training.multitask_runs import EVAL_ROWS, interrupt_training, make_trainer

TASKS = ("sst", "para", "sts")


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def entries(trainer, key):
    return [entry for entry in trainer.state.log_history if key in entry]


def test_every_parameter_moves(tmp_path):
    trainer = make_trainer(tmp_path, dropout=0.1, optim="adamw_torch", learning_rate=1e-3)
    before = weights(trainer)
    trainer.train()
    assert [name for name, tensor in weights(trainer).items() if torch.equal(tensor, before[name])] == []


def test_the_log_has_each_tasks_loss_and_how_their_gradients_stand_to_each_other(tmp_path):
    trainer = make_trainer(tmp_path, logging_steps=3)
    trainer.train()
    (logged,) = entries(trainer, "loss")
    losses = [logged[f"loss_{task}"] for task in TASKS]
    assert logged["loss"] == pytest.approx(sum(losses) / 3, rel=1e-3)
    rows = read_conflicts(tmp_path / "gradient_conflicts.csv")
    assert [row[:3] for row in rows] == [
        (step, *pair) for step in (1, 2, 3) for pair in (("sst", "para"), ("sst", "sts"), ("para", "sts"))
    ]
    of_pair = [cosine for _, first, second, cosine in rows if (first, second) == ("para", "sts")]
    assert logged["cosine_para_sts"] == pytest.approx(sum(of_pair) / 3)
    assert logged["conflicting_steps"] == 1.0


def test_a_log_line_is_of_the_steps_since_the_last_one(tmp_path):
    trainer = make_trainer(tmp_path, logging_steps=1)
    trainer.train()
    of_step = {step: cosine for step, first, second, cosine in trainer.conflicts.rows if (first, second) == TASKS[:2]}
    assert [entry["cosine_sst_para"] for entry in entries(trainer, "loss")] == pytest.approx(list(of_step.values()))


def test_the_loss_over_accumulated_steps_is_that_of_one(tmp_path):
    whole = make_trainer(tmp_path / "whole")
    parts = make_trainer(tmp_path / "parts", per_device_train_batch_size=2, gradient_accumulation_steps=4)
    for trainer in (whole, parts):
        trainer.train()
    for name in ("loss", *(f"loss_{task}" for task in TASKS)):
        of_whole, of_parts = ([entry[name] for entry in entries(t, "loss")] for t in (whole, parts))
        assert of_parts == pytest.approx(of_whole, rel=1e-3)


def test_between_steps_the_encoder_holds_one_gradient_a_task_and_the_optimizer_sees_none(tmp_path):
    """Memory: T x P gradients and no more; `grad` is not a further copy."""
    trainer = make_trainer(tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=1)
    step, held = trainer.training_step, []

    def watching(*args):
        loss = step(*args)
        with_grad = {name for name, p in trainer.model.named_parameters() if p.grad is not None}
        gradients = {g.data_ptr() for of_task in trainer._gradients.values() for g in of_task if g is not None}
        held.append((len(gradients), {name.split(".")[0] for name in with_grad}))
        return loss

    trainer.training_step = watching
    trainer.train()
    encoder = list(trainer.model.backbone.parameters())
    of_pooler = 2  # which `sst` alone has
    assert held[0] == (3 * len(encoder) - 2 * of_pooler, {"heads", "poolings"})
    assert held[1] == (0, {"backbone", "heads", "poolings"})


def test_losses_are_computed_and_go_backward_one_task_after_the_other(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=1)
    order = []
    compute, backward = trainer.compute_loss, trainer.accelerator.backward
    trainer.compute_loss = lambda model, inputs, *args: order.append(inputs["task"]) or compute(model, inputs, *args)
    trainer.accelerator.backward = lambda loss: order.append("backward") or backward(loss)
    trainer.train()
    assert order == [word for task in TASKS for word in (task, "backward")]


def test_an_evaluation_scores_each_task_and_all_of_them(tmp_path):
    trainer = make_trainer(tmp_path)
    scores = trainer.evaluate()
    mains = [scores["eval_sst_accuracy"], scores["eval_para_accuracy"], scores["eval_sts_pearson"]]
    assert scores["eval_mean"] == pytest.approx(sum(mains) / 3)
    assert scores["eval_worst"] == min(mains)
    assert scores["eval_cs224n_2024"] == pytest.approx((mains[0] + mains[1] + (mains[2] + 1) / 2) / 3)
    rows = {task: trainer.eval_dataset[task].tasks[task] for task in TASKS}
    assert {len(of_task) for of_task in rows.values()} == {EVAL_ROWS}
    batch = trainer.data_collator.collator([dict(row) for row in rows["sst"]])
    predicted = trainer.model.eval()(task="sst", **batch).logits.argmax(dim=-1)
    assert scores["eval_sst_accuracy"] == pytest.approx((predicted == batch["labels"]).float().mean().item())
    for given in (rows, trainer.eval_dataset):
        assert trainer.evaluate(given)["eval_mean"] == scores["eval_mean"]


@pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
@pytest.mark.parametrize("metric", ["mean", "worst", "sts_pearson"])
def test_the_best_checkpoint_is_that_of_the_aggregate(metric, tmp_path):
    options = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 1, "save_steps": 1}
    trainer = make_trainer(
        tmp_path,
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        greater_is_better=True,
        max_steps=6,
        learning_rate=0.1,
        **options,
    )
    trainer.train()
    scores = {entry["step"]: entry[f"eval_{metric}"] for entry in entries(trainer, "eval_mean")}
    assert trainer.state.best_global_step == max(scores, key=scores.get)
    assert trainer.evaluate()[f"eval_{metric}"] == pytest.approx(max(scores.values()))


@pytest.mark.launch
def test_persistent_workers_give_each_task_its_own_rows(tmp_path):
    plain = make_trainer(tmp_path).evaluate()
    kept = make_trainer(tmp_path, dataloader_num_workers=1, dataloader_persistent_workers=True)
    for _ in range(2):
        scores = {name: value for name, value in kept.evaluate().items() if not name.endswith("time")}
        assert scores == pytest.approx({name: plain[name] for name in scores}, rel=1e-5)


@pytest.mark.launch
def test_a_trainer_with_persistent_workers_is_deleted_with_its_last_reference(tmp_path):
    trainer = make_trainer(
        tmp_path, max_steps=1, eval_strategy="steps", dataloader_num_workers=1, dataloader_persistent_workers=True
    )
    trainer.train()
    gc.collect()  # what the training left behind
    reference = weakref.ref(trainer)
    gc.disable()  # a cycle of references would keep it, and its workers
    try:
        del trainer
        assert reference() is None
    finally:
        gc.enable()


def test_a_run_that_broke_off_leaves_nothing_to_the_next(tmp_path):
    plain, broken = make_trainer(tmp_path, max_steps=1), make_trainer(tmp_path, max_steps=1)
    interrupt_training(broken, task="para")
    for trainer in (plain, broken):
        trainer.train()
    assert all(torch.equal(tensor, weights(plain)[name]) for name, tensor in weights(broken).items())


def test_one_task_a_step_trains_every_task_in_its_share(tmp_path):
    trainer = make_trainer(
        tmp_path, mixing="weights", mixing_weights=[1.0, 1.0, 2.0], epoch_length="8", max_steps=8, logging_steps=1
    )
    trainer.train()
    trained = [task for entry in entries(trainer, "loss") for task in TASKS if f"loss_{task}" in entry]
    assert sorted(trained) == ["para"] * 2 + ["sst"] * 2 + ["sts"] * 4
    assert trainer.conflicts.rows == []


def test_annealing_reaches_its_last_share_in_the_runs_last_epoch(tmp_path):
    trainer = make_trainer(tmp_path, mixing="annealed", max_steps=8, per_device_train_batch_size=8)
    sampler = trainer._get_train_sampler()  # 3 steps an epoch
    assert sampler.num_epochs == math.ceil(8 / 3)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.launch)])
def test_training_resumes_bit_for_bit_in_mid_epoch(workers, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 3, "dropout": 0.1, "optim": "adamw_torch", "max_steps": 7}
    saving |= {"rows": 20, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}  # 5 steps an epoch
    saving |= {"dataloader_num_workers": workers, "save_total_limit": None}
    whole = make_trainer(tmp_path, **saving)
    whole.train()
    for step in (3, 6):
        resumed = make_trainer(tmp_path, **saving)
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert all(torch.equal(tensor, weights(whole)[name]) for name, tensor in weights(resumed).items())
        assert resumed.conflicts.rows == whole.conflicts.rows


def test_a_budget_of_tokens_is_refused(tmp_path):
    with pytest.raises(InputError, match="`max_tokens_per_batch` is for one task"):
        make_trainer(tmp_path, max_tokens_per_batch=100)


@pytest.mark.parametrize(("enabled", "kind"), [("is_fsdp_enabled", "FSDP"), ("is_deepspeed_enabled", "DeepSpeed")])
def test_what_splits_gradients_is_refused(enabled, kind, tmp_path, monkeypatch):
    from transformers import Trainer

    create = Trainer.create_accelerator_and_postprocess

    def creating(self):
        create(self)
        setattr(self, enabled, True)

    monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", creating)
    with pytest.raises(InputError, match=f"got {kind}: it does not hold whole gradients of each task"):
        make_trainer(tmp_path)


def test_a_second_training_adds_no_callback_and_the_sampler_has_no_effects(tmp_path):
    plain, trainer = make_trainer(tmp_path, max_steps=1), make_trainer(tmp_path, max_steps=1)
    plain.train()
    callbacks = list(trainer.callback_handler.callbacks)
    trainer._losses["sst"] = kept = [torch.ones(())]
    trainer._get_train_sampler()
    assert trainer._losses["sst"] is kept and trainer.callback_handler.callbacks == callbacks
    trainer.train()
    assert trainer.state.log_history[0]["loss_sst"] == plain.state.log_history[0]["loss_sst"]  # without earlier losses
    trainer.train()
    assert trainer.callback_handler.callbacks == callbacks


def test_metrics_of_one_task_are_refused(tmp_path):
    made = make_trainer(tmp_path)
    with pytest.raises(InputError, match="`compute_metrics` is for one task: use `metrics_of`"):
        MultiTaskTrainer(
            made.model, made.args, compute_metrics=lambda _: {}, tasks=made.tasks, multitask=made.multitask
        )
