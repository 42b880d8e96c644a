import pytest
import torch

from extrabert_hf import ExtraBertConfig, ExtraBertForMultiTask

TASKS = {
    "sst": {"head": "sentiment", "pooling": "mean"},
    "para": {"head": "paraphrase", "pooling": "pooler"},
    "sts": {"head": "similarity"},
}


@pytest.fixture
def model(tiny_bert):
    model = ExtraBertForMultiTask(ExtraBertConfig(backbone_config=tiny_bert, tasks=TASKS)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # else all sentences have nearly the same vector
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def row_of(batch, index, pair):
    part = {name: tensor[index : index + 1] for name, tensor in batch.items()}
    return part if pair else {name: tensor[:, 0] for name, tensor in part.items()}


def test_a_batch_of_several_tasks_gives_each_row_what_its_task_does(model, random_batch):
    batch, tasks = random_batch(6), ["sts", "sst", "para", "sst", "sts", "para"]
    logits = model(task=tasks, **batch).logits
    assert logits.shape == (6, 5)
    for index, task in enumerate(tasks):
        alone = model(task=task, **row_of(batch, index, pair=task != "sst")).logits[0]
        torch.testing.assert_close(logits[index, : len(alone)], alone, atol=1e-5, rtol=1e-4)
        assert (logits[index, len(alone) :] == float("-inf")).all()
    assert not logits.softmax(-1).isnan().any()


def test_the_encoder_runs_once_and_without_the_sentences_that_no_task_reads(model, random_batch):
    calls = []
    model.unpad = False
    model.backbone.register_forward_hook(lambda module, args, output: calls.append(len(output.last_hidden_state)))
    model(task=["sst", "sts", "sst"], **random_batch(3))
    assert calls == [4]


def test_without_a_mask_every_token_counts(model, random_batch):
    ids = random_batch(3)["input_ids"].clamp(min=5)
    tasks = ["sst", "para", "sts"]
    full = model(task=tasks, input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    assert torch.equal(model(task=tasks, input_ids=ids).logits, full)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": ["sst", "sts"]}, "one for each of 3 rows, got 2"),
        ({"task": ["sst", "sts", "para"], "labels": torch.zeros(3)}, "must be a single task to compute a loss"),
        ({"task": ["sst", "sts", "nil"]}, "must be one of 'sst', 'para', 'sts', got 'nil'"),
        ({"task": []}, "one for each of 3 rows, got 0"),
    ],
)
def test_tasks_that_do_not_fit_the_rows_are_named(arguments, message, model, random_batch):
    with pytest.raises(ValueError, match=message):
        model(**random_batch(3), **arguments)


def test_a_score_of_a_mixed_batch_is_as_exact_as_alone(model, random_batch):
    model, batch = model.to(torch.bfloat16), random_batch(3)
    alone = model(task="sts", **batch).logits
    mixed = model(task=["sts"] * 3, **batch).logits
    assert alone.dtype == mixed.dtype == torch.float32 and torch.equal(alone, mixed)


def test_a_pair_task_needs_pairs(model, random_batch):
    with pytest.raises(ValueError, match=r"must be \(batch, 2, seq\)"):
        model(task=["sst", "sts"], **random_batch(2, pair=False))


def test_a_saved_config_names_each_tasks_classes(model):
    assert model.config.tasks["para"]["class_names"] == ["not paraphrase", "paraphrase"]
    assert model.config.tasks["sts"]["class_names"] == ["similarity"]
