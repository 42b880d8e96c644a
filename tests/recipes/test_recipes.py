import ast
import json
import re
import runpy
import subprocess
import sys
import urllib.request

import pytest

from tests.conftest import tiny_run
from tests.recipe_process import RecipeProcess
from tests.recipes.processes import ENVIRONMENT, ROOT, launch, run

EPOCHS = ("--num_train_epochs", "2", "--learning_rate", "1e-3")


@pytest.fixture(scope="module")
def process():
    """A process that runs one recipe after another."""
    with RecipeProcess(ROOT, ENVIRONMENT) as process:
        yield process


@pytest.fixture(scope="module")
def recipe(process):
    """Runs a recipe with its words, and by default asserts that it succeeds."""

    def run(name, *words, stdin="", check=True):
        done = process.run(f"recipes/{name}.py", *words, stdin=stdin)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def trained(recipe, tiny_encoder, tmp_path_factory):
    """The folder and the outputs of a run of each recipe for one task; one of them with `accelerate launch`."""
    folder = tmp_path_factory.mktemp("runs")
    outputs = {}
    for task in ("sst", "para", "sts"):
        words = tiny_run(tiny_encoder, folder / task, *EPOCHS, "--per_device_train_batch_size", "16")
        words += ["--disable_tqdm", str(task == "para").lower()]
        outputs[task] = launch("recipes/sft_sst.py", *words) if task == "sst" else recipe(f"sft_{task}", *words)
    return folder, outputs


@pytest.mark.launch
@pytest.mark.parametrize("task", ["sst", "para", "sts"])
def test_each_recipe_trains_and_logs_its_score(task, trained):
    folder, outputs = trained
    metrics = json.loads((folder / task / "metrics.json").read_text())
    name, value = next(iter(metrics["tasks"][task]["scores"]["dev"]["metrics"].items()))
    assert re.search(rf"{name} +{value:.3f} +\[", outputs[task].stderr)
    assert re.search(r"steps of 16 rows, float32, ", outputs[task].stderr)
    assert re.search(r"training ExtraBertFor\w+ on cpu: ", outputs[task].stderr)


@pytest.mark.launch
@pytest.mark.parametrize("task", ["para", "sts"])
def test_a_run_prints_its_plan_its_progress_and_its_scores_and_nothing_of_libraries(task, trained):
    lines = trained[1][task].stderr.splitlines()
    columns, rows, plan, model, steps, *others = lines
    assert columns.startswith("rows") and rows.startswith(f"{task} ")
    assert re.fullmatch(r"\S+, epochs: 2, batches of 16, learning rate \S+ -> \S+", plan)
    assert re.fullmatch(r"training ExtraBertFor\w+ on cpu: [\d.]+ of [\d.]+ M parameters", model)
    assert re.fullmatch(r"\d+ steps of 16 rows, float32, \w.*", steps)
    progress = [line for line in others if re.match(r"training +\d+ %, \d+ of ", line)]
    table = [line for line in others if re.match(r"  \w+ +-?\d\.\d{3} +(\[|no interval)", line)]
    rest = [line for line in others if line and line not in progress + table]
    assert len(progress) == (0 if task == "para" else 10) and 2 <= len(table) <= 4
    assert rest[0].startswith(f"{task} dev, 90 rows") and rest[-1].startswith("the model is in ")
    assert len(rest) == 2 or rest[1].startswith("warning: ")  # the score of a tiny model may be chance
    assert trained[1][task].stdout == ""


