import json
import os
import re
import runpy
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
CPU_PAIR = ROOT / "recipes" / "configs" / "accelerate" / "two_cpu_processes.yaml"


def run(*words, stdin=None, check=True):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=ROOT,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def launch(recipe, *words, launcher=(), check=True):
    accelerate = Path(sys.executable).parent / "accelerate"
    return run(accelerate, "launch", *launcher, f"recipes/{recipe}.py", *words, check=check)


def options(encoder, output_dir):
    return [
        *("--model_name_or_path", encoder, "--data", "sample", "--output_dir", output_dir, "--max_length", "40"),
        *("--num_train_epochs", "2", "--learning_rate", "1e-3", "--bf16", "false"),
    ]


@pytest.fixture(scope="module")
def trained(tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    outputs = {
        name: launch(f"sft_{name}", *options(tiny_encoder, folder / name), "--per_device_train_batch_size", "16")
        for name in ("sst", "para", "sts")
    }
    return folder, outputs


@pytest.mark.launch
@pytest.mark.parametrize("task", ["sst", "para", "sts"])
def test_each_recipe_trains_and_says_its_score(task, trained):
    folder, outputs = trained
    metrics = json.loads((folder / task / "metrics.json").read_text())
    name, value = next(iter(metrics["tasks"][task]["scores"]["dev"]["metrics"].items()))
    assert re.search(rf"{name} +{value:.3f} +\[", outputs[task].stderr)
    assert "precision: float32 (set by --bf16)\n" in outputs[task].stderr
    assert re.search(r"training ExtraBertFor\w+ on cpu: ", outputs[task].stderr)


@pytest.mark.launch
@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("sft_sts", ()),
        ("multitask", ("--head_dropout", 0)),
        ("multitask", ("--head_dropout", 0, "--mixing", "proportional", "--aggregator", "mean")),
        ("multitask", ("--head_dropout", 0, "--lora", "true", "--lora_dropout", 0)),
    ],
    ids=["separate", "together", "one task a step", "LoRA"],
)
def test_two_processes_of_eight_train_the_model_of_one_process_of_sixteen(recipe, words, tiny_encoder, tmp_path):
    def weights(name, rows_a_device, *launcher):
        fixed = [*options(tiny_encoder, tmp_path / name), "--per_device_train_batch_size", rows_a_device, *words]
        launch(recipe, *fixed, "--max_steps", 16, launcher=launcher)  # the full batches of one epoch
        processes = json.loads((tmp_path / name / "metrics.json").read_text())["training"]["processes"]
        return processes, load_file(tmp_path / name / "model.safetensors")

    (of_one, one), (of_two, two) = weights("one", 16), weights("two", 8, "--config_file", CPU_PAIR)
    assert (of_one, of_two) == (1, 2)
    start = load_file(Path(tiny_encoder) / "model.safetensors")
    encoder = [name for name in start if "pooler" not in name]
    moved = torch.cat([(one[f"backbone.{name}"] - start[name]).flatten() for name in encoder]).norm()
    apart = torch.cat([(one[name] - two[name]).flatten() for name in one]).norm()
    assert apart < 0.001 * moved  # not number by number: AdamW makes full steps of gradients that are but rounding


@pytest.mark.launch
def test_two_processes_resume_in_mid_epoch_to_the_same_weights(tiny_encoder, tmp_path):
    def weights(name, *words):
        fixed = ("--per_device_train_batch_size", 8, "--max_steps", 24, "--load_best_model_at_end", "false")
        saving = ("--eval_strategy", "no", "--save_strategy", "steps", "--save_steps", 20)  # an epoch has 17 steps
        launcher = ("--config_file", CPU_PAIR)
        launch("sft_sts", *options(tiny_encoder, tmp_path / name), *fixed, *saving, *words, launcher=launcher)
        return load_file(tmp_path / name / "model.safetensors")

    whole = weights("whole")
    (tmp_path / "resumed").mkdir()
    (tmp_path / "whole" / "checkpoint-20").rename(tmp_path / "resumed" / "checkpoint-20")
    resumed = weights("resumed", "--resume_from_checkpoint", "last")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.fixture(scope="module")
