import copy
import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from extrabert_hf import ExtraBertConfig


def test_backbone_config_alone_is_the_papers_best_row(tiny_bert):
    config = ExtraBertConfig(backbone_config=tiny_bert)
    assert (config.pooling, config.feed_forward_depth, config.similarity) == ("multiplicative", 3, "cosine")
    assert config.pair_features == ["u", "v", "sum_squared", "difference_squared", "cosine"]
    assert config.backbone_config.hidden_size == config.hidden_size == 16


def test_config_survives_json_and_auto_config(tiny_bert, tmp_path):
    config = ExtraBertConfig(
        backbone_config=tiny_bert,
        pooling="dot",
        pair_features=["u", "cosine"],
        score_range=[-1.0, 1.0],
        class_names=["no", "yes"],
        similarity_bounds="scale",
    )
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is ExtraBertConfig
    assert {**loaded.to_dict(), "_name_or_path": ""} == {**config.to_dict(), "_name_or_path": ""}
    assert loaded.id2label == {0: "no", 1: "yes"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pooling": "max"}, "pooling.*multiplicative.*got max"),
        ({"poolin": "mean"}, "`poolin` is not a field.*Did you mean `pooling`"),
        ({"feed_forward_depth": -1}, "`feed_forward_depth` must be 0 or more, got -1"),
        ({"feed_forward_depth": "3"}, "feed_forward_depth"),
        ({"head_dropout": 1.0}, r"`head_dropout` must be in \[0, 1\), got 1.0"),
        ({"pair_features": []}, "`pair_features` must be"),
        ({"pair_features": ["u", "u"]}, "`pair_features` must be"),
        ({"pair_features": ["w"]}, "pair_features"),
        ({"score_range": [5.0, 0.0]}, "`score_range` must be"),
        ({"score_range": [0.0]}, "`score_range` must be"),
        ({"class_names": ["a", "a"]}, "`class_names` must be"),
        ({"similarity": "dot"}, "similarity"),
        ({"similarity_bounds": "sigmoid"}, "similarity_bounds"),
        ({"backbone_config": {"hidden_size": 16}}, "`backbone_config` must have a `model_type`"),
    ],
)
def test_a_value_that_is_not_valid_is_refused_by_name(tiny_bert, fields, message):
    with pytest.raises(Exception, match=f"(?s){message}") as caught:
        ExtraBertConfig(**{"backbone_config": tiny_bert, **fields})
    assert isinstance(caught.value, (ValueError, TypeError)) or "Strict" in type(caught.value).__name__


@pytest.fixture
def multitask_config(tiny_bert):
    tasks = {
        "sts": {"head": "similarity", "pooling": "pooler", "score_range": [-1.0, 1.0]},
        "mood": {"head": "sentiment", "class_names": ["down", "level", "up"], "head_dropout": 0.0},
        "para": {"head": "paraphrase", "pooling": "mean", "pair_features": ["u", "cosine"]},
    }
    return ExtraBertConfig(backbone_config=tiny_bert, pooling="dot", tasks=tasks)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({}, "`tasks` must name at least one task, got none"),
        ({"a": {}}, "`tasks` must give 'a' a `head`, one of 'sentiment', .*got None"),
        ({"a": {"head": "ranking"}}, "`tasks` must give 'a' a `head`, .*got 'ranking'"),
        ({"a": {"head": "sentiment", "poolin": "mean"}}, "`tasks` must hold .*'a' has 'poolin'"),
        ({"a": {"head": "sentiment", "backbone_config": {}}}, "'a' has 'backbone_config'"),
        ({"a": {"head": "sentiment", "tasks": {}}}, "'a' has 'tasks'"),
        ({"a": {"head": "sentiment"}, "b": {"head": "sentiment", "pooling": "max"}}, "'b': .*pooling.*got max"),
        ({"a": {"head": "paraphrase", "pair_features": ["w"]}}, r"'a': `pair_features` must be .*got \['w'\]"),
        ({"a": {"head": "similarity", "score_range": [5.0, 0.0]}}, "'a': `score_range` must be"),
        ({"a": {"head": "sentiment", "class_names": ["x", "x"]}}, "'a': `class_names` must be"),
        (
            {"a": {"head": "sentiment", "feed_forward_depth": -1}},
            "'a': `feed_forward_depth` must be 0 or more, got -1",
        ),
        ({"a": "sentiment"}, "tasks"),
        (["sst"], "tasks"),
        *(
            ({name: {"head": "sentiment"}}, f"`tasks` must have names of letters, digits and _, .*got {name!r}")
            for name in ("a.b", "a b", "", "1st", "train", "training", "parameters", "_modules")
        ),
    ],
)
def test_a_task_that_no_head_can_be_built_from_is_refused_by_name(tiny_bert, tasks, message):
    with pytest.raises(StrictDataclassError, match=f"(?s){message}"):
        ExtraBertConfig(backbone_config=tiny_bert, tasks=tasks)


