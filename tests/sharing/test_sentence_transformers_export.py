import contextlib
import io
import json
import subprocess
import sys
import sysconfig

import pytest
import torch
from torch import nn
from transformers import AutoTokenizer

from extrabert_hf import ExtraBertForMultiTask, ExtraBertForSentiment, ExtraBertForSimilarity
from extrabert_hf.errors import InputError
from extrabert_hf.inference.predictor import predict_logits
from extrabert_hf.sharing import sentence_transformers_export
from extrabert_hf.sharing.sentence_transformers_export import export_sentence_transformers, load_sentence_transformer
from tests.sharing.snippets import assert_prints_its_comments, python_blocks

POOLINGS = ["pooler", "cls", "mean", "dot", "multiplicative"]
FIRST = ["A man is playing a guitar.", "A warm film .", "how " * 60 + "?", "a", "The woman is slicing a tomato."]
SECOND = ["Someone plays the guitar.", "A COLD FILM .", "what " * 70 + "?", "", "the WOMAN is slicing an onion"]
CLEAN_PROCESS = f"""
import sys

sys.path.append({sysconfig.get_path("purelib")!r})  # `-S` leaves out the .pth file of an editable install
sys.modules["extrabert_hf"] = None
try:
    import extrabert_hf
except ImportError:
    print("no package")

import json
from sentence_transformers import SentenceTransformer

sentences = json.loads(sys.argv[1])
for folder in sys.argv[2:]:
    trust = {{"trust_remote_code": True}} if folder.endswith("dot") else {{}}
    model = SentenceTransformer(folder, **trust)
    u, v = (model.encode(side) for side in sentences)
    print(json.dumps(model.similarity_pairwise(u, v).tolist()))
"""


@pytest.fixture
def tokenizer(tiny_encoder):
    return AutoTokenizer.from_pretrained(tiny_encoder)


@pytest.fixture
def similarity_model(tiny_encoder):
    """Makes a model whose pooling is far from the plain mean."""

    def make(pooling, **fields):
        torch.manual_seed(0)
        model = ExtraBertForSimilarity.from_backbone(tiny_encoder, pooling=pooling, **fields)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            for parameter in [] if model.pooling is None else model.pooling.parameters():
                parameter.add_(0.15 * torch.randn_like(parameter))
        return model

    return make


def cosines_of(loaded):
    u, v = (loaded.encode(side, show_progress_bar=False) for side in (FIRST, SECOND))
    return loaded.similarity_pairwise(u, v)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_models_score_is_five_times_the_folders_cosine(
    pooling, similarity_model, tokenizer, tmp_path, monkeypatch
):
    model = similarity_model(pooling)
    needs_code = export_sentence_transformers(model, tokenizer, tmp_path)
    assert needs_code == (pooling == "dot")
    loaded = load_sentence_transformer(tmp_path, trust_remote_code=needs_code)
    expected = torch.from_numpy(predict_logits(model, tokenizer, FIRST, SECOND)[:, 0])
    torch.testing.assert_close(5 * cosines_of(loaded), expected, rtol=0, atol=5e-5)
    assert expected.std() > 0.01
    assert loaded.similarity_fn_name == "cosine"
    assert loaded.get_embedding_dimension() == 16
    assert loaded.max_seq_length == tokenizer.model_max_length == 48
    (block,) = python_blocks((tmp_path / "README.md").read_text())
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(block, "README.md", "exec"), {})
    assert_prints_its_comments(block, printed.getvalue())


