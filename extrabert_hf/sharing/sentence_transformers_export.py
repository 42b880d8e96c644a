"""Exports encoder and pooling of a similarity model to sentence-transformers, with equal cosines."""

import copy
import inspect
import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedTokenizerBase

from extrabert_hf.errors import InputError, need_packages
from extrabert_hf.library_output import quiet_packages
from extrabert_hf.models import ExtraBertForSimilarity, ExtraBertPreTrainedModel
from extrabert_hf.models.base_extrabert import drop_pooler
from extrabert_hf.models.heads_extrabert import CosineSimilarityHead
from extrabert_hf.models.pooling_extrabert import build_pooling
from extrabert_hf.sharing import attention_pooling
from extrabert_hf.sharing.attention_pooling import AttentionPooling
from extrabert_hf.sharing.export_readme import ExportedModel
from extrabert_hf.sharing.servers import log_servers, servers_of_vectors

logger = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Largest accepted difference of a cosine."""

SMALL_SIGMOID = 17.0
"""For `x` from here on, `sigmoid(-x)` equals `exp(-x)` in float32."""

LARGEST_SCORE = 20.0
"""Largest attention score for which `exp` of it and of its negative are far from the limits of float32."""

PROBES = (
    ("a", "b"),
    ("One short sentence.", "Another, a little longer sentence than that one."),
    ("Why?", "Why not?"),
)
"""Pairs with which an exported folder is checked; models of single sentences get the first of each."""


def export_sentence_transformers(
    model: ExtraBertPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    *,
    source: str | None = None,
    pooling: str | None = None,
) -> bool:
    r"""
    Writes a folder that `SentenceTransformer(folder)` loads, and checks its cosines.

    Poolings `"cls"` and `"mean"` use the `Pooling` module of sentence-transformers; `"pooler"` uses the `Dense` module
    on the first token. `"multiplicative"` attention is built from layers of sentence-transformers: up to its length,
    the sum of `softmax_i(z_i) h_i` over the tokens is the mean of `e^c h_i sigmoid(z_i - c)`, a gated linear unit, for
    `c` well above the scores `z_i`. The exported vectors have length 1. `"dot"` attention, and multiplicative
    attention with very large scores, need a code file in the folder and `trust_remote_code=True`.

    The files have the names and the fields that text-embeddings-inference, vLLM and llama.cpp read, too. The log and
    `README.md` tell which of them serve the folder.

    Args:
        model ([`ExtraBertForSimilarity`]):
            A model with `similarity="cosine"`; it is exported in float32 and not changed.
        tokenizer (`PreTrainedTokenizerBase`):
            Tokenizer of the model.
        folder (`str` or `Path`):
            Folder to write to.
        source (`str`, *optional*):
            Name of the model for `README.md`; it should name no folder of this machine.
        pooling (`str`, *optional*):
            `"mean"` or `"cls"` in place of the pooling of the model. The cosines are those of the same encoder with
            this pooling, not those of the model.

    Returns:
        `bool`: whether loading needs `trust_remote_code=True`.

    Raises:
        [`InputError`]: if a package is missing, the score of the model is not a cosine, the encoder's pooler is not a
        linear layer with tanh, or the cosines of the folder differ.
    """
    need_packages("the export", "export", "sentence_transformers")
    if not isinstance(model, ExtraBertForSimilarity) or not isinstance(model.head, CosineSimilarityHead):
        got = "a cross-encoder" if model.config.pair_encoding == "cross_encoder" else "one without a cosine"
        if not isinstance(model, ExtraBertForSimilarity):
            got = f"an {type(model).__name__}"
        if model.config.tasks is not None:
            got += f": add --task, one of {', '.join(map(repr, model.config.tasks))}"
        raise InputError(
            "`format` 'sentence-transformers' is for a similarity model whose score is the cosine of two sentence "
            f"vectors, got {got}."
        )
    folder = Path(folder)
    trained_pooling = model.config.pooling
    model = copy.deepcopy(model).float().cpu().eval()
    if pooling is not None:
        _set_pooling(model, pooling)
    modules = _modules(model)
    folder.mkdir(parents=True, exist_ok=True)
    model.backbone.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    entries = [("sentence_transformers.models.Transformer", "")]
    for index, (class_name, config, weights) in enumerate(modules, start=1):
        path = f"{index}_{class_name.rpartition('.')[2]}"
        _write_json(folder / path / "config.json", config)
        if weights:
            save_file(weights, folder / path / "model.safetensors")
        entries.append((class_name, path))
    needs_code = any(not class_name.startswith("sentence_transformers.") for class_name, _ in entries)
    if needs_code:
        shutil.copy(attention_pooling.__file__, folder)
    _write_json(
        folder / "modules.json",
        [{"idx": i, "name": str(i), "path": path, "type": name} for i, (name, path) in enumerate(entries)],
    )
    takes_pooler = "add_pooling_layer" in inspect.signature(type(model.backbone).__init__).parameters
    without_pooler = {"model_args": {"add_pooling_layer": False}} if takes_pooler and model.pooling is not None else {}
    exported = ExportedModel(model, tokenizer, source)
    _write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": exported.max_length, "do_lower_case": False} | without_pooler,
    )
    _write_json(
        folder / "config_sentence_transformers.json",
        {"similarity_fn_name": "cosine", "prompts": {}, "default_prompt_name": None},
    )
    servers = servers_of_vectors(
        model.config.backbone_config.model_type,
        "dot" if needs_code else model.config.pooling,  # learned attention with large scores needs code too
        has_tokenizer_file=(folder / "tokenizer.json").is_file(),
    )
    exported.write_sentence_transformers_readme(
        folder, servers, needs_code=needs_code, trained_pooling=trained_pooling
    )
    log_servers(servers)
    if model.config.pooling in ("dot", "multiplicative"):
        logger.info("--pooling mean or cls exports a pooling that these servers have; the scores change")
    _check_cosines(model, tokenizer, folder, trust_remote_code=needs_code)
    return needs_code


def load_sentence_transformer(folder: str | Path, *, trust_remote_code: bool = False) -> Any:
    """Opens a folder as a `SentenceTransformer` on the CPU."""
    need_packages("the export", "export", "sentence_transformers")
    with quiet_packages():
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(
            str(folder), device="cpu", trust_remote_code=trust_remote_code, local_files_only=True
        )


def _set_pooling(model: ExtraBertForSimilarity, pooling: str) -> None:
    """Replaces the pooling of a model by one without weights."""
    model.config.pooling = pooling
    model.pooling = build_pooling(model.config)
    drop_pooler(model.backbone)


def _modules(model: ExtraBertForSimilarity) -> list[tuple[str, dict[str, Any], dict[str, torch.Tensor]]]:
    """Returns class, config and weights of each module after the encoder."""
    width = model.config.hidden_size
    if model.config.pooling == "pooler":
        dense, activation = (getattr(model.backbone.pooler, name, None) for name in ("dense", "activation"))
        if not isinstance(dense, nn.Linear) or not isinstance(activation, nn.Tanh):
            raise InputError(
                "`pooling` 'pooler' must be a linear layer with tanh for sentence-transformers, got the "
                f"{type(model.backbone.pooler).__name__} of a {type(model.backbone).__name__}."
            )
        return [_pooling("cls", width), _dense("sentence_embedding", nn.Tanh, dense.weight, dense.bias)]
    if model.config.pooling in ("cls", "mean"):
        return [_pooling(model.config.pooling, width)]
    query = None
    if model.config.pooling == "multiplicative":
        pooling = model.pooling
        query = (pooling.query if pooling.weight is None else pooling.query @ pooling.weight).detach()  # (d,)
        largest = _largest_score(model, query)
        if largest <= LARGEST_SCORE:
            shift = largest + SMALL_SIGMOID
            weight = torch.cat([torch.eye(width) * math.exp(shift), query.expand(width, width)])  # (2d, d)
            bias = torch.cat([torch.zeros(width), torch.full((width,), -shift)])  # (2d,)
            return [
                _dense("token_embeddings", nn.GLU, weight, bias),
                _pooling("mean", width),
                ("sentence_transformers.models.Normalize", {}, {}),
            ]
    elif model.config.pooling != "dot":
        raise InputError(
            "`pooling` must be one of 'pooler', 'cls', 'mean', 'dot', 'multiplicative' for sentence-transformers, "
            f"got {model.config.pooling!r}."
        )
    config = {"hidden_size": width, "learned": query is not None}
    class_name = f"{Path(attention_pooling.__file__).stem}.{AttentionPooling.__name__}"
    return [(class_name, config, {} if query is None else {"query": query.contiguous()})]


def _pooling(mode: str, width: int) -> tuple[str, dict[str, Any], dict[str, torch.Tensor]]:
    names = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    modes = {f"pooling_mode_{name}": name.startswith(f"{mode}_to") for name in names}  # servers want every name
    return "sentence_transformers.models.Pooling", {"word_embedding_dimension": width} | modes, {}


def _dense(
    features: str, activation: type[nn.Module], weight: torch.Tensor, bias: torch.Tensor
) -> tuple[str, dict[str, Any], dict[str, torch.Tensor]]:
    config = {
        "in_features": weight.shape[1],
        "out_features": weight.shape[0],
        "bias": True,
        "activation_function": f"{activation.__module__}.{activation.__name__}",
        "module_input_name": features,
        "module_output_name": features,
    }
    weights = {"linear.weight": weight.detach().contiguous(), "linear.bias": bias.detach().contiguous()}
    return "sentence_transformers.models.Dense", config, weights


@torch.inference_mode()
def _largest_score(model: ExtraBertForSimilarity, query: torch.Tensor) -> float:
    """Bounds `|q . h_i|`: twice the Cauchy-Schwarz bound for the largest token state of random sentences."""
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(model.config.backbone_config.vocab_size, (64, 16), generator=generator)
    states = model.backbone(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).last_hidden_state
    return 2 * float(query.norm() * states.norm(dim=-1).max())


@torch.inference_mode()
def _check_cosines(
    model: ExtraBertForSimilarity, tokenizer: PreTrainedTokenizerBase, folder: Path, *, trust_remote_code: bool
) -> None:
    loaded = load_sentence_transformer(folder, trust_remote_code=trust_remote_code)
    sides = [list(side) for side in zip(*PROBES, strict=True)]
    expected = []
    for side in sides:
        batch = tokenizer(side, padding=True, truncation=True, return_tensors="pt")
        expected.append(model.embed(**batch))
    cosines = loaded.similarity_pairwise(*(loaded.encode(side, show_progress_bar=False) for side in sides))
    difference = float((cosines - torch.cosine_similarity(*expected)).abs().max())
    if not difference <= TOLERANCE:
        raise InputError(
            f"the export must give the model's cosines to {TOLERANCE}, it differs by {difference:.2g}: this encoder "
            "can't be exported with this version of sentence-transformers."
        )
    logger.info("the export gives the cosines of %s pooling to %.1e", model.config.pooling, difference)


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
