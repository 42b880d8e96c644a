import contextlib
import io
import json
import re
import shutil
import sys

import numpy as np
import onnx
import pytest
import torch
from transformers import AutoConfig, AutoTokenizer

from extrabert_hf import (
    ExtraBertForMultiTask,
    ExtraBertForParaphrase,
    ExtraBertForSentiment,
    ExtraBertForSimilarity,
    __version__,
)
from extrabert_hf.errors import InputError
from extrabert_hf.sharing import onnx_export
from extrabert_hf.sharing.onnx_export import (
    OutputsOfAllTasks,
    export_onnx,
    open_session,
    quantize_onnx,
    random_sentences,
    run_session,
)
from tests.sharing.snippets import assert_prints_its_comments, python_blocks

MODELS = [ExtraBertForSentiment, ExtraBertForParaphrase, ExtraBertForSimilarity, ExtraBertForMultiTask]
TASKS = {
    "sst": {"head": "sentiment", "pooling": "mean"},
    "para": {"head": "paraphrase", "pooling": "pooler"},
    "sts": {"head": "similarity", "similarity_bounds": "clamp"},
    "mood": {"head": "sentiment", "pooling": "dot", "class_names": ["down", "level", "up"]},
}


def shaken_model(model_class, encoder, **fields):
    """A model with no weight where a fresh one has it."""
    torch.manual_seed(0)
    if model_class is ExtraBertForMultiTask:
        fields = {"tasks": TASKS} | fields
    model = model_class.from_backbone(encoder, head_dropout=0.2, **fields)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module", params=MODELS, ids=lambda model_class: model_class.__name__)
def exported(request, tiny_encoder, tmp_path_factory):
    """Exports a model of each class in training mode; gives it, its weights before, the folder."""
    model = shaken_model(request.param, tiny_encoder).train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    folder = tmp_path_factory.mktemp("onnx")
    path = export_onnx(model, AutoTokenizer.from_pretrained(tiny_encoder), folder, source="me/model")
    quantize_onnx(path)
    assert path == folder / "model.onnx"
    return model, before, folder


def logits_of(model, batch):
    """What a model's own `forward` and `embed` say, by the names of the outputs."""
    model.eval()
    with torch.inference_mode():
        if not isinstance(model, ExtraBertForMultiTask):
            return {"logits": model(**batch).logits.numpy(), "embeddings": model.embed(**batch).numpy()}
        logits = {f"embeddings_{task}": model.embed(task=task, **batch).numpy() for task in TASKS}
        for task, fields in TASKS.items():
            if fields["head"] == "sentiment":  # each sentence of a pair for itself
                sides = [{key: tensor[:, side] for key, tensor in batch.items()} for side in (0, 1)]
                logits[f"logits_{task}"] = np.stack([model(task=task, **s).logits.numpy() for s in sides], axis=1)
            else:
                logits[f"logits_{task}"] = model(task=task, **batch).logits.numpy()
        return logits


@pytest.mark.parametrize(
    ("rows", "seq", "padded"),
    [(1, 1, False), (1, 48, False), (2, 4, True), (3, 8, False), (5, 13, True), (8, 32, True)],
)
def test_any_batch_and_length_gives_pytorchs_logits(rows, seq, padded, exported):
    model, _, folder = exported
    batch = random_sentences(OutputsOfAllTasks(model), rows=rows, seq=seq, padded=padded)
    assert padded == bool((batch["attention_mask"] == 0).any())
    found, expected = run_session(open_session(folder / "model.onnx"), batch), logits_of(model, batch)
    assert sorted(found) == sorted(expected)
    for name, logits in expected.items():
        assert found[name].shape == logits.shape
        np.testing.assert_allclose(found[name], logits, rtol=0, atol=1e-4)


