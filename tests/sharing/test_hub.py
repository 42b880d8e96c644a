"""The real client against a Hub on the loopback interface, in processes of their own: it reads its settings once."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from extrabert_hf import ExtraBertForSimilarity
from extrabert_hf.manifest import STATE
from extrabert_hf.pretrained.lora import merge_lora, save_adapter, with_lora
from tests.conftest import tiny_run
from tests.recipe_process import RecipeProcess
from tests.sharing.hub_server import TOKEN, HubServer

pytestmark = [
    pytest.mark.launch,
    pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning"),
]
ROOT = Path(__file__).parents[2]
INHERITED = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}

CLEAN_PROCESS = f"""
import sys

sys.path.append({sysconfig.get_path("purelib")!r})  # without what an editable install adds: `-S` leaves it out
sys.modules["extrabert_hf"] = None  # and where it is installed plainly, an import fails all the same
try:
    import extrabert_hf
except ImportError:
    print("no package")

import torch
from transformers import AutoModel, AutoTokenizer, pipeline

repo, task, folder = sys.argv[1:]
model = AutoModel.from_pretrained(repo, trust_remote_code=True)
task_argument = {{}} if task == "none" else {{"task": task}}
torch.save(model(**torch.load(f"{{folder}}/batch.pt"), **task_argument).logits, f"{{folder}}/logits.pt")
tokenizer = AutoTokenizer.from_pretrained(repo, trust_remote_code=True)
assert len(tokenizer("A warm film .").input_ids) == 6
pipe = pipeline(None if task == "none" else task, model=repo, trust_remote_code=True)
assert type(pipe).__module__.startswith("transformers_modules.")
print(pipe([("A warm film .", "A warm film .")])[0])
"""


@pytest.fixture(scope="module")
def server():
    with HubServer() as server:
        yield server


@pytest.fixture
def hub(server):
    server.forget()
    return server


@pytest.fixture(scope="module")
def settings(server, tmp_path_factory):
    """The environment that leads the client to the server."""
    return {
        "HF_ENDPOINT": server.endpoint,
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path_factory.mktemp("hf")),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


@pytest.fixture
def process(settings):
    """Runs Python in a process of its own."""

    def run(*words, clean=False, **environment):
        return subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=ROOT,
            env=({} if clean else INHERITED) | settings | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="module")
def recipes(settings):
    """A process that runs one recipe after another."""
    with RecipeProcess(ROOT, INHERITED | settings) as process:
        yield process


@pytest.fixture
def recipe(recipes):
    return recipes.run


@pytest.fixture
def push(recipe):
    return lambda *words, **environment: recipe("recipes/push_to_hub.py", *words, **environment)


@pytest.fixture
def logits_without_the_package(process, tmp_path):
    def load(repo, batch, task="none"):
        torch.save(batch, tmp_path / "batch.pt")
        done = process("-S", "-I", "-c", CLEAN_PROCESS, repo, task, tmp_path, clean=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == "no package"
        return torch.load(tmp_path / "logits.pt"), done.stdout

    return load


def last_line(done):
    return done.stderr.strip().splitlines()[-1]


def files_with_the_token(*folders):
    paths = (path for folder in folders for path in Path(folder).rglob("*") if path.is_file())
    return [path for path in paths if TOKEN.encode() in path.read_bytes()]


@pytest.mark.parametrize("task", ["sts", pytest.param("multitask", marks=pytest.mark.slow)])
def test_a_run_that_pushes_is_loaded_by_its_id_without_the_package(
    task, hub, process, logits_without_the_package, tiny_encoder, random_batch, tmp_path
):
    words = tiny_run(tiny_encoder, tmp_path / "run", "--num_train_epochs", "1")
    words += ["--push_to_hub", "true", "--hub_private_repo", "true", "--hub_model_id", "shared"]
    recipe = "recipes/multitask.py" if task == "multitask" else f"recipes/sft_{task}.py"
    done = process(recipe, *words)
    assert done.returncode == 0, done.stderr
    assert last_line(done) == f"the model is at {hub.endpoint}/tester/shared"
    repository = hub.repositories["tester/shared"]
    assert repository.private and len(repository.commits) == 2  # the Hub's own first one, and all in one
    assert {"README.md", "metrics.json", "model.safetensors", "figures/sts-dev.png"} <= set(repository.files)
    assert not [path for path in repository.files if path.endswith(".bin")]
    assert "me/" not in repository.files["README.md"].decode() and b"tester/shared" in repository.files["README.md"]
    batch = random_batch(4)
    logits, printed = logits_without_the_package("tester/shared", batch, "sts" if task == "multitask" else "none")
    model = AutoModel.from_pretrained(tmp_path / "run")
    task_argument = {"task": "sts"} if task == "multitask" else {}
    assert torch.equal(logits, model(**batch, **task_argument).logits)
    assert re.search(r"'label': 'similarity', 'score': (5\.0|4\.99)", printed)
    assert not files_with_the_token(tmp_path / "run")
    assert not [path for path, content in repository.files.items() if TOKEN.encode() in content]
    assert TOKEN not in done.stdout + done.stderr


TRAINER = """
import sys
from extrabert_hf import ExtraBertForSimilarity, ExtraBertTrainer, ExtraBertTrainingArguments
from transformers import AutoTokenizer

