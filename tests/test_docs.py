"""
README.md and docs/: every command and every Python block runs, and every flag, path, link and YAML key exists.

The commands of a document run in order, in a folder that has what the documents name: finished runs,
`path/to/cs224n/data`, `reviews.csv`, ... The encoder is the tiny random one, and training stops after two steps.
"""

import ast
import contextlib
import csv
import io
import json
import os
import re
import runpy
import shlex
import shutil
import sys
import textwrap
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from extrabert_hf.cli.main import COMMANDS, main
from extrabert_hf.errors import is_installed
from extrabert_hf.training.command_line import parse_multitask_run, parse_run
from tests.conftest import TINY_RUN
from tests.recipe_process import RecipeProcess
from tests.sharing.hub_server import TOKEN, USER, HubServer

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)

RECIPES = {
    **{"sft_sst": "train sst", "sft_para": "train para", "sft_sts": "train sts", "multitask": "train multitask"},
    **{"evaluate_model": "evaluate", "audit_data": "audit", "push_to_hub": "push", "pretrain_contrastive": "pretrain"},
}
"""By recipe, the command that it runs, where the command has another name."""
TRAINING = ("train", "train sst", "train para", "train sts", "train multitask")
FORWARDS_FLAGS = ("table1", "search")
"""Commands that pass flags they do not have on to training."""
MAIN = ROOT / "extrabert_hf" / "__main__.py"

OTHER_TOOLS = ("python -m benchmarks.", "pip", "uv", "python3 -m venv", "pytest", "ruff", "pre-commit")
OTHER_FLAGS = {"config_file", "num_processes", "logdir"}
"""Flags of accelerate and tensorboard, or that `extrabert` takes for accelerate."""
EXAMPLE_FLAGS = {"focal_gamma"}
"""Flags that docs/extend.md adds."""
EXAMPLE_NAMES = {"ExtraBertFor...", "MeanAbsoluteError"}

NOT_RUN = {
    "multi_gpu.yaml": "needs several GPUs",
    "extrabert demo": "serves until it is stopped; tests/recipes runs it",
    "recipes/benchmark.py": "takes minutes; tests/benchmarks runs the code",
    "extrabert search": "starts processes; tests/search runs it",
    "--num_processes": "starts processes; tests/cli runs it",
    "--adapter_only": "needs an encoder from the Hub; tests/sharing runs it",
    "--config quickstart": ".ci/run runs it in a fresh virtual environment",
    **({} if is_installed("cleanlab") else {"--find_label_errors": "needs the extra `labels`"}),
}
SLOW = ("extrabert table1", "--format onnx")

FEW_STEPS = [*TINY_RUN, "--max_steps", "2", "--max_length", "20"]
RUNS = {
    **{"sst": "sst", "para": "para", "sts": "sts", "multitask": "multitask"},
    **dict.fromkeys(("sts_mean", "sts-42", "sts-43", "sts-cross", "a1", "a2", "m1", "m2"), "sts"),
    "para_mean": "para",
}
"""Run that the documents name -> the trained run that it is a copy of."""


