import dataclasses
import re

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer

from extrabert_hf import ExtraBertForMultiTask, ExtraBertForSimilarity
from extrabert_hf.data.loading import load_split
from extrabert_hf.errors import InputError
from extrabert_hf.inference.predictor import Predictor, predict_logits
from extrabert_hf.pretrained.loading import TrainedModel
from extrabert_hf.sharing.onnx_export import OutputsOfAllTasks
from extrabert_hf.sharing.parity import (
    Difference,
    Outputs,
    Variant,
    measure_parity,
    onnx_variant,
    parity_table,
    pytorch_variant,
    sentence_transformers_variant,
)
from extrabert_hf.tasks import PAPER_TASKS

FOUR = {"sentence1": ["a", "b", "c", "d"], "label": [0, 1, 2, 2]}


class Session:
    """Has the interface of an opened ONNX file and computes with PyTorch."""

    def __init__(self, model):
        self.graph = OutputsOfAllTasks(model.eval())

    def get_outputs(self):
        return [type("Output", (), {"name": name}) for name in self.graph.output_names]

    @torch.inference_mode()
    def run(self, names, feed):
        assert names == self.graph.output_names
        return [logits.numpy() for logits in self.graph(**{k: torch.from_numpy(v) for k, v in feed.items()})]


@pytest.fixture
def tokenizer(tiny_encoder):
    return AutoTokenizer.from_pretrained(tiny_encoder)


