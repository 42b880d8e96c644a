"""A wrong value of each training argument ends in one line before data is loaded."""

import dataclasses

import pytest
import torch
from transformers.hf_argparser import string_to_bool

from extrabert_hf.errors import InputError
from extrabert_hf.training.argument_checks import check_fixed
from extrabert_hf.training.arguments import LoraArguments
from extrabert_hf.training.command_line import parse_multitask_run, parse_run
from extrabert_hf.training.command_parser import CommandParser
from extrabert_hf.training.multitask_arguments import MultiTaskArguments
from extrabert_hf.training.setup import TRACKERS, prepare_process
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

HUGE = str(2**80)

WRONG = {
    "accelerator_config": ["nowhere.json", "{x", '{"nope": 1}', "pyproject.toml"],
    "activation_checkpointing_kwargs": ["nope", "{x", '{"nope": 1}'],
    "adam_beta1": ["1", "-1", "nan"],
    "adam_beta2": ["1", "-1", "nan"],
    "adam_epsilon": ["-1", "nan", "inf"],
    "batch_eval_metrics": ["true"],
    "data_seed": ["-1", HUGE, "x"],
    "dataloader_multiprocessing_context": ["nope", "fork"],
    "dataloader_num_workers": ["-1", "x"],
    "dataloader_persistent_workers": ["true"],
    "dataloader_prefetch_factor": ["2", "0"],
    "ddp_backend": ["nope"],
    "ddp_bucket_cap_mb": ["0", "-1"],
    "ddp_timeout": ["0", "-1"],
    "debug": ["nope"],
    "deepspeed": ["nowhere.json", "{x", '{"train_batch_size": 4}'],
    "distillation": ["-1", "2", "nan"],
    "distillation_temperature": ["0", "nan", "inf"],
    "early_stopping_patience": ["0", "-1"],
    "eval_accumulation_steps": ["0", "-1"],
    "eval_delay": ["-1", "nan"],
    "eval_do_concat_batches": ["false"],
    "eval_steps": ["-1", "nan", "inf"],
    "eval_strategy": ["nope", "steps", "no"],
    "fsdp": ["nope", "full_shard"],
    "fsdp_config": ["nowhere.json", "{x"],
    "gradient_accumulation_steps": ["0", "-1", "1.5"],
    "gradient_checkpointing_kwargs": ["nope", "{x", '{"nope": 1}'],
    "head_learning_rate": ["-1", "nan", "inf"],
    "hub_always_push": ["true"],
    "hub_model_id": ["a/b/c", "a b", "-x", "x" * 200],
    "hub_revision": ["main"],
    "hub_strategy": ["nope", "every_save"],
    "include_for_metrics": ["nope"],
    "label_balance": ["nope"],
    "label_names": ["nope"],
    "label_smoothing_factor": ["-1", "1", "nan"],
    "learning_rate": ["-1", "nan", "inf", "x"],
    "liger_kernel_config": ["nope", "{x"],
    "local_rank": ["x"],
    "log_level": ["nope"],
    "log_level_replica": ["nope"],
    "logging_steps": ["0", "-1", "nan", "1.5"],
    "logging_strategy": ["nope"],
    "lr_scheduler_kwargs": ["nope", "{x", "[1]", '{"nope": 1}'],
    "lr_scheduler_type": ["nope", "cosine_with_min_lr", "warmup_stable_decay", "cosine_warmup_with_min_lr"],
    "max_grad_norm": ["-1", "nan"],
    "max_steps": ["0", "-7", "1.5"],
    "max_tokens_per_batch": ["0", "-1"],
    "neftune_noise_alpha": ["-1", "nan"],
    "num_train_epochs": ["0", "-1", "nan", "inf"],
    "optim": [
        *("nope", "adamw_bnb_8bit", "galore_adamw", "apollo_adamw", "lomo", "adalomo", "grokadamw", "stable_adamw"),
        *("schedule_free_adamw", "adamw_torch_4bit", "adamw_anyprecision", "adamw_torch_xla", "paged_lion_8bit"),
    ],
    "optim_args": ["nope", "=", "a=1,x"],
    "optim_target_modules": ["all-linear"],
    "parallelism_config": ["nope"],
    "per_device_eval_batch_size": ["0", "-1"],
    "per_device_train_batch_size": ["0", "-1", "1.5"],
    "prediction_loss_only": ["true"],
    "r_drop": ["-1", "nan", "inf"],
    "report_to": ["nope", *TRACKERS],
    "save_strategy": ["nope", "steps", "no"],
    "save_total_limit": ["x"],
    "seed": ["-1", str(2**32), "1.5"],
    "tf32": ["true"],
    "torch_compile_backend": ["nope"],
    "torch_compile_mode": ["nope"],
    "torch_empty_cache_steps": ["0", "-1"],
    "train_sampling_strategy": ["nope"],
    "use_liger_kernel": ["true"],
    "warmup_steps": ["-1", "nan", "inf", "1.5"],
    "weight_decay": ["-1", "nan", "inf"],
}
"""By argument, values that a run can't use; on a machine without the optional packages."""

ANY_TEXT = {
    *("greater_is_better", "hub_language", "hub_license", "hub_private_repo", "hub_token", "length_column_name"),
    *("metric_for_best_model", "output_dir", "project", "resume_from_checkpoint", "run_name", "teachers"),
    *("trackio_bucket_id", "trackio_space_id", "trackio_static_space_id"),
}
"""Arguments that are a text: names that other checks, with their own tests, look up."""


@pytest.fixture(scope="module")
def parser():
    return CommandParser([ExtraBertTrainingArguments])


def prepared(parser, *words):
    (args,) = parser.parse_args_into_dataclasses(["--output_dir", "run", "--bf16", "false", *words])
    check_fixed(args)
    return prepare_process(args)