def multitask(tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("multitask")
    return folder, launch("multitask", *options(tiny_encoder, folder))


@pytest.mark.launch
def test_the_multitask_recipe_trains_and_says_each_tasks_score(multitask):
    folder, output = multitask
    metrics = json.loads((folder / "metrics.json").read_text())
    for task in ("sst", "para", "sts"):
        name, value = next(iter(metrics["tasks"][task]["scores"]["dev"]["metrics"].items()))
        assert re.search(rf"{name} +{value:.3f} +\[", output.stderr)
    assert f"mean {metrics['aggregate']['mean']:.3f}" in output.stderr


@pytest.mark.launch
def test_one_task_of_a_multitask_model_is_evaluated_and_predicted(multitask, tmp_path):
    folder, _ = multitask
    done = run(sys.executable, "recipes/evaluate_model.py", folder, "--task", "para", "--data", "sample")
    expected = json.loads((folder / "metrics.json").read_text())["tasks"]["para"]["scores"]["dev"]["metrics"]
    assert f"{expected['accuracy']:.3f}" in done.stdout
    words = ("recipes/predict.py", folder, "-", "--output", "-", "--task")
    done = run(sys.executable, *words, "sst", stdin="A warm and funny film.\n")
    assert json.loads(done.stdout)["label"].split()[-1] in ("negative", "neutral", "positive")
    done = run(sys.executable, *words, "mnli", stdin="x\n", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "`task` must be one of 'para', 'sst', 'sts'" in done.stderr  # as config.json orders them


@pytest.mark.launch
def test_table1_runs_a_row_and_writes_the_table(tiny_encoder, tmp_path):
    words = [*options(tiny_encoder, tmp_path / "table1"), "--rows", "rr_cs_gs", "--max_steps", "3"]
    done = launch("table1", *words)
    assert "RR + CS + GS" in done.stdout
    assert (tmp_path / "table1" / "table1.md").is_file()


@pytest.mark.launch
def test_evaluate_model_gives_the_score_of_the_run(trained, tmp_path):
    folder, _ = trained
    scores = tmp_path / "scores.json"
    words = ("recipes/evaluate_model.py", folder / "sts", "--data", "sample", "--output", scores)
    done = run(sys.executable, *words)
    expected = json.loads((folder / "sts" / "metrics.json").read_text())["tasks"]["sts"]["scores"]["dev"]["metrics"]
    assert json.loads(scores.read_text())["metrics"] == expected
    assert f"{expected['pearson']:.3f}" in done.stdout


@pytest.mark.launch
def test_a_finished_model_is_calibrated(trained, tmp_path):
    folder, _ = trained
    rows = ("--data", ROOT / "extrabert_hf" / "data" / "samples" / "quora-train.csv")
    done = run(sys.executable, "recipes/calibrate.py", folder / "para", *rows, "--output_dir", tmp_path / "calibrated")
    report = json.loads((tmp_path / "calibrated" / "calibration.json").read_text())
    assert f"nll {report['before']['nll']:.3f} -> {report['after']['nll']:.3f}" in done.stderr
    run(sys.executable, "recipes/evaluate_model.py", tmp_path / "calibrated", *rows)


@pytest.mark.launch
def test_two_processes_predict_what_one_does(trained, tmp_path):
    folder, _ = trained
    lines = [f"A dog {n % 7} runs,cat number {n}" for n in range(12_000)]  # two parts
    (tmp_path / "in.csv").write_text("sentence1,sentence2\n" + "\n".join(lines) + "\n")
    words = [folder / "sts", tmp_path / "in.csv", "--output"]
    run(sys.executable, "recipes/predict.py", *words, tmp_path / "one.csv")
    done = launch("predict", *words, tmp_path / "two.csv", launcher=("--config_file", CPU_PAIR))
    assert done.stderr.count("12,000 predictions in") == 1
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


@pytest.mark.launch
def test_predict_reads_standard_input_and_writes_standard_output(trained):
    folder, _ = trained
    words = ("recipes/predict.py", folder / "sst", "-", "--output", "-")
    done = run(sys.executable, *words, stdin="A warm and funny film.\nDull.\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["sentence1"] for row in rows] == ["A warm and funny film.", "Dull."]


@pytest.mark.launch
def test_a_finished_run_is_reported(trained, tmp_path):
    folder, _ = trained
    done = run(sys.executable, "recipes/report.py", folder / "sst", "--output", tmp_path / "report.html")
    assert (
        done.stdout.strip() == str(tmp_path / "report.html")
        and "very negative" in (tmp_path / "report.html").read_text()
    )


@pytest.mark.launch
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


def test_an_answer_is_explained(trained, tmp_path):
    folder, _ = trained
    words = ("recipes/explain.py", folder / "para", "A warm film .", "A cold film .", "--html", tmp_path / "why.html")
    lines = run(sys.executable, *words).stdout.splitlines()
    assert re.match(r"(not )?paraphrase, \d+\.\d %$", lines[0]) and lines[1].startswith("[CLS] .")
    assert lines[-1].split()[0] == "sum" and "warm" in (tmp_path / "why.html").read_text()


@pytest.mark.launch
def test_rows_are_audited_task_by_task(tmp_path):
    done = run(sys.executable, "recipes/audit_data.py", "--data", "sample", "--json", tmp_path / "audit.json")
    assert list(json.loads((tmp_path / "audit.json").read_text())) == ["sst", "para", "sts"]
    assert [page.split()[0] for page in done.stdout.split("\n\n") if page.strip()] == ["sst", "para", "sts"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("recipes/sft_sts.py", "--data", "./nowhere"), "error: .*nowhere"),
        (("recipes/sft_sts.py", "--learning_rat", "1"), "error: unrecognized arguments: --learning_rat"),
        (("recipes/multitask.py", "--aggregator", "magic", "--data", "sample"), "error: .*'magic'"),
        (("recipes/multitask.py", "--tasks", "mnli", "--data", "sample"), "error: `tasks` must be of .*'mnli'"),
        (("recipes/table1.py", "--rows", "sft_ma"), "error: `rows` must be of .*'sft_ma'"),
        (("recipes/evaluate_model.py", "./nowhere", "--data", "sample"), "error: .*'./nowhere' is not a folder"),
        (("recipes/predict.py", "./nowhere", "-", "--output", "out.csv"), "error: .*'./nowhere' is not a folder"),
        (
            ("recipes/audit_data.py", "--data", "tests"),
            "error: `data` must be 'sample' or a CS224N folder, or needs `like`, got",
        ),
        (
            ("recipes/pretrain_contrastive.py", "--text", "README.md", "--load_best_model_at_end", "true"),
            "error: .*load_best_model_at_end requires",
        ),
        (("recipes/evaluate_model.py", "x", "--data", "sample", "--output", "."), r"error: `output` must be a file"),
        (
            ("recipes/calibrate.py", "runs/a", "--data", "sample", "--output_dir", "./runs/a"),
            "error: `output_dir` must be another folder than the model's",
        ),
        (("recipes/push_to_hub.py", "./nowhere"), "error: `folder` must hold a trained model .*nowhere"),
        (("recipes/predict.py", "a", "b", "--output", "c.csv", "--foo"), "error: unrecognized arguments: --foo"),
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
