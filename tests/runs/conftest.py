import numpy as np
import pytest
import torch
from datasets import Dataset

from extrabert_hf.pretrained.loading import build_model
from extrabert_hf.runs.answers import answer_rows
from extrabert_hf.tasks import PAPER_TASKS

SENTENCES = ["A warm film .", "Not good", "a man plays a guitar in the street .", "It is <b>not</b> & dull"]


@pytest.fixture
def answers_of(tiny_encoder):
    """Lets a random model of a task answer rows."""

    def make(task, rows=24, **fields):
        spec, generator = PAPER_TASKS[task], np.random.default_rng(0)
        model, tokenizer = build_model(tiny_encoder, spec, **fields)
        with torch.no_grad():
            for parameter in model.parameters():  # else it answers the same to every row
                parameter += 0.3 * torch.randn_like(parameter)
        chosen = generator.choice(SENTENCES, size=(rows, 2))
        labels = generator.uniform(0, 5, rows) if spec.is_regression else np.arange(rows) % len(spec.class_names)
        columns = (
            {"sentence1": chosen[:, 0], "sentence2": chosen[:, 1]} if spec.is_pair else {"sentence1": chosen[:, 0]}
        )
        data = Dataset.from_dict({**columns, "label": labels, "id": [f"r{n}" for n in range(rows)]})
        return answer_rows(model, tokenizer, spec, data, progress=False)

    return make