@pytest.mark.launch
def test_a_folder_is_loaded_without_the_package(similarity_model, tokenizer, tmp_path):
    folders, expected = [], []
    for pooling in ("multiplicative", "mean", "dot"):
        model = similarity_model(pooling)
        folders.append(str(tmp_path / pooling))
        export_sentence_transformers(model, tokenizer, folders[-1])
        expected.append(predict_logits(model, tokenizer, FIRST, SECOND)[:, 0] / 5)
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", CLEAN_PROCESS, json.dumps([FIRST, SECOND]), *folders],
        env={"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "MISSING" not in done.stderr  # no weight that the encoder would start anew
    printed = done.stdout.splitlines()
    assert printed[0] == "no package"
    for line, cosines in zip(printed[1:], expected, strict=True):
        torch.testing.assert_close(torch.tensor(json.loads(line)), torch.from_numpy(cosines), rtol=0, atol=1e-5)


@pytest.mark.parametrize("multiplicative_weight", [True, False])
def test_learned_attention_needs_no_code_and_ordinary_layers_only(
    multiplicative_weight, similarity_model, tokenizer, tmp_path
):
    model = similarity_model("multiplicative", multiplicative_weight=multiplicative_weight)
    assert not export_sentence_transformers(model, tokenizer, tmp_path)
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert [entry["type"].rpartition(".")[2] for entry in modules] == ["Transformer", "Dense", "Pooling", "Normalize"]
    assert not list(tmp_path.rglob("*.py"))


@pytest.mark.parametrize("pooling", ["dot", "multiplicative"])
def test_a_folder_with_code_is_loaded_only_where_it_is_trusted(pooling, similarity_model, tokenizer, tmp_path):
    model = similarity_model(pooling)
    if pooling == "multiplicative":  # scores past those that layers can hold
        with torch.no_grad():
            model.pooling.query.mul_(100)
    assert export_sentence_transformers(model, tokenizer, tmp_path)
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        load_sentence_transformer(tmp_path)
    loaded = load_sentence_transformer(tmp_path, trust_remote_code=True)
    expected = torch.from_numpy(predict_logits(model, tokenizer, FIRST, SECOND)[:, 0]) / 5
    torch.testing.assert_close(cosines_of(loaded), expected, rtol=0, atol=1e-5)


def test_an_export_leaves_the_model_and_names_no_path(similarity_model, tokenizer, tiny_encoder, tmp_path):
    model = similarity_model("multiplicative").train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    export_sentence_transformers(model, tokenizer, tmp_path)
    assert model.training
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    for path in tmp_path.rglob("*.json"):
        assert str(tmp_path) not in path.read_text()
        assert tiny_encoder not in path.read_text()


@pytest.mark.parametrize(
    ("model_class", "fields", "got"),
    [
        (ExtraBertForSentiment, {}, "an ExtraBertForSentiment"),
        (ExtraBertForSimilarity, {"similarity": "linear"}, "one without a cosine"),
        (ExtraBertForSimilarity, {"similarity": "linear", "pair_encoding": "cross_encoder"}, "a cross-encoder"),
        (ExtraBertForMultiTask, {}, "an ExtraBertForMultiTask: add --task, one of 'sst', 'para', 'sts'"),
    ],
)
def test_a_model_whose_score_is_no_cosine_is_refused(model_class, fields, got, tiny_encoder, tokenizer, tmp_path):
    model = model_class.from_backbone(tiny_encoder, **fields)
    with pytest.raises(InputError, match=f"'sentence-transformers' is for a similarity model .* got {got}"):
        export_sentence_transformers(model, tokenizer, tmp_path)


def test_a_pooler_that_is_no_linear_layer_with_tanh_is_refused(similarity_model, tokenizer, tmp_path):
    model = similarity_model("pooler")
    model.backbone.pooler.activation = nn.ReLU()
    with pytest.raises(InputError, match=r"'pooler' must be a linear layer with tanh .*, got the BertPooler"):
        export_sentence_transformers(model, tokenizer, tmp_path)


def test_a_folder_of_other_cosines_is_refused(similarity_model, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(sentence_transformers_export, "_largest_score", lambda *_: -16.0)  # no room above the scores
    with pytest.raises(InputError, match="must give the model's cosines to 1e-05, it differs by"):
        export_sentence_transformers(similarity_model("multiplicative"), tokenizer, tmp_path)


def test_a_missing_package_is_named_with_its_extra(similarity_model, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(
        InputError, match=r"^the export needs sentence-transformers: pip install 'extrabert_hf\[export"
    ):
        export_sentence_transformers(similarity_model("mean"), tokenizer, tmp_path)
