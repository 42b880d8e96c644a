"""Commands on a model whose files have Python code of their own."""

import json
import shutil

import pytest

from tests.conftest import tiny_run
from tests.recipe_process import RecipeProcess
from tests.recipes.processes import ENVIRONMENT, ROOT

pytestmark = pytest.mark.launch

COMMANDS = {
    "sft_sst": ["--model_name_or_path", "{encoder}", "--data", "sample", "--output_dir", "{out}"],
    "multitask": ["--model_name_or_path", "{encoder}", "--data", "sample", "--output_dir", "{out}"],
    "pretrain_contrastive": ["--model_name_or_path", "{encoder}", "--text", "README.md", "--output_dir", "{out}"],
    "table1": ["--model_name_or_path", "{encoder}", "--data", "sample", "--output_dir", "{out}"],
    "audit_data": ["--data", "sample", "--tokenizer", "{encoder}"],
    "predict": ["{model}", "-", "--output", "-"],
    "evaluate_model": ["{model}", "--data", "sample"],
    "explain": ["{model}", "one", "two"],
    "calibrate": ["{model}", "--data", "sample", "--output_dir", "{out}"],
    "export": ["{model}", "--format", "safetensors", "--output", "{out}"],
    "demo": ["{model}", "--port", "0"],
    "benchmark": ["--model_name_or_path", "{encoder}", "--only", "score-pairs", "--rounds", "1", "--rows", "64"],
}


@pytest.fixture(scope="module")
def process():
    with RecipeProcess(ROOT, ENVIRONMENT) as process:
        yield process


@pytest.fixture(scope="module")
def strange(tiny_encoder, finished_run, tmp_path_factory):
    """An encoder and a model of this package with code that makes a file: the names of all three."""
    root = tmp_path_factory.mktemp("strange")
    code = f"""
from transformers import PreTrainedTokenizerFast
open({str(root / "canary")!r}, "w").close()
class MarkedTokenizer(PreTrainedTokenizerFast):
    pass
"""
    for name, source in (("encoder", tiny_encoder), ("model", finished_run("sts"))):
        shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("checkpoint-*"))
        (root / name / "marked.py").write_text(code)
        path = root / name / "tokenizer_config.json"
        changes = {
            "tokenizer_class": "MarkedTokenizer",
            "auto_map": {"AutoTokenizer": [None, "marked.MarkedTokenizer"]},
        }
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return root


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_neither_runs_the_code_nor_asks(command, process, strange, tmp_path):
    places = {"encoder": strange / "encoder", "model": strange / "model", "out": tmp_path / "out"}
    words = [word.format(**places) for word in COMMANDS[command]]
    done = process.run(f"recipes/{command}.py", *words, stdin="y\n" * 9)
    assert done.returncode == 2, done.stderr
    assert "Do you wish to run" not in done.stdout + done.stderr
    assert "needs Python code of its own files (marked.MarkedTokenizer)" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (strange / "canary").exists()


def test_the_flag_runs_the_code_and_is_stored_nowhere(process, strange, tmp_path):
    words = tiny_run(str(strange / "encoder"), tmp_path / "out", "--max_steps", "1", "--trust_remote_code", "true")
    done = process.run("recipes/sft_sst.py", *words)
    assert done.returncode == 0, done.stderr
    assert (strange / "canary").exists()
    (strange / "canary").unlink()
    for path in (tmp_path / "out").rglob("*"):
        is_code = path.suffix == ".py" or path.name == "README.md"  # the card has code that loads the model
        assert is_code or path.is_dir() or b"trust_remote_code" not in path.read_bytes(), path
    refused = process.run("recipes/explain.py", tmp_path / "out", "A film.")
    assert refused.returncode == 2 and "--trust_remote_code true" in refused.stderr
    shown = process.run("recipes/explain.py", tmp_path / "out", "A film.", "--trust_remote_code", "true")
    assert shown.returncode == 0, shown.stderr