def fenced(path, language):
    """The fenced blocks of a language, without the indentation that a block in a list has."""
    found = re.finditer(
        rf"^( *)```{language}\n(.*?)^\1```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [textwrap.dedent(block[2]) for block in found]


@dataclass
class Command:
    """One command of a bash block: its line; of our own commands also the program, the command and its words."""

    line: str
    program: list[str]
    command: str | None
    words: list[str]

    @property
    def reason_not_to_run(self):
        return next((reason for part, reason in NOT_RUN.items() if part in self.line), None)

    @property
    def is_slow(self):
        return any(part in self.line for part in SLOW)

    @property
    def flags(self):
        return [word.removeprefix("--").split("=")[0] for word in self.words if word.startswith("--")]


def commands(path):
    for block in fenced(path, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield command_of(words)


def command_of(words):
    """Reads the words `[launcher ...] recipes/NAME.py ...` or `extrabert COMMAND ...`."""
    line = " ".join(words)
    for start, word in enumerate(words):
        if re.fullmatch(r"recipes/\w+\.py", word):
            return Command(line, [word], RECIPES.get(Path(word).stem, Path(word).stem), words[start + 1 :])
        if word.endswith("extrabert"):
            length = 2 if words[start + 1] == "train" and f"train {words[start + 2]}" in TRAINING else 1
            own = words[start + 1 : start + 1 + length]
            return Command(line, [str(MAIN), *own], " ".join(own), words[start + 1 + length :])
    return Command(line, [], None, [])


def own_commands(path):
    return [command for command in commands(path) if command.command is not None]


@pytest.fixture(scope="session")
def flags_of():
    """Reads the flags that the `--help_all` of a command lists."""
    known = {}

    def read(command):
        if command not in known:
            if command == "search":
                pytest.importorskip("optuna", reason="needs the extra `search`")
            output = io.StringIO()
            with contextlib.redirect_stdout(output), pytest.raises(SystemExit):
                if command == "benchmark":  # not a command of the package
                    sys.argv[1:] = ["--help_all"]
                    runpy.run_path(str(ROOT / "recipes" / "benchmark.py"), run_name="__main__")
                else:
                    main([*command.split(), "--help_all"])
            known[command] = set(re.findall(r"--(\w+)", output.getvalue()))
        return known[command].union(*(read(other) for other in TRAINING if command in FORWARDS_FLAGS))

    return read


def test_the_readme_is_short_and_has_its_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= 10_000
    for mark in ("quickstart", "tests"):
        assert re.search(rf"^<!-- {mark} -->\n```bash\n[^\n]+\n```$", text, re.MULTILINE), mark
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in text


@every_document
def test_every_command_is_ours_with_flags_that_exist_or_a_known_tool(path, flags_of):
    for command in commands(path):
        if command.command is None:
            assert command.line.startswith(OTHER_TOOLS), command.line
            continue
        assert command.program[0] == str(MAIN) or (ROOT / command.program[0]).is_file(), command.line
        assert set(command.flags) <= flags_of(command.command) | {"num_processes"}, command.line


@every_document
def test_every_flag_named_in_the_text_exists(path, flags_of):
    named = set(
        re.findall(r"(?<![\w-])--([a-z]\w*)", re.sub(r"```bash\n.*?```", "", path.read_text(), flags=re.DOTALL))
    )
    if not named:
        return
    known = set().union(*(flags_of(command) for command in (*TRAINING, *COMMANDS, "benchmark") if command != "train"))
    assert named <= known | OTHER_FLAGS | EXAMPLE_FLAGS


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.stem)
def test_every_path_and_every_extra_named_exists(path):
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"(?<![\w/.-])(?:extrabert_hf|recipes|tests|benchmarks|hub_cards|docs)/[\w./-]*\w/?", text):
        assert (ROOT / name).exists(), name
    offered = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    for extras in re.findall(r'-e "\.\[([\w,]+)\]"', text):
        assert set(extras.split(",")) <= set(offered), extras


