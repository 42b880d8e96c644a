"""
The undocumented or private behaviour of libraries on which this package depends, one test for each.

When an upgrade breaks a test here, its docstring names the modules of this package that need a change.
"""

import copy
import importlib
import inspect
import json
import shutil
import time
import zipfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import datasets
import evaluate
import optuna
import peft
import pyarrow as pa
import pytest
import torch
from accelerate import Accelerator, PartialState
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset, Features, Value
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import HfHubHTTPError, HTTPError, StrictDataclassError
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import BatchSampler, DataLoader
from transformers import (
    AlbertConfig,
    AttentionInterface,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    CamembertConfig,
    DebertaConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    HfArgumentParser,
    ModernBertConfig,
    MPNetConfig,
    Pipeline,
    PreTrainedModel,
    PrinterCallback,
    RobertaConfig,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    XLMRobertaConfig,
    pipeline,
)
from transformers import initialization as init
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.models.mpnet.modeling_mpnet import MPNetSelfAttention
from transformers.utils import cached_file

from extrabert_hf.training.setup import TRACKERS

SIZES = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 12,
}


def tiny_bert():
    return BertConfig(**SIZES)


@pytest.mark.parametrize(
    ("name", "users"),
    [
        ("accelerate.optimizer:AcceleratedOptimizer.train", "training.multitask_trainer"),
        ("accelerate:Accelerator.gather", "training.multitask_trainer"),
        ("datasets.config:HF_DATASETS_CACHE", "data.sources"),
        ("datasets.config:HF_HUB_OFFLINE", "data.sources"),
        ("huggingface_hub.constants:ENDPOINT", "data.sources"),
        ("huggingface_hub.errors:HTTPError", "sharing.hub"),
        ("huggingface_hub.utils:validate_repo_id", "sharing.repository_files"),
        ("onnxruntime.quantization.quant_utils:add_pre_process_metadata", "sharing.onnx_export"),
        ("optuna.exceptions:StorageInternalError", "search.study"),
        ("optuna.storages:fail_stale_trials", "search.study"),
        ("peft:PeftModel.get_base_model", "training.trainer, pretrained.lora"),
        ("torch.compiler:is_compiling", "models.base_extrabert"),
        ("torch.utils.flop_counter:FlopCounterMode.get_total_flops", "benchmarks.measures"),
        ("tqdm:tqdm._instances", "sharing.hub"),
        ("transformers.trainer_utils:PREFIX_CHECKPOINT_DIR", "training.trainer, training.checkpoints"),
        ("transformers:PreTrainedModel._from_config", "models.base_extrabert, pretrained.lora"),
        ("transformers:PreTrainedModel._init_weights", "models.base_extrabert"),
        ("transformers:PreTrainedTokenizerBase.all_special_ids", "pretrained.loading"),
        ("transformers:Trainer.compute_loss_context_manager", "training.multitask_trainer, benchmarks.surgery"),
        ("transformers:Trainer.get_decay_parameter_names", "training.trainer"),
        ("transformers:Trainer.get_optimizer_cls_and_kwargs", "training.trainer"),
        ("transformers:Trainer.init_hf_repo", "training.trainer"),
        ("transformers:Trainer._track_num_input_tokens", "training.multitask_trainer"),
    ],
)
def test_name_exists(name, users):
    module_name, _, path = name.partition(":")
    package = module_name.split(".")[0]
    found = pytest.importorskip(module_name) if package == "onnxruntime" else importlib.import_module(module_name)
    for part in path.split("."):
        assert hasattr(found, part), f"{name} is used by {users}"
        found = getattr(found, part)


# The Trainer


class Line(nn.Module):
    """Predicts `weight * x`; the loss is the mean squared error."""

    accepts_loss_kwargs = False

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x, labels=None):
        logits = self.weight * x
        return {"loss": None if labels is None else (logits - labels).square().mean(), "logits": logits}


ROWS = [{"x": float(index), "labels": 3.0 * index} for index in range(1, 11)]


@pytest.fixture
def arguments(tmp_path):
    def build(**fields):
        defaults = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none", "disable_tqdm": True}
        return TrainingArguments(**{**defaults, "save_strategy": "no", "per_device_train_batch_size": 2, **fields})

    return build


