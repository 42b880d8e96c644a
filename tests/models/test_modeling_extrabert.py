import copy

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from extrabert_hf import (
    ExtraBertConfig,
    ExtraBertForMultiTask,
    ExtraBertForParaphrase,
    ExtraBertForSentiment,
    ExtraBertForSimilarity,
)
from extrabert_hf.models import MODEL_FOR_HEAD
from extrabert_hf.tasks import PAPER_TASKS
from tests.conftest import TINY_BACKBONES

MODELS = [ExtraBertForSentiment, ExtraBertForParaphrase, ExtraBertForSimilarity]
POOLINGS = ["pooler", "cls", "mean", "dot", "multiplicative"]
TASKS = {
    "sst": {"head": "sentiment", "pooling": "mean"},
    "para": {"head": "paraphrase", "pooling": "pooler", "pair_features": ["u", "v", "cosine"]},
    "sts": {"head": "similarity", "score_range": [-1.0, 3.0]},
    "mood": {"head": "sentiment", "pooling": "dot", "feed_forward_depth": 1, "class_names": ["down", "level", "up"]},
}
LABELS = {
    "sst": torch.tensor([0, 4, 2, 1]),
    "para": torch.tensor([0, 1, 1, 0]),
    "sts": torch.tensor([-1.0, 3.0, 0.5, 2.0]),
    "mood": torch.tensor([0, 1, 2, 0]),
}


