import inspect
import shutil
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments

from extrabert_hf import ExtraBertConfig, ExtraBertForSimilarity
from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.samplers import LengthBucketSampler
from extrabert_hf.errors import InputError
from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
from extrabert_hf.training.setup import prepare_process
from extrabert_hf.training.trainer import ExtraBertTrainer
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments


@pytest.fixture
def make_trainer(tiny_bert, tmp_path):
    generator = torch.Generator().manual_seed(3)

    def sentence():
        length = int(torch.randint(3, 20, (1,), generator=generator))
        return torch.randint(5, 99, (length,), generator=generator).tolist()

    rows = [{"input_ids": [sentence(), sentence()], "labels": float(index % 6)} for index in range(40)]
    dataset = Dataset.from_list([row | {"length": max(map(len, row["input_ids"]))} for row in rows])
    tiny_bert.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

    def make(name="run", **arguments):
        torch.manual_seed(0)
        defaults = {
            "output_dir": str(tmp_path / name),
            "bf16": False,
            "num_train_epochs": 2,
            "per_device_train_batch_size": 8,
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            "disable_tqdm": True,
            "learning_rate": 1e-3,
        }
        return ExtraBertTrainer(
            model=ExtraBertForSimilarity(ExtraBertConfig(backbone_config=dict(tiny_bert))),
            args=ExtraBertTrainingArguments(**defaults | arguments),
            train_dataset=dataset,
            data_collator=DataCollatorForSentences(pad_token_id=0),
        )

    return make


def test_the_signature_is_that_of_transformers(make_trainer):
    ours, transformers_own = (inspect.signature(cls.__init__).parameters for cls in (ExtraBertTrainer, Trainer))
    assert list(ours) == list(transformers_own)
    assert [entry.default for entry in ours.values()] == [entry.default for entry in transformers_own.values()]
    multitask = inspect.signature(MultiTaskTrainer.__init__).parameters
    assert list(multitask)[: len(ours)] == list(ours)
    assert all(entry.kind == entry.KEYWORD_ONLY for entry in list(multitask.values())[len(ours) :])


def test_a_trainer_takes_its_arguments_by_position_and_leaves_the_callers_as_they_are(make_trainer):
    made = make_trainer(max_steps=2)
    args = ExtraBertTrainingArguments(
        output_dir=made.args.output_dir, bf16=False, eval_strategy="no", load_best_model_at_end=False, max_steps=2
    )
    before = dict(vars(args))
    trainer = ExtraBertTrainer(made.model, args, made.data_collator, made.train_dataset)
    trainer.train()
    assert trainer.state.global_step == 2
    assert dict(vars(args)) == before and args.remove_unused_columns is True


def test_plain_training_arguments_are_accepted(make_trainer, tmp_path):
    made = make_trainer()
    plain = TrainingArguments(output_dir=str(tmp_path / "plain"), max_steps=2, learning_rate=1e-4, use_cpu=True)
    before = dict(vars(plain))
    trainer = ExtraBertTrainer(made.model, plain, made.data_collator, made.train_dataset)
    trainer.train()
    assert dict(vars(plain)) == before
    assert isinstance(trainer.get_train_dataloader().batch_sampler.sampler, LengthBucketSampler)
    assert {group["initial_lr"] for group in trainer.optimizer.param_groups} == {1e-4, 1e-3}
    assert made.model.unpad is True


def test_rows_without_lengths_are_trained_in_random_order_by_plain_arguments_only(make_trainer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # of the default output folder
    made = make_trainer()
    rows = made.train_dataset.remove_columns("length")
    plain = TrainingArguments(output_dir=str(tmp_path / "plain"), max_steps=1, use_cpu=True)
    trainer = ExtraBertTrainer(made.model, plain, made.data_collator, rows)
    trainer.train()
    assert not isinstance(trainer.get_train_dataloader().batch_sampler.sampler, LengthBucketSampler)
    for argument in ({}, {"max_tokens_per_batch": 100}):
        ours = ExtraBertTrainer(made.model, make_trainer(**argument).args, made.data_collator, rows)
        name = next(iter(argument), "length_buckets")
        with pytest.raises(
            InputError, match=rf"`{name}` needs a column `length` .* got the columns \['input_ids', 'lab"
        ):
            ours.train()
    assert ExtraBertTrainer(made.model, train_dataset=rows).args.eval_strategy == "no"


def test_plain_arguments_that_push_are_accepted_with_one_push_at_the_end(tmp_path):
    prepared = prepare_process(TrainingArguments(output_dir=str(tmp_path), push_to_hub=True, use_cpu=True))
    assert prepared.hub_strategy == "end"
    assert prepared.precision_reason == "set by TrainingArguments"


@pytest.mark.parametrize("arguments", [{}, {"max_tokens_per_batch": 100}, {"length_buckets": False}])
def test_a_second_training_adds_no_callback_and_loaders_have_no_effects(make_trainer, arguments):
    trainer = make_trainer(max_steps=2, **arguments)
    callbacks = list(trainer.callback_handler.callbacks)
    trainer._get_train_sampler()
    trainer.get_train_dataloader()
    assert trainer.callback_handler.callbacks == callbacks
    trainer.train()
    trainer.train()
    assert trainer.callback_handler.callbacks == callbacks


def test_every_epoch_has_an_order_of_its_own(make_trainer):
    trainer = make_trainer(num_train_epochs=3)
    seen = []
    trainer.model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].flatten().tolist()), with_kwargs=True
    )
    trainer.train()
    orders = [seen[5 * epoch : 5 * (epoch + 1)] for epoch in range(3)]
    expected = LengthBucketSampler(trainer.train_dataset["length"][:], 8, trainer.args.seed)
    for epoch, order in enumerate(orders):
        expected.set_epoch(epoch)
        rows = [list(expected)[8 * step : 8 * (step + 1)] for step in range(5)]
        batches = [trainer.data_collator([trainer.train_dataset[row] for row in step]) for step in rows]
        assert order == [batch["input_ids"].flatten().tolist() for batch in batches]


