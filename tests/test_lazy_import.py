"""What `import extrabert_hf` imports and registers, each case in a new process or in a fork of one."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import extrabert_hf
from extrabert_hf import ExtraBertConfig, ExtraBertForSimilarity
from extrabert_hf.models import __all__ as model_names

ROOT = Path(__file__).parents[1]


def printed(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def saved_model(tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    ExtraBertForSimilarity.from_backbone(tiny_encoder).save_pretrained(folder)
    for file in Path(tiny_encoder).glob("tokenizer*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.launch
def test_importing_the_package_imports_neither_torch_nor_transformers():
    code = "import json, sys, extrabert_hf; print(json.dumps(sorted(sys.modules)))"
    imported = set(json.loads(printed(code)))
    assert "extrabert_hf" in imported
    assert not imported & {"torch", "transformers", "huggingface_hub", "numpy", "datasets", "peft"}


FORKS = """
import json, os, sys
import torch  # the only import that takes long and that no case is about

for line in sys.stdin:
    code, *arguments = json.loads(line)
    assert not {"extrabert_hf", "transformers"} & sys.modules.keys()
    if os.fork() == 0:
        sys.argv[1:] = arguments
        exec(code, {"__name__": "__main__"})
        break
    os.wait()
    print("end", flush=True)
"""


@pytest.fixture(scope="module")
def forks():
    """A process that has imported torch alone."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([sys.executable, "-c", FORKS], text=True, cwd=ROOT, **pipes) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def printed_in_a_fork(forks):
    """Runs code in a fork of that process, and returns the last line that the code prints."""

    def run(code, *arguments):
        forks.stdin.write(json.dumps([code, *map(str, arguments)]) + "\n")
        forks.stdin.flush()
        lines = list(iter(lambda: forks.stdout.readline().rstrip("\n"), "end"))
        assert lines and "Traceback" not in "\n".join(lines), lines
        return lines[-1]

    return run


in_forks = pytest.mark.slow
LOADS = "print(type(AutoModel.from_pretrained(sys.argv[1])).__name__)"


@in_forks
@pytest.mark.parametrize(
    "code",
    [
        f"import sys, extrabert_hf; from transformers import AutoModel; {LOADS}",
        f"import sys; from transformers import AutoModel; import extrabert_hf; {LOADS}",
        f"import sys, extrabert_hf; from transformers import AutoModelForSequenceClassification as AutoModel; {LOADS}",
        f"import sys; from extrabert_hf.models import ExtraBertOutput; from transformers import AutoModel; {LOADS}",
        "import sys, extrabert_hf; from transformers import AutoConfig; c = AutoConfig.from_pretrained(sys.argv[1]); "
        "assert 'extrabert_hf.models.modeling_extrabert' not in sys.modules; print(c.architectures[0])",
        "import sys; from transformers import AutoConfig; import extrabert_hf; "
        "print(AutoConfig.from_pretrained(sys.argv[1]).architectures[0])",
    ],
)
def test_auto_classes_load_a_saved_model_whatever_is_imported_first(code, saved_model, printed_in_a_fork):
    assert printed_in_a_fork(code, saved_model) == "ExtraBertForSimilarity"


@in_forks
@pytest.mark.parametrize("order", ["import extrabert_hf; from transformers", "from transformers"])
def test_pipeline_loads_a_saved_model(order, saved_model, printed_in_a_fork):
    code = (
        f"import sys; {order} import pipeline; import extrabert_hf; "
        "pipe = pipeline('sentence-similarity', model=sys.argv[1], trust_remote_code=True); "
        "print(type(pipe.model).__name__, len(pipe([('a b', 'c')])))"
    )
    assert printed_in_a_fork(code, saved_model) == "ExtraBertForSimilarity 1"


@in_forks
def test_configs_models_and_auto_classes_survive_pickling(saved_model, printed_in_a_fork):
    code = (
        "import pickle, sys, extrabert_hf; from transformers import AutoConfig, AutoModel; "
        "config = pickle.loads(pickle.dumps(AutoConfig.from_pretrained(sys.argv[1]))); "
        "mapping = pickle.loads(pickle.dumps(AutoModel._model_mapping)); "
        "model = pickle.loads(pickle.dumps(AutoModel.from_pretrained(sys.argv[1]))); "
        "print(type(config).__name__, mapping[type(config)][2] is type(model), len(mapping[type(config)]))"
    )
    assert printed_in_a_fork(code, saved_model) == "ExtraBertConfig True 4"


@pytest.mark.parametrize("name", extrabert_hf.__all__)
def test_every_public_name_is_importable(name):
    module = importlib.import_module(f"extrabert_hf.{extrabert_hf._MODULES[name]}")
    assert getattr(extrabert_hf, name) is getattr(module, name)
    assert name in dir(extrabert_hf)


def test_every_name_of_the_models_is_importable():
    models = importlib.import_module("extrabert_hf.models")
    assert all(getattr(models, name).__class__ is not None and name in dir(models) for name in model_names)


@pytest.mark.parametrize("module", ["extrabert_hf", "extrabert_hf.models"])
def test_type_checkers_see_what_is_imported(module):
    module = importlib.import_module(module)
    (block,) = [node for node in ast.parse(Path(module.__file__).read_text("utf-8")).body if isinstance(node, ast.If)]
    seen = {alias.name: node.module.removeprefix(f"{module.__name__}.") for node in block.body for alias in node.names}
    assert seen == module._MODULES
    assert sorted(seen) == sorted(module.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'extrabert_hf' has no attribute 'ExtraBertForRanking'"):
        extrabert_hf.ExtraBertForRanking  # noqa: B018
    assert not hasattr(importlib.import_module("extrabert_hf.models"), "ExtraBertForRanking")


def test_a_config_in_use_is_the_registered_one():
    from transformers import AutoConfig

    assert type(AutoConfig.for_model("extrabert")) is ExtraBertConfig
