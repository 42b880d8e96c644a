import pytest
import torch

from benchmarks.measures import seconds_of
from benchmarks.runner import load_rows
from benchmarks.suite import BENCHMARKS, ladder
from benchmarks.workloads import Setting, our_trainer, quiet_libraries
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

ON_ONE_TASK = [name for name in BENCHMARKS if name.startswith("train-")]


@pytest.fixture
def contenders(tiny_encoder, tmp_path):
    """Makes ours and the peer of a comparison, one after the other, ours in bfloat16, on 10 rows in batches of 4."""
    pytest.importorskip("sentence_transformers")

    def make(name):
        benchmark = BENCHMARKS[name]
        setting = Setting(tiny_encoder, batch_size=4, bf16=True, output_dir=str(tmp_path))
        rows = {task: load_rows(PAPER_TASKS[task], "sample", 10) for task in benchmark.tasks}
        with quiet_libraries():
            for build in benchmark.contenders(setting).values():
                yield build(rows)

    return make


def watch(trainer):
    """Notes the types of what a linear layer gives in training, and how many sentences each forward has."""
    types, rows = set(), []
    linear, words = (
        next(module for module in trainer.model.modules() if isinstance(module, kind))
        for kind in (torch.nn.Linear, torch.nn.Embedding)
    )
    linear.register_forward_hook(lambda module, args, output: types.add(output.dtype))

    def count(module, args, output):
        is_packed = len(args[0]) == 1  # each sentence starts with [CLS]
        rows.append(int((args[0] == args[0][0, 0]).sum()) if is_packed else len(args[0]))

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
    assert capsys.readouterr() == ("", "")  # no progress bars, no notes


def test_ours_is_as_shipped_but_for_what_every_contender_is_told(contenders, tmp_path):
    trainer = next(contenders("train-para"))
    shipped = ExtraBertTrainingArguments(output_dir=str(tmp_path), bf16=True).to_dict()
    told = {"per_device_train_batch_size", "num_train_epochs", "eval_strategy", "save_strategy", "logging_strategy"}
    told |= {"disable_tqdm", "load_best_model_at_end", "remove_unused_columns"}  # the last by the trainer itself
    follows = {"do_eval", "greater_is_better", "metric_for_best_model"}  # from not evaluating
    assert {key for key, value in trainer.args.to_dict().items() if value != shipped[key]} == told | follows
    assert (trainer.model.config.pooling, trainer.model.config.feed_forward_residual) == ("multiplicative", True)


def test_every_step_trains(tiny_encoder, tmp_path):
    task = PAPER_TASKS["sts"]
    setting = Setting(tiny_encoder, batch_size=4, bf16=True, output_dir=str(tmp_path))
    for fields in ladder(task, bf16=True).values():
        with quiet_libraries():
            trainer = our_trainer(setting, {"sts": load_rows(task, "sample", 8)}, **fields)
            _, rows = watch(trainer)
            seconds_of(trainer)
        assert rows == ([4] * 4 if "two_forwards" in fields else [8] * 2)
        assert trainer.optimizer.defaults["fused"] is ("optim" not in fields or None)
