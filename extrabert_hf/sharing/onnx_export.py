"""Exports a model with all heads to one ONNX file, in float32 and with 8-bit weights."""

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from extrabert_hf.errors import InputError, need_packages
from extrabert_hf.library_output import quiet_packages
from extrabert_hf.models import ExtraBertForMultiTask, ExtraBertForOneTask, ExtraBertPreTrainedModel
from extrabert_hf.sharing.export_readme import ExportedModel

logger = logging.getLogger(__name__)

OPSET = 20
"""The first opset with a GELU operator."""

TOLERANCE = 1e-3
"""Largest accepted difference of a logit or a vector; exported float32 graphs usually differ by 1e-5 or less."""

MODEL_FILE, INT8_FILE = "model.onnx", "model_int8.onnx"


class OutputsOfAllTasks(nn.Module):
    """
    The exported graph: pairs of sentences -> logits and sentence vectors of each task, with one pass of the encoder.

    A cross-encoder has no sentence vectors.

    Args:
        model ([`ExtraBertPreTrainedModel`]):
            A model of one task or of several.
    """

    def __init__(self, model: ExtraBertPreTrainedModel) -> None:
        super().__init__()
        self.model = model
        if isinstance(model, ExtraBertForOneTask):
            self.is_pair = model.head.sentences_per_row == 2
            self.output_names = ["logits"] if model.head.is_cross_encoder else ["logits", "embeddings"]
        else:
            self.is_pair = True
            self.output_names = [f"{kind}_{task}" for kind in ("logits", "embeddings") for task in model.heads]

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """
        Scores a batch. In a multitask model a task of single sentences scores both sentences of a pair.

        Args:
            input_ids (`torch.Tensor` of shape `(batch, 2, seq)`, for a model of single sentences `(batch, seq)`):
                Token ids.
            attention_mask (`torch.Tensor` of the same shape):
                1 for a token, 0 for padding.

        Returns:
            `tuple[torch.Tensor, ...]`: first the logits of each task, `(batch, C)`; in a multitask model `(batch, 2,
            C)` for a task of single sentences. Then the sentence vectors of each task, as of [`embed`]: `(batch, d)`,
            for pairs `(batch, 2, d)`.
        """
        if isinstance(self.model, ExtraBertForOneTask):
            output = self.model(input_ids, attention_mask, output_embeddings=True)
            return (output.logits, output.embeddings)[: len(self.output_names)]
        batch, _, seq = input_ids.shape
        mask = attention_mask.reshape(-1, seq)  # (2B, T)
        encoded = self.model.backbone(input_ids=input_ids.reshape(-1, seq), attention_mask=mask)
        logits, embeddings = [], []
        for task, head in self.model.heads.items():
            pooling = self.model.poolings[task]
            vectors = encoded.pooler_output if pooling is None else pooling(encoded.last_hidden_state, mask)[0]
            embeddings.append(vectors.view(batch, 2, -1))  # (B, 2, d)
            logits.append(head(embeddings[-1]))  # (B, C), single sentences (B, 2, C)
        return (*logits, *embeddings)


