"""Options of transformers' `Trainer` whose work depends on the batches of this package."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments

from extrabert_hf import (
    ExtraBertConfig,
    ExtraBertForMultiTask,
    ExtraBertForParaphrase,
    ExtraBertForSentiment,
    ExtraBertTrainer,
    ExtraBertTrainingArguments,
    InputError,
    MultiTaskTrainer,
)
from extrabert_hf.data.collators import DataCollatorForMultiTask, DataCollatorForSentences
from extrabert_hf.data.multitask import MultiTaskDataset
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.multitask_arguments import MultiTaskArguments

MOST_ROWS = 3
"""Rows of a batch that fit into the memory."""


class OutOfMemory:
    def forward(self, input_ids, **kwargs):
        if self.training and len(input_ids) > MOST_ROWS:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(input_ids, **kwargs)


class LargeParaphrase(OutOfMemory, ExtraBertForParaphrase):
    pass


class LargeMultiTask(OutOfMemory, ExtraBertForMultiTask):
    pass


def rows(count, pair):
    generator = torch.Generator().manual_seed(count)
    lengths = torch.randint(3, 12, (count, 2), generator=generator).tolist()
    ids = [[list(range(5, 5 + length)) for length in row] for row in lengths]
    longest = [max(row) if pair else row[0] for row in lengths]
    columns = {"input_ids": ids if pair else [row[0] for row in ids], "length": longest}
    return Dataset.from_dict(columns | {"labels": [index % 2 for index in range(count)]})


def arguments(folder, **fields):
    fields = {"per_device_train_batch_size": 8, "per_device_eval_batch_size": 4, "report_to": "none"} | fields
    own = {"load_best_model_at_end": False, "eval_strategy": "no", "save_strategy": "no", "num_train_epochs": 1}
    return ExtraBertTrainingArguments(str(folder), bf16=False, disable_tqdm=True, **own | fields)


def one_task(folder, tiny_bert, model_class=ExtraBertForParaphrase, **fields):
    return ExtraBertTrainer(
        model_class(ExtraBertConfig(backbone_config=tiny_bert)),
        arguments(folder, **fields),
        DataCollatorForSentences(0),
        rows(26, pair=True),
        rows(10, pair=True),
    )


def several_tasks(folder, tiny_bert, model_class=ExtraBertForMultiTask, mixing="joint", **fields):
    tasks = {task: PAPER_TASKS[task] for task in ("sst", "para")}
    heads = {task: {"head": spec.head} for task, spec in tasks.items()}
    return MultiTaskTrainer(
        model_class(ExtraBertConfig(backbone_config=tiny_bert, tasks=heads)),
        arguments(folder, **fields),
        DataCollatorForMultiTask(DataCollatorForSentences(0)),
        MultiTaskDataset({"sst": rows(26, pair=False), "para": rows(12, pair=True)}),
        {"sst": rows(9, pair=False), "para": rows(10, pair=True)},
        tasks=tasks,
        multitask=MultiTaskArguments(**({} if mixing == "joint" else {"mixing": mixing})),
    )


@pytest.mark.parametrize("fields", [{}, {"length_buckets": False}, {"gradient_accumulation_steps": 2}])
@pytest.mark.parametrize("make", [one_task, several_tasks])
def test_a_batch_size_that_fits_is_that_of_the_sampler_too(make, fields, tiny_bert, tmp_path):
    model_class = LargeParaphrase if make is one_task else LargeMultiTask
    trainer = make(tmp_path, tiny_bert, model_class, auto_find_batch_size=True, **fields)
    trainer.train()
    due = MOST_ROWS * fields.get("gradient_accumulation_steps", 1)
    assert trainer.global_batch_size == due
    assert trainer.state.global_step == trainer.state.max_steps == -(-26 // due)
    sampler = trainer._get_train_sampler()
    assert getattr(sampler, "batch_size", due) == due


def test_a_budget_of_tokens_shrinks_with_the_batch_size_that_fits(tiny_bert, tmp_path):
    trainer = one_task(tmp_path, tiny_bert, auto_find_batch_size=True, max_tokens_per_batch=128)
    batches = trainer.get_train_dataloader().batch_sampler.sizes
    trainer._train_batch_size = 4  # of 8
    assert max(trainer.get_train_dataloader().batch_sampler.sizes) == max(batches) // 2


@pytest.mark.parametrize("counted", ["all", "non_padding"])
def test_tokens_of_all_tasks_are_counted(counted, tiny_bert, tmp_path):
    trainer = several_tasks(tmp_path, tiny_bert, include_num_input_tokens_seen=counted, max_steps=2)
    seen = []
    step = trainer.training_step

    def counting(model, inputs, *args):
        names = "input_ids" if counted == "all" else "attention_mask"
        seen.extend(batch[names].numel() if counted == "all" else batch[names].sum() for batch in inputs.values())
        return step(model, inputs, *args)

    trainer.training_step = counting
    trainer.train()
    assert trainer.state.num_input_tokens_seen == sum(seen) > 0
    assert trainer.state.total_flos > 0


@pytest.mark.parametrize("make", [one_task, several_tasks])
def test_metrics_get_the_inputs_and_losses_on_request(make, tiny_bert, tmp_path):
    trainer = make(tmp_path, tiny_bert, include_for_metrics=["inputs", "loss"])
    shapes = []

    def metrics(prediction):
        shapes.append((prediction.inputs.shape[:-1], prediction.losses.shape))
        return {"accuracy": 0.0, "f1": 0.0}

    trainer.compute_metrics = metrics
    trainer.metrics_of = {"sst": metrics, "para": metrics}
    trainer.evaluate()
    assert shapes[-1] == ((10, 2), (10,))
    if make is several_tasks:
        assert shapes[0] == ((9,), (9,))


def test_predict_takes_the_rows_of_one_task(tiny_bert, tmp_path):
    trainer = several_tasks(tmp_path, tiny_bert)
    assert trainer.predict({"para": rows(5, pair=True)}).predictions.shape == (5, 2)
    assert trainer.predict(MultiTaskDataset({"sst": rows(5, pair=False)})).predictions.shape == (5, 5)
    with pytest.raises(InputError, match=r"the rows of one task, as {'sst': rows}, got the tasks para, sst"):
        trainer.predict({"para": rows(5, pair=True), "sst": rows(5, pair=False)})


def test_neftune_scales_its_noise_by_the_padded_length(tiny_bert, tmp_path):
    trainer = one_task(tmp_path, tiny_bert, neftune_noise_alpha=5.0)
    assert (trainer.why_padded(), trainer.model.why_padded()) == ("for NEFTune", "disabled by unpad=False")


@pytest.mark.parametrize("label_smoothing_factor", [0.0, 0.1])
def test_a_model_that_returns_tuples_trains(label_smoothing_factor, tiny_bert, tmp_path):
    trainer = one_task(tmp_path, tiny_bert, label_smoothing_factor=label_smoothing_factor, max_steps=1)
    trainer.model.config.return_dict = False
    assert trainer.train().global_step == 1
    assert trainer.predict(rows(5, pair=True)).predictions.shape == (5, 2)


@pytest.mark.parametrize("model_class", [ExtraBertForSentiment, ExtraBertForParaphrase])
def test_the_trainer_of_transformers_trains_the_models(model_class, tiny_bert, tmp_path):
    train = rows(16, pair=model_class is ExtraBertForParaphrase)
    train = train.add_column("token_type_ids", train["input_ids"][:])  # columns that a tokenizer adds
    model = model_class(ExtraBertConfig(backbone_config=tiny_bert, num_labels=2, output_hidden_states=True))
    trainer = Trainer(
        model,
        TrainingArguments(str(tmp_path), max_steps=2, report_to="none", save_strategy="no", disable_tqdm=True),
        DataCollatorForSentences(0),
        train,
        train,
        compute_metrics=lambda prediction: {"rows": len(np.argmax(prediction.predictions, axis=-1))},
    )
    assert trainer.train().global_step == 2
    assert trainer.evaluate()["eval_rows"] == 16