@pytest.fixture
def without_packages(monkeypatch):
    for module in ("setup", "argument_checks"):
        monkeypatch.setattr(f"extrabert_hf.training.{module}.is_installed", lambda name: False)


def test_every_argument_has_a_wrong_value(parser):
    actions = {action.dest: action for action in reversed(parser._actions)}  # not the flags `--no_...`
    for entry in dataclasses.fields(ExtraBertTrainingArguments):
        if entry.init and entry.name not in ANY_TEXT and entry.name not in {*WRONG, "save_steps"}:
            assert actions[entry.name].type is string_to_bool, entry.name  # argparse refuses other words


CASES = [(name, value) for name, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_wrong_value_is_refused_in_one_line_before_data_is_loaded(name, value, parser, without_packages):
    is_list = name in ("report_to", "label_names", "include_for_metrics")
    words = [f"--{name}", value] if is_list else [f"--{name}={value}"]
    with pytest.raises(InputError) as caught:
        prepared(parser, *words)
    assert "\n" not in str(caught.value)
    refuses_in_its_own_words = ("debug", "fsdp", "gradient_checkpointing_kwargs", "hub_always_push")
    assert name in str(caught.value).replace("-", "_") or name in refuses_in_its_own_words


@pytest.mark.parametrize(
    "words",
    [
        ("--lr_scheduler_type", "polynomial"),
        ("--lr_scheduler_type", "cosine_with_min_lr", "--lr_scheduler_kwargs", '{"min_lr_rate": 0.1}'),
        ("--lr_scheduler_type", "warmup_stable_decay", "--lr_scheduler_kwargs", '{"num_decay_steps": 10}'),
        ("--lr_scheduler_type", "reduce_lr_on_plateau"),
        ("--lr_scheduler_type", "inverse_sqrt"),
        ("--optim", "adafactor"),
        ("--optim", "sgd"),
        ("--dataloader_num_workers", "2", "--dataloader_prefetch_factor", "2"),
        ("--accelerator_config", '{"even_batches": true}'),
        ("--hub_model_id", "me/model"),
        ("--learning_rate", "0"),  # the heads are trained
        ("--max_grad_norm", "0"),
        ("--warmup_steps", "0"),
        ("--torch_compile_backend", "eager"),
        ("--report_to", "none"),
    ],
)
def test_a_right_value_is_taken(words, parser):
    prepared(parser, *words)


def test_an_optimizer_draws_no_random_numbers_when_it_is_rehearsed(parser):
    before = torch.get_rng_state()
    prepared(parser)
    assert torch.equal(before, torch.get_rng_state())


def test_arguments_of_an_optimizer_without_effect_are_logged(parser, caplog):
    prepared(parser, "--optim_args", "nope=1")
    assert "`optim_args` 'nope=1' has no effect on `optim` 'adamw_torch_fused'" in caplog.text


@pytest.mark.parametrize("steps", ["0", "-1", "nan"])
def test_steps_between_checkpoints_are_checked_where_they_have_an_effect(steps, parser):
    prepared(parser, "--save_steps", steps)  # a checkpoint each epoch
    with pytest.raises(InputError, match=r"`save_steps` must be .*above 0, got"):
        prepared(parser, "--save_steps", steps, "--save_strategy", "steps", "--eval_strategy", "steps")


def test_a_run_that_would_change_no_weight_is_refused(parser):
    with pytest.raises(InputError, match="`learning_rate` or `head_learning_rate` must be above 0"):
        prepared(parser, "--learning_rate", "0", "--head_learning_rate", "0")
    with pytest.raises(InputError, match="`warmup_steps` must be at most `max_steps`, 5, or a share below 1, got 9"):
        prepared(parser, "--warmup_steps", "9", "--max_steps", "5")


@pytest.mark.parametrize(
    "values",
    [
        *({"lora_r": 0}, {"lora_r": 1.5}, {"lora_alpha": 0}, {"lora_alpha": float("nan")}, {"lora_dropout": 1.0}),
        *({"lora_dropout": -0.1}, {"lora_dropout": float("nan")}),
    ],
)
def test_a_wrong_value_of_the_adapters_is_refused(values):
    (name,) = values
    with pytest.raises(InputError, match=f"`{name}` must be "):
        LoraArguments(lora=True, **values)


@pytest.mark.parametrize(
    "values",
    [
        {"mixing_temperature": float("inf"), "mixing": "temperature"},
        {"mixing_weights": [1.0, -1.0, 1.0], "mixing": "weights"},
        {"mixing_weights": [0.0, 0.0, 0.0], "mixing": "weights"},
        {"mixing_weights": [1.0, float("nan"), 1.0], "mixing": "weights"},
        {"examples_per_item": [1, 0, 1]},
    ],
)
def test_a_wrong_number_for_several_tasks_is_refused(values):
    with pytest.raises(InputError, match=f"`{next(iter(values))}` must "):
        MultiTaskArguments(**values)


def test_labels_of_scores_are_not_smoothed():
    for parse in (lambda words: parse_run("sts", words), parse_multitask_run):
        with pytest.raises(InputError, match="`label_smoothing_factor` is for classes, but 'sts' has scores"):
            parse(["--label_smoothing_factor", "0.1"])
    assert parse_run("sst", ["--label_smoothing_factor", "0.1"]).training.label_smoothing_factor == 0.1


@pytest.mark.parametrize(("metric", "wrong"), [("accuracy", "false"), ("loss", "true")])
def test_the_direction_of_a_score_can_not_be_turned(metric, wrong):
    with pytest.raises(InputError, match=f"`greater_is_better` must be .* for `metric_for_best_model` '{metric}'"):
        parse_run("sst", ["--metric_for_best_model", metric, "--greater_is_better", wrong])