def plain_sgd(model, lr=0.1):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def test_accumulation_steps_and_gradient_sync_are_set_before_each_micro_batch(arguments):
    """For `training.multitask_trainer`, whose `training_step` joins the gradients on the last micro-batch."""
    seen = []

    class Recorder(Trainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            seen.append((self.current_gradient_accumulation_steps, self.accelerator.sync_gradients))
            return super().training_step(model, inputs, num_items_in_batch)

    Recorder(Line(), arguments(gradient_accumulation_steps=2, num_train_epochs=1), train_dataset=ROWS).train()
    assert seen == [(2, False), (2, True), (2, False), (2, True), (1, True)]


def test_gradients_that_training_step_writes_are_those_of_the_optimizer_step(arguments):
    """For `training.multitask_trainer` and `benchmarks.surgery`, which write `grad` themselves."""

    class Writer(Trainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            self.optimizer.train()
            for parameter in self.model.parameters():
                parameter.grad = torch.full_like(parameter, 2.0)
            return torch.zeros(())

    model = Line()
    fields = {"max_steps": 3, "max_grad_norm": 0.0}
    Writer(model, arguments(**fields), train_dataset=ROWS, optimizers=plain_sgd(model)).train()
    assert model.weight.item() == pytest.approx(1 - 3 * 0.1 * 2.0)


def test_the_loss_of_a_model_without_loss_kwargs_is_divided_by_the_accumulation_steps(arguments):
    """For `models.base_extrabert` (`accepts_loss_kwargs = False`) and `training.trainer`."""
    weights = []
    for batch_size, steps in ((8, 1), (2, 4)):
        model = Line()
        fields = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": steps, "max_steps": 1}
        options = {"train_dataset": ROWS[:8], "optimizers": plain_sgd(model, lr=1e-3)}
        trainer = Trainer(model, arguments(max_grad_norm=0.0, **fields), **options)
        assert not trainer.model_accepts_loss_kwargs
        trainer.train()
        weights.append(model.weight.item())
    assert weights[0] == pytest.approx(weights[1]) and weights[0] != 1.0


def test_a_run_resumed_at_its_end_asks_for_batches_and_an_empty_list_ends_it(arguments):
    """For `training.trainer`, whose `get_batch_samples` returns no batch once all steps are made."""
    Trainer(Line(), arguments(max_steps=1, save_strategy="steps", save_steps=1), train_dataset=ROWS).train()
    asked, trained = [], []

    class Resumed(Trainer):
        def get_batch_samples(self, epoch_iterator, num_batches, device):
            asked.append(self.state.global_step)
            return [], None

        def training_step(self, *args, **kwargs):
            trained.append(self.state.global_step)
            return super().training_step(*args, **kwargs)

    args = arguments(max_steps=1)
    trainer = Resumed(Line(), args, train_dataset=ROWS)
    trainer.train(resume_from_checkpoint=f"{args.output_dir}/checkpoint-1")
    assert set(asked) == {1} and trained == [] and trainer.state.global_step == 1


def test_a_checkpoint_has_the_files_and_the_state_that_a_resumed_run_checks(arguments):
    """For `training.checkpoints`, which checks these names before it resumes, and the checksums of the zip format."""
    args = arguments(max_steps=1, save_strategy="steps", save_steps=1)
    Trainer(Line(), args, train_dataset=ROWS).train()
    checkpoint = Path(args.output_dir) / "checkpoint-1"
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        assert zipfile.ZipFile(checkpoint / name).testzip() is None
    assert (checkpoint / "model.safetensors").is_file()
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    assert (state["global_step"], state["max_steps"], state["train_batch_size"]) == (1, 1, args.train_batch_size)


def test_the_trackers_of_transformers_are_those_whose_packages_are_known():
    """For `training.setup`, which names the packages of each value of `report_to`."""
    assert set(INTEGRATION_TO_CALLBACK) == set(TRACKERS)


def test_batch_samples_are_a_list_of_batches_and_no_item_count_for_our_models(arguments):
    """For `training.trainer`, which returns `[], None` in place of them."""
    trainer = Trainer(Line(), arguments(), train_dataset=ROWS)
    batches, count = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 2, torch.device("cpu"))
    assert isinstance(batches, list) and len(batches) == 2 and count is None


def test_state_epoch_names_the_epoch_that_begins_in_a_resumed_run_too(arguments):
    """For `training.callbacks._SetSamplerEpoch`, which sets the sampler's epoch from it."""
    begun = []

    class Epochs(TrainerCallback):
        def on_epoch_begin(self, args, state, control, **kwargs):
            begun.append(int(state.epoch + 1e-6))

    args = arguments(num_train_epochs=2, save_strategy="steps", save_steps=7)  # 5 steps an epoch
    Trainer(Line(), args, train_dataset=ROWS, callbacks=[Epochs()]).train()
    resumed = Trainer(Line(), args, train_dataset=ROWS, callbacks=[Epochs()])
    resumed.train(resume_from_checkpoint=f"{args.output_dir}/checkpoint-7")
    assert begun == [0, 1, 1]


def test_an_epoch_begins_with_the_loader_that_skips_nothing(arguments):
    """For `training.callbacks`, which looks for the sampler inside: skipping loaders hide it."""
    seen = []

    class Loaders(TrainerCallback):
        def on_epoch_begin(self, args, state, control, *, train_dataloader, **kwargs):
            seen.append(train_dataloader.batch_sampler)

    args = arguments(num_train_epochs=1, save_strategy="steps", save_steps=3)
    Trainer(Line(), args, train_dataset=ROWS).train()
    trainer = Trainer(Line(), args, train_dataset=ROWS, callbacks=[Loaders()])
    trainer._get_train_sampler = lambda train_dataset=None: list(range(10))
    trainer.train(resume_from_checkpoint=f"{args.output_dir}/checkpoint-3")
    assert [(type(sampler), sampler.sampler) for sampler in seen] == [(BatchSampler, list(range(10)))]


def test_the_shard_of_a_process_holds_the_whole_batch_sampler():
    """For `training.callbacks`, which looks for the sampler inside it, in runs of several processes."""
    whole = BatchSampler(range(8), batch_size=2, drop_last=False)
    shard = BatchSamplerShard(whole, num_processes=2, process_index=1)
    assert shard.batch_sampler is whole and list(shard) == [[2, 3], [6, 7]]


def test_saving_goes_through_the_private_save_methods(arguments, tmp_path):
    """For `training.trainer`: `_save` adds the config of an adapted model, `_save_checkpoint` the file `complete`."""
    calls = []

    class Saver(Trainer):
        def _save(self, output_dir=None, state_dict=None):
            super()._save(output_dir, state_dict)
            calls.append(("_save", output_dir))

        def _save_checkpoint(self, model, trial):
            super()._save_checkpoint(model, trial)
            folder = tmp_path / f"checkpoint-{self.state.global_step}"
            assert self._get_output_dir(trial) == str(tmp_path)
            assert (folder / "trainer_state.json").is_file() and (folder / "optimizer.pt").is_file()
            calls.append(("_save_checkpoint", str(folder)))

    Saver(Line(), arguments(max_steps=1, save_strategy="steps", save_steps=1), train_dataset=ROWS).train()
    folder = str(tmp_path / "checkpoint-1")
    assert calls == [("_save", folder), ("_save_checkpoint", folder)]


def test_a_save_by_the_user_pushes_unless_the_arguments_forbid_it(arguments):
    """For `training.trainer` and `training.finetune`, which save several times and push once at the end."""
    pushed = []

    class Pusher(Trainer):
        def init_hf_repo(self, token=None, private=None):
            assert self.hub_model_id is None

        def push_to_hub(self, commit_message="End of training", *args, **kwargs):
            pushed.append(commit_message)

    trainer = Pusher(Line(), arguments(push_to_hub=True, hub_model_id="owner/name"), train_dataset=ROWS)
    trainer.save_model()
    assert pushed == ["Model save"]
    trainer.args.push_to_hub = False
    trainer.save_model()
    assert pushed == ["Model save"]


def test_samplers_of_the_private_getters_are_those_of_the_loaders(arguments):
    """For `training.trainer` and `training.multitask_trainer`; an evaluation sampler may be a list of items."""
    asked = []

    class Sampled(Trainer):
        def _get_train_sampler(self, train_dataset=None):
            asked.append(train_dataset)
            return [3, 1, 2, 0]

        def _get_eval_sampler(self, eval_dataset):
            return [2, 0]

    trainer = Sampled(Line(), arguments(), train_dataset=ROWS, eval_dataset=ROWS)
    batches = [batch["x"].tolist() for batch in trainer.get_train_dataloader()]
    assert batches == [[4.0, 2.0], [3.0, 1.0]] and asked == [ROWS]
    assert [batch["x"].tolist() for batch in trainer.get_eval_dataloader()] == [[3.0, 1.0]]


def test_evaluation_loaders_with_persistent_workers_are_kept_by_name(arguments):
    """For `training.multitask_trainer`, which needs another loader for each task."""
    fields = {"dataloader_persistent_workers": True, "dataloader_num_workers": 1}
    parts = {"first": ROWS[:2], "second": ROWS[2:5]}
    trainer = Trainer(Line(), arguments(**fields), train_dataset=ROWS, eval_dataset=parts)
    loaders = {name: trainer.get_eval_dataloader(name) for name in parts}
    assert {name: len(loader.dataset) for name, loader in loaders.items()} == {"first": 2, "second": 3}
    assert all(trainer.get_eval_dataloader(name) is loader for name, loader in loaders.items())
    unnamed = trainer.get_eval_dataloader(ROWS[:2])
    assert trainer.get_eval_dataloader(ROWS[2:5]) is unnamed  # a data set has no name of its own


def test_a_batch_may_be_a_dict_of_batches(arguments):
    """For `training.multitask_trainer` and `benchmarks.surgery`, whose batches are `{task: batch}`."""
    trainer = Trainer(Line(), arguments(), train_dataset=ROWS)
    prepared = trainer._prepare_inputs({"sst": {"x": torch.ones(2)}, "sts": {"x": torch.zeros(3)}})
    assert {task: batch["x"].shape for task, batch in prepared.items()} == {"sst": (2,), "sts": (3,)}
    trainer.data_collator = lambda rows: {"sst": {"x": torch.tensor([row["x"] for row in rows])}}
    assert next(iter(trainer.get_train_dataloader()))["sst"]["x"].shape == (2,)


def test_the_batch_size_that_fits_is_a_private_attribute(arguments):
    """For `training.trainer`, whose samplers have this size; `auto_find_batch_size` reduces it."""
    trainer = Trainer(Line(), arguments(per_device_train_batch_size=4), train_dataset=ROWS)
    assert trainer._train_batch_size == trainer.args.train_batch_size == 4
    trainer._train_batch_size = 2
    assert trainer.get_train_dataloader().batch_sampler.batch_size == 2


def test_log_gets_the_loss_and_the_rate_of_rows(arguments):
    """For `training.multitask_trainer.log`, which adds the tasks' losses and removes the rate."""
    keys = []

    class Logger(Trainer):
        def log(self, logs, start_time=None):
            keys.append(set(logs))
            super().log(logs, start_time)

    Logger(Line(), arguments(max_steps=1, logging_steps=1), train_dataset=ROWS).train()
    assert "loss" in keys[0] and "train_samples_per_second" in keys[-1]


def test_the_summary_of_a_run_is_printed_by_the_printer_callback(arguments):
    """For `benchmarks.measures`, which removes it."""
    callbacks = Trainer(Line(), arguments(disable_tqdm=True), train_dataset=ROWS).callback_handler.callbacks
    assert any(isinstance(callback, PrinterCallback) for callback in callbacks)


def test_an_evaluation_passes_model_metrics_and_tokenizer_to_callbacks(arguments):
    """For `training.callbacks.KeepBestPerTask`, and `training.multitask_trainer.evaluate`, which calls the handler."""
    seen = []

    class Watcher(TrainerCallback):
        def on_evaluate(self, args, state, control, *, model, metrics, processing_class, **kwargs):
            seen.append((model, metrics))

    trainer = Trainer(Line(), arguments(), train_dataset=ROWS, eval_dataset=ROWS, callbacks=[Watcher()])
    assert not trainer.is_fsdp_enabled and not trainer.is_deepspeed_enabled
    loader = trainer.get_eval_dataloader()
    metrics = trainer.evaluation_loop(loader, "eval_sst", ignore_keys=None, metric_key_prefix="eval_sst").metrics
    assert "eval_sst_loss" in metrics and seen == []
    trainer.control = trainer.callback_handler.on_evaluate(trainer.args, trainer.state, trainer.control, metrics)
    assert seen == [(trainer.model, metrics)]


def test_the_trainer_takes_its_arguments_in_this_order():
    """For `training.trainer` and `training.multitask_trainer`, which take and pass them by position."""
    names = list(inspect.signature(Trainer.__init__).parameters)
    assert names[1:7] == ["model", "args", "data_collator", "train_dataset", "eval_dataset", "processing_class"]
    assert names[7:10] == ["model_init", "compute_loss_func", "compute_metrics"]
    last = ["callbacks", "optimizers", "optimizer_cls_and_kwargs", "preprocess_logits_for_metrics"]
    assert names[10:] == last


def test_training_arguments_set_up_the_device_in_a_cached_property(tmp_path):
    """For `training.training_arguments`, where parsing must set up no device and start no process group."""

    class Inert(TrainingArguments):
        def __post_init__(self):
            vars(self)["_setup_devices"] = torch.device("cpu")
            super().__post_init__()
            del vars(self)["_setup_devices"]

    args = Inert(output_dir=str(tmp_path), use_cpu=True, bf16=True)
    assert not {"distributed_state", "_n_gpu"} & set(vars(args))
    assert args.device == torch.device("cpu")
    assert {"_setup_devices", "distributed_state", "_n_gpu"} <= set(vars(args))


def test_training_arguments_name_the_precision_and_the_processes(arguments):
    """For `training.training_arguments`, `training.finetune` and `training.results`."""
    args = arguments(bf16=True)
    assert (args.mixed_precision, arguments().mixed_precision) == ("bf16", "no")
    assert (args.world_size, args.process_index, args.n_gpu, args.train_batch_size) == (1, 0, 0, 2)
    assert {"hub_revision", "hub_always_push", "hub_token", "use_cpu"} <= set(TrainingArguments.__dataclass_fields__)


def test_a_dataclass_names_its_group_in_the_help():
    """For the argument classes of `training` and `search` (`_argument_group_name`)."""

    @dataclass
    class Grouped:
        _argument_group_name: ClassVar[str] = "how to train"
        rate: float = field(default=1.0, metadata={"help": "A rate."})

    parser = HfArgumentParser(Grouped)
    assert "how to train:" in parser.format_help()
    assert parser.parse_args_into_dataclasses(["--rate", "2"])[0].rate == 2.0


# accelerate


def test_even_batches_can_be_turned_off_before_prepare():
    """For `training.trainer.get_train_dataloader`, whose batches are distributed evenly already."""
    accelerator = Accelerator(cpu=True)
    before = accelerator.even_batches
    accelerator.even_batches = False
    try:
        assert accelerator.dataloader_config.even_batches is False
    finally:
        accelerator.even_batches = before


def test_no_sync_and_the_state_work_in_one_process():
    """For `training.multitask_trainer` (`no_sync`) and `machine.join_processes` (`PartialState`)."""
    model = Line()
    with Accelerator(cpu=True).no_sync(model=model):
        model(torch.ones(2), torch.zeros(2))["loss"].backward()
    assert model.weight.grad is not None
    assert PartialState(cpu=True, timeout=timedelta(days=7)).num_processes == 1


# Configs


@strict
class ContractConfig(PreTrainedConfig):
    model_type = "extrabert_contract"
    sub_configs_defaults = {"backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="bert")}  # noqa: RUF012
    backbone_config: dict | PreTrainedConfig | None = None
    depth: int = 1

    def __post_init__(self, **kwargs: Any) -> None:
        type(self).undeclared = set(kwargs)
        super().__post_init__(**kwargs)

    def validate_depth(self) -> None:
        if self.depth < 0:
            raise ValueError("depth is negative")


class ContractModel(PreTrainedModel):
    config_class = ContractConfig
    base_model_prefix = "backbone"
    _supports_sdpa = True

    def __init__(self, config):
        super().__init__(config)
        self.backbone = AutoModel.from_config(config.backbone_config)
        self.query = nn.Parameter(torch.zeros(4))
        self.post_init()

    def forward(self, input_ids, attention_mask=None, labels=None):
        states = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits = states.mean() + self.query.sum()
        return {"loss": logits.square(), "logits": logits}

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, ContractModel):
            init.zeros_(module.query)


class OtherContractModel(ContractModel):
    pass


AutoConfig.register(ContractConfig.model_type, ContractConfig)
AutoModel.register(ContractConfig, (ContractModel, OtherContractModel))


def contract_config(**fields):
    return ContractConfig(backbone_config=tiny_bert().to_dict(), **fields)


def test_the_undeclared_keys_that_transformers_passes_to_a_config_are_known(tmp_path):
    """For `models.configuration_extrabert`, which takes any other key for a misspelt field."""

    def passed(build):
        ContractConfig.undeclared = set()
        build()
        return ContractConfig.undeclared

    model = ContractModel(contract_config())
    model.save_pretrained(tmp_path)
    assert passed(contract_config) == set()
    assert passed(lambda: copy.deepcopy(model.config)) == set()
    assert passed(lambda: ContractConfig.from_pretrained(tmp_path)) <= {"model_type"}
    options = {"attn_implementation": "eager", "num_labels": 3, "output_attentions": True}
    assert passed(lambda: ContractConfig.from_pretrained(tmp_path, **options)) <= {"model_type", *options}
    loading = {"attn_implementation": "eager", "dtype": "float32"}
    known = {"model_type", "name_or_path", "attn_implementation"}
    assert passed(lambda: AutoModel.from_pretrained(tmp_path, **loading)) <= known
    known = {"model_type", "_name_or_path", "output_attentions"}
    assert passed(lambda: ContractConfig.from_dict(model.config.to_dict())) <= known


def test_the_trainer_adds_no_key_to_a_config_but_the_ids_of_special_tokens(tiny_encoder, arguments):
    """For `models.configuration_extrabert`, which declares these ids as fields."""
    model = ContractModel(contract_config())
    before = set(model.config.to_dict())
    rows = [{"input_ids": [5, 6], "labels": 0}] * 2
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    Trainer(model, arguments(max_steps=1), train_dataset=rows, processing_class=tokenizer).train()
    assert set(model.config.to_dict()) - before <= {"pad_token_id", "bos_token_id", "eos_token_id", "use_cache"}
    assert model.config.pad_token_id == tokenizer.pad_token_id


def test_only_a_config_from_a_file_has_a_version(tmp_path):
    """For `models.configuration_extrabert`, which refuses unknown keys of a config that a user builds."""
    config = contract_config()
    assert config.transformers_version is None
    config.save_pretrained(tmp_path)
    assert ContractConfig.from_pretrained(tmp_path).transformers_version is not None


def test_a_strict_config_checks_types_and_runs_its_validators():
    """For `models.configuration_extrabert`, and `pretrained.loading`, which shows the cause as one line."""
    with pytest.raises(StrictDataclassError) as caught:
        contract_config(depth="deep")
    assert "depth" in str(caught.value)
    with pytest.raises(StrictDataclassError) as caught:
        contract_config(depth=-1)
    assert isinstance(caught.value.__cause__, ValueError) and str(caught.value.__cause__) == "depth is negative"


def test_a_sub_config_may_be_a_dict_or_missing_and_gets_the_attention_of_the_whole():
    """For `models.configuration_extrabert` (`sub_configs_defaults`)."""
    assert isinstance(contract_config().backbone_config, BertConfig)
    assert isinstance(ContractConfig().backbone_config, BertConfig)
    model = ContractModel._from_config(contract_config(), dtype=torch.float32, attn_implementation="eager")
    assert model.backbone.config._attn_implementation == "eager"
    assert AutoModel.from_config(tiny_bert()).config._attn_implementation == "sdpa"


def test_name_or_path_can_be_replaced_before_saving(tmp_path):
    """For `pretrained.lora`, `sharing.onnx_export` and `models.base_extrabert`, which hide local paths."""
    config = tiny_bert()
    config.name_or_path = "a/local/path"
    assert config._name_or_path == "a/local/path"
    config.name_or_path = ""
    config.to_json_file(tmp_path / "config.json")
    assert "a/local/path" not in (tmp_path / "config.json").read_text()


# Models


@pytest.mark.parametrize("model_class", [ContractModel, OtherContractModel])
def test_auto_model_picks_among_registered_classes_by_architectures(model_class, tmp_path):
    """For `extrabert_hf/__init__.py`, which registers a tuple of classes."""
    model_class(contract_config()).save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is model_class


def test_initialization_functions_leave_loaded_weights_alone(tmp_path):
    """For `models.base_extrabert._init_weights`."""
    fresh, loaded = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    loaded._is_hf_initialized = True
    for parameter in (fresh, loaded):
        init.zeros_(parameter)
    assert fresh.sum() == 0 and loaded.sum() == 4
    for parameter in (fresh, loaded):
        init.eye_(parameter)
    assert fresh.sum() == 2 and loaded.sum() == 4
    model = ContractModel(contract_config())
    model.query.data.fill_(7.0)
    model.save_pretrained(tmp_path)
    assert ContractModel.from_pretrained(tmp_path).query.tolist() == [7.0] * 4


def test_loading_information_names_the_missing_weights(tmp_path):
    """For `models.base_extrabert`, `models.adapter_files_extrabert`, `pretrained.lora` and `sharing.composition`."""
    BertForMaskedLM(tiny_bert()).save_pretrained(tmp_path)  # without a pooler
    model, information = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert set(information["missing_keys"]) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert type(model) is BertModel


def test_weights_without_a_folder_can_be_loaded(tmp_path):
    """For `models.base_extrabert`, which merges an adapter into its encoder before loading."""
    weights = ContractModel(contract_config()).state_dict()
    weights["query"] = torch.full((4,), 5.0)
    model, information = ContractModel.from_pretrained(
        None, config=contract_config(), state_dict=weights, output_loading_info=True
    )
    assert model.query.tolist() == [5.0] * 4 and not information["missing_keys"]


def test_a_model_built_on_the_meta_device_names_its_weights():
    """For `models.base_extrabert`, `models.modeling_multitask_extrabert` and `sharing.composition`."""
    with torch.device("meta"):
        model = ContractModel(contract_config())
    assert model.query.is_meta and "query" in model.state_dict()


def test_an_encoder_without_its_pooler_still_works():
    """For `models.base_extrabert.drop_pooler` and `sharing.sentence_transformers_export`."""
    assert "add_pooling_layer" in inspect.signature(BertModel.__init__).parameters
    model = BertModel(tiny_bert())
    model.pooler = None
    assert model(torch.ones(1, 3, dtype=torch.long)).get("pooler_output") is None


def test_a_shallow_copy_of_a_module_can_lose_a_child_alone():
    """For `models.modeling_multitask_extrabert.extract`, which shares an encoder but not its pooler."""
    model = BertModel(tiny_bert())
    other = copy.copy(model)
    other._modules = dict(other._modules)
    other.pooler = None
    assert model.pooler is not None and other.encoder is model.encoder


UNPADDABLE = {
    "albert": AlbertConfig(**SIZES, embedding_size=8),
    "bert": tiny_bert(),
    "electra": ElectraConfig(**SIZES, embedding_size=8),
    "distilbert": DistilBertConfig(vocab_size=20, dim=8, n_layers=2, n_heads=2, hidden_dim=8),
    "roberta": RobertaConfig(**SIZES, pad_token_id=1),
    "camembert": CamembertConfig(**SIZES, pad_token_id=1),
    "xlm-roberta": XLMRobertaConfig(**SIZES, pad_token_id=1),
}


@pytest.mark.parametrize("name", UNPADDABLE)
def test_extra_arguments_of_an_encoder_reach_its_attention_function(name):
    """For `models.unpadding_extrabert`, which passes the sentence boundaries that way, with positions of its own."""
    seen = []

    def attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, contract=None, **kwargs):
        seen.append((contract, attention_mask, tuple(query.shape)))
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling)

    AttentionInterface.register("extrabert_contract", attention)
    AttentionMaskInterface.register("extrabert_contract", sdpa_mask)
    model = AutoModel.from_config(UNPADDABLE[name]).eval()
    model.set_attn_implementation("extrabert_contract")
    assert model.config._attn_implementation == "extrabert_contract"
    ids = torch.tensor([[5, 6, 7, 8]])
    output = model(input_ids=ids, position_ids=torch.tensor([[2, 3, 2, 3]]), contract="marker")
    assert seen == [("marker", None, (1, 2, 4, 4))] * 2  # (batch, heads, seq, width), in every layer
    assert output.last_hidden_state.shape == (1, 4, 8)