def test_saving_does_not_push(make_trainer, monkeypatch):
    monkeypatch.setattr(ExtraBertTrainer, "init_hf_repo", lambda self: None)
    monkeypatch.setattr("extrabert_hf.training.hub_trainer.push_folder", None)
    trainer = make_trainer(push_to_hub=True)
    trainer.save_model()
    assert (Path(trainer.args.output_dir) / "model.safetensors").is_file()


def test_a_model_that_the_trainer_builds_is_unpadded_as_the_arguments_say(make_trainer):
    made = make_trainer()
    args = ExtraBertTrainingArguments("run", bf16=False, eval_strategy="no", load_best_model_at_end=False, unpad=False)
    trainer = ExtraBertTrainer(args=args, model_init=lambda: type(made.model)(made.model.config))
    assert trainer.model.unpad is False
    assert trainer.call_model_init().unpad is False


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def largest_difference(a, b):
    return max((a[name] - b[name]).abs().max().item() for name in a)


def test_batches_of_tokens_hold_every_row_once_an_epoch_and_resume_to_the_same_weights(make_trainer):
    trainer = make_trainer("tokens", max_tokens_per_batch=100, save_strategy="steps", save_steps=3, save_total_limit=9)
    seen = []
    trainer.model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    trainer.train()
    assert sum(rows for rows, *_ in seen) == 2 * 40
    assert all(rows * 2 * tokens <= 100 for rows, _, tokens in seen)
    assert len({rows for rows, *_ in seen}) > 2 and trainer.global_batch_size is None
    whole = weights(trainer)
    resumed = make_trainer("tokens", max_tokens_per_batch=100)
    resumed.train(resume_from_checkpoint=str(Path(resumed.args.output_dir) / "checkpoint-6"))
    assert resumed.state.global_step == trainer.state.global_step
    assert largest_difference(weights(resumed), whole) == 0


def test_every_parameter_moves(make_trainer):
    trainer = make_trainer()
    before = weights(trainer)
    trainer.train()
    after = weights(trainer)
    # the pooling's W has no gradient while its query is exactly zero: it moves from the second step on
    assert not [name for name in before if torch.equal(before[name], after[name])]


def test_heads_and_poolings_have_their_own_learning_rate(make_trainer):
    trainer = make_trainer(learning_rate=1e-5, head_learning_rate=1e-2, weight_decay=0.1)
    optimizer = trainer.create_optimizer()
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(trainer.model.parameters()))
    for name, parameter in trainer.model.named_parameters():
        rate, decay = rates[id(parameter)]
        assert rate == (1e-5 if name.startswith("backbone.") else 1e-2), name
        assert decay == (0.0 if name.endswith("bias") or "LayerNorm" in name else 0.1), name


def test_without_a_head_learning_rate_all_share_one(make_trainer):
    optimizer = make_trainer(learning_rate=1e-5, head_learning_rate=None).create_optimizer()
    assert {group["lr"] for group in optimizer.param_groups} == {1e-5}


def test_one_batch_of_eight_is_eight_batches_of_one_accumulated(make_trainer):
    together = make_trainer(max_grad_norm=0.0)
    together.train()
    accumulated = make_trainer(per_device_train_batch_size=1, gradient_accumulation_steps=8, max_grad_norm=0.0)
    accumulated.train()
    assert largest_difference(weights(together), weights(accumulated)) < 2e-4  # ten Adam steps at 1e-3


def test_length_buckets_can_be_turned_off(make_trainer):
    assert type(make_trainer(length_buckets=False)._get_train_sampler()).__name__ == "RandomSampler"


