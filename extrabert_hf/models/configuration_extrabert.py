"""One config for every head: each row of the paper's Table 1 is a setting of these fields."""

import copy
import difflib
import logging
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec

from .encoder_code_extrabert import check_fields, is_own_code, run_code, without_folders
from .labels_extrabert import LABEL_FIELDS, names_of, tasks_with_labels, with_fields, with_labels
from .pipeline_names_extrabert import CustomPipelines

PoolingName = Literal["pooler", "cls", "mean", "dot", "multiplicative"]
HeadKind = Literal["sentiment", "paraphrase", "similarity"]
PairEncoding = Literal["bi_encoder", "cross_encoder"]
FORMER_PAIR_ENCODINGS = {"separate": "bi_encoder", "joint": "cross_encoder"}
"""Values of `pair_encoding` that version 0.1 wrote to config.json -> their present names."""
PAIR_FEATURE_NAMES = ("u", "v", "sum_squared", "difference_squared", "absolute_difference", "product", "cosine")

TASK_FIELDS = (
    "pair_encoding",
    "pooling",
    "multiplicative_weight",
    "feed_forward_depth",
    "feed_forward_residual",
    "pair_features",
    "similarity",
    "similarity_bounds",
    "score_range",
    "class_names",
    "head_dropout",
    "columns",
    "conformal",
)
"""The fields that may differ between the tasks of a multitask model."""

logger = logging.getLogger(__name__)

# Not declared as fields, but passed by transformers: on loading, in training, on export.
_TRANSFORMERS_KEYS = frozenset(
    {
        "_attn_implementation_internal",
        "_commit_hash",
        "_experts_implementation_internal",
        "_name_or_path",
        "attn_implementation",
        "auto_map",
        "custom_pipelines",
        "experts_implementation",
        "model_type",
        "name_or_path",
        "num_labels",
        "output_attentions",
        "per_layer_config",
        "quantization_config",
        "tie_word_embeddings",
        "torch_dtype",
        "use_cache",
    }
)