def test_mpnet_gives_its_bias_to_every_layer_as_it_is():
    """For `models.relative_attention_extrabert`, which calls the layers with a bias for each length."""
    attention = inspect.signature(MPNetSelfAttention.forward).parameters
    assert list(attention)[:5] == ["self", "hidden_states", "attention_mask", "position_bias", "output_attentions"]
    model = AutoModel.from_config(MPNetConfig(**SIZES, pad_token_id=1)).eval()
    states = torch.randn(1, 5, 8)
    bias = model.encoder.compute_position_bias(states)
    assert bias.shape == (1, 2, 5, 5) and torch.equal(bias[..., :3, :3], bias[..., 1:4, 1:4])  # relative positions
    encoded = model.encoder(states)[0]
    for layer in model.encoder.layer:
        states = layer(states, position_bias=bias)[0]
    assert torch.equal(states, encoded)


@pytest.mark.parametrize("config_class", [DebertaConfig, DebertaV2Config])
def test_deberta_gives_distances_and_their_embeddings_to_every_layer(config_class):
    """For `models.relative_attention_extrabert`, which calls the layers with the distances of a batch."""
    config = config_class(**SIZES, relative_attention=True, pos_att_type=["c2p"])
    model = AutoModel.from_config(config).eval()
    states = torch.randn(1, 3, 8)
    distances, embeddings = model.encoder.get_rel_pos(states), model.encoder.get_rel_embedding()
    assert distances.tolist() == [[[0, -1, -2], [1, 0, -1], [2, 1, 0]]] and embeddings.shape == (24, 8)
    mask = torch.ones(1, 3)
    encoded = model.encoder(states, mask)[0]
    for layer in model.encoder.layer:
        mask = mask.expand(1, 1, 3, 3)
        states = layer(states, mask, relative_pos=distances, rel_embeddings=embeddings)[0]
    assert torch.equal(states, encoded)