@pytest.fixture
def multitask(tiny_encoder):
    model = ExtraBertForMultiTask.from_backbone(tiny_encoder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def rows_of(task, number=37):
    return load_split(task, "sample").splits["dev"].select(range(number))


def columns_of(task, rows):
    return [rows[name][:] for name in (["sentence1", "sentence2"] if task.is_pair else ["sentence1"])]


def constant(name, logits):
    return Variant(name, lambda columns: Outputs(np.asarray(logits, dtype=np.float32)[: len(columns[0])]), 2_000_000)


@pytest.mark.parametrize("task", PAPER_TASKS.values(), ids=PAPER_TASKS)
def test_rows_are_predicted_in_their_order_by_one_task_and_by_all(task, multitask, tokenizer):
    rows = rows_of(task)  # 37 of them: an odd last batch
    model = multitask.extract(task.name)
    columns = columns_of(task, rows)
    expected = predict_logits(model, tokenizer, *columns)
    variants = [
        pytorch_variant("PyTorch", TrainedModel(model, tokenizer, task)),
        onnx_variant("onnx", Session(model), 1, tokenizer, None),
        onnx_variant("onnx of all", Session(multitask), 1, tokenizer, task.name),
    ]
    for variant in variants:
        outputs = variant.predict(columns)
        np.testing.assert_allclose(outputs.logits, expected, rtol=0, atol=1e-5)
        assert outputs.embeddings.shape == (37, *([2] if task.is_pair else []), 16)
        scored = model.head(torch.from_numpy(outputs.embeddings)).detach()  # each row has its own vectors
        np.testing.assert_allclose(scored.numpy(), expected, rtol=0, atol=1e-5)


def test_vectors_of_sentence_transformers_are_scored_by_the_models_head(tiny_encoder, tokenizer):
    model = ExtraBertForSimilarity.from_backbone(tiny_encoder, similarity_bounds="scale", score_range=[-1.0, 3.0])

    class Loaded:
        @torch.inference_mode()
        def encode(self, sentences, **_):
            batch = tokenizer(sentences, padding=True, truncation=True, return_tensors="pt")
            return model.embed(**batch)

    columns = columns_of(PAPER_TASKS["sts"], rows_of(PAPER_TASKS["sts"]))
    found = sentence_transformers_variant("st", Loaded(), model, 1).predict(columns).logits
    np.testing.assert_allclose(found, predict_logits(model, tokenizer, *columns), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")  # of an untrained model
@pytest.mark.parametrize("task", PAPER_TASKS.values(), ids=PAPER_TASKS)
def test_a_model_does_not_differ_from_itself_and_scores_as_it_is_evaluated(task, multitask, tokenizer):
    rows, model = rows_of(task), multitask.extract(task.name)
    trained = TrainedModel(model, tokenizer, task)
    variant = pytorch_variant("PyTorch", trained)
    first, second = measure_parity(task, rows, variant, [pytorch_variant("again", trained)])
    nothing = Difference(max=0.0, mean=0.0)
    assert [first.logit_difference, first.prediction_difference, first.embedding_difference] == [None] * 3
    assert first.same_class is None
    assert [second.logit_difference, second.prediction_difference, second.embedding_difference] == [nothing] * 3
    assert second.same_class == (None if task.is_regression else 1.0)
    expected = Predictor((trained,)).predict(rows).score()
    assert second.scores == first.scores
    for name, value in expected.metrics.items():
        assert first.scores.metrics[name] == pytest.approx(value, abs=1e-5)
    assert first.rows == 37
    assert first.rows_per_second > 0
    assert first.megabytes == sum(p.nbytes for p in model.state_dict().values()) / 1e6


def test_differences_are_those_of_each_variant_from_the_first():
    before = np.array([[2, 0, 0, 0, 0], [0, 2, 0, 0, 0], [0, 0, 2, 0, 0], [0, 0, 2, 0, 0]])
    turned = before.copy()
    turned[3] = [0, 0, 2, 0, 7]  # class 4 in place of 2
    entries = measure_parity(
        PAPER_TASKS["sst"],
        Dataset.from_dict(FOUR),
        constant("PyTorch", before),
        [constant("turned", turned), constant("lifted", before + 0.25)],
    )
    assert [entry.variant for entry in entries] == ["PyTorch", "turned", "lifted"]
    assert entries[1].logit_difference == Difference(max=7.0, mean=7 / 20)
    assert entries[1].prediction_difference == Difference(max=2.0, mean=0.5)
    assert entries[1].same_class == 0.75
    assert [entry.scores.metrics["accuracy"] for entry in entries] == [1.0, 0.75, 1.0]
    assert entries[2].logit_difference == Difference(max=0.25, mean=0.25)
    assert (entries[2].prediction_difference, entries[2].same_class) == (Difference(max=0.0, mean=0.0), 1.0)


def test_scores_that_move_are_predictions_that_move():
    rows = Dataset.from_dict({"sentence1": ["a"] * 3, "sentence2": ["b"] * 3, "label": [0.0, 2.0, 5.0]})
    before = np.array([[0.0], [2.0], [4.0]])
    entry = measure_parity(
        PAPER_TASKS["sts"],
        rows,
        constant("PyTorch", before),
        [constant("half", before + np.array([[0.5], [0], [-1]]))],
    )[1]
    assert entry.logit_difference == entry.prediction_difference == Difference(max=1.0, mean=0.5)
    assert entry.same_class is None


def test_threads_are_set_and_then_restored():
    seen = []

    def predict(columns):
        seen.append(torch.get_num_threads())
        return Outputs(np.eye(5)[: len(columns[0])])

    spy = Variant("spy", predict, 1)
    before = torch.get_num_threads()
    measure_parity(PAPER_TASKS["sst"], Dataset.from_dict(FOUR), spy, [], threads=2)
    assert set(seen) == {2}
    assert torch.get_num_threads() == before


def test_rows_without_labels_are_refused():
    rows = Dataset.from_dict({"sentence1": ["a"]})
    with pytest.raises(InputError, match=r"`data` must be labelled rows .* got the columns \['sentence1'\]"):
        measure_parity(PAPER_TASKS["sst"], rows, constant("PyTorch", np.eye(5)), [])


def test_the_table_shows_a_row_for_each_variant():
    before = np.eye(5)[[0, 1, 2, 2]]
    after = [constant("onnx int8", np.eye(5)[[0, 1, 2, 3]])]
    entries = measure_parity(PAPER_TASKS["sst"], Dataset.from_dict(FOUR), constant("PyTorch", before), after)
    for entry in entries:
        entry.scores.intervals["accuracy"] = (0.25, 1.0)
    entries = [dataclasses.replace(entry, rows_per_second=1234.4) for entry in entries]
    lines = parity_table(entries, {"sst": "accuracy"}).splitlines()
    assert len(set(map(len, lines))) == 1
    assert [re.sub(" +", " ", line) for line in lines[2:]] == [
        "| PyTorch | sst | 4 | - | - | - | - | accuracy 1.0000 [0.250, 1.000] | 1,234 | 2.0 |",
        "| onnx int8 | sst | 4 | 1 / 0.1 | 1 / 0.25 | - | 75.0 % | accuracy 0.7500 [0.250, 1.000] | 1,234 | 2.0 |",
    ]