def test_batch_and_length_are_open_and_the_rest_is_named(exported):
    model, _, folder = exported
    session = open_session(folder / "model.onnx")
    is_pair = not isinstance(model, ExtraBertForSentiment)
    shape = ["batch", 2, "seq"] if is_pair else ["batch", "seq"]
    assert [(tensor.name, tensor.shape, tensor.type) for tensor in session.get_inputs()] == [
        ("input_ids", shape, "tensor(int64)"),
        ("attention_mask", shape, "tensor(int64)"),
    ]
    classes = {ExtraBertForSentiment: 5, ExtraBertForParaphrase: 2, ExtraBertForSimilarity: 1}
    vectors = ["batch", 2, 16] if is_pair else ["batch", 16]
    shapes = {"logits": ["batch", classes.get(type(model))], "embeddings": vectors}
    if isinstance(model, ExtraBertForMultiTask):
        shapes = {
            "logits_sst": ["batch", 2, 5],
            "logits_para": ["batch", 2],
            "logits_sts": ["batch", 1],
            "logits_mood": ["batch", 2, 3],
            **{f"embeddings_{task}": vectors for task in TASKS},
        }
    assert {tensor.name: tensor.shape for tensor in session.get_outputs()} == shapes


def test_all_heads_share_one_pass_of_the_encoder(exported):
    _, _, folder = exported
    nodes = onnx.load(folder / "model.onnx").graph.node
    assert sum(node.op_type == "LayerNormalization" for node in nodes) == 1 + 2 * 2  # embeddings, two in each layer
    assert sum("word_embeddings.weight" in " ".join(node.input) for node in nodes) == 1


def test_the_folder_holds_one_file_of_weights_the_tokenizer_and_a_config_without_code(exported, tiny_encoder):
    model, _, folder = exported
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("model.onnx", "model_int8.onnx", "config.json", "tokenizer.json", "tokenizer_config.json", "README.md")
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [type(model).__name__]
    assert not {"auto_map", "custom_pipelines"} & config.keys()
    assert AutoConfig.from_pretrained(folder).tasks == model.config.tasks
    text = "A warm film ."
    assert AutoTokenizer.from_pretrained(folder)(text) == AutoTokenizer.from_pretrained(tiny_encoder)(text)
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert not [path for path in (tiny_encoder, str(folder), *sys.path[1:]) if path and path.encode() in content]


def assert_the_readme_runs(folder, monkeypatch):
    (block,) = python_blocks((folder / "README.md").read_text())
    assert not re.search("torch|transformers|extrabert", block)
    monkeypatch.chdir(folder)
    for name in ("model.onnx", "model_int8.onnx"):
        if (folder / name).exists():
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(block.replace("model.onnx", name), "README.md", "exec"), {})
            assert_prints_its_comments(block, printed.getvalue())


def test_the_readme_runs_as_it_stands(exported, monkeypatch):
    _, _, folder = exported
    assert_the_readme_runs(folder, monkeypatch)
    text = (folder / "README.md").read_text()
    for output in open_session(folder / "model.onnx").get_outputs():
        assert f"| `{output.name}` | ({', '.join(map(str, output.shape))}) |" in text


def test_the_metadata_tell_the_task_the_labels_and_the_source(exported):
    model, _, folder = exported
    for name in ("model.onnx", "model_int8.onnx"):
        found = {entry.key: entry.value for entry in onnx.load(folder / name).metadata_props}
        assert (found["source"], found["max_length"]) == ("me/model", "48")
        assert found["version"] == f"extrabert_hf {__version__}"
        several = isinstance(model, ExtraBertForMultiTask)
        if several:
            assert json.loads(found["task"]) == list(TASKS)
            assert json.loads(found["score_range"]) == {"sts": [0.0, 5.0]}
        elif isinstance(model, ExtraBertForSimilarity):
            assert (found["task"], found["head"], found["score_range"]) == ("sts", "similarity", "[0.0, 5.0]")
            assert "labels" not in found
        if not isinstance(model, ExtraBertForSimilarity):
            labels = json.loads(found["labels"])
            assert (labels["mood"] if several else labels) == (
                TASKS["mood"]["class_names"] if several else list(model.config.id2label.values())
            )


def test_an_export_leaves_the_model_as_it_was(exported):
    model, before, _ = exported
    after = model.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_an_export_leaves_the_mode(tiny_encoder, exported, tmp_path, monkeypatch):
    model, _, folder = exported
    model.train()
    monkeypatch.setattr(torch.onnx, "export", lambda *_, f, **__: shutil.copy(folder / "model.onnx", f))
    export_onnx(model, AutoTokenizer.from_pretrained(tiny_encoder), tmp_path)
    assert all(module.training for module in model.modules())


