"""Models that go on from a saved model: with other labels, for another task, and for several tasks."""

import dataclasses
import logging

import pytest
import torch

from extrabert_hf.errors import InputError
from extrabert_hf.models import MODEL_FOR_HEAD, ExtraBertForMultiTask
from extrabert_hf.pretrained.building import build_model, build_multitask_model
from extrabert_hf.pretrained.loading import load_model
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec

MOOD = TaskSpec(name="mood", head="sentiment", class_names=("down", "level", "up"))
TONE = TaskSpec(name="tone", head="paraphrase", class_names=("no", "maybe", "yes"))
TASKS = {**PAPER_TASKS, "mood": MOOD}


def saved(folder, model, tokenizer):
    """Saves a model with random biases, so that each class has its own."""
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if name.endswith("classifier.bias"):
            torch.nn.init.normal_(parameter)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def folder_of(tiny_encoder, tmp_path):
    """Saves a model of one task, and returns its folder."""

    def save(task, **fields):
        return saved(tmp_path / task.name, *build_model(tiny_encoder, task, **fields))

    return save


@pytest.fixture
def multitask_folder(tiny_encoder, tmp_path):
    """A saved model of four tasks; `sst` has the encoder's own pooler."""
    fields = {name: {} for name in TASKS} | {"sst": {"pooling": "pooler"}}
    return saved(tmp_path / "multitask", *build_multitask_model(tiny_encoder, TASKS, config_fields=fields))


def batch_of(task):
    torch.manual_seed(0)
    return torch.randint(5, 60, (3, 2, 7) if task.is_pair else (3, 7))


def logits_of(model, task, /, **names):
    ids = batch_of(task).to(model.device)
    with torch.no_grad():
        return model.eval()(input_ids=ids, **names).logits.cpu()


def same_encoder(model, other):
    weights, others = model.backbone.state_dict(), other.backbone.state_dict()
    return all(torch.equal(weights[name].cpu(), others[name].cpu()) for name in weights.keys() & others.keys())


@pytest.mark.parametrize("task", [MOOD, TONE], ids=lambda task: task.name)
def test_a_class_keeps_its_weights_by_name_wherever_it_stands(task, folder_of, caplog):
    folder = folder_of(task, pooling="mean", feed_forward_depth=1)
    before = load_model(folder).model
    first, second, third = task.class_names
    other = dataclasses.replace(task, name="other", class_names=(third, "new", first))
    with caplog.at_level(logging.INFO, "extrabert_hf"):
        model, _ = build_model(folder, other, pooling="cls", feed_forward_depth=3)
    kept = logits_of(model, task)[:, [2, 0]]
    torch.testing.assert_close(kept, logits_of(before, task)[:, [0, 2]])
    assert (model.config.pooling, model.config.num_labels, model.config.task_name) == ("mean", 3, "other")
    assert model.config.id2label == {0: third, 1: "new", 2: first}
    assert f"classes kept: {third!r}, {first!r}; new: 'new'; left out: {second!r}" in caplog.text


def test_more_classes_and_fewer_classes_go_on(folder_of):
    folder = folder_of(MOOD)
    before = logits_of(load_model(folder).model, MOOD)
    more = dataclasses.replace(MOOD, class_names=("a", *MOOD.class_names, "z"))
    torch.testing.assert_close(logits_of(build_model(folder, more)[0], MOOD)[:, 1:4], before)
    fewer = dataclasses.replace(MOOD, class_names=("up", "down"))
    torch.testing.assert_close(logits_of(build_model(folder, fewer)[0], MOOD), before[:, [2, 0]])


def test_another_range_of_scores_rescales_the_same_cosine(folder_of):
    folder = folder_of(PAPER_TASKS["sts"])
    model, _ = build_model(folder, dataclasses.replace(PAPER_TASKS["sts"], label_range=(0.0, 10.0)))
    before = logits_of(load_model(folder).model, PAPER_TASKS["sts"])
    torch.testing.assert_close(logits_of(model, PAPER_TASKS["sts"]), 2 * before)


@pytest.mark.parametrize("bounds", ["none", "clamp", "scale"])
def test_another_range_of_scores_rescales_a_linear_score(bounds, folder_of):
    sts = PAPER_TASKS["sts"]
    folder = folder_of(sts, similarity="linear", similarity_bounds=bounds)
    model, _ = build_model(folder, dataclasses.replace(sts, label_range=(-1.0, 1.0)))
    before = logits_of(load_model(folder).model, sts)
    torch.testing.assert_close(logits_of(model, sts), -1 + 2 / 5 * before)