def test_modernbert_takes_a_mask_for_each_kind_of_layer_and_passes_on_its_window():
    """For `models.unpadding_extrabert`, which passes no masks."""
    seen = []

    def attention(module, query, key, value, attention_mask, sliding_window=None, **kwargs):
        seen.append((attention_mask, sliding_window, kwargs["contract"]))
        return value.transpose(1, 2), None

    AttentionInterface.register("extrabert_contract_window", attention)
    AttentionMaskInterface.register("extrabert_contract_window", sdpa_mask)
    config = ModernBertConfig(**SIZES, pad_token_id=0, local_attention=4, global_attn_every_n_layers=2)
    assert set(config.layer_types) == {"full_attention", "sliding_attention"}
    model = AutoModel.from_config(config).eval()
    model.set_attn_implementation("extrabert_contract_window")
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    masks = dict.fromkeys(config.layer_types)
    model(input_ids=ids, position_ids=torch.tensor([[0, 1, 2, 0, 1]]), attention_mask=masks, contract="marker")
    assert seen == [(None, None, "marker"), (None, 3, "marker")]  # 2 tokens on each side


def test_sdpa_attention_takes_heads_second_and_returns_them_third():
    """For `models.unpadding_extrabert`, which calls it for padded batches and returns the same shape."""
    module = nn.Module()
    module.is_causal = False
    states = torch.randn(2, 3, 5, 4)  # (batch, heads, seq, width)
    output, weights = sdpa_attention_forward(module, states, states, states, None, dropout=0.0, scaling=0.5)
    assert output.shape == (2, 5, 3, 4) and weights is None