@pytest.fixture(scope="module")
def multitask(recipe, tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("multitask")
    return folder, recipe("multitask", *tiny_run(tiny_encoder, folder, *EPOCHS))


@pytest.mark.launch
def test_the_multitask_recipe_trains_and_logs_each_tasks_score(multitask):
    folder, output = multitask
    metrics = json.loads((folder / "metrics.json").read_text())
    for task in ("sst", "para", "sts"):
        name, value = next(iter(metrics["tasks"][task]["scores"]["dev"]["metrics"].items()))
        assert re.search(rf"{name} +{value:.3f} +\[", output.stderr)
    assert f"mean {metrics['aggregate']['mean']:.3f}" in output.stderr


@pytest.mark.launch
def test_one_task_of_a_multitask_model_is_evaluated_and_predicted(multitask, recipe):
    folder, _ = multitask
    done = recipe("evaluate_model", folder, "--task", "para", "--data", "sample")
    expected = json.loads((folder / "metrics.json").read_text())["tasks"]["para"]["scores"]["dev"]["metrics"]
    assert f"{expected['accuracy']:.3f}" in done.stdout
    words = ("predict", folder, "-", "--output", "-", "--task")
    done = recipe(*words, "sst", stdin="A warm and funny film.\n")
    assert json.loads(done.stdout)["predicted_class"].split()[-1] in ("negative", "neutral", "positive")
    done = recipe(*words, "mnli", stdin="x\n", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "`task` must be one of 'para', 'sst', 'sts'" in done.stderr  # as config.json orders them


@pytest.mark.launch
def test_table1_runs_a_row_and_writes_the_table(recipe, tiny_encoder, tmp_path):
    words = tiny_run(tiny_encoder, tmp_path / "table1", *EPOCHS, "--rows", "rr_cs_gs", "--max_steps", "3")
    done = recipe("table1", *words)
    assert "RR + CS + GS" in done.stdout
    assert (tmp_path / "table1" / "table1.md").is_file()
    assert f"table1.csv, table1-steps.csv are in {tmp_path / 'table1'}" in done.stderr
    assert re.search(r"^3 steps of \d+ rows of each task \(aggregator: pcgrad\), ", done.stderr, flags=re.MULTILINE)
    assert re.search(r"^gradients of two tasks conflict at \d+ % of the steps; ", done.stderr, flags=re.MULTILINE)


@pytest.mark.launch
def test_evaluate_model_prints_the_score_of_the_run(trained, recipe, tmp_path):
    folder, _ = trained
    scores = tmp_path / "scores.json"
    done = recipe("evaluate_model", folder / "sts", "--data", "sample", "--output", scores)
    expected = json.loads((folder / "sts" / "metrics.json").read_text())["tasks"]["sts"]["scores"]["dev"]["metrics"]
    assert json.loads(scores.read_text())["metrics"] == expected
    assert f"{expected['pearson']:.3f}" in done.stdout


@pytest.mark.launch
def test_a_finished_model_is_calibrated(trained, recipe, tmp_path):
    folder, _ = trained
    rows = ("--data", ROOT / "extrabert_hf" / "data" / "samples" / "quora-train.csv")
    words = ("--allow_train_rows", "true", "--output_dir", tmp_path / "calibrated")
    done = recipe("calibrate", folder / "para", *rows, *words)
    report = json.loads((tmp_path / "calibrated" / "calibration.json").read_text())
    assert f"nll {report['before']['nll']:.3f} -> {report['after']['nll']:.3f}" in done.stderr
    recipe("evaluate_model", tmp_path / "calibrated", *rows)


@pytest.mark.launch
def test_predict_reads_standard_input_and_writes_standard_output(trained, recipe):
    folder, _ = trained
    done = recipe("predict", folder / "sst", "-", "--output", "-", stdin="A warm and funny film.\nDull.\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["sentence1"] for row in rows] == ["A warm and funny film.", "Dull."]


@pytest.mark.launch
def test_a_finished_run_is_reported(trained, recipe, tmp_path):
    folder, _ = trained
    done = recipe("report", folder / "sst", "--output", tmp_path / "report.html")
    assert (
        done.stdout.strip() == str(tmp_path / "report.html")
        and "very negative" in (tmp_path / "report.html").read_text()
    )


@pytest.mark.launch
def test_the_demo_serves_its_page(trained):
    pytest.importorskip("gradio", reason="needs the extra `demo`")
    words = [sys.executable, "-u", "recipes/demo.py", str(trained[0] / "sts"), "--port", "0"]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = next(filter(None, (re.search(r"http://127\.0\.0\.1:\d+", line) for line in process.stderr)))[0]
            with urllib.request.urlopen(address) as page:
                assert "ExTraBERT" in page.read().decode()
        finally:
            process.kill()  # an interrupt may be ignored, as by what a shell has put into the background


@pytest.mark.launch
def test_a_prediction_is_explained(trained, recipe, tmp_path):
    folder, _ = trained
    words = (folder / "para", "A warm film .", "A cold film .", "--html", tmp_path / "why.html")
    lines = recipe("explain", *words).stdout.splitlines()
    assert re.match(r"(not )?paraphrase, \d+\.\d %$", lines[0]) and lines[1].startswith("[CLS] .")
    assert lines[-1].split()[0] == "sum" and "warm" in (tmp_path / "why.html").read_text()


@pytest.mark.launch
def test_rows_are_audited_task_by_task(recipe, tmp_path):
    done = recipe("audit_data", "--data", "sample", "--json", tmp_path / "audit.json")
    assert list(json.loads((tmp_path / "audit.json").read_text())) == ["sst", "para", "sts"]
    assert [page.split()[0] for page in done.stdout.split("\n\n") if page.strip()] == ["sst", "para", "sts"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("recipes/sft_sts.py", "--data", "./nowhere"), "error: .*nowhere"),
        (
            ("recipes/sft_sts.py", "--learning_rat", "1"),
            "error: `--learning_rat` is .* Did you mean `--learning_rate`",
        ),
        (("recipes/multitask.py", "--aggregator", "magic", "--data", "sample"), "error: .*'magic'"),
        (("recipes/multitask.py", "--tasks", "mnli", "--data", "sample"), "error: `tasks` must be of .*'mnli'"),
        (("recipes/table1.py", "--rows", "sft_ma"), "error: each of `rows` must be one of .*'sft_ma'"),
        (("recipes/evaluate_model.py", "./nowhere", "--data", "sample"), "error: .*'./nowhere' is not a folder"),
        (("recipes/predict.py", "./nowhere", "-", "--output", "out.csv"), "error: .*'./nowhere' is not a folder"),
        (
            ("recipes/audit_data.py",),
            "error: `data` must be 'sample' or a CS224N folder, or needs `like`, got",
        ),
        (
            ("recipes/pretrain_contrastive.py", "--text", "README.md", "--load_best_model_at_end", "true"),
            "error: .*`load_best_model_at_end` needs",
        ),
        (("recipes/evaluate_model.py", "x", "--data", "sample", "--output", "."), r"error: `output` must be a file"),
        (
            ("recipes/calibrate.py", "runs/a", "--data", "sample", "--output_dir", "./runs/a"),
            "error: `output_dir` must be another folder than the model's",
        ),
        (("recipes/push_to_hub.py", "./nowhere"), "error: `folder` must hold a trained model .*nowhere"),
        (("recipes/predict.py", "a", "b", "--output", "c.csv", "--foo"), "error: `--foo` is not a flag of"),
        (("recipes/compare.py", "./nowhere", "runs"), r"error: `runs` must be folders of finished runs, .*nowhere"),
        (("recipes/compose.py", "./nowhere", "--output_dir", "x"), r"error: .*nowhere has no metrics\.json"),
    ],
)
def test_an_error_of_the_users_is_one_line(words, message, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", list(words))
    with pytest.raises(SystemExit) as left:
        runpy.run_path(words[0], run_name="__main__")
    stderr = capsys.readouterr().err
    assert left.value.code == 2
    assert re.search(f"^{message}", stderr, flags=re.MULTILINE)
    assert "Traceback" not in stderr


@pytest.mark.launch
def test_an_error_of_the_users_ends_the_process_with_status_2():
    done = run(sys.executable, "recipes/report.py", "./nowhere", check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: `runs` must be folders of finished runs, but nowhere")


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.py")), ids=lambda path: path.stem)
def test_a_recipes_docstring_names_its_own_command(path):
    assert f"recipes/{path.name} " in path.read_text(encoding="utf-8").split('"""')[1]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.py")), ids=lambda path: path.stem)
def test_a_recipe_imports_only_the_console_before_a_command_can_end_in_one_line_after_ctrl_c(path):
    body = ast.parse(path.read_text(encoding="utf-8")).body
    imported = {node.module for node in body if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in body if isinstance(node, ast.Import) for name in node.names}
    slow = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    assert slow <= {"extrabert_hf.console", "extrabert_hf.cli.main"}
