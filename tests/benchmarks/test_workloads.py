import warnings

import datasets
import numpy as np
import pytest
import torch
from transformers.utils import logging as transformers_logging

from benchmarks.measures import seconds_of
from benchmarks.peers import sentence_transformers_scoring
from benchmarks.runner import load_rows
from benchmarks.suite import BENCHMARKS, ablation
from benchmarks.workloads import Setting, our_scoring, our_trainer, quiet_libraries, with_two_forwards
from extrabert_hf.models import ExtraBertConfig, ExtraBertForParaphrase, ExtraBertForSimilarity
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

ON_ONE_TASK = [name for name in BENCHMARKS if name.startswith("train-")]
MODELS_OF_PAIRS = pytest.mark.parametrize("model_class", [ExtraBertForParaphrase, ExtraBertForSimilarity])


@pytest.fixture
def contenders(tiny_encoder, tmp_path):
    """Builds ours and the peer of a comparison, one after the other, ours in bfloat16, on 10 rows in batches of 4."""
    pytest.importorskip("sentence_transformers")

    def build_all(name):
        benchmark = BENCHMARKS[name]
        setting = Setting(tiny_encoder, batch_size=4, bf16=True, output_dir=str(tmp_path))
        rows = {task: load_rows(PAPER_TASKS[task], "sample", 10) for task in benchmark.tasks}
        with quiet_libraries():
            for build in benchmark.contenders(setting).values():
                yield build(rows)

    return build_all


def watch(trainer):
    """Records the output types of a linear layer in training, and the number of sentences in each forward."""
    types, rows = set(), []
    linear, words = (
        next(module for module in trainer.model.modules() if isinstance(module, kind))
        for kind in (torch.nn.Linear, torch.nn.Embedding)
    )
    linear.register_forward_hook(lambda module, args, output: types.add(output.dtype))

    def count(module, args, output):
        is_unpadded = len(args[0]) == 1  # each sentence starts with [CLS]
        rows.append(int((args[0] == args[0][0, 0]).sum()) if is_unpadded else len(args[0]))

    words.register_forward_hook(count)
    return types, rows


@pytest.mark.parametrize("name", ON_ONE_TASK)
def test_contenders_train_on_the_same_rows_ours_in_bfloat16_and_peers_in_float32(name, contenders, capsys):
    for trainer, expected in zip(contenders(name), (torch.bfloat16, torch.float32), strict=True):
        types, rows = watch(trainer)
        assert seconds_of(trainer) > 0
        assert types == {expected}
        assert trainer.state.global_step == 3
        assert sum(rows) == (10 if name == "train-sst" or (name, expected) == ("train-para", torch.float32) else 20)
    assert capsys.readouterr() == ("", "")  # no progress bars, no messages


def test_our_arguments_are_the_defaults_except_those_that_all_contenders_share(contenders, tmp_path):
    trainer = next(contenders("train-para"))
    default_arguments = ExtraBertTrainingArguments(output_dir=str(tmp_path), bf16=True)
    assert default_arguments.device == trainer.args.device  # setting up the device completes `accelerator_config`
    defaults = default_arguments.to_dict()
    shared = {"per_device_train_batch_size", "num_train_epochs", "eval_strategy", "save_strategy", "logging_strategy"}
    shared |= {"disable_tqdm", "load_best_model_at_end", "remove_unused_columns"}  # the last one is set by the trainer
    derived = {"do_eval", "greater_is_better", "metric_for_best_model"}  # from `eval_strategy`
    arguments = trainer.args.to_dict()
    assert {key for key, value in arguments.items() if value != defaults[key]} == shared | derived
    assert (trainer.model.config.pooling, trainer.model.config.feed_forward_residual) == ("multiplicative", True)


def test_every_step_of_the_ablation_trains(tiny_encoder, tmp_path):
    task = PAPER_TASKS["sts"]
    setting = Setting(tiny_encoder, batch_size=4, bf16=True, output_dir=str(tmp_path))
    for fields in ablation(task, bf16=True).values():
        with quiet_libraries():
            trainer = our_trainer(setting, {"sts": load_rows(task, "sample", 8)}, **fields)
            _, rows = watch(trainer)
            seconds_of(trainer)
        assert rows == ([4] * 4 if "two_forwards" in fields else [8] * 2)
        assert trainer.optimizer.defaults["fused"] is ("optim" not in fields or None)


@MODELS_OF_PAIRS
def test_two_forwards_give_the_logits_of_one(model_class, tiny_bert, random_batch):
    model = model_class(ExtraBertConfig(backbone_config=tiny_bert)).eval()
    batch = random_batch(5)
    expected = model(**batch).logits
    assert torch.allclose(with_two_forwards(model).eval()(**batch).logits, expected, atol=1e-6)


@MODELS_OF_PAIRS
def test_two_forwards_encode_each_side_padded_to_its_own_longest_sentence(model_class, tiny_bert):
    model = with_two_forwards(model_class(ExtraBertConfig(backbone_config=tiny_bert)))
    model.unpad = False
    shapes = []
    model.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    mask = torch.tensor([[[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]])
    model(input_ids=mask * 7, attention_mask=mask)
    assert shapes == [(2, 5), (2, 3)]


def test_both_contenders_give_the_same_scores_of_all_pairs(tiny_encoder):
    pytest.importorskip("sentence_transformers")
    setting = Setting(tiny_encoder, batch_size=4, bf16=False, output_dir="unused")
    rows = {"para": load_rows(PAPER_TASKS["para"], "sample", 30)}
    scores = our_scoring(setting, rows)()
    cosines = sentence_transformers_scoring(setting, rows)()
    assert scores.shape == (30,) and np.ptp(scores) > 0
    np.testing.assert_allclose(scores / 5, cosines.numpy(), atol=1e-5)


def test_quiet_libraries_restores_all_settings():
    def settings():
        return (
            transformers_logging.get_verbosity(),
            transformers_logging.is_progress_bar_enabled(),
            datasets.are_progress_bars_disabled(),
            len(warnings.filters),
        )

    before = settings()
    with quiet_libraries():
        assert settings() != before
        assert datasets.are_progress_bars_disabled()
    assert settings() == before