@pytest.mark.parametrize("task", PAPER_TASKS.values(), ids=list(PAPER_TASKS))
def test_a_model_with_another_head_gives_its_encoder(task, folder_of, caplog):
    source = next(other for other in PAPER_TASKS.values() if other.head != task.head)
    folder = folder_of(source)
    with caplog.at_level(logging.INFO, "extrabert_hf"):
        model, tokenizer = build_model(folder, task, pooling="mean")
    assert type(model) is MODEL_FOR_HEAD[task.head]
    assert model.config.pooling == "mean"
    assert same_encoder(model, load_model(folder).model)
    assert f"with a new head for {task.name!r}" in caplog.text
    assert len(tokenizer) > 0


def test_what_goes_on_is_saved_and_loaded(folder_of, tmp_path):
    model, tokenizer = build_model(folder_of(PAPER_TASKS["sts"]), MOOD)
    again = load_model(saved(tmp_path / "again", model, tokenizer))
    assert (again.task.name, again.task.class_names) == ("mood", MOOD.class_names)
    torch.testing.assert_close(logits_of(again.model, MOOD), logits_of(model, MOOD))


def test_a_pooler_that_was_not_saved_is_an_error_that_names_it(folder_of):
    with pytest.raises(InputError, match=r"`pooling` must not be 'pooler' here: .*saved without"):
        build_model(folder_of(PAPER_TASKS["sts"]), MOOD, pooling="pooler")


def test_one_task_goes_on_from_a_model_of_several(multitask_folder):
    with_head, _ = build_model(multitask_folder, MOOD)
    before, _ = build_multitask_model(multitask_folder, TASKS, config_fields={name: {} for name in TASKS})
    torch.testing.assert_close(logits_of(with_head, MOOD), logits_of(before, MOOD, task="mood"))
    assert type(with_head) is MODEL_FOR_HEAD["sentiment"]
    new, _ = build_model(multitask_folder, TONE)
    assert same_encoder(new, before)
    assert getattr(new.backbone, "pooler", None) is None  # no weight without a gradient


def test_several_tasks_go_on_with_one_more_and_one_less(multitask_folder):
    tasks = {name: task for name, task in TASKS.items() if name != "sts"} | {"tone": TONE}
    model, _ = build_multitask_model(multitask_folder, tasks, config_fields={name: {} for name in tasks})
    before, _ = build_multitask_model(multitask_folder, TASKS, config_fields={name: {} for name in TASKS})
    assert type(model) is ExtraBertForMultiTask
    assert list(model.heads) == list(tasks)
    for name in ("sst", "para", "mood"):
        torch.testing.assert_close(logits_of(model, tasks[name], task=name), logits_of(before, tasks[name], task=name))
    assert logits_of(model, TONE, task="tone").shape == (3, 3)


def test_several_tasks_go_on_from_a_model_of_one(folder_of):
    folder = folder_of(PAPER_TASKS["para"])
    model, _ = build_multitask_model(folder, PAPER_TASKS, config_fields={name: {} for name in PAPER_TASKS})
    before = load_model(folder).model
    torch.testing.assert_close(
        logits_of(model, PAPER_TASKS["para"], task="para"), logits_of(before, PAPER_TASKS["para"])
    )
    assert same_encoder(model, before)


@pytest.fixture
def adapters_folder(tiny_encoder, tmp_path):
    """A saved model of the paper's tasks with an adapter for each, which all differ from 0."""
    model, tokenizer = build_multitask_model(
        tiny_encoder, PAPER_TASKS, config_fields={name: {} for name in PAPER_TASKS}
    )
    adapter = {"r": 2, "lora_alpha": 4, "target_modules": ["query"]}
    tasks = {name: {**task, "adapter": adapter} for name, task in model.config.tasks.items()}
    model = ExtraBertForMultiTask(type(model.config)(backbone_config=model.config.backbone_config, tasks=tasks))
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(parameter)
    return saved(tmp_path / "adapters", model, tokenizer)


def test_a_new_task_on_a_model_with_adapters_is_refused(adapters_folder):
    with pytest.raises(InputError, match=r"have an adapter for 'mood' .*got adapters for \['para', 'sst', 'sts'\]"):
        build_model(adapters_folder, MOOD)


@pytest.mark.parametrize(
    "tasks",
    [
        {name: PAPER_TASKS[name] for name in ("sst", "sts")},
        {**PAPER_TASKS, "sst": dataclasses.replace(PAPER_TASKS["sst"], class_names=("bad", "good"))},
        TASKS,
    ],
    ids=["fewer tasks", "other labels", "more tasks"],
)
def test_several_tasks_on_a_model_with_adapters_are_those_of_the_model(tasks, adapters_folder):
    with pytest.raises(InputError, match=r"the same tasks and labels, got \['para', 'sst', 'sts'\] with an adapter"):
        build_multitask_model(adapters_folder, tasks, config_fields={name: {} for name in tasks})


def test_one_task_of_a_model_with_adapters_trains_the_whole_encoder(adapters_folder):
    model, _ = build_model(adapters_folder, PAPER_TASKS["sst"])
    assert type(model) is MODEL_FOR_HEAD["sentiment"]
    assert all(parameter.requires_grad for parameter in model.parameters())
