import pytest
import torch
from transformers import AutoTokenizer

from extrabert_hf import ExtraBertConfig, ExtraBertForMultiTask
from extrabert_hf.models import MODEL_FOR_HEAD
from extrabert_hf.models.conformal_extrabert import class_nonconformity, prediction_sets, residual_scale
from extrabert_hf.models.pipelines_extrabert import ExtraBertPipeline
from extrabert_hf.sharing.onnx_export import save_config

LAC = {"method": "lac", "coverage": 0.9, "rows": 99, "quantiles": [0.9]}
ABSOLUTE = {"method": "absolute", "coverage": 0.9, "rows": 99, "quantiles": [0.5]}
PAIRS = [("A warm film .", "A good film ."), ("a man", "the woman plays a guitar"), ("It is", "Not good at all .")]


def made(kind, encoder, conformal):
    torch.manual_seed(0)
    model = MODEL_FOR_HEAD[kind].from_backbone(encoder, conformal=conformal).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def test_adaptive_scores_are_the_probability_of_the_more_probable_classes():
    probabilities = torch.tensor([[0.2, 0.5, 0.3], [0.98, 0.01, 0.01]])
    found = class_nonconformity(probabilities.log(), "aps")
    torch.testing.assert_close(found, torch.tensor([[0.8, 0.0, 0.5], [0.0, 0.98, 0.99]]))
    sets = prediction_sets(probabilities.log(), LAC | {"method": "aps", "quantiles": [0.6]})
    assert sets.tolist() == [[False, True, True], [True, False, False]]


def test_each_class_has_its_own_quantile():
    conformal = LAC | {"method": "class_conditional", "quantiles": [0.5, 0.95, 0.7]}
    assert prediction_sets(torch.tensor([[0.4, 0.1, 0.5]]).log(), conformal).tolist() == [[False, True, True]]


def test_the_expected_error_is_interpolated_between_the_knots():
    knots = [[0.0, 1.0], [1.0, 3.0], [4.0, 0.0]]
    scores = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.5, 4.0, 9.0])
    torch.testing.assert_close(residual_scale(scores, knots), torch.tensor([1.0, 1.0, 2.0, 3.0, 1.5, 0.0, 0.0]))


def test_other_classes_drop_the_quantiles_and_the_same_classes_keep_them():
    saved = ExtraBertConfig(class_names=["a", "b", "c"], conformal=LAC).to_dict()
    assert ExtraBertConfig.from_dict(saved, num_labels=7).conformal is None
    assert ExtraBertConfig.from_dict(saved, num_labels=3).conformal == LAC


@pytest.mark.parametrize(
    ("kind", "conformal", "message"),
    [
        ("sentiment", ABSOLUTE, "`method`, for this head one of 'lac', 'aps', 'class_conditional', got 'absolute'"),
        ("similarity", LAC, "`method`, for this head one of 'absolute', 'normalized', got 'lac'"),
        ("similarity", ABSOLUTE | {"method": "normalized"}, r"must have the fields .*'knots'.* for 'normalized'"),
        ("sentiment", {"method": "lac"}, "must have the fields"),
        (
            "sentiment",
            LAC | {"method": "class_conditional"},
            "5 `quantiles` for 'class_conditional' and 5 labels, got 1",
        ),
        ("paraphrase", LAC | {"quantiles": [0.1, 0.2]}, "must have 1 `quantiles`"),
    ],
)
def test_quantiles_that_do_not_fit_the_head_are_refused(tiny_encoder, kind, conformal, message):
    with pytest.raises(ValueError, match=message):
        MODEL_FOR_HEAD[kind].from_backbone(tiny_encoder, conformal=conformal)


def test_the_quantiles_are_saved_with_the_model_and_its_exports(tiny_encoder, tmp_path):
    model = made("sentiment", tiny_encoder, LAC)
    model.save_pretrained(tmp_path)
    assert type(model).from_pretrained(tmp_path).config.conformal == LAC
    (tmp_path / "onnx").mkdir()
    save_config(model, tmp_path / "onnx")
    assert ExtraBertConfig.from_pretrained(tmp_path / "onnx").conformal == LAC


def test_the_quantiles_go_into_a_multitask_model_and_out_of_it(tiny_encoder):
    sst, sts = made("sentiment", tiny_encoder, LAC), made("similarity", tiny_encoder, ABSOLUTE)
    sts.backbone = sst.backbone
    both = ExtraBertForMultiTask.from_single_task({"sst": sst, "sts": sts})
    assert both.extract("sst").config.conformal == LAC and both.extract("sts").config.conformal == ABSOLUTE
    other = ExtraBertForMultiTask.from_single_task({"sst": sst, "sts": sts}, encoder_from="sst")
    assert other.extract("sst").config.conformal == LAC and other.extract("sts").config.conformal is None


def test_a_model_without_quantiles_names_the_command(tiny_encoder):
    with pytest.raises(ValueError, match="`conformal`, which `extrabert calibrate --coverage` fits, got None"):
        made("sentiment", tiny_encoder, None).conformal_predictions(torch.zeros(1, 5))


def test_the_pipeline_returns_sets_and_intervals(tiny_encoder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    model = made("paraphrase", tiny_encoder, LAC | {"quantiles": [0.55]})
    pipe = ExtraBertPipeline(model=model, tokenizer=tokenizer)
    for result, scores in zip(pipe(PAIRS), pipe(PAIRS, top_k=None), strict=True):
        due = {entry["label"] for entry in scores if entry["score"] >= 0.45}
        assert set(result["prediction_set"]) == due and set(scores[0]) == {"label", "score"}
    pipe = ExtraBertPipeline(model=made("similarity", tiny_encoder, ABSOLUTE), tokenizer=tokenizer)
    for result in pipe(PAIRS):
        assert result["lower"] == pytest.approx(max(0, result["score"] - 0.5))
        assert result["upper"] == pytest.approx(min(5, result["score"] + 0.5))
