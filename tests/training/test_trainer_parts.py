import pytest
import torch
from transformers import AutoModel, Trainer, TrainingArguments

from extrabert_hf import (
    PAPER_TASKS,
    DataCollatorForMultiTask,
    DataCollatorForSentences,
    ExtraBertForMultiTask,
    InputError,
    MultiTaskDataset,
    Predictor,
    load_task_data,
    metrics_for,
    prepare_model,
    tokenize_dataset,
)

STS = PAPER_TASKS["sts"]
pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")


@pytest.mark.parametrize("task", PAPER_TASKS.values(), ids=lambda task: task.name)
def test_the_trainer_of_transformers_trains_evaluates_saves_and_loads(task, tiny_encoder, tmp_path):
    data = load_task_data(task, "sample")
    model, tokenizer = prepare_model(tiny_encoder, task)
    rows = tokenize_dataset(data.splits, tokenizer)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    trainer = Trainer(
        model,
        TrainingArguments(
            str(tmp_path),
            **{"max_steps": 2, "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "learning_rate": 1e-3},
            **{"load_best_model_at_end": True, "metric_for_best_model": task.metric, "use_cpu": True, "report_to": []},
            disable_tqdm=True,
        ),
        DataCollatorForSentences(tokenizer.pad_token_id),
        rows["train"],
        rows["dev"],
        tokenizer,
        compute_metrics=metrics_for(task),
    )
    trainer.train()
    assert all(not torch.equal(weight, before[name]) for name, weight in model.named_parameters() if "head" in name)
    scores = trainer.evaluate()
    assert f"eval_{task.metric}" in scores and scores["eval_loss"] > 0
    logits = trainer.predict(rows["dev"]).predictions
    trainer.save_model()
    assert type(AutoModel.from_pretrained(tmp_path)) is type(model)
    assert Predictor.load(tmp_path).predict(data.splits["dev"]).logits == pytest.approx(logits, abs=1e-4)


def test_a_model_of_several_tasks_gets_the_fields_of_each(tiny_encoder):
    tasks = {name: PAPER_TASKS[name] for name in ("sst", "sts")}
    model, tokenizer = prepare_model(
        tiny_encoder, tasks, max_length=20, pooling="mean", fields_of={"sst": {"pooling": "cls"}}
    )
    assert isinstance(model, ExtraBertForMultiTask) and tokenizer.model_max_length == 20
    assert {name: fields["pooling"] for name, fields in model.config.tasks.items()} == {"sst": "cls", "sts": "mean"}


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda encoder: prepare_model(encoder, "sts"), "`tasks` must be a TaskSpec, .* got 'sts'"),
        (lambda encoder: prepare_model(encoder, {}), "`tasks` must be a TaskSpec"),
        (
            lambda encoder: prepare_model(None, STS),
            "the model must be a folder, a Hub id, 'minilm' or 'mpnet', got None",
        ),
        (lambda encoder: prepare_model(encoder, STS, poling="mean"), "Did you mean `pooling`"),
        (lambda encoder: prepare_model(encoder, STS, max_length="a"), "`max_length` must be a whole number"),
        (lambda encoder: load_task_data("sts", "sample"), "`task` must be a TaskSpec"),
        (lambda encoder: metrics_for("sts"), "`task` must be a TaskSpec"),
        (
            lambda encoder: tokenize_dataset(load_task_data(STS, "sample"), None),
            "`dataset` must be .* got a LoadedData",
        ),
        (lambda encoder: tokenize_dataset(load_task_data(STS, "sample").splits, encoder), "`tokenizer` must be"),
        (lambda encoder: DataCollatorForSentences(encoder), "`pad_token_id` must be"),
        (lambda encoder: DataCollatorForMultiTask(0), "`collator` must be"),
        (lambda encoder: MultiTaskDataset([1]), "`tasks` must be a dict"),
    ],
)
def test_a_wrong_part_is_named_in_one_line(call, message, tiny_encoder):
    with pytest.raises(InputError, match=message):
        call(tiny_encoder)