@strict
class ExtraBertConfig(PreTrainedConfig):
    r"""
    Configuration of every ExTraBERT model: an encoder, a pooling and a head.

    The defaults of all fields except `backbone_config` are those of the paper's best model for each head:
    multiplicative attention and cosine similarity (ExTraBERT, Section 4 and Table 1, "SFT + MA + CS").

    Args:
        backbone_config (`dict` or `PreTrainedConfig`, *optional*):
            Config of the encoder, which can be any model that `AutoModel` loads. A `dict` needs a `model_type`. `None`
            means `BertConfig()`.
        pair_encoding (`str`, defaults to `"bi_encoder"`):
            `"bi_encoder"` encodes the two sentences of a pair separately, into two vectors. `"cross_encoder"` encodes
            both sentences as one sequence, into one vector. It is often more accurate, but the vector of a sentence
            cannot be reused in another pair. The head of a cross-encoder is linear in the vector of the pair and
            ignores `pair_features` and `similarity`.
        pooling (`str`, defaults to `"multiplicative"`):
            How the token states become one sentence vector: `"pooler"` (the encoder's own), `"cls"`, `"mean"`, `"dot"`
            or `"multiplicative"` attention.
        multiplicative_weight (`bool`, defaults to `True`):
            For multiplicative attention: `True` scores a token by `e_i = s^T W h_i` with a learned `W`. `False` scores
            a token by `e_i = s^T h_i`, as in the paper.
        feed_forward_depth (`int`, defaults to 3):
            Number of layers between pooling and classifier in the sentiment and paraphrase heads, 0 or more. The
            similarity head has no such layers.
        feed_forward_residual (`bool`, defaults to `False`):
            Whether each feed-forward layer adds to its input instead of replacing it.
        pair_features (`list[str]`, defaults to `["u", "v", "sum_squared", "difference_squared", "cosine"]`):
            Inputs of the linear layer over a pair `(u, v)`, in this order. Also allowed: `"absolute_difference"`
            (`|u - v|`) and `"product"` (`u * v`).
        similarity (`str`, defaults to `"cosine"`):
            Score of the similarity head: `"cosine"`, scaled to `score_range`, or `"linear"` on the pair features.
        similarity_bounds (`str`, defaults to `"none"`):
            How the score is kept inside `score_range`. `"none"` does not limit the score: a negative cosine gives a
            score below the range, as in the paper. `"clamp"` clamps the score, in evaluation mode only. `"scale"` uses
            the sigmoid of a linear score, or `(1 + cos) / 2` instead of `cos`. The scaled cosine trains badly, because
            it needs opposite vectors for unrelated sentences.
        score_range (`list[float]`, defaults to `[0.0, 5.0]`):
            Smallest and largest score of the similarity head.
        class_names (`list[str]`, *optional*):
            Names of the classes in the order of their ids. The default is five sentiments for the sentiment head, two
            classes for the paraphrase head, and one score for the similarity head. `num_labels`, `id2label` and
            `label2id` of transformers name the same classes: each can be passed, or set later, and the others follow.
            For a multitask model they are the classes of every task that classifies and has none of its own when the
            model is built; later, of every task that classifies.
        head_dropout (`float`, defaults to 0.1):
            Dropout in the head, in `[0, 1)`.
        tasks (`dict[str, dict]`, *optional*):
            The tasks of a multitask model, by name. Each has a `head` (`"sentiment"`, `"paraphrase"` or
            `"similarity"`), any of the fields above from `pair_encoding` to `head_dropout` (the classes also as
            `num_labels`, `id2label` or `label2id`), the `columns` of its training rows, and, if it has a LoRA adapter
            in the encoder, an `adapter` with peft's `r`, `lora_alpha` and `target_modules` (the last parts of the
            names of the linear layers). The default is the three tasks of the paper, `sst`, `para` and `sts`.
        task_name (`str`, *optional*):
            Name of the task that the model was trained on. The default is the paper's task for the model's head; the
            tasks of a multitask model have the names under `tasks`.
        columns (`dict[str, str]`, *optional*):
            Names of the columns of the training rows. The keys are `"sentence1"`, `"sentence2"`, `"label"` and `"id"`;
            the values are the names that the user passed. `extrabert_hf` looks for the same names in other files.
        conformal (`dict`, *optional*):
            The quantiles of conformal prediction that `extrabert calibrate` fits, for the weights as they are: the
            `method`, the `coverage`, the number of `rows` of the fit, the `quantiles`, and for `"normalized"` `knots`.
            A multitask model has them in its `tasks`.
        encode_by_length (`bool`, defaults to `False`):
            Whether the encoder gets only sentences of equal length at a time, never padding. It is slower, and for
            encoders whose output depends on the padding, such as FNet, which ignores the attention mask.
        adapter_subfolder (`str`, *optional*):
            For a repository that holds a LoRA adapter and no encoder: the folder of the adapter, in peft's format.
            `from_pretrained` loads the encoder that the adapter names and merges the adapter into it.
        pad_token_id, bos_token_id, eos_token_id (`int`, *optional*):
            Ids of the tokenizer's special tokens, written by the `Trainer`.
    """

    model_type = "extrabert"
    keys_to_ignore_at_inference = ["hidden_states", "attentions", "embeddings", "pooling_weights"]  # noqa: RUF012 - the Trainer adds a list to it
    sub_configs_defaults = {"backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="bert")}  # noqa: RUF012

    backbone_config: dict | PreTrainedConfig | None = None
    pair_encoding: PairEncoding = "bi_encoder"
    pooling: PoolingName = "multiplicative"
    multiplicative_weight: bool = True
    feed_forward_depth: int = 3
    feed_forward_residual: bool = False
    pair_features: list[str] | tuple[str, ...] = ("u", "v", "sum_squared", "difference_squared", "cosine")
    similarity: Literal["cosine", "linear"] = "cosine"
    similarity_bounds: Literal["none", "clamp", "scale"] = "none"
    score_range: list[float] | tuple[float, ...] = (0.0, 5.0)
    class_names: list[str] | None = None
    head_dropout: float = 0.1
    tasks: dict[str, dict] | None = None
    task_name: str | None = None
    columns: dict[str, str] | None = None
    conformal: dict[str, Any] | None = None
    encode_by_length: bool = False
    adapter_subfolder: str | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self._check_unknown(kwargs)
        if isinstance(self.backbone_config, dict):
            check_fields(self.backbone_config)
        names = names_of({field: kwargs.get(field, getattr(self, field)) for field in LABEL_FIELDS})
        tasks, self.tasks = self.tasks, None  # transformers sets labels of its own
        super().__post_init__(**kwargs)
        if isinstance(self.backbone_config, PreTrainedConfig):  # the file is handed on: no folder of this machine
            self.backbone_config.name_or_path = without_folders(self.backbone_config.name_or_path)
        self.pair_features, self.score_range = list(self.pair_features), list(self.score_range)  # as in config.json
        if tasks:
            tasks = {name: with_labels(task, {}) if isinstance(task, dict) else task for name, task in tasks.items()}
        self.tasks = tasks
        if self.architectures is None:
            self.architectures = ["ExtraBertForMultiTask"] if tasks else []
        if hasattr(self, "custom_pipelines"):
            self.custom_pipelines = CustomPipelines(self.custom_pipelines)
        if names is not None:
            self._set_names(names)
        self._labels_follow = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets a field; `class_names`, `num_labels`, `id2label` and `label2id` stay equal, also in the `tasks`."""
        if name not in LABEL_FIELDS or value is None or "_labels_follow" not in self.__dict__:
            super().__setattr__(name, value)
            return
        names = with_labels({"class_names": self.class_names}, {name: value})["class_names"]
        if self.tasks:
            self.tasks = tasks_with_labels(self.tasks, {name: value})
        self._set_names(names)

    def _set_names(self, names: list[str]) -> None:
        super().__setattr__("class_names", names)
        super().__setattr__("id2label", dict(enumerate(names)))
        super().__setattr__("label2id", {name: index for index, name in enumerate(names)})

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> tuple[dict, dict]:
        """As in transformers. A class that was loaded from trusted code also runs the encoder's code."""
        config_dict, unused = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if is_own_code(cls) and isinstance(config_dict.get("backbone_config"), dict):
            encoder = run_code(config_dict["backbone_config"], pretrained_model_name_or_path, **kwargs)
            config_dict = config_dict | {"backbone_config": encoder}
        return config_dict, unused

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> "ExtraBertConfig":
        """
        As in transformers. Fields in `tasks` replace those of the saved tasks; labels replace the saved labels.

        Also accepts the values that `pair_encoding` had before version 0.2.

        Raises:
            `ValueError`: if two of the passed labels contradict each other.
        """
        config_dict = with_labels(_with_present_names(config_dict), {})
        chosen = {field: kwargs.pop(field) for field in LABEL_FIELDS if kwargs.get(field) is not None}
        if config_dict.get("tasks"):
            tasks = {name: with_labels(_with_present_names(task), {}) for name, task in config_dict["tasks"].items()}
            if isinstance(kwargs.get("tasks"), dict):
                tasks |= {name: with_fields(tasks.get(name, {}), task) for name, task in kwargs.pop("tasks").items()}
            config_dict["tasks"] = tasks_with_labels(tasks, chosen) if chosen else tasks
        if chosen:
            config_dict = with_labels(config_dict, chosen)
        return super().from_dict(config_dict, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """As in transformers; without labels if none were chosen, so that each head keeps its default classes."""
        fields = super().to_dict()
        fields.pop("_labels_follow", None)
        if self.class_names is None:
            return {name: value for name, value in fields.items() if name not in LABEL_FIELDS} | {"class_names": None}
        return fields | {"class_names": self.names}

    @property
    def names(self) -> list[str] | None:
        """The classes in `id2label`, in the order of their ids; `None` means the default classes of the head."""
        return None if self.class_names is None else names_of({"id2label": self.id2label})

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """Returns the config of the encoder, which has the size of the vocabulary."""
        return self.backbone_config.get_text_config(decoder=decoder, encoder=encoder)

    @property
    def hidden_size(self) -> int:
        """Width `d` of the token states."""
        return self.backbone_config.hidden_size

    @property
    def max_positions(self) -> int | None:
        """Number of positions that the encoder's config declares; `None` for none. See `max_tokens` of the models."""
        positions = getattr(self.backbone_config, "max_position_embeddings", None)
        return positions if isinstance(positions, int) and positions > 0 else None

    @property
    def poolings(self) -> set[str]:
        """The poolings of the model's tasks."""
        return {task.get("pooling", self.pooling) for task in (self.tasks or {"": {}}).values()}

    @property
    def pair_encodings(self) -> set[str]:
        """The values of `pair_encoding` of the model's tasks."""
        return {task.get("pair_encoding", self.pair_encoding) for task in (self.tasks or {"": {}}).values()}

    def for_task(self, name: str) -> "ExtraBertConfig":
        """Returns the config for a model of the single task `name`, with the same `backbone_config`."""
        config = copy.copy(self)
        config.tasks, config.task_name, config.architectures = None, name, []
        task = with_labels(self.tasks[name], {})
        if task.get("head") == "similarity":
            config.class_names = None  # the classes of the other tasks
        for field, value in task.items():
            if field in TASK_FIELDS:
                setattr(config, field, value)
        return config

    def validate_tasks(self) -> None:
        """Raises `ValueError` if a task's fields do not describe a head; called at construction."""
        if self.tasks is not None and not self.tasks:
            raise ValueError("`tasks` must name at least one task, got none.")
        for name, task in (self.tasks or {}).items():
            if not name.isidentifier() or hasattr(nn.ModuleDict(), name):
                raise ValueError(
                    f"`tasks` must have names of letters, digits and _, not of an attribute of a module, got {name!r}."
                )
            if task.get("head") not in get_args(HeadKind):
                kinds = ", ".join(map(repr, get_args(HeadKind)))
                raise ValueError(f"`tasks` must give {name!r} a `head`, one of {kinds}, got {task.get('head')!r}.")
            for field in set(task) - {"head", "adapter", *TASK_FIELDS, *LABEL_FIELDS}:
                raise ValueError(f"`tasks` must hold `head`, `adapter` and fields of a head, {name!r} has {field!r}.")
            if "adapter" in task and set(task["adapter"]) != {"r", "lora_alpha", "target_modules"}:
                raise ValueError(
                    f"`tasks` must give an `adapter` `r`, `lora_alpha` and `target_modules`, {name!r} has "
                    f"{sorted(task['adapter'])}."
                )
            try:
                self.for_task(name).validate_head()
            except (StrictDataclassError, ValueError) as error:  # a field of the wrong type, or of the wrong value
                raise ValueError(
                    f"`tasks` must hold fields of a head, {name!r}: {error.__cause__ or error}"
                ) from error

    def validate_head(self) -> None:
        """Raises `ValueError` if a field of the head has a value that is not allowed; called at construction."""
        if self.feed_forward_depth < 0:
            raise ValueError(f"`feed_forward_depth` must be 0 or more, got {self.feed_forward_depth}.")
        if not 0.0 <= self.head_dropout < 1.0:
            raise ValueError(f"`head_dropout` must be in [0, 1), got {self.head_dropout}.")
        known = set(self.pair_features) <= set(PAIR_FEATURE_NAMES)
        if not known or not self.pair_features or len(set(self.pair_features)) != len(self.pair_features):
            names = ", ".join(map(repr, PAIR_FEATURE_NAMES))
            raise ValueError(f"`pair_features` must be one or more of {names}, got {self.pair_features}.")
        if len(self.score_range) != 2 or not self.score_range[0] < self.score_range[1]:
            raise ValueError(f"`score_range` must be [low, high] with low < high, got {self.score_range}.")
        if self.class_names is not None and len(set(self.class_names)) != max(1, len(self.class_names)):
            raise ValueError(f"`class_names` must be one or more different names, got {self.class_names}.")

    def _check_unknown(self, kwargs: dict[str, Any]) -> None:
        """
        Raises `ValueError` for a misspelled field, and warns of any other unknown key, which stays an attribute.

        A later version of transformers may pass further keys, in a config.json or directly. A config.json has the
        version of transformers that wrote it, so an unknown key in such a file only causes a warning.
        """
        known = {field.name for field in fields(self)} | _TRANSFORMERS_KEYS
        for key in [key for key in kwargs if key not in known]:
            message = f"`{key}` is not a field of ExtraBertConfig."
            near = difflib.get_close_matches(key, [*ExtraBertConfig.__annotations__, "num_labels"], n=1, cutoff=0.8)
            if near and self.transformers_version is None:
                raise ValueError(f"{message} Did you mean `{near[0]}`?")
            logger.warning("%s It is kept and not used.", message)


def _with_present_names(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns a copy of a config's fields in which `pair_encoding` has its present value."""
    encoding = fields.get("pair_encoding")
    return fields | ({"pair_encoding": FORMER_PAIR_ENCODINGS[encoding]} if encoding in FORMER_PAIR_ENCODINGS else {})


ExtraBertConfig.register_for_auto_class()  # `save_pretrained` copies this file, to load the config without the package
