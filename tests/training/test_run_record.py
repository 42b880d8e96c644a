import dataclasses
import json

import pytest
from datasets import Dataset

from extrabert_hf.errors import InputError
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.training.arguments import DataArguments
from extrabert_hf.training.command_line import parse_multitask_run, parse_run
from extrabert_hf.training.multitask_arguments import MultiTaskArguments
from extrabert_hf.training.run_record import DATA_FIELDS, FREE, REPORTED, RunRecord, hash_of_rows
from extrabert_hf.training.setup import prepare_process
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments


def record_of(*flags, task="sst"):
    flags = ("--bf16", "false", *flags)
    run = parse_multitask_run(flags) if task == "multitask" else parse_run(task, flags)
    return RunRecord.of_run(dataclasses.replace(run, training=prepare_process(run.training)))


CHANGES = [
    ("per_device_train_batch_size", "4"),
    ("gradient_accumulation_steps", "2"),
    ("max_tokens_per_batch", "512"),
    ("length_buckets", "false"),
    ("dataloader_drop_last", "true"),
    ("train_sampling_strategy", "sequential"),
    ("seed", "7"),
    ("data_seed", "7"),
    ("num_train_epochs", "5"),
    ("max_steps", "9"),
    ("learning_rate", "0.1"),
    ("head_learning_rate", "0.1"),
    ("warmup_steps", "0.2"),
    ("lr_scheduler_type", "cosine"),
    ("optim", "adamw_torch"),
    ("weight_decay", "0.3"),
    ("max_grad_norm", "2"),
    ("bf16", "true"),
    ("label_smoothing_factor", "0.1"),
    ("label_balance", "weights"),
    ("r_drop", "1"),
    ("metric_for_best_model", "macro_f1"),
    ("lora", "true"),
    ("pooling", "mean"),
    ("head_dropout", "0.3"),
    ("max_length", "17"),
    ("dev_fraction", "0.2"),
    ("drop_leaked", "true"),
    ("drop_duplicates", "true"),
    ("task_name", "stars"),
]


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_an_argument_that_changes_the_run_is_refused_by_name_with_both_values(name, value):
    saved, given = record_of(), record_of(f"--{name}={value}")
    with pytest.raises(InputError) as caught:
        saved.check_arguments(given, "checkpoint-5")
    assert "\n" not in str(caught.value)
    assert f"`{name}` is {saved.arguments.get(name)!r} there, got {given.arguments.get(name)!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aggregator", "mean"),
        ("mixing", "proportional"),
        ("epoch_length", "shortest"),
        ("train_tasks", "sst"),
        ("tasks", "sst"),
        ("pooling", "mean"),
    ],
)
def test_an_argument_of_several_tasks_is_refused_too(name, value):
    with pytest.raises(InputError, match=f"{name}` is "):
        record_of(task="multitask").check_arguments(record_of(f"--{name}={value}", task="multitask"), "checkpoint-5")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--loss_weighting=uncertainty"], "`loss_weighting` is 'famo' there, got 'uncertainty'"),
        (["--loss_weighting_learning_rate=0.1"], "`loss_weighting_learning_rate` is 0.025 there, got 0.1"),
    ],
)
def test_another_loss_weighting_is_refused(flags, message):
    words = ["--aggregator=sum", "--loss_weighting=famo"]
    saved, given = record_of(*words, task="multitask"), record_of(*words, *flags, task="multitask")
    with pytest.raises(InputError, match=message):
        saved.check_arguments(given, "checkpoint-5")


def test_another_task_and_another_number_of_tasks_are_refused():
    for other in ("para", "multitask"):
        with pytest.raises(InputError, match="a resumed run must have the arguments of its checkpoint"):
            record_of().check_arguments(record_of(task=other), "checkpoint-5")


@pytest.mark.parametrize(
    "flags",
    [
        ("--output_dir", "elsewhere", "--overwrite_output_dir", "true"),
        ("--logging_steps", "3", "--disable_tqdm", "true", "--run_name", "again"),
        ("--per_device_eval_batch_size", "7", "--save_total_limit", "9"),
        ("--dataloader_num_workers", "2", "--ddp_timeout", "7"),
        ("--data_seed", "42"),  # the default is the seed
        ("--data", "moved", "--predict_test", "false", "--strict_data", "true"),
        ("--model_name_or_path", "moved"),
        ("--gradient_checkpointing", "true"),
        ("--calibrate", "true", "--push_to_hub", "true", "--hub_license", "apache-2.0"),
    ],
)
def test_an_argument_that_changes_no_step_may_differ(flags, caplog):
    record_of().check_arguments(record_of(*flags), "checkpoint-5")
    assert caplog.text == ""