def test_saving_a_registered_class_copies_the_files_that_it_imports(tmp_path, monkeypatch):
    """For `extrabert_hf/__init__.py` (`register_for_auto_class`) and the flat folder `models/`."""
    package = tmp_path / "contract_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "second_contract.py").write_text("VALUE = 3\n")
    (package / "first_contract.py").write_text(
        "from transformers import PreTrainedConfig\nfrom .second_contract import VALUE\n\n\n"
        "class SavedConfig(PreTrainedConfig):\n    model_type = 'extrabert_saved'\n    value: int = VALUE\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config_class = importlib.import_module("contract_package.first_contract").SavedConfig
    config_class.register_for_auto_class()
    config_class().save_pretrained(tmp_path / "saved")
    files = {path.name for path in (tmp_path / "saved").iterdir()}
    assert files == {"config.json", "first_contract.py", "second_contract.py"}
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert saved["auto_map"] == {"AutoConfig": "first_contract.SavedConfig"}


def test_cached_file_finds_a_file_in_a_folder_and_its_subfolder(tmp_path):
    """For `models.adapter_files_extrabert`."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    found = cached_file(str(tmp_path), "adapter_config.json", subfolder="adapter")
    assert found == str(tmp_path / "adapter" / "adapter_config.json")


def test_a_folder_without_tokenizer_files_gives_an_empty_vocabulary(tmp_path):
    """For `pretrained.loading`, which refuses such a tokenizer."""
    tiny_bert().save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) <= len(tokenizer.all_special_ids)


def test_input_names_of_a_tokenizer_are_saved_from_its_init_arguments(tiny_encoder, tmp_path):
    """For `data.tokenization.limit_length`."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    names = ["input_ids", "attention_mask"]
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).model_input_names == names


