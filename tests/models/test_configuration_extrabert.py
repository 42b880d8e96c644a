import json

import pytest
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
        ({"backbone_config": {"hidden_size": 16}}, "`backbone_config` must name its `model_type`"),
    ],
)
def test_a_value_that_is_not_valid_is_refused_by_name(tiny_bert, fields, message):
    with pytest.raises(Exception, match=f"(?s){message}") as caught:
        ExtraBertConfig(**{"backbone_config": tiny_bert, **fields})
    assert isinstance(caught.value, (ValueError, TypeError)) or "Strict" in type(caught.value).__name__


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