def anchors(path):
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    "path", [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda path: path.stem
)
def test_every_link_leads_somewhere(path):
    text = re.sub(r"^( *)```.*?^\1```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith("http"):
            file, _, anchor = link.partition("#")
            target = path.parent / file if file else path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@every_document
def test_every_yaml_block_is_a_run(path, tmp_path):
    for block in fenced(path, "yaml"):
        (tmp_path / "run.yaml").write_text(block)
        words = ["--config", str(tmp_path / "run.yaml"), "--output_dir", str(tmp_path / "run"), "--bf16", "false"]
        if "multitask" in yaml.safe_load(block):
            run = parse_multitask_run(words)
            assert list(run.tasks) == run.multitask.tasks
        else:
            assert len(parse_run("sts", words).tasks) == 1


@pytest.mark.parametrize("name", ["extend", "design"])
def test_every_name_in_the_code_that_a_page_explains_exists(name):
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```.*?```", page, re.DOTALL)
    files = [path for folder in ("extrabert_hf", "recipes", "tests") for path in (ROOT / folder).rglob("*.py")]
    sources = "\n".join(path.read_text("utf-8") for path in files if path != Path(__file__)) + "\n".join(blocks)
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    for identifier in re.findall(r"`([A-Za-z_]\w+(?:\.[A-Za-z_]\w*)?)`", prose):
        assert re.search(rf"\b{identifier.rpartition('.')[2]}\b", sources), identifier


@every_document
def test_every_python_block_is_python(path):
    for block in fenced(path, "python"):
        ast.parse(block)


@pytest.fixture(scope="module")
def hub():
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def workspace(request, tmp_path_factory, tiny_encoder):
    """A folder in which the documents' commands can be typed as they are."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    data = folder / "path" / "to" / "cs224n" / "data"
    shutil.copytree(ROOT / "extrabert_hf" / "data" / "samples", data)
    header, *rows = (data / "quora-train.csv").read_text("utf-8").splitlines(keepends=True)
    others = [row.replace("?", " now?") for row in rows]  # a calibration needs 100 rows that are not train rows
    (data / "quora-dev.csv").write_text(header + "".join(others), "utf-8")
    with (folder / "reviews.csv").open("w", newline="") as file:
        reviews = [("Dull.", "bad"), ("It passes the time.", "fair"), ("A warm and funny film.", "good")] * 20
        csv.writer(file).writerows(
            [("review", "stars"), *((f"{n} {text}", stars) for n, (text, stars) in enumerate(reviews))]
        )
    (folder / "pairs.csv").write_text("sentence1,sentence2\nA dog runs.,A cat sleeps.\nIt rains.,It snows.\n")
    pairs = [{"query": f"A dog {n}", "answer": f"A cat {n}", "score": n % 11 / 10} for n in range(40)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (folder / "more-pairs.csv").write_text("question1,question2,label\nIs it red?,Is it blue?,0\nWhy?,Why not?,1\n")
    trees = (f"({n % 5} (2 A) ({n % 5} (2 (2 film) (2 {n})) (3 (3 that) (4 glows))))" for n in range(40))
    (folder / "trees.txt").write_text("\n".join(trees))
    (folder / "corpus.txt").write_text("A dog runs in the street. A cat sleeps on the wall. It rains.\n\n" * 20)
    return folder


@pytest.fixture(scope="module")
def process(workspace, hub):
    """A process that runs one script after another in the workspace, with the Hub of the tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = inherited | {
        **{
            "HF_ENDPOINT": hub.endpoint,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(workspace / "hf"),
        },
        **{"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "agg"},
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    with RecipeProcess(workspace, environment) as process:
        yield process


@pytest.fixture
def run(process, hub, workspace, request):
    """Runs a script with its words; the finished runs are as they were, the Hub is empty."""
    finished_run = request.getfixturevalue("finished_run")
    shutil.rmtree(workspace / "runs", ignore_errors=True)
    for name, source in RUNS.items():
        shutil.copytree(finished_run(source), workspace / "runs" / name, ignore=shutil.ignore_patterns("checkpoint-*"))

    def one(*words):
        hub.forget()
        done = process.run(*words)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"

    return one


def adapted(command, tiny_encoder, fresh):
    """The words of a command, for the tiny encoder and two steps of training."""
    names = {"minilm": tiny_encoder}
    words = [names.get(word, word).replace("me/", f"{USER}/") for word in command.words]
    if command.command in (*TRAINING, *FORWARDS_FLAGS, "pretrain"):
        words += FEW_STEPS
        words += ["--rows", "rr_cs_gs", "--seeds", "42"] if command.command == "table1" else []
        models = [value for flag, value in pairwise(words) if flag == "--model_name_or_path"]
        words += [] if any(value.startswith("runs/") for value in models) else ["--model_name_or_path", tiny_encoder]
        has_data = command.command == "train" or {"data", "text"} & set(command.flags)
        words += [] if has_data else ["--data", "sample"]
        words += [] if "output_dir" in command.flags else ["--output_dir", f"runs/fresh{fresh}"]
    return words


def run_all(path, run, tiny_encoder, *, slow):
    for number, command in enumerate(own_commands(path)):
        if command.reason_not_to_run is None and command.is_slow == slow:
            run(*command.program, *adapted(command, tiny_encoder, number))


HAS_COMMANDS = [p for p in DOCUMENTS if fenced(p, "python") or own_commands(p)]
HAS_SLOW_COMMANDS = [p for p in DOCUMENTS if any(c.is_slow and not c.reason_not_to_run for c in own_commands(p))]


@pytest.mark.launch
@pytest.mark.parametrize("path", HAS_COMMANDS, ids=lambda path: path.stem)
def test_the_commands_and_then_the_python_blocks_run(path, run, tiny_encoder, workspace):
    run_all(path, run, tiny_encoder, slow=False)
    code = re.sub(r'"(google-bert/bert-base-uncased|minilm)"', repr(tiny_encoder), "\n".join(fenced(path, "python")))
    (workspace / "blocks.py").write_text(code)
    run("blocks.py")


@pytest.mark.slow
@pytest.mark.launch
def test_the_notebook_runs_and_is_stored_without_outputs(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient of the extra `test`")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient of the extra `test`")
    notebook = nbformat.read(ROOT / "examples" / "finetune.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    assert (tmp_path / "runs" / "sentences" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.launch
@pytest.mark.parametrize("path", HAS_SLOW_COMMANDS, ids=lambda path: path.stem)
def test_the_slow_commands_run(path, run, tiny_encoder):
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    run_all(path, run, tiny_encoder, slow=True)