class ContractPipeline(Pipeline):
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def _sanitize_parameters(self, factor=None):
        return {}, {} if factor is None else {"factor": factor}, {}

    def preprocess(self, inputs):
        return {"value": torch.tensor([float(inputs)])}

    def _forward(self, inputs, factor=1):
        return {"value": inputs["value"] * factor}

    def postprocess(self, outputs):
        return outputs["value"].item()


def test_the_hooks_of_a_pipeline():
    """For `models.pipelines_extrabert`: arguments, batch size, no tokenizer, and lists or generators as input."""
    pipe = ContractPipeline(model=BertModel(tiny_bert()), batch_size=4, factor=3, device="cpu")
    assert (pipe._batch_size, pipe._forward_params) == (4, {"factor": 3})
    assert pipe([1, 2], batch_size=1) == [3.0, 6.0]
    assert pipe([1, 2], batch_size=1, factor=5) == [5.0, 10.0]
    drawn = []
    stream = pipe((drawn.append(value) or value for value in range(1, 100)), batch_size=1)
    assert next(iter(stream)) == 3.0
    assert len(drawn) < 5


def test_pipeline_without_a_task_counts_the_custom_pipelines_and_looks_them_up():
    """For `models.pipeline_names_extrabert.CustomPipelines`, which can look up one that it does not count."""
    source = inspect.getsource(pipeline)
    for line in (
        "len(custom_tasks) == 1",
        "list(custom_tasks.keys())[0]",
        "task in custom_tasks",
        "custom_tasks[task]",
    ):
        assert line in source


def test_a_tokenizer_beside_a_config_with_code_asks_on_the_terminal_unless_false_is_passed(
    tiny_encoder, tmp_path, monkeypatch
):
    """For `hub_cards/usage_package.md.jinja`, which passes `trust_remote_code=False`; if none asks, leave it out."""
    folder = shutil.copytree(tiny_encoder, tmp_path / "model")
    config = {"model_type": "no-known-type", "auto_map": {"AutoConfig": "configuration.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    asked = []
    monkeypatch.setattr("builtins.input", lambda prompt: asked.append(prompt) or "n")
    due = AutoTokenizer.from_pretrained(tiny_encoder)("A warm film .").input_ids
    assert AutoTokenizer.from_pretrained(folder, trust_remote_code=False)("A warm film .").input_ids == due
    assert asked == []
    assert AutoTokenizer.from_pretrained(folder)("A warm film .").input_ids == due
    assert len(asked) == 1


# peft


@pytest.fixture
def adapted():
    model = ContractModel(contract_config())
    model.head = nn.Linear(8, 2)
    config = peft.LoraConfig(r=2, target_modules=["backbone.encoder.layer.0.attention.self.query"])
    config.modules_to_save = ["head"]
    return peft.get_peft_model(model, config, "default")


def test_the_names_of_adapter_weights(adapted, tmp_path):
    """For `models.adapter_files_extrabert`, `pretrained.lora` and `sharing.composition`, which read and write them."""
    layer = "base_model.model.backbone.encoder.layer.0.attention.self.query"
    expected = {f"{layer}.lora_A.weight", f"{layer}.lora_B.weight"}
    expected |= {"base_model.model.head.weight", "base_model.model.head.bias"}
    options = {"adapter_name": "default", "save_embedding_layers": False}
    assert set(peft.get_peft_model_state_dict(adapted, **options)) == expected
    adapted.save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "adapter_model.safetensors")) == expected
    assert isinstance(adapted.peft_config["default"].target_modules, set)
    inside = [name for name, _ in adapted.named_parameters() if "lora_A" in name]
    assert inside == [f"{layer}.lora_A.default.weight"]


