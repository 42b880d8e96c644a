import numpy as np
import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from extrabert_hf import ExtraBertForParaphrase, ExtraBertForSimilarity
from extrabert_hf.data.tokenization import tokenize_dataset
from extrabert_hf.errors import InputError
from extrabert_hf.inference.predictor import ensemble_logits, predict_logits
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.objectives import prepare_train_rows
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

ROWS = Dataset.from_dict(
    {
        "sentence1": ["A dog runs .", "Rain", "The museum is closed today .", "A cat"],
        "sentence2": ["Two dogs run", "Snow", "It is open .", "A dog"],
        "label": [1, 0, 0, 0],
    }
)
PARA = PAPER_TASKS["para"]


@pytest.fixture
def prepare(tiny_encoder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)

    def run(task=PARA, **arguments):
        training = ExtraBertTrainingArguments(output_dir=str(tmp_path / "run"), bf16=False, **arguments)
        return prepare_train_rows(ROWS, tokenize_dataset(ROWS, tokenizer), task, training)

    return run


def test_rows_stay_as_they_are_by_default(prepare):
    assert prepare().column_names == ["length", "input_ids", "labels"]


def test_the_rarer_class_weighs_more_or_comes_more_often(prepare):
    np.testing.assert_allclose(prepare(label_balance="weights")["weights"][:], [2, 2 / 3, 2 / 3, 2 / 3], rtol=1e-6)
    assert sum(prepare(label_balance="sampling")["labels"][:]) == 2


def test_rows_carry_the_mean_prediction_of_their_teachers(prepare, tiny_encoder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    logits, folders = [], []
    for encoding in ("bi_encoder", "cross_encoder"):
        model = ExtraBertForParaphrase.from_backbone(tiny_encoder, pair_encoding=encoding)
        folders.append(str(tmp_path / encoding))
        model.save_pretrained(folders[-1])
        tokenizer.save_pretrained(folders[-1])
        logits.append(predict_logits(model, tokenizer, ROWS["sentence1"][:], ROWS["sentence2"][:]))
    np.testing.assert_allclose(prepare(teachers=folders)["teacher_logits"][:], ensemble_logits(logits), atol=1e-5)


def test_a_teacher_of_another_task_is_refused(prepare, tiny_encoder, tmp_path):
    ExtraBertForSimilarity.from_backbone(tiny_encoder).save_pretrained(tmp_path / "sts")
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "sts")
    with pytest.raises(
        InputError, match=r"`teachers` must be an ExtraBertForParaphrase with labels .* got an ExtraBertForS"
    ):
        prepare(teachers=[str(tmp_path / "sts")])
