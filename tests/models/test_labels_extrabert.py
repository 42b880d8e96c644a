import pytest
from transformers import AutoConfig

from extrabert_hf import ExtraBertConfig, ExtraBertForMultiTask, ExtraBertForSentiment, ExtraBertForSimilarity

NAMES = list("abcde")
LABELS = [
    {"id2label": dict(enumerate(NAMES))},
    {"id2label": {str(index): name for index, name in enumerate(NAMES)}},
    {"label2id": {name: index for index, name in enumerate(NAMES)}},
    {"class_names": NAMES},
]


@pytest.fixture
def saved(tiny_bert, tmp_path):
    ExtraBertForSentiment(ExtraBertConfig(backbone_config=tiny_bert)).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture
def saved_multitask(tiny_bert, tmp_path):
    ExtraBertForMultiTask(ExtraBertConfig(backbone_config=tiny_bert)).save_pretrained(tmp_path / "multitask")
    return tmp_path / "multitask"


def labels_of(model):
    config = model.config
    assert config.id2label == dict(enumerate(config.class_names))
    assert config.label2id == {name: index for index, name in enumerate(config.class_names)}
    assert config.num_labels == model.head.classifier.out_features == len(config.class_names)
    return config.class_names


@pytest.mark.parametrize("labels", LABELS)
def test_labels_hold_however_they_are_passed(labels, tiny_bert, saved, tmp_path):
    assert labels_of(ExtraBertForSentiment(ExtraBertConfig(backbone_config=tiny_bert, **labels))) == NAMES
    assert labels_of(ExtraBertForSentiment.from_pretrained(saved, **labels)) == NAMES
    assert AutoConfig.from_pretrained(saved, **labels).class_names == NAMES
    model = ExtraBertForSentiment.from_pretrained(saved)
    ((field, value),) = labels.items()
    setattr(model.config, field, value)
    model.save_pretrained(tmp_path)
    assert labels_of(ExtraBertForSentiment.from_pretrained(tmp_path)) == NAMES


def test_a_number_of_labels_holds_and_an_equal_number_keeps_the_names(tiny_bert, saved):
    model = ExtraBertForSentiment.from_pretrained(saved, num_labels=3, ignore_mismatched_sizes=True)
    assert labels_of(model) == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert labels_of(ExtraBertForSentiment.from_pretrained(saved, num_labels=5))[0] == "very negative"
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        ExtraBertForSentiment.from_pretrained(saved, num_labels=3)
    for count in (2, 3):
        config = ExtraBertConfig(backbone_config=tiny_bert)
        config.num_labels = count
        assert len(labels_of(ExtraBertForSentiment(config))) == count


def test_a_name_changed_in_place_is_saved(saved, tmp_path):
    model = ExtraBertForSentiment.from_pretrained(saved)
    model.config.id2label[0] = "awful"
    model.save_pretrained(tmp_path)
    assert labels_of(ExtraBertForSentiment.from_pretrained(tmp_path))[0] == "awful"


@pytest.mark.parametrize("build", [ExtraBertConfig.from_dict, lambda fields: ExtraBertConfig(**fields)])
def test_a_config_without_labels_keeps_the_default_of_each_head(build, tiny_bert):
    config = ExtraBertConfig(backbone_config=tiny_bert)
    for fields in (config.to_dict(), config.to_diff_dict()):
        assert ExtraBertForSentiment(build(fields)).config.num_labels == 5


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"num_labels": 3, "id2label": {0: "a", 1: "b"}}, "`num_labels` must be 2, the number of classes in `id2la"),
        ({"class_names": ["a", "b"], "id2label": {0: "a", 1: "c"}}, "`id2label` and `class_names` must name the same"),
        ({"id2label": {1: "a", 2: "b"}}, r"`id2label` must have each id from 0 to 1 once, got \[1, 2\]"),
        ({"label2id": {"a": 0, "b": 0}}, "`label2id` must have each id from 0 to 1 once"),
        ({"num_labels": "3"}, "`num_labels` must be a whole number, 1 or more, got '3'"),
    ],
)
def test_labels_that_contradict_each_other_are_refused(labels, message, tiny_bert, saved):
    with pytest.raises(ValueError, match=message):
        ExtraBertConfig(backbone_config=tiny_bert, **labels)
    with pytest.raises(ValueError, match=message):
        AutoConfig.from_pretrained(saved, **labels)


@pytest.mark.parametrize(
    ("model_class", "fields", "message"),
    [
        (
            ExtraBertForSimilarity,
            {"num_labels": 3},
            "`num_labels` must be 1 for a similarity head, which scores, got 3",
        ),
        (ExtraBertForSentiment, {"num_labels": 1}, "`num_labels` must be 2 or more for a sentiment head, got 1"),
        (ExtraBertForSentiment, {"problem_type": "regression"}, "must be 'single_label_classification' or None for a"),
    ],
)
def test_labels_that_do_not_fit_the_head_are_refused(model_class, fields, message, tiny_bert):
    with pytest.raises(ValueError, match=message):
        model_class(ExtraBertConfig(backbone_config=tiny_bert, **fields))


def test_labels_of_one_task_hold(saved_multitask, tmp_path):
    three = {"sst": {"num_labels": 3}}
    model = ExtraBertForMultiTask.from_pretrained(saved_multitask, tasks=three, ignore_mismatched_sizes=True)
    assert [model.heads[task].classifier.out_features for task in ("sst", "para")] == [3, 2]
    model.config.tasks["sst"]["id2label"] = dict(enumerate("xyz"))
    model.save_pretrained(tmp_path)
    assert ExtraBertForMultiTask.from_pretrained(tmp_path).extract("sst").config.class_names == list("xyz")


def test_labels_of_a_multitask_model_are_those_of_every_task_with_classes(saved_multitask):
    model = ExtraBertForMultiTask.from_pretrained(saved_multitask, num_labels=3, ignore_mismatched_sizes=True)
    assert [model.heads[task].classifier.out_features for task in ("sst", "para")] == [3, 3]
    model.config.num_labels = 4
    names = {task: len(fields["class_names"]) for task, fields in model.config.tasks.items()}
    assert names == {"sst": 4, "para": 4, "sts": 1}


def test_a_saved_config_that_names_its_classes_twice_warns(tiny_bert, caplog):
    fields = {"backbone_config": tiny_bert, "class_names": ["a", "b"], "id2label": {"0": "c", "1": "d"}}
    assert ExtraBertConfig.from_dict(fields).class_names == ["c", "d"]
    assert "names its classes in several ways" in caplog.text