encoder, folder = sys.argv[1:]
arguments = ExtraBertTrainingArguments(output_dir=folder, bf16=False, hub_model_id="by-hand", eval_strategy="no",
    save_strategy="no", load_best_model_at_end=False)
model, tokenizer = ExtraBertForSimilarity.from_backbone(encoder), AutoTokenizer.from_pretrained(encoder)
print(ExtraBertTrainer(model=model, args=arguments, processing_class=tokenizer).push_to_hub(private=True))
"""


def test_a_trainer_pushes_its_model_without_a_run(
    hub, process, logits_without_the_package, tiny_encoder, random_batch, tmp_path
):
    done = process("-c", TRAINER, tiny_encoder, tmp_path / "out")
    assert done.returncode == 0 and done.stdout.split()[-1] == "tester/by-hand", done.stderr
    repository = hub.repositories["tester/by-hand"]
    assert repository.private and b"the folder of the model has no evaluation." in repository.files["README.md"]
    batch = random_batch(3)
    logits, _ = logits_without_the_package("tester/by-hand", batch)
    assert torch.equal(logits, AutoModel.from_pretrained(tmp_path / "out")(**batch).logits)


@pytest.mark.slow
def test_an_adapters_repository_gives_the_merged_models_logits(
    hub, process, push, logits_without_the_package, tiny_encoder, run_of, random_batch, tmp_path
):
    upload = f"from huggingface_hub import HfApi; api = HfApi(); api.create_repo('encoder'); \
api.upload_folder(repo_id='tester/encoder', folder_path={tiny_encoder!r})"
    assert process("-c", upload).returncode == 0
    folder = run_of("sts")
    shutil.rmtree(folder / "adapter")
    model = with_lora(ExtraBertForSimilarity.from_backbone(tiny_encoder), r=2, alpha=3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    save_adapter(model, folder / "adapter", encoder="tester/encoder")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["tasks"]["sts"]["model"] |= {"encoder": "tester/encoder", "encoder_is_on_hub": True}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    merge_lora(model).save_pretrained(folder)
    done = push(folder, "--adapter_only", "--hub_model_id", "lora")
    assert done.returncode == 0, done.stderr
    pushed = hub.repositories["tester/lora"].files
    assert "model.safetensors" not in pushed and "adapter/adapter_model.safetensors" in pushed
    assert b"base_model: tester/encoder" in pushed["README.md"]
    batch = random_batch(4)
    logits, _ = logits_without_the_package("tester/lora", batch)
    torch.testing.assert_close(logits, AutoModel.from_pretrained(folder)(**batch).logits, atol=1e-5, rtol=1e-5)


FAULTS = {
    "wrong token": ({"HF_TOKEN": "hf_wrong"}, None, r"the Hub does not accept the token \(401\) for 'new'"),
    "no token": ({"HF_TOKEN": ""}, None, r"the Hub needs a token to push 'new': `hf auth login`, or HF_TOKEN"),
    "no right": (
        {},
        ("POST", "/commit/", 403),
        r"the token must have the right to write to 'new', the Hub refused it \(403\)",
    ),
    "server error": ({}, ("POST", "/commit/", 500), r"the Hub failed on 'new' with status 500: "),
    "cut off": ({}, ("PUT", "/objects/", "cut"), r"the connection to the Hub broke off on 'new': "),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_push_that_fails_is_an_error_of_one_line_and_works_when_tried_again(fault, hub, push, run_of):
    environment, broken, message = FAULTS[fault]
    folder = run_of("sts")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and STATE not in path.parts}
    if broken is not None:
        hub.fail(*broken, times=1000)
    done = push(folder, "--hub_model_id", "new", "--hub_private_repo", "true", **environment)
    assert done.returncode == 2
    assert re.match(f"error: {message}", last_line(done)) and "Traceback" not in done.stderr
    again = shlex.split(re.search(r"to try again: (.+)", last_line(done))[1])
    assert again == [
        "extrabert",
        "push",
        str(folder),
        "--hub_model_id",
        "new",
        "--hub_private_repo",
        "true",
    ]
    assert TOKEN not in done.stderr + done.stdout and "hf_wrong" not in done.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert all(len(repository.commits) == 1 for repository in hub.repositories.values())  # whole or not at all
    hub.faults.clear()
    done = push(*again[2:])
    assert done.returncode == 0, done.stderr
    repository = hub.repositories["tester/new"]
    assert repository.private and repository.files["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_a_hub_out_of_reach_is_an_error_of_one_line(process, run_of):
    done = process("recipes/push_to_hub.py", run_of("sts"), HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 2
    assert re.match(r"error: the connection to the Hub broke off on 'extrabert-sts': ", last_line(done))


def test_the_one_line_stands_last_behind_all_progress_bars(hub, process, run_of, tmp_path):
    folder = run_of("sts").rename(tmp_path / "my runs")
    hub.fail("PUT", "/objects/", 403, times=1000)
    done = process("recipes/push_to_hub.py", folder, "--collection", "All of mine")
    assert done.returncode == 2
    assert re.match(
        r"error: the token must have the right to write to .*, the Hub refused it \(403\)", last_line(done)
    )
    again = re.search(r"to try again: (.+)", last_line(done))[1]
    assert "extrabert-my-runs" in last_line(done) and shlex.split(again) == [
        "extrabert",
        "push",
        str(folder),
        "--collection",
        "All of mine",
    ]


def test_a_card_that_the_hub_does_not_accept_is_an_error(hub, push, run_of):
    hub.card_errors = ["license must be one of mit, ..."]
    done = push(run_of("sts"), "--hub_license", "mine", "--hub_model_id", "new")
    assert done.returncode == 2
    assert "error: the Hub does not accept 'new': Invalid metadata in README.md" in last_line(done)
    assert "license must be one of mit" in last_line(done)


def test_the_error_of_a_collection_that_cannot_be_made_names_all_folders(hub, push, run_of):
    hub.fail("POST", "/api/collections", 500, times=1000)
    folders = [run_of("sts"), run_of("sst")]
    done = push(*folders, "--collection", "Two")
    assert done.returncode == 2 and "error: the Hub failed on 'Two' with status 500" in last_line(done)
    again = shlex.split(re.search(r"to try again: (.+)", last_line(done))[1])
    assert again[2:] == [*map(str, folders), "--collection", "Two"]
    hub.faults.clear()
    assert push(*again[2:]).returncode == 0
    assert len(hub.collections) == 1


def test_a_connection_that_breaks_off_once_is_taken_up_again(hub, push, run_of):
    hub.fail("PUT", "/objects/", "cut")
    done = push(run_of("sts"), "--hub_model_id", "new")
    assert done.returncode == 0, done.stderr
    assert "cut" in [status for _, _, status in hub.log]


def test_a_name_that_is_taken_is_left_alone_by_default(hub, push, run_of):
    sts, sst = run_of("sts"), run_of("sst")
    assert push(sts, "--hub_model_id", "taken").returncode == 0
    done = push(sst, "--hub_model_id", "taken")
    assert done.returncode == 2
    assert last_line(done).startswith("error: `hub_model_id` must be new, tester/taken holds another model: ")
    repository = hub.repositories["tester/taken"]
    assert len(repository.commits) == 2
    assert push(sst, "--hub_model_id", "taken", "--hub_update", "true").returncode == 0
    assert repository.files["model.safetensors"] == (sst / "model.safetensors").read_bytes()
    uploads = sum(method == "PUT" for method, _, _ in hub.log)
    assert push(sst, "--hub_model_id", "taken").returncode == 0  # the same model: a retry, which sends no weights
    assert sum(method == "PUT" for method, _, _ in hub.log) == uploads
    done = push(sst, "--hub_model_id", "somebody/else")
    assert re.match(r"error: the token must have the right to write to 'somebody/else'", last_line(done))


def test_a_run_that_could_not_push_says_so_before_it_trains(hub, recipe, tiny_encoder, tmp_path):
    words = tiny_run(tiny_encoder, tmp_path / "run")
    done = recipe("recipes/sft_sts.py", *words, "--push_to_hub", "true", HF_TOKEN="hf_wrong")
    assert done.returncode == 2
    assert re.match(r"error: the Hub does not accept the token \(401\) for 'extrabert-run'", last_line(done))
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_separate_models_go_into_one_collection(hub, push, run_of):
    folders = [run_of("sts"), run_of("sst")]
    for _ in range(2):
        done = push(*folders, "--collection", "Three tasks", "--hub_private_repo", "true")
        assert done.returncode == 0, done.stderr
    ((slug, collection),) = hub.collections.items()
    assert collection["items"] == ["tester/extrabert-sts", "tester/extrabert-sst"] and collection["private"]
    assert last_line(done).endswith(f"/collections/{slug}")
