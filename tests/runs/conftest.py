import numpy as np
import pytest
import torch
from datasets import Dataset

from extrabert_hf.inference.explanation import explain_worst_rows
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.pretrained.loading import TrainedModel
from extrabert_hf.runs.error_table import ReportedPredictions
from extrabert_hf.tasks import PAPER_TASKS

SENTENCES = ["A warm film .", "Not good", "a man plays a guitar in the street .", "It is <b>not</b> & dull"]


@pytest.fixture
def reported(tiny_encoder):
    """Makes a function that predicts rows with a random model of a task and explains the largest errors."""

    def make(task, rows=24, **fields):
        spec, generator = PAPER_TASKS[task], np.random.default_rng(0)
        model, tokenizer = build_model(tiny_encoder, spec, **fields)
        with torch.no_grad():
            for parameter in model.parameters():  # otherwise it predicts the same for every row
                parameter += 0.3 * torch.randn_like(parameter)
        chosen = generator.choice(SENTENCES, size=(rows, 2))
        labels = generator.uniform(0, 5, rows) if spec.is_regression else np.arange(rows) % len(spec.class_names)
        columns = (
            {"sentence1": chosen[:, 0], "sentence2": chosen[:, 1]} if spec.is_pair else {"sentence1": chosen[:, 0]}
        )
        data = Dataset.from_dict({**columns, "label": labels, "id": [f"r{n}" for n in range(rows)]})
        trained = TrainedModel(model, tokenizer, spec)
        predictions = Predictor((trained,)).predict(data)
        return ReportedPredictions(predictions, explain_worst_rows(trained, predictions))

    return make


@pytest.fixture
def predictions_of(reported):
    """Makes a function that predicts rows with a random model of a task."""
    return lambda task, rows=24, **fields: reported(task, rows, **fields).predictions
