"""The weights of a model whose repository holds an adapter only: those of its encoder, with the adapter merged."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModel
from transformers.utils import cached_file

HUB_ARGUMENTS = (
    *("cache_dir", "force_download", "local_files_only"),
    *("revision", "subfolder", "token", "trust_remote_code"),
)
"""Those arguments of `from_pretrained` that say where from and how files are fetched."""

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."


def adapted_weights(
    name: str, subfolder: str, names: Collection[str], hub_arguments: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """
    Joins the encoder that an adapter names with the adapter and with what was trained in full.

    With `trust_remote_code=True` also the code of the encoder's repository is trusted.

    `W + (alpha / r) B A` in place of each `W`: Hu et al. (2021), https://arxiv.org/abs/2106.09685, Section 4.1.

    Args:
        name (`str`):
            Hub id or folder of the repository.
        subfolder (`str`):
            Where the adapter stands in it, in peft's format.
        names (`Collection[str]`):
            The weights that the model needs.
        hub_arguments (`Mapping[str, Any]`):
            Some of [`HUB_ARGUMENTS`].

    Returns:
        `dict[str, torch.Tensor]`: the weights of the whole model, float32.

    Raises:
        `ValueError`: if encoder and adapter do not give exactly the weights of `names`.
        `OSError`: if a file is not there.
    """
    fetching = {key: value for key, value in hub_arguments.items() if key not in ("trust_remote_code", "subfolder")}
    folder = "/".join(part for part in (hub_arguments.get("subfolder"), subfolder) if part)
    files = [cached_file(name, file, subfolder=folder, **fetching) for file in (CONFIG_FILE, WEIGHTS_FILE)]
    lora = json.loads(Path(files[0]).read_text(encoding="utf-8"))
    trained = {key.removeprefix(PREFIX): weight for key, weight in load_file(files[1]).items()}
    elsewhere = {k: v for k, v in hub_arguments.items() if k not in ("revision", "subfolder", "force_download")}
    encoder, loading = AutoModel.from_pretrained(
        lora["base_model_name_or_path"],
        revision=lora.get("revision") or "main",
        dtype=torch.float32,
        output_loading_info=True,
        **elsewhere,
    )
    encoder = getattr(encoder, "backbone", encoder)  # training went on from a model of this kind
    fresh = {key.removeprefix("backbone.") for key in loading["missing_keys"]}
    there = {f"backbone.{key}": weight for key, weight in encoder.state_dict().items() if key not in fresh}
    weights = {key: weight for key, weight in there.items() if key in names}
    scaling = lora["lora_alpha"] / lora["r"]
    for key, low in trained.items():
        layer, is_low_rank, kind = key.rpartition(".lora_")
        if kind == "A.weight" and f"{layer}.weight" in weights:
            added = trained[f"{layer}.lora_B.weight"].float() @ low.float()
            weights[f"{layer}.weight"] = weights[f"{layer}.weight"] + scaling * added
        elif not is_low_rank:
            weights[key] = low
    different = sorted(set(names) ^ weights.keys())
    if different or lora.get("use_rslora") or lora.get("use_dora"):
        what = different[0] if different else "rsLoRA or DoRA"
        raise ValueError(
            f"{name!r} must hold a plain LoRA adapter for {lora['base_model_name_or_path']!r}, the two disagree in "
            f"{len(different)} weights: {what}."
        )
    return weights
