"""Reads a LoRA adapter in peft's format, and merges it into the encoder that it was trained on."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModel, PreTrainedModel
from transformers.utils import cached_file

HUB_ARGUMENTS = (
    *("cache_dir", "force_download", "local_files_only"),
    *("revision", "subfolder", "token", "trust_remote_code"),
)
"""The arguments of `from_pretrained` for the source and the download of files."""

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PRINT = "encoder_print"
"""Key in the metadata of the weights file."""
PREFIX = "base_model.model."
"""peft writes it before the name of each parameter."""
UNSUPPORTED = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
"""Options of peft that make the merged weight differ from that of plain LoRA."""


@dataclass(frozen=True, eq=False)
class AdapterFiles:
    """
    An adapter as it was saved: low-rank weights in the encoder, and the modules that were trained in full.

    Args:
        source (`str`):
            Hub id or folder of the files.
        encoder (`str`):
            Name of the encoder that the adapter was trained on.
        encoder_revision (`str`):
            Revision of the encoder on the Hub.
        r (`int`):
            Rank of the adapter.
        lora_alpha (`float`):
            Scale of the adapter: the product of the two matrices is multiplied by `lora_alpha / r`.
        target_modules (`list[str]`):
            Names, in the model, of the linear layers with an adapter.
        weights (`dict[str, torch.Tensor]`):
            By their names in the model: `LAYER.lora_A.weight` `(r, in_features)` and `LAYER.lora_B.weight`
            `(out_features, r)` of each layer with an adapter, and all weights of pooling, head and a trained pooler.
        encoder_print (`str`, *optional*):
            The [`weights_print`] of the encoder's layers with an adapter; `None` in files of former versions.
    """

    source: str
    encoder: str
    encoder_revision: str
    r: int
    lora_alpha: float
    target_modules: list[str]
    weights: dict[str, torch.Tensor]
    encoder_print: str | None = None

    @classmethod
    def read(
        cls, name: str, subfolder: str | None = None, hub_arguments: Mapping[str, Any] | None = None
    ) -> "AdapterFiles":
        """
        Reads `adapter_config.json` and `adapter_model.safetensors`.

        Args:
            name (`str`):
                Hub id or folder.
            subfolder (`str`, *optional*):
                Folder in the repository that holds the two files.
            hub_arguments (`Mapping[str, Any]`, *optional*):
                Some of [`HUB_ARGUMENTS`]; a `subfolder` among these arguments is the parent of `subfolder`.

        Raises:
            `ValueError`: if the adapter is not plain LoRA.
            `OSError`: if a file is missing.
        """
        fetching = {key: value for key, value in (hub_arguments or {}).items() if key != "trust_remote_code"}
        folder = "/".join(part for part in (fetching.pop("subfolder", None), subfolder) if part)
        files = [cached_file(name, file, subfolder=folder, **fetching) for file in (CONFIG_FILE, WEIGHTS_FILE)]
        lora = json.loads(Path(files[0]).read_text(encoding="utf-8"))
        if used := [option for option in UNSUPPORTED if lora.get(option)]:
            raise ValueError(f"{name!r} must hold a plain LoRA adapter, got one with {', '.join(used)}.")
        return cls(
            source=str(name),
            encoder=lora["base_model_name_or_path"],
            encoder_revision=lora.get("revision") or "main",
            r=lora["r"],
            lora_alpha=lora["lora_alpha"],
            target_modules=list(lora["target_modules"]),
            weights={key.removeprefix(PREFIX): weight for key, weight in load_file(files[1]).items()},
            encoder_print=_metadata(files[1]).get(PRINT),
        )

    def load_encoder(
        self, name: str | None = None, hub_arguments: Mapping[str, Any] | None = None
    ) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
        """
        Loads the encoder that the adapter was trained on, in float32.

        Args:
            name (`str`, *optional*):
                Hub id or folder of the encoder; `None` is the name that was saved with the adapter.
            hub_arguments (`Mapping[str, Any]`, *optional*):
                Some of [`HUB_ARGUMENTS`]. `trust_remote_code=True` also trusts the code of the encoder's repository;
                `revision`, `subfolder` and `force_download` concern the adapter's repository alone.

        Returns:
            `tuple[PreTrainedModel, dict[str, torch.Tensor]]`: the encoder, and the weights in its checkpoint, by the
            names in a model of this package (`backbone. ...`).
        """
        options = {"trust_remote_code": False, **(hub_arguments or {})}  # with `None`, transformers asks on stdin
        trusted = options.pop("trust_remote_code")
        of_adapter = ("revision", "subfolder", "force_download")
        encoder, loading = AutoModel.from_pretrained(
            name or self.encoder,
            revision=self.encoder_revision,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=trusted,
            **{key: value for key, value in options.items() if key not in of_adapter},
        )
        encoder = getattr(encoder, "backbone", encoder)  # the adapter was trained on a model of this package
        missing = {key.removeprefix("backbone.") for key in loading["missing_keys"]}
        weights = encoder.state_dict()
        return encoder, {f"backbone.{key}": weight for key, weight in weights.items() if key not in missing}

    def check_encoder(self, encoder_weights: Mapping[str, torch.Tensor]) -> None:
        """Raises `ValueError` if the layers that the adapter was trained on have other weights in the encoder."""
        names = (f"{layer}.weight" for layer in sorted(self.target_modules))
        found = (encoder_weights[name] for name in names if name in encoder_weights)
        if self.encoder_print is not None and weights_print(found) != self.encoder_print:
            raise ValueError(
                f"{self.encoder!r} must be the encoder that the adapter in {self.source!r} was trained on, got an "
                "encoder with other weights."
            )

    def merged_into(
        self, encoder_weights: Mapping[str, torch.Tensor], due: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """
        Replaces each adapted weight `W` of the encoder by `W + (alpha / r) B A`, and adds the weights that were
        trained in full.

        Hu et al. (2021), https://arxiv.org/abs/2106.09685, Section 4.1.

        Args:
            encoder_weights (`Mapping[str, torch.Tensor]`):
                The weights that [`load_encoder`] returns.
            due (`Mapping[str, torch.Tensor]`):
                The `state_dict` of a model of the right class; only the names and shapes are used.

        Returns:
            `dict[str, torch.Tensor]`: all weights of the model.

        Raises:
            `ValueError`: if the encoder or the adapter lacks a weight of the model, or has a weight that the model
            lacks.
        """
        in_full = {key: weight for key, weight in self.weights.items() if ".lora_" not in key}
        unused = {key for key in encoder_weights if key.startswith("backbone.pooler.") and key not in due}
        weights = {key: w for key, w in encoder_weights.items() if key not in in_full and key not in unused}
        frozen_due = {key: w for key, w in due.items() if key.startswith("backbone.") and key not in in_full}
        _check_shapes(
            _shapes(weights),
            _shapes(frozen_due),
            f"{self.encoder!r} must be the encoder of the adapter in {self.source!r}",
        )
        layers = [layer for layer in self.target_modules if f"{layer}.weight" in weights]
        self.check_encoder(weights)
        trained_due = _shapes({key: weight for key, weight in due.items() if key not in frozen_due})
        for layer in layers:
            out_features, in_features = due[f"{layer}.weight"].shape
            trained_due[f"{layer}.lora_A.weight"] = (self.r, in_features)
            trained_due[f"{layer}.lora_B.weight"] = (out_features, self.r)
        _check_shapes(_shapes(self.weights), trained_due, f"{self.source!r} must hold what was trained")
        for layer in layers:
            low, high = (self.weights[f"{layer}.lora_{part}.weight"].float() for part in "AB")
            weights[f"{layer}.weight"] = weights[f"{layer}.weight"] + self.lora_alpha / self.r * (high @ low)
        return weights | in_full


def weights_print(weights: Iterable[torch.Tensor]) -> str:
    """Returns a hash of 64 values of each weight, which tells encoders of the same shape apart."""
    digest = hashlib.sha256()
    for weight in weights:
        values = weight.detach().flatten()
        digest.update(values[:: max(1, len(values) // 64)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _metadata(path: str) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def _shapes(weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(weight.shape) for key, weight in weights.items()}


def _check_shapes(found: Mapping[str, tuple[int, ...]], due: Mapping[str, tuple[int, ...]], requirement: str) -> None:
    different = [name for name in sorted(found.keys() | due.keys()) if found.get(name) != due.get(name)]
    if different:
        needed, got = (shapes.get(different[0], "absent") for shapes in (due, found))
        raise ValueError(
            f"{requirement}, {len(different)} weights differ, the first {different[0]!r} must be {needed}, got {got}."
        )