def test_an_argument_that_changes_the_kept_model_may_differ_and_is_logged(caplog):
    record_of().check_arguments(record_of("--early_stopping_patience", "3", "--unpad", "false"), "checkpoint-5")
    assert "`early_stopping_patience` is None there, got 3" in caplog.text
    assert "`unpad` is True there, got False" in caplog.text


def test_every_argument_is_compared_unless_it_is_named_as_free():
    names = {entry.name for entry in dataclasses.fields(ExtraBertTrainingArguments) if entry.init}
    names |= {entry.name for entry in dataclasses.fields(MultiTaskArguments)}
    compared = record_of(task="multitask").arguments
    assert names - compared.keys() - FREE == set()
    assert set(DATA_FIELDS) <= {entry.name for entry in dataclasses.fields(DataArguments)}
    assert not FREE & REPORTED


def test_only_a_schedule_without_an_end_takes_more_epochs():
    constant = ("--lr_scheduler_type", "constant")
    record_of(*constant).check_arguments(record_of(*constant, "--num_train_epochs", "9"), "checkpoint-5")
    with pytest.raises(InputError, match=r"`num_train_epochs` is .* start it with --model_name_or_path CHECKPOINT"):
        record_of().check_arguments(record_of("--num_train_epochs", "9"), "checkpoint-5")
    annealed = ("--mixing", "annealed", *constant)
    with pytest.raises(InputError, match="`num_train_epochs` is "):
        record_of(*annealed, task="multitask").check_arguments(
            record_of(*annealed, "--num_train_epochs", "9", task="multitask"), "checkpoint-5"
        )


def test_other_versions_are_logged(caplog):
    saved = dataclasses.replace(record_of(), versions={"torch": "1.0"})
    saved.check_arguments(record_of(), "checkpoint-5")
    assert "of other versions, whose order of rows and rounding may differ: `torch` is '1.0' there" in caplog.text


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = dataclasses.replace(record_of(task="multitask"), rows={"sst train": {"rows": 3, "hash": "abc"}})
    record.write(tmp_path)
    assert RunRecord.read(str(tmp_path)) == record
    assert RunRecord.read(str(tmp_path / "none")) is None
    for content in ("", "[]", '{"other": 1}', json.dumps({"arguments": {}, "rows": {}})[:-4]):
        (tmp_path / RunFolder.RUN_RECORD).write_text(content)
        with pytest.raises(InputError, match=r"run_record\.json is damaged"):
            RunRecord.read(str(tmp_path))


def rows(ids, labels):
    return Dataset.from_dict({"input_ids": ids, "labels": labels})


def test_the_hash_is_of_tokens_labels_and_order_not_of_the_layout_of_the_file():
    one = rows([[1, 2], [3], [4]], [0, 1, 1])
    same = rows([[9], [4], [3], [1, 2]], [5, 1, 1, 0]).select([3, 2, 1])
    assert hash_of_rows(one) == hash_of_rows(same)
    others = [
        rows([[1], [2, 3], [4]], [0, 1, 1]),  # the same tokens in sentences of other lengths
        rows([[1, 2], [3], [4]], [0, 1, 0]),
        rows([[3], [1, 2], [4]], [1, 0, 1]),
        rows([[1, 2], [3]], [0, 1]),
        rows([[[1, 2], [3]], [[4], []], [[], []]], [0, 1, 1]),
    ]
    assert len({hash_of_rows(each)["hash"] for each in (one, *others)}) == 6


def test_other_rows_are_refused_with_the_numbers_of_both():
    saved = dataclasses.replace(record_of(), rows={"train": hash_of_rows(rows([[1], [2]], [0, 1]))})
    saved.check_rows({"train": hash_of_rows(rows([[1], [2]], [0, 1]))}, "checkpoint-5")
    for other in (rows([[2], [1]], [1, 0]), rows([[1]], [0])):
        with pytest.raises(InputError, match=rf"split 'train' has 2 rows \(hash .* got {len(other)} rows"):
            saved.check_rows({"train": hash_of_rows(other)}, "checkpoint-5")
    with pytest.raises(InputError, match="split 'dev' has no rows there"):
        saved.check_rows({"dev": hash_of_rows(rows([[1]], [0]))}, "checkpoint-5")