def export_onnx(
    model: ExtraBertPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    *,
    source: str | None = None,
) -> Path:
    """
    Writes and checks `model.onnx`, for any batch size and length, with tokenizer, `config.json` and `README.md`.

    Inputs are `input_ids` and `attention_mask`, int64, as in [`OutputsOfAllTasks`]; outputs are `logits` and, except
    for a cross-encoder, `embeddings`, or `logits_TASK` and `embeddings_TASK` for each task of a multitask model. The
    metadata of the file are those of [`ExportedModel`].

    Args:
        model ([`ExtraBertPreTrainedModel`]):
            The model; it is exported in float32 and not changed.
        tokenizer (`PreTrainedTokenizerBase`):
            Tokenizer of the model.
        folder (`str` or `Path`):
            Folder to write to.
        source (`str`, *optional*):
            Name of the model for `README.md` and the metadata; it should name no folder of this machine.

    Returns:
        `Path`: the file.

    Raises:
        [`InputError`]: if a package is missing, the tasks have adapters in the encoder, or the graph differs from
        PyTorch on random sentences.
    """
    need_packages("the export", "export", "onnx", "onnxscript", "onnxruntime")
    import onnx

    if isinstance(model, ExtraBertForMultiTask) and "cross_encoder" in model.config.pair_encodings:
        raise InputError("`task` must be given to export a model with a cross-encoder: one task at a time.")
    if getattr(model, "adapters", None):
        raise InputError("`task` must be given to export a model with an adapter for each task: one task at a time.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    graph = OutputsOfAllTasks(copy.deepcopy(model).float().cpu()).eval()
    sample = random_sentences(graph, rows=3, seq=8)
    batch, seq = torch.export.Dim("batch"), torch.export.Dim("seq")
    dynamic = {0: batch, sample["input_ids"].dim() - 1: seq}
    logger.info("tracing the graph of %s, this takes some seconds", type(model).__name__)
    with quiet_packages():
        torch.onnx.export(
            graph,
            args=(),
            kwargs=sample,
            f=folder / MODEL_FILE,
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=list(sample),
            output_names=graph.output_names,
            dynamic_shapes={name: dynamic for name in sample},
            verbose=False,
        )
    exported = ExportedModel(model, tokenizer, source)
    _replace_metadata(folder / MODEL_FILE, exported.metadata())
    onnx.checker.check_model(folder / MODEL_FILE, full_check=True)
    tokenizer.save_pretrained(folder)
    save_config(model, folder)
    exported.write_onnx_readme(folder, graph.output_names)
    difference = largest_difference(graph, folder / MODEL_FILE)
    if not difference <= TOLERANCE:
        raise InputError(
            f"{MODEL_FILE} must give PyTorch's outputs to {TOLERANCE}, it differs by {difference:.2g} on "
            "random sentences: this encoder can't be exported with these versions of torch and onnxscript."
        )
    logger.info("%s agrees with PyTorch on random sentences to %.1e", MODEL_FILE, difference)
    return folder / MODEL_FILE


def quantize_onnx(path: str | Path) -> Path:
    """
    Writes `model_int8.onnx` beside a `model.onnx`: 8-bit weights, and dynamically quantized activations.

    Each output channel has a scale factor. Only 7 of the 8 bits are used, so that sums do not saturate on processors
    without VNNI. Products of two activations, as in attention, and the query of a pooling stay in float32.

    Args:
        path (`str` or `Path`):
            The file that [`export_onnx`] wrote.

    Returns:
        `Path`: the file.
    """
    need_packages("the export", "export", "onnx", "onnxruntime")
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    source, target = Path(path), Path(path).with_name(INT8_FILE)
    model = onnx.load(source)
    matrices = {weight.name for weight in model.graph.initializer if len(weight.dims) == 2}
    without_matrix = [
        node.name
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gemm") and not matrices.intersection(node.input[1:])
    ]
    add_pre_process_metadata(model)  # the exporter has folded constants and inferred shapes
    with quiet_packages():
        quantize_dynamic(
            model,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_exclude=without_matrix,
        )
    return target


def open_session(path: str | Path, threads: int = 0) -> Any:
    """Opens an ONNX file as an `onnxruntime.InferenceSession` on the CPU; 0 threads means one per core."""
    need_packages("the export", "export", "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_session(session: Any, batch: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Returns the outputs for a batch by output name, with the shapes of [`OutputsOfAllTasks`]."""
    names = [output.name for output in session.get_outputs()]
    feed = {name: tensor.numpy() for name, tensor in batch.items()}
    return dict(zip(names, session.run(names, feed), strict=True))


def random_sentences(graph: OutputsOfAllTasks, *, rows: int, seq: int, padded: bool = True) -> dict[str, torch.Tensor]:
    """Draws token ids as inputs of a graph, with a fixed seed; the last sentence has one token."""
    generator = torch.Generator().manual_seed(rows * 1000 + seq)
    shape = (rows, 2, seq) if graph.is_pair else (rows, seq)
    vocabulary = graph.model.config.backbone_config.vocab_size
    lengths = torch.randint(1, seq + 1, shape[:-1], generator=generator)
    lengths.view(-1)[-1], lengths[0] = 1, seq
    mask = (torch.arange(seq) < lengths.unsqueeze(-1)).long() if padded else torch.ones(shape, dtype=torch.long)
    return {"input_ids": torch.randint(vocabulary, shape, generator=generator), "attention_mask": mask}


@torch.inference_mode()
def largest_difference(graph: OutputsOfAllTasks, path: str | Path) -> float:
    """Returns the largest difference of an output between a graph and its file, for batches of 1, 4 and 5 rows."""
    session = open_session(path)
    differences = []
    for rows, seq, padded in ((1, 5, False), (4, 8, False), (5, 13, True)):
        batch = random_sentences(graph, rows=rows, seq=seq, padded=padded)
        expected = dict(zip(graph.output_names, graph(**batch), strict=True))
        for name, output in run_session(session, batch).items():
            differences.append(np.abs(output - expected[name].numpy()).max())
    return float(np.max(differences))  # nan if any difference is nan


def _replace_metadata(path: Path, metadata: dict[str, str]) -> None:
    """Replaces the exporter's metadata, which holds paths of this machine, by that of the model."""
    import onnx

    model = onnx.load(path)
    for entry in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del entry.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)


def save_config(model: ExtraBertPreTrainedModel, folder: Path) -> None:
    """Writes the `config.json` of a model to a folder without the model's code and weights."""
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.backbone_config.name_or_path = ""  # a folder of this machine
    for code in ("auto_map", "custom_pipelines"):
        if hasattr(config, code):
            delattr(config, code)
    config.to_json_file(folder / "config.json")