def shaken(model):
    """Moves every weight away from where a fresh model starts."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def batch_for(model, random_batch, rows=4):
    return random_batch(rows, pair=model.head.sentences_per_row == 2)


def saved_and_loaded(model, folder, auto_class=AutoModel, **kwargs):
    model.save_pretrained(folder)
    junk = [torch.full((512, 512), float("nan")) for _ in range(8)]  # what uninitialised memory would show
    del junk
    loaded, info = auto_class.from_pretrained(folder, output_loading_info=True, **kwargs)
    assert not any(info.values()), info
    return loaded


def assert_equal_by_value(model, other):
    assert type(model) is type(other)
    weights, others = model.state_dict(), other.state_dict()
    assert weights.keys() == others.keys()
    assert [name for name in weights if not torch.equal(weights[name], others[name])] == []


def assert_same_logits(model, other, batches):
    for task, batch in batches.items():
        assert torch.equal(model(task=task, **batch).logits, other(task=task, **batch).logits), task


@pytest.fixture
def multitask(tiny_bert):
    """Four poolings, two tasks of one head with 5 and 3 classes, no weight where a fresh model has it."""
    return shaken(ExtraBertForMultiTask(ExtraBertConfig(backbone_config=tiny_bert, tasks=TASKS)))


@pytest.fixture
def batches(random_batch):
    return {task: random_batch(4, pair=fields["head"] != "sentiment") for task, fields in TASKS.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("backbone", TINY_BACKBONES)
@pytest.mark.parametrize("model_class", MODELS)
def test_saved_and_loaded_weights_are_equal_by_value(model_class, backbone, dtype, tmp_path, random_batch):
    config = ExtraBertConfig(backbone_config=TINY_BACKBONES[backbone].to_dict())
    model = shaken(model_class._from_config(config, dtype=dtype))
    for auto_class in (AutoModel, AutoModelForSequenceClassification):
        loaded = saved_and_loaded(model, tmp_path, auto_class, dtype=dtype)
        assert_equal_by_value(loaded, model)
        batch = batch_for(model, random_batch)
        assert torch.equal(model(**batch).logits, loaded(**batch).logits)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("model_class", MODELS)
def test_padding_does_not_change_the_logits(model_class, pooling, tiny_bert, random_batch):
    model = shaken(model_class(ExtraBertConfig(backbone_config=tiny_bert, pooling=pooling)))
    batch = batch_for(model, random_batch)
    wider = {name: torch.nn.functional.pad(tensor, (0, 5)) for name, tensor in batch.items()}
    torch.testing.assert_close(model(**wider).logits, model(**batch).logits)


@pytest.mark.parametrize("backbone", TINY_BACKBONES)
@pytest.mark.parametrize("model_class", MODELS)
def test_every_parameter_gets_a_gradient(model_class, backbone, random_batch):
    config = ExtraBertConfig(backbone_config=TINY_BACKBONES[backbone].to_dict(), head_dropout=0.0)
    model = shaken(model_class(config))
    labels = (
        torch.tensor([0.0, 1.0, 0.0, 1.0]) if model_class is ExtraBertForSimilarity else torch.tensor([0, 1, 0, 1])
    )
    model(**batch_for(model, random_batch), labels=labels).loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("pooling", ["pooler", "mean", "multiplicative"])
def test_embed_gives_the_vectors_that_the_head_reads(model_class, pooling, tiny_bert, random_batch):
    model = shaken(model_class(ExtraBertConfig(backbone_config=tiny_bert, pooling=pooling))).eval()
    batch = batch_for(model, random_batch)
    output, vectors = model(**batch, output_embeddings=True), model.embed(**batch)
    assert torch.equal(vectors, output.embeddings)
    assert torch.equal(model.head(vectors), output.logits)
    with pytest.raises(ValueError, match="`task` is for a multitask model, this model has one task, got 'sst'"):
        model.embed(**batch, task="sst")


def test_embed_takes_sentences_and_pairs_and_no_other_shape(tiny_bert, random_batch):
    sentiment = shaken(ExtraBertForSentiment(ExtraBertConfig(backbone_config=tiny_bert))).eval()
    batch = random_batch(3)
    pairs, sentences = sentiment.embed(**batch), sentiment.embed(*(batch[name].flatten(0, 1) for name in batch))
    assert pairs.shape == (3, 2, 16) and sentences.shape == (6, 16)
    torch.testing.assert_close(pairs.flatten(0, 1), sentences)
    for shape in ((7,), (3, 3, 7), (1, 3, 2, 7)):
        with pytest.raises(ValueError, match=r"must be \(batch, seq\) or \(batch, 2, seq\), got \("):
            sentiment.embed(torch.ones(shape, dtype=torch.long))


def test_a_cross_encoder_has_no_vectors_of_sentences(tiny_bert, random_batch):
    model = ExtraBertForParaphrase(ExtraBertConfig(backbone_config=tiny_bert, pair_encoding="cross_encoder"))
    for pair in (True, False):
        with pytest.raises(ValueError, match="`embed` needs a model with `pair_encoding` 'bi_encoder'"):
            model.embed(**random_batch(3, pair=pair))


def test_a_pair_is_scored_like_its_two_sentences(tiny_bert, random_batch):
    model = shaken(ExtraBertForSimilarity(ExtraBertConfig(backbone_config=tiny_bert)))
    batch = random_batch(3)
    u, v = (model.embed(batch["input_ids"][:, side], batch["attention_mask"][:, side]) for side in (0, 1))
    output = model(**batch, output_embeddings=True)
    torch.testing.assert_close(output.embeddings, torch.stack([u, v], dim=1))
    torch.testing.assert_close(output.logits[:, 0], 5 * torch.cosine_similarity(u, v))


def test_one_config_serves_every_head(tiny_bert, tmp_path):
    config = ExtraBertConfig(backbone_config=tiny_bert)
    models = [model_class(config) for model_class in MODELS]
    for model in models:
        model.save_pretrained(tmp_path / type(model).__name__)
        loaded = AutoModel.from_pretrained(tmp_path / type(model).__name__)
        assert (type(loaded), loaded.config.id2label) == (type(model), model.config.id2label)
    assert config.class_names is None


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ("SFT", {"pooling": "pooler", "feed_forward_depth": 0, "pair_features": ["u", "v"], "similarity": "linear"}),
        ("SFT + CS", {"pooling": "pooler", "feed_forward_depth": 0, "pair_features": ["u", "v", "cosine"]}),
        ("SFT + DPA + CS", {"pooling": "dot"}),
        ("SFT + MA + CS", {}),
    ],
)
def test_each_row_of_table_1_is_only_a_config(row, fields, tiny_bert, random_batch):
    for model_class in MODELS:
        model = model_class(ExtraBertConfig(backbone_config=tiny_bert, **fields))
        assert model(**batch_for(model, random_batch)).logits.isfinite().all()


def test_labels_follow_the_class_unless_named(tiny_bert):
    assert ExtraBertForSentiment(ExtraBertConfig(backbone_config=tiny_bert)).head.classifier.out_features == 5
    assert ExtraBertForParaphrase(ExtraBertConfig(backbone_config=tiny_bert)).config.id2label[1] == "paraphrase"
    named = ExtraBertConfig(backbone_config=tiny_bert, num_labels=3)
    assert ExtraBertForSentiment(named).head.classifier.out_features == 3


def test_activation_checkpointing_leaves_the_gradients(tiny_bert, batches):
    tiny_bert.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    config = ExtraBertConfig(backbone_config=tiny_bert, tasks=TASKS, head_dropout=0.0)
    model = shaken(ExtraBertForMultiTask(config)).train()

    def gradients():
        model.zero_grad()
        for task, batch in batches.items():
            model(task=task, **batch, labels=LABELS[task]).loss.backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    plain = gradients()
    model.activation_checkpointing_enable()
    assert model.is_activation_checkpointing
    torch.testing.assert_close(gradients(), plain)


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForSequenceClassification])
def test_a_saved_multitask_model_is_loaded_by_value(auto_class, multitask, batches, tmp_path):
    loaded = saved_and_loaded(multitask, tmp_path, auto_class)
    assert_equal_by_value(loaded, multitask)
    assert_same_logits(loaded, multitask, batches)


def test_a_multitask_model_has_the_papers_tasks_by_default(tiny_bert, tmp_path):
    model = ExtraBertForMultiTask(ExtraBertConfig(backbone_config=tiny_bert))
    for either in (model, saved_and_loaded(model, tmp_path)):
        assert either.config.tasks == {
            name: {"head": task.head, "class_names": list(task.class_names) or ["similarity"]}
            for name, task in PAPER_TASKS.items()
        }
        for name, task in PAPER_TASKS.items():
            assert tuple(either.extract(name).config.id2label.values()) == (task.class_names or ("similarity",))


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_its_own_number_of_logits(task, multitask, batches):
    assert multitask(task=task, **batches[task]).logits.shape == (4, {"sst": 5, "para": 2, "sts": 1, "mood": 3}[task])


@pytest.mark.parametrize("task", [None, "qqp"])
def test_the_error_of_a_missing_or_wrong_task_lists_the_right_ones(task, multitask, batches):
    message = f"`task` must be one of 'sst', 'para', 'sts', 'mood', got {task!r}."
    with pytest.raises(ValueError, match=message):
        multitask(task=task, **batches["sst"])
    with pytest.raises(ValueError, match=message):
        multitask.extract(task)


@pytest.mark.parametrize("task", TASKS)
def test_a_loss_reaches_the_encoder_and_its_own_task_only(task, multitask, batches):
    multitask(task=task, **batches[task], labels=LABELS[task]).loss.backward()
    own = (f"poolings.{task}.", f"heads.{task}.", "backbone.")
    expected = {
        name
        for name, _ in multitask.named_parameters()
        if name.startswith(own) and ("backbone.pooler." not in name or task == "para")
    }
    assert expected == {
        name for name, parameter in multitask.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }


def test_neither_model_nor_extract_changes_the_config_they_come_from(tiny_bert, tmp_path):
    config = ExtraBertConfig(backbone_config=tiny_bert, tasks=TASKS)
    before = copy.deepcopy(config.to_dict())
    model = ExtraBertForMultiTask(config)
    model.extract("mood").save_pretrained(tmp_path / "mood")
    model.save_pretrained(tmp_path)
    model.config.tasks["sst"]["pooling"] = "cls"
    assert config.to_dict() == before


def test_a_model_of_one_task_refuses_a_config_of_several(tiny_bert):
    with pytest.raises(ValueError, match=r"`config` must be of one task.*got \['sst', 'para', 'sts', 'mood'\]"):
        ExtraBertForSentiment(ExtraBertConfig(backbone_config=tiny_bert, tasks=TASKS))


def test_a_multitask_model_runs_in_bfloat16(multitask, batches):
    half = copy.deepcopy(multitask).to(torch.bfloat16)
    for task, batch in batches.items():
        full_logits, output = multitask(task=task, **batch).logits, half(task=task, **batch, labels=LABELS[task])
        torch.testing.assert_close(output.logits.float(), full_logits, rtol=0.1, atol=0.1)
        output.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in half.parameters())


@pytest.mark.parametrize("task", TASKS)
def test_an_extracted_model_predicts_as_its_task_also_from_disk(task, multitask, batches, tmp_path):
    expected = multitask(task=task, **batches[task], labels=LABELS[task])
    extract = multitask.extract(task)
    for model in (extract, saved_and_loaded(extract, tmp_path)):
        assert type(model) is MODEL_FOR_HEAD[TASKS[task]["head"]]
        output = model(**batches[task], labels=LABELS[task])
        assert torch.equal(output.logits, expected.logits)
        assert torch.equal(output.loss, expected.loss)


def test_the_config_of_an_extract_from_disk_is_that_of_its_task(multitask, tmp_path):
    configs = {task: saved_and_loaded(multitask.extract(task), tmp_path / task).config for task in TASKS}
    assert {config.tasks for config in configs.values()} == {None}
    assert {task: config.pooling for task, config in configs.items()} == {
        "sst": "mean",
        "para": "pooler",
        "sts": "multiplicative",
        "mood": "dot",
    }
    assert configs["mood"].id2label == {0: "down", 1: "level", 2: "up"}
    assert configs["sst"].id2label == dict(enumerate(PAPER_TASKS["sst"].class_names))
    assert configs["para"].id2label == {0: "not paraphrase", 1: "paraphrase"}
    assert (configs["sts"].num_labels, configs["sts"].score_range) == (1, [-1.0, 3.0])


@pytest.mark.parametrize("backbone", TINY_BACKBONES)
def test_an_extract_shares_every_weight_and_leaves_the_model_as_it_was(backbone):
    config = ExtraBertConfig(backbone_config=TINY_BACKBONES[backbone].to_dict())
    model = ExtraBertForMultiTask._from_config(config, attn_implementation="eager")
    addresses = {name: parameter.data_ptr() for name, parameter in model.state_dict().items()}
    for task in model.heads:
        extract = model.extract(task)
        assert {tensor.data_ptr() for tensor in extract.state_dict().values()} <= set(addresses.values())
        assert not [name for name, tensor in extract.named_buffers() if tensor.is_meta]
        assert extract.backbone.config._attn_implementation == "eager"
    assert {name: parameter.data_ptr() for name, parameter in model.state_dict().items()} == addresses


@pytest.mark.parametrize("training", [True, False])
def test_an_extract_keeps_the_mode_and_draws_no_random_number(training, multitask):
    multitask.train(training)
    state = torch.get_rng_state()
    modes = {module.training for task in TASKS for module in multitask.extract(task).modules()}
    assert modes == {module.training for module in multitask.modules()} == {training}
    assert torch.equal(torch.get_rng_state(), state)


def test_a_copy_of_an_extract_is_on_its_own(multitask, batches):
    before = multitask(task="sts", **batches["sts"]).logits
    shaken(copy.deepcopy(multitask.extract("sts")))
    assert torch.equal(multitask(task="sts", **batches["sts"]).logits, before)
    shaken(multitask.extract("sts"))
    assert not torch.equal(multitask(task="sts", **batches["sts"]).logits, before)


@pytest.mark.parametrize("first", TASKS)
def test_joined_extracts_are_the_model_they_come_from(first, multitask, batches, tmp_path):
    order = [first, *(task for task in TASKS if task != first)]
    joined = ExtraBertForMultiTask.from_single_task({task: multitask.extract(task) for task in order})
    assert list(joined.heads) == order
    for model in (joined, saved_and_loaded(joined, tmp_path)):
        assert_equal_by_value(model, multitask)
        assert_same_logits(model, multitask, batches)
        assert model.extract("mood").config.id2label == {0: "down", 1: "level", 2: "up"}
        assert model.config.class_names is None  # nor are they those of the first


@pytest.fixture
def models(multitask):
    """Models of one task each, of their own memory, that can be joined until one is trained."""
    return {task: copy.deepcopy(multitask.extract(task)) for task in TASKS}


def test_models_of_equal_encoders_are_joined_whatever_their_heads(models, batches):
    for model in models.values():
        shaken(model.head)
    joined = ExtraBertForMultiTask.from_single_task(models)
    for task, model in models.items():
        assert torch.equal(joined(task=task, **batches[task]).logits, model(**batches[task]).logits)


def test_an_encoder_that_differs_is_refused_unless_one_is_chosen(models):
    with torch.no_grad():
        models["mood"].backbone.encoder.layer[1].output.dense.bias[3] += 1e-3
    with pytest.raises(ValueError, match="must have the same encoder, that of 'mood' differs"):
        ExtraBertForMultiTask.from_single_task(models)
    for task in ("mood", "sst"):
        some = {name: models[name] for name in ("sst", "sts", "mood")}
        joined = ExtraBertForMultiTask.from_single_task(some, encoder_from=task)
        assert_equal_by_value(joined.extract(task), models[task])
        for name, model in some.items():
            assert_equal_by_value(joined.heads[name], model.head)


def test_poolers_that_differ_are_encoders_that_differ(models):
    models["second"] = copy.deepcopy(models["para"])
    shaken(models["second"].backbone.pooler)
    with pytest.raises(ValueError, match="that of 'second' differs"):
        ExtraBertForMultiTask.from_single_task(models)


@pytest.mark.parametrize(
    ("tasks", "encoder_from", "message"),
    [
        ([], None, "`models` must hold the model of at least one task, got none"),
        (["sst", "sts"], "para", r"`encoder_from` must be one of \['sst', 'sts'\], got 'para'"),
        (["sst", "para"], "sst", "`encoder_from` must have the pooler of 'para', got 'sst'"),
    ],
)
def test_models_that_can_not_be_joined_are_refused(tasks, encoder_from, message, models):
    with pytest.raises(ValueError, match=message):
        ExtraBertForMultiTask.from_single_task({task: models[task] for task in tasks}, encoder_from=encoder_from)
