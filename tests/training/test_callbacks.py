import json

import pytest
import torch
from transformers import AutoModel

from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.callbacks import KeepBestPerTask
from tests.training.multitask_runs import make_trainer

KEYS = {"sst": "eval_sst_accuracy", "para": "eval_para_accuracy", "sts": "eval_sts_pearson"}


class NoTokenizer:
    def save_pretrained(self, folder):
        (folder / "tokenizer.json").touch()


@pytest.fixture
def evaluated(tmp_path):
    """Gives what to call with an evaluation's step and scores; the model's heads say the step in their biases."""
    trainer = make_trainer(tmp_path)
    callback = KeepBestPerTask({task: PAPER_TASKS[task] for task in KEYS})

    def evaluate(step, **scores):
        metrics = {KEYS[task]: score for task, score in scores.items()}
        trainer.state.global_step = step
        trainer.state.log_history.append({**metrics, "step": step})
        with torch.no_grad():
            trainer.model.heads["sst"].classifier.bias.fill_(step)
        state = {"model": trainer.model, "metrics": metrics, "processing_class": NoTokenizer()}
        callback.on_evaluate(trainer.args, trainer.state, trainer.control, **state)

    trainer.state.is_world_process_zero = True
    return evaluate


def best(folder, task):
    return json.loads((folder / "best" / task / "best.json").read_text())


def test_each_task_keeps_its_own_best(evaluated, tmp_path):
    evaluated(1, sst=0.3, para=0.6, sts=0.1)
    evaluated(2, sst=0.4, para=0.5, sts=-0.2)
    evaluated(3, sst=0.4, para=0.7, sts=0.0)
    assert best(tmp_path, "sst") == {"step": 2, "accuracy": 0.4}  # the first of equals
    assert best(tmp_path, "para") == {"step": 3, "accuracy": 0.7}
    assert best(tmp_path, "sts") == {"step": 1, "pearson": 0.1}
    model = AutoModel.from_pretrained(tmp_path / "best" / "sst")
    assert type(model).__name__ == "ExtraBertForSentiment"
    assert model.head.classifier.bias.tolist() == [2.0] * 5
    assert (tmp_path / "best" / "sst" / "tokenizer.json").is_file()