def test_adapter_weights_are_set_and_merged_as_they_are_named(adapted):
    """For `pretrained.lora.load_adapter` and `merge_lora`: `W + (alpha / r) B A`, and heads replaced."""
    options = {"adapter_name": "default", "save_embedding_layers": False}
    weights = {
        name: torch.ones_like(weight) for name, weight in peft.get_peft_model_state_dict(adapted, **options).items()
    }
    before = adapted.get_base_model().backbone.encoder.layer[0].attention.self.query.base_layer.weight.clone()
    peft.set_peft_model_state_dict(adapted, weights, "default")
    merged = adapted.merge_and_unload()
    assert type(merged) is ContractModel
    scaled = 8 / 2 * torch.ones(8, 2) @ torch.ones(2, 8)  # the default alpha is 8
    torch.testing.assert_close(merged.backbone.encoder.layer[0].attention.self.query.weight, before + scaled)
    assert merged.head.weight.unique().tolist() == [1.0]


def test_modules_that_are_trained_in_full_are_found_by_the_ends_of_their_names():
    """For `pretrained.lora`, which refuses an encoder with a module that is named like a head."""
    model = nn.ModuleDict({"head": nn.Linear(2, 2), "inner": nn.ModuleDict({"head": nn.Linear(2, 2)})})
    model["query"] = nn.Linear(2, 2)
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["query"], modules_to_save=["head"]))
    trained = {name for name, weight in adapted.named_parameters() if weight.requires_grad and "lora" not in name}
    places = ("head", "inner.head")
    kinds = ("weight", "bias")
    prefix = "base_model.model"
    assert trained == {f"{prefix}.{place}.modules_to_save.default.{kind}" for place in places for kind in kinds}