def test_tasks_survive_json_and_auto_config(multitask_config, tmp_path):
    multitask_config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["tasks"] == multitask_config.tasks
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.tasks == multitask_config.tasks
    assert {**loaded.to_dict(), "_name_or_path": ""} == {**multitask_config.to_dict(), "_name_or_path": ""}


def test_the_config_of_a_task_is_the_shared_one_with_its_own_fields(multitask_config):
    before = copy.deepcopy(multitask_config.to_dict())
    sts, mood, para = (multitask_config.for_task(task) for task in ("sts", "mood", "para"))
    assert [config.tasks for config in (sts, mood, para)] == [None] * 3
    assert [config.pooling for config in (sts, mood, para)] == ["pooler", "dot", "mean"]
    assert [config.head_dropout for config in (sts, mood, para)] == [0.1, 0.0, 0.1]
    assert (sts.score_range, para.pair_features) == ([-1.0, 1.0], ["u", "cosine"])
    assert (mood.num_labels, mood.label2id) == (3, {"down": 0, "level": 1, "up": 2})
    assert all(config.backbone_config is multitask_config.backbone_config for config in (sts, mood, para))
    assert multitask_config.to_dict() == before


def test_poolings_are_those_that_the_tasks_use(multitask_config, tiny_bert):
    assert multitask_config.poolings == {"pooler", "dot", "mean"}
    assert multitask_config.for_task("para").poolings == {"mean"}
    tasks = {"sst": {"head": "sentiment", "pooling": "cls"}}
    assert ExtraBertConfig(backbone_config=tiny_bert, pooling="pooler", tasks=tasks).poolings == {"cls"}
    assert ExtraBertConfig(backbone_config=tiny_bert, pooling="pooler").poolings == {"pooler"}


def test_two_unnamed_classes_are_kept_on_disk(tiny_bert, tmp_path):
    ExtraBertConfig(backbone_config=tiny_bert, num_labels=2).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["class_names"] == ["LABEL_0", "LABEL_1"]


def test_any_encoder_config_instance_is_taken_as_it_is():
    from transformers import RobertaConfig

    config = ExtraBertConfig(backbone_config=RobertaConfig(hidden_size=32))
    assert type(config.backbone_config) is RobertaConfig
    assert config.hidden_size == 32


def test_a_key_that_a_later_transformers_wrote_does_not_stop_the_load(tiny_bert, tmp_path):
    ExtraBertConfig(backbone_config=tiny_bert, pooling="dot").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "key_of_tomorrow": 1}))
    assert AutoConfig.from_pretrained(tmp_path).pooling == "dot"


def test_a_key_that_transformers_passes_itself_warns_and_is_kept(tiny_bert, tmp_path, caplog):
    config = ExtraBertConfig(backbone_config=tiny_bert, key_of_tomorrow=1)  # without a transformers_version
    assert config.key_of_tomorrow == 1
    assert "`key_of_tomorrow` is not a field of ExtraBertConfig" in caplog.text
    assert copy.deepcopy(config).key_of_tomorrow == 1
    assert ExtraBertConfig.from_dict(config.to_dict()).key_of_tomorrow == 1
    config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).key_of_tomorrow == 1
    assert AutoConfig.from_pretrained(tmp_path, another_key=2, return_unused_kwargs=True)[1] == {"another_key": 2}


@pytest.mark.parametrize(("typo", "field"), [("feed_foward_depth", "feed_forward_depth"), ("task", "tasks")])
def test_a_misspelled_field_is_refused_when_a_user_passes_it_and_kept_when_it_was_saved(
    tiny_bert, tmp_path, typo, field
):
    with pytest.raises(Exception, match=f"`{typo}` is not a field of ExtraBertConfig. Did you mean `{field}`"):
        ExtraBertConfig(backbone_config=tiny_bert, **{typo: None})
    ExtraBertConfig(backbone_config=tiny_bert).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), typo: 1}))
    assert getattr(AutoConfig.from_pretrained(tmp_path), typo) == 1


def test_max_positions_are_those_of_the_encoder(tiny_bert):
    assert ExtraBertConfig(backbone_config=tiny_bert).max_positions == 48
    assert ExtraBertConfig(backbone_config={"model_type": "funnel"}).max_positions is None
