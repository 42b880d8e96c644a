import numpy as np
import pytest
from datasets import Dataset
from scipy.special import softmax
from transformers import AutoTokenizer

from extrabert_hf import ExtraBertForParaphrase, ExtraBertForSentiment, ExtraBertForSimilarity
from extrabert_hf.errors import InputError
from extrabert_hf.inference.predictor import Predictor, ensemble_logits, predict_logits

FIRST, SECOND = ["A dog runs .", "Rain", "A cat"], ["Two dogs run", "Snow", "The museum"]


@pytest.fixture
def saved(tiny_encoder, tmp_path):
    def save(name, model_class, **fields):
        folder = tmp_path / name
        model_class.from_backbone(tiny_encoder, **fields).save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(folder)
        return str(folder)

    return save


def test_probabilities_are_averaged_and_not_logits():
    logits = [np.array([[4.0, 0.0], [1.0, 2.0]]), np.array([[0.0, 1.0], [5.0, 0.0]])]
    mean = np.mean([softmax(each, axis=-1) for each in logits], axis=0)
    np.testing.assert_allclose(softmax(ensemble_logits(logits), axis=-1), mean)


def logits_of(member, *sentences):
    return predict_logits(member.model, member.tokenizer, *sentences)


def test_several_models_predict_as_one(saved):
    predictor = Predictor.load(
        f"{saved('a', ExtraBertForSimilarity)},{saved('b', ExtraBertForSimilarity, pair_encoding='cross_encoder')}"
    )
    alone = [logits_of(member, FIRST, SECOND) for member in predictor.members]
    together = predictor.logits(FIRST, SECOND)
    np.testing.assert_allclose(together, (alone[0] + alone[1]) / 2, atol=1e-6)
    rows = Dataset.from_dict({"sentence1": FIRST, "sentence2": SECOND, "label": [1.0, 4.0, 2.5]})
    predictions = predictor.predict(rows)
    np.testing.assert_allclose(predictions.values, together[:, 0], atol=1e-6)
    assert predictions.score().rows == 3


def test_one_model_predicts_as_it_does_alone_and_its_folder_may_have_a_comma(saved):
    predictor = Predictor.load(saved("a,b", ExtraBertForSentiment))
    assert predictor.task.name == "sst"
    np.testing.assert_array_equal(predictor.logits(FIRST), logits_of(predictor.members[0], FIRST))


def test_models_of_different_tasks_are_refused(saved):
    a, b = saved("a", ExtraBertForParaphrase), saved("b", ExtraBertForParaphrase, class_names=["no", "yes"])
    with pytest.raises(InputError, match=r"`model` must be an ExtraBertForParaphrase with labels \['not paraphrase'"):
        Predictor.load(f"{a},{b}")
    with pytest.raises(InputError, match="several separated by commas, got"):
        Predictor.load(f"{a},")