def test_the_trainer_saves_the_adapter_of_an_adapted_model_alone(adapted, arguments, tmp_path):
    """For `training.trainer._save`, which adds the config, and `training.checkpoints`, which reads both."""
    Trainer(adapted, arguments(), train_dataset=ROWS).save_model(str(tmp_path / "saved"))
    files = {path.name for path in (tmp_path / "saved").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files
    assert not files & {"config.json", "model.safetensors"}


def test_an_adapter_at_the_root_of_a_folder_makes_auto_model_load_its_encoder(tmp_path):
    """For `adapter_subfolder` of `models.configuration_extrabert`: our adapters are in a subfolder for this reason."""
    encoder = tmp_path / "encoder"
    BertModel(tiny_bert()).save_pretrained(encoder)
    adapted = peft.get_peft_model(BertModel.from_pretrained(encoder), peft.LoraConfig(target_modules=["query"]))
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = AutoModel.from_pretrained(tmp_path / "adapter")
    assert type(loaded) is BertModel and any("lora_A" in name for name, _ in loaded.named_parameters())


# datasets and evaluate


def test_the_cache_folder_of_a_hub_data_set_is_named_owner_and_name(tmp_path):
    """For `data.sources`, which looks for it before it asks the Hub."""
    from datasets.packaged_modules.csv.csv import Csv

    builder = Csv(cache_dir=str(tmp_path), repo_id="owner/name", dataset_name="name")
    assert builder.cache_dir.startswith(str(tmp_path / "owner___name"))
    assert str(datasets.config.HF_DATASETS_CACHE)


def test_a_data_set_is_built_from_an_arrow_table_and_its_rows_are_taken():
    """For `data.loading`, which builds splits that way because it is fast."""
    features = Features({"id": Value("string"), "label": Value("int64")})
    rows = Dataset(pa.table({"id": ["a", "b", "c"], "label": [0, 1, 2]}, schema=features.arrow_schema))
    assert rows.features == features
    taken = Dataset(rows.data.table.take(pa.array([0, 2])))
    assert taken["id"][:] == ["a", "c"] and taken._indices is None


def test_rows_of_a_data_set_are_looked_up_together():
    """For `data.multitask.MultiTaskDataset`: of `Dataset`, and by torch's `DataLoader`."""
    rows = Dataset.from_dict({"x": [1, 2, 3]})
    assert rows.__getitems__([2, 0, 2]) == [{"x": 3}, {"x": 1}, {"x": 3}]
    asked = []

    class Together(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitems__(self, items):
            asked.append(items)
            return items

    assert list(DataLoader(Together(), batch_size=2, sampler=["a", "b", "c"], collate_fn=list)) == [["a", "b"], ["c"]]
    assert asked == [["a", "b"], ["c"]]


def test_the_hooks_of_an_evaluate_metric(tmp_path):
    """For `evaluation.metric_classes`, whose metrics keep their rows in memory and write no file."""
    asked = []

    class Count(evaluate.Metric):
        def _build_data_dir(self):
            asked.append(self._data_dir_root)
            return self._data_dir_root

        def _info(self):
            features = Features({"predictions": Value("int64"), "references": Value("int64")})
            return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

        def _compute(self, predictions, references):
            return {"same": sum(a == b for a, b in zip(predictions, references, strict=True))}

    metric = Count(keep_in_memory=True, cache_dir=str(tmp_path / "cache"))
    metric.add_batch(predictions=[1, 2], references=[1, 3])
    assert len(metric) == 2
    assert metric.compute(predictions=[4], references=[4]) == {"same": 2}
    assert asked == [str(tmp_path / "cache")] and not (tmp_path / "cache").exists()


# optuna


@pytest.fixture
def _quiet_optuna():
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(verbosity)


@pytest.mark.usefixtures("_quiet_optuna")
def test_a_queued_trial_has_its_attributes_and_the_sampler_can_be_set_inside_it():
    """For `search.study.queue` and `search.trial.run_next_trial`."""
    drawn = []
    for _ in range(2):
        study = optuna.create_study()
        study.enqueue_trial({}, user_attrs={"plan": 7})
        study.enqueue_trial({"x": 0.5}, user_attrs={"plan": 8})

        def objective(trial, study=study):
            assert trial.user_attrs["plan"] == 7 + trial.number  # the oldest waiting trial first
            study.sampler = optuna.samplers.RandomSampler(seed=3)
            return trial.suggest_float("x", 0, 1)

        study.optimize(objective, n_trials=1)
        study.optimize(objective, n_trials=1)
        drawn.append([trial.params["x"] for trial in study.trials])
    assert drawn[0] == drawn[1] and drawn[0][1] == 0.5


@pytest.mark.usefixtures("_quiet_optuna")
def test_an_error_fails_its_trial_and_is_raised():
    """For `search.trial`, whose process ends with the error."""
    study = optuna.create_study()
    with pytest.raises(ZeroDivisionError):
        study.optimize(lambda trial: 1 / 0, n_trials=1)
    assert study.trials[0].state == optuna.trial.TrialState.FAIL


@pytest.mark.usefixtures("_quiet_optuna")
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:Heartbeat of storage")
def test_a_trial_whose_heartbeat_stopped_is_failed(tmp_path):
    """For `search.study.renew_lost`, which queues the plans of killed trials again."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/study.db", heartbeat_interval=1, grace_period=1)
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    storage.record_heartbeat(trial._trial_id)
    optuna.storages.fail_stale_trials(study)
    assert study.trials[0].state == optuna.trial.TrialState.RUNNING
    time.sleep(2.1)  # the storage counts whole seconds
    optuna.storages.fail_stale_trials(study)
    assert study.trials[0].state == optuna.trial.TrialState.FAIL


# The Hub's client and tqdm


def test_an_error_of_the_hub_has_its_response_and_message():
    """For `sharing.hub`, which makes one line of them."""
    client = importlib.import_module(HTTPError.__module__.split(".")[0])  # httpx, or httpx2 from release 2 on
    response = client.Response(403, request=client.Request("POST", "https://hub"))
    error = HfHubHTTPError("long text", response=response, server_message="no right to write")
    assert (error.response.status_code, error.server_message) == (403, "no right to write")
    assert isinstance(error, HTTPError) and isinstance(error, OSError)


def test_open_progress_bars_of_the_hub_client_can_be_closed(capsys):
    """For `sharing.hub`, which closes those of uploads that failed."""
    from huggingface_hub.utils import tqdm as hub_tqdm
    from tqdm import tqdm

    bar = hub_tqdm(total=2)
    assert bar in list(tqdm._instances)
    bar.close()
    assert bar not in list(tqdm._instances)


# torch


def test_the_arguments_of_varlen_attention():
    """For `models.unpadding_extrabert`, which calls it with positional arguments on CUDA."""
    varlen = pytest.importorskip("torch.nn.attention.varlen")
    names = list(inspect.signature(varlen.varlen_attn).parameters)
    assert names[:7] == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]


def test_weightings_of_torchjd_take_a_gram_matrix():
    """For `training.gradient_surgery.get_aggregator`, which never holds the gradients as one matrix."""
    aggregation = pytest.importorskip("torchjd.aggregation")
    gradients = torch.tensor([[1.0, 0.0], [-0.5, 1.0]], dtype=torch.float64)
    weights = aggregation.UPGradWeighting()(gradients @ gradients.T)
    torch.testing.assert_close(weights @ gradients, aggregation.UPGrad()(gradients))


# sentence-transformers


def test_the_module_classes_and_configs_of_sentence_transformers(tiny_encoder, tmp_path):
    """For `sharing.sentence_transformers_export`, which writes these names and keys into an exported folder."""
    pytest.importorskip("sentence_transformers")
    from safetensors.torch import save_file
    from sentence_transformers.util import import_from_string

    transformer, pooling, dense, normalize = (
        import_from_string(f"sentence_transformers.models.{name}")
        for name in ("Transformer", "Pooling", "Dense", "Normalize")
    )
    encoder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    settings = {"do_lower_case": False, "model_args": {"add_pooling_layer": False}}
    (encoder / "sentence_bert_config.json").write_text(json.dumps(settings))
    assert transformer.load(str(encoder)).auto_model.pooler is None
    states, mask = torch.tensor([[[1.0, 3.0], [3.0, 5.0], [9.0, 9.0]]]), torch.tensor([[1, 1, 0]])
    for mode, expected in {"cls": [1.0, 3.0], "mean": [2.0, 4.0]}.items():
        folder = tmp_path / mode
        folder.mkdir()
        modes = {"pooling_mode_cls_token": mode == "cls", "pooling_mode_mean_tokens": mode == "mean"}
        (folder / "config.json").write_text(json.dumps({"word_embedding_dimension": 2} | modes))
        features = pooling.load(str(folder))({"token_embeddings": states, "attention_mask": mask})
        assert features["sentence_embedding"].tolist() == [expected]
    folder = tmp_path / "dense"
    folder.mkdir()
    config = {
        "in_features": 2,
        "out_features": 4,
        "bias": True,
        "activation_function": f"{nn.GLU.__module__}.{nn.GLU.__name__}",
        "module_input_name": "token_embeddings",
        "module_output_name": "token_embeddings",
    }
    (folder / "config.json").write_text(json.dumps(config))
    weight = torch.cat([torch.eye(2) * 2, torch.zeros(2, 2)])
    save_file({"linear.weight": weight, "linear.bias": torch.zeros(4)}, folder / "model.safetensors")
    gated = dense.load(str(folder))({"token_embeddings": states.clone()})["token_embeddings"]
    torch.testing.assert_close(gated, states)  # `2 h sigmoid(0)`
    assert normalize()({"sentence_embedding": torch.tensor([[3.0, 4.0]])})["sentence_embedding"].norm() == 1.0


def test_sentence_transformers_loads_a_module_whose_code_is_in_the_folder(tiny_encoder, tmp_path):
    """For `sharing.attention_pooling`: a plain module with `load`, `save` and `get_embedding_dimension`."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = shutil.copytree(tiny_encoder, tmp_path / "folder")
    (folder / "contract_pooling.py").write_text(
        "from torch import nn\n\n\nclass MaxPooling(nn.Module):\n"
        "    def forward(self, features):\n"
        "        features['sentence_embedding'] = features['token_embeddings'].amax(dim=1)\n"
        "        return features\n\n"
        "    def get_embedding_dimension(self):\n        return 16\n\n"
        "    def save(self, output_path, safe_serialization=True):\n        pass\n\n"
        "    @staticmethod\n    def load(input_path):\n        return MaxPooling()\n"
    )
    (folder / "1_MaxPooling").mkdir()
    names = {"": "sentence_transformers.models.Transformer", "1_MaxPooling": "contract_pooling.MaxPooling"}
    entries = [{"idx": i, "name": str(i), "path": path, "type": name} for i, (path, name) in enumerate(names.items())]
    (folder / "modules.json").write_text(json.dumps(entries))
    options = {"device": "cpu", "trust_remote_code": True, "local_files_only": True}
    model = sentence_transformers.SentenceTransformer(str(folder), **options)
    assert model.encode(["a man"], show_progress_bar=False).shape == (1, 16)


def test_the_model_card_of_sentence_transformers_accepts_examples_from_outside():
    """For `benchmarks.workloads`, which keeps the library from drawing examples from the training rows."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    card = sentence_transformers.SentenceTransformerModelCardData(local_files_only=True)
    assert card.widget == []