def test_int8_is_smaller_and_near(exported):
    model, _, folder = exported
    batch = random_sentences(OutputsOfAllTasks(model), rows=16, seq=12)
    assert (folder / "model_int8.onnx").stat().st_size < 0.6 * (folder / "model.onnx").stat().st_size
    found, expected = run_session(open_session(folder / "model_int8.onnx"), batch), logits_of(model, batch)
    for name, logits in expected.items():
        difference = np.abs(found[name] - logits)
        assert difference.max() > 0
        assert difference.mean() < 0.25 * logits.std()


def test_int8_quantises_every_weight_matrix_and_no_product_of_activations(exported):
    _, _, folder = exported
    full, small = (onnx.load(folder / name).graph for name in ("model.onnx", "model_int8.onnx"))
    matrices = {tensor.name for tensor in full.initializer if len(tensor.dims) == 2}
    with_matrix = {n.name for n in full.node if n.op_type in ("MatMul", "Gemm") and matrices & set(n.input[1:])}
    left = {node.name for node in small.node if node.op_type in ("MatMul", "Gemm")}
    assert with_matrix
    assert left == {n.name for n in full.node if n.op_type in ("MatMul", "Gemm")} - with_matrix


def test_a_graph_of_other_weights_is_refused(exported, tiny_encoder, tmp_path, monkeypatch):
    model, _, folder = exported
    monkeypatch.setattr(torch.onnx, "export", lambda *_, f, **__: shutil.copy(folder / "model.onnx", f))
    other = shaken_model(type(model), tiny_encoder)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter))
    with pytest.raises(InputError, match=r"must give PyTorch's outputs to 0.001, it differs by \d"):
        export_onnx(other, AutoTokenizer.from_pretrained(tiny_encoder), tmp_path)


def test_a_graph_that_gives_no_number_is_refused(exported, tiny_encoder, tmp_path, monkeypatch):
    model, _, folder = exported
    monkeypatch.setattr(torch.onnx, "export", lambda *_, f, **__: shutil.copy(folder / "model.onnx", f))
    run = onnx_export.run_session
    monkeypatch.setattr(onnx_export, "run_session", lambda *args: {k: v * np.nan for k, v in run(*args).items()})
    with pytest.raises(InputError, match="it differs by nan"):
        export_onnx(model, AutoTokenizer.from_pretrained(tiny_encoder), tmp_path)


def test_adapters_by_task_are_exported_one_task_at_a_time(tiny_encoder, tmp_path):
    adapter = {"r": 2, "lora_alpha": 4, "target_modules": ["query"]}
    config = shaken_model(ExtraBertForMultiTask, tiny_encoder).config
    config.tasks["sts"]["adapter"] = adapter
    with pytest.raises(InputError, match="`task` must be given to export a model with an adapter for each task"):
        export_onnx(ExtraBertForMultiTask(config), AutoTokenizer.from_pretrained(tiny_encoder), tmp_path)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_its_extra(package, tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"^the export needs {package}: pip install 'extrabert_hf\[export\]'$"):
        export_onnx(shaken_model(ExtraBertForSentiment, tiny_encoder), None, tmp_path)


def test_a_cross_encoder_is_exported_of_one_task(tiny_encoder, tmp_path, monkeypatch):
    model = shaken_model(ExtraBertForSimilarity, tiny_encoder, pair_encoding="cross_encoder").eval()
    path = export_onnx(model, AutoTokenizer.from_pretrained(tiny_encoder), tmp_path)
    session, graph = open_session(path), OutputsOfAllTasks(model)
    assert [output.name for output in session.get_outputs()] == ["logits"]  # no vectors of single sentences
    assert "embeddings" not in (tmp_path / "README.md").read_text()
    assert_the_readme_runs(tmp_path, monkeypatch)
    for rows, seq in ((1, 5), (4, 20)):
        batch = random_sentences(graph, rows=rows, seq=seq)
        with torch.inference_mode():
            expected = model(**batch).logits.numpy()
        np.testing.assert_allclose(run_session(session, batch)["logits"], expected, atol=1e-4)
    several = shaken_model(ExtraBertForMultiTask, tiny_encoder)
    several.config.tasks["para"]["pair_encoding"] = "cross_encoder"
    with pytest.raises(InputError, match="a cross-encoder: one task at a time"):
        export_onnx(several, AutoTokenizer.from_pretrained(tiny_encoder), tmp_path)