def test_training_resumes_bit_for_bit_in_mid_epoch(make_trainer):
    whole = make_trainer("whole", save_strategy="steps", save_steps=3, save_total_limit=9, num_train_epochs=3)
    whole.train()
    for step in (3, 6, 9, 12):
        resumed = make_trainer("resumed", num_train_epochs=3)
        resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-{step}")
        assert largest_difference(weights(whole), weights(resumed)) == 0.0, step


def test_a_run_resumed_at_its_end_makes_no_further_step(make_trainer, tmp_path):
    options = {"max_steps": 3, "save_strategy": "steps", "save_steps": 3, "lr_scheduler_type": "constant"}
    whole = make_trainer("whole", **options)
    whole.train()
    resumed = make_trainer("whole", **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert resumed.state.global_step == 3
    assert largest_difference(weights(whole), weights(resumed)) == 0


def test_activation_checkpointing_gives_the_same_model(make_trainer):
    plain, checkpointed = make_trainer(), make_trainer(activation_checkpointing=True)
    plain.train()
    checkpointed.train()
    assert largest_difference(weights(plain), weights(checkpointed)) < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_torch_compile_trains_the_same_model(make_trainer):
    plain, compiled = make_trainer(max_steps=3), make_trainer(max_steps=3, torch_compile=True)
    plain.train()
    compiled.train()
    assert largest_difference(weights(plain), weights(compiled)) < 1e-4


def test_bfloat16_stays_near_float32(make_trainer):
    full, half = make_trainer(), make_trainer(bf16=True)
    loss_full, loss_half = full.train().training_loss, half.train().training_loss
    assert loss_half == pytest.approx(loss_full, rel=0.05)
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.float32}


def test_r_drops_second_pass_counts_in_the_tokens_of_a_batch(make_trainer):
    sizes = {}
    for r_drop in (0.0, 1.0):
        loader = make_trainer(r_drop=r_drop, max_tokens_per_batch=200).get_train_dataloader()
        sizes[r_drop] = max(len(batch["labels"]) * batch["input_ids"][0].numel() for batch in loader)
    assert 100 < sizes[0.0] <= 200 and sizes[1.0] <= 100


def test_training_minimises_the_objective_and_evaluation_the_heads_own_loss(make_trainer):
    trainer = make_trainer(r_drop=1e4)
    batch = trainer.data_collator([trainer.train_dataset[index] for index in range(4)])
    trainer.model.train()
    agreed = trainer.compute_loss(trainer.model, batch)
    torch.testing.assert_close(agreed, trainer.model(**batch).loss)  # no dropout: both passes are the same
    trainer.model.backbone.embeddings.dropout.p = 0.5
    assert trainer.compute_loss(trainer.model, batch) > 10 * agreed
    trainer.model.eval()
    torch.testing.assert_close(trainer.compute_loss(trainer.model, batch), trainer.model(**batch).loss)


def test_rows_count_by_their_weights(make_trainer):
    trainer = make_trainer(label_balance="weights")
    rows = [trainer.train_dataset[index] for index in range(3)]
    batch = trainer.data_collator(
        [row | {"weights": weight} for row, weight in zip(rows, (0.0, 0.0, 3.0), strict=True)]
    )
    alone = trainer.data_collator(rows[2:])
    trainer.model.train()
    torch.testing.assert_close(trainer.compute_loss(trainer.model, batch), trainer.model(**alone).loss)


def test_rows_that_make_no_batch_and_a_model_without_parameters_are_refused(make_trainer):
    with pytest.raises(InputError, match="the 40 train rows make no batch of 64: use a smaller --per_device_train_b"):
        make_trainer(per_device_train_batch_size=64, dataloader_drop_last=True).train()
    frozen = make_trainer()
    frozen.model.requires_grad_(False)
    with pytest.raises(InputError, match="the model has no parameter to train"):
        frozen.train()


def test_a_warm_up_longer_than_the_run_is_refused(make_trainer):
    with pytest.raises(InputError, match=r"`warmup_steps` must be at most the 10 steps of the run, .* got 11"):
        make_trainer(warmup_steps=11).train()
    assert make_trainer(warmup_steps=10).train().global_step == 10


@pytest.mark.parametrize(
    ("found", "arguments"),
    [
        ("`grad_norm` is nan at step 2", {"logging_steps": 1}),
        ("weights of .* are not finite at step 5, and are not saved", {"save_strategy": "epoch"}),
    ],
)
def test_training_that_diverges_ends_in_one_line_and_saves_no_model(found, arguments, make_trainer):
    rate = {"learning_rate": 1e30, "head_learning_rate": 1e30, "warmup_steps": 0}
    trainer = make_trainer(logging_strategy="steps", **{"logging_steps": 99} | rate | arguments)
    with pytest.raises(InputError, match=f"training has failed: .*{found}"):
        trainer.train()
    assert not list(Path(trainer.args.output_dir).glob("**/*.safetensors"))
