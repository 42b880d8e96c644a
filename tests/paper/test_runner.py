import json
from types import SimpleNamespace

import pytest
import torch

from extrabert_hf.errors import InputError
from extrabert_hf.manifest import record
from extrabert_hf.paper import runner
from extrabert_hf.paper.rows import TABLE1
from extrabert_hf.paper.runner import PlannedRun, Table1Arguments, run_table1
from extrabert_hf.training.finetune import run_finetuning

# a random encoder of 16 dimensions often answers one class for every row
pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")


@pytest.fixture
def run(tiny_encoder, tmp_path):
    def call(*rows, seeds=(42,), test=False, flags=(), workers=1, folder="table1"):
        arguments = Table1Arguments(list(rows), list(seeds), workers, str(tmp_path / folder), test)
        return run_table1(arguments, [*call.words, *flags])

    few = ["--max_steps", "3", "--bf16", "false", "--disable_tqdm", "true", "--eval_strategy", "no"]
    few += ["--save_strategy", "no", "--load_best_model_at_end", "false", "--max_length", "40"]
    call.words = ["--model_name_or_path", tiny_encoder, "--data", "sample", *few]
    return call


@pytest.mark.slow
def test_a_row_is_run_with_each_seed_and_shown_beside_the_papers(run, tmp_path):
    markdown = run("rr_cs_gs", "sft_ma_cs", seeds=(42, 43), test=True)
    root = tmp_path / "table1"
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("metrics.json")) == [
        *(f"rr_cs_gs/seed-{seed}/metrics.json" for seed in (42, 43)),
        *(f"sft_ma_cs/seed-{seed}/{task}/metrics.json" for seed in (42, 43) for task in ("para", "sst", "sts")),
    ]
    for name in ("table1.md", "table1.csv", "table1.tex"):
        assert (root / name).stat().st_size > 500
    assert ".880" in markdown
    assert "3 optimizer steps of 8 to 12 rows of each task" in markdown
    assert "seeds 42, 43" in markdown
    metrics = json.loads((root / "rr_cs_gs" / "seed-43" / "metrics.json").read_text())
    assert (metrics["arguments"]["seed"], metrics["multitask"]["aggregator"]) == (43, "pcgrad")
    assert {path.name for path in (root / "test").iterdir()} == {f"{task}-test.csv" for task in ("sst", "para", "sts")}
    assert len((root / "test" / "sst-test.csv").read_text().splitlines()) == 41


def test_a_finished_row_is_not_run_again(run, tmp_path):
    run("rr")
    model = tmp_path / "table1" / "rr" / "seed-42" / "model.safetensors"
    written = model.stat().st_mtime_ns
    run("rr", "baseline")
    assert model.stat().st_mtime_ns == written
    assert (tmp_path / "table1" / "baseline" / "seed-42" / "metrics.json").is_file()


@pytest.mark.slow
@pytest.mark.launch
def test_runs_in_parallel_have_the_weights_of_runs_in_turn(run, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    assert run("rr", "baseline") == run("rr", "baseline", workers=2, folder="parallel").replace("parallel", "table1")
    for name in ("rr", "baseline"):
        weights = [tmp_path / folder / name / "seed-42" / "model.safetensors" for folder in ("table1", "parallel")]
        assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize(("number", "shared_by"), [(1, 1), (2, 2), (5, 4), (0, 0)])
def test_few_runs_share_the_cores_of_all_workers(number, shared_by, tmp_path, monkeypatch):
    started = []

    def start(words, slot, workers):
        started.append((slot, workers))
        return SimpleNamespace(poll=lambda: 0, returncode=0)

    monkeypatch.setattr(runner, "start_worker", start)
    monkeypatch.setattr(runner, "PAUSE", 0)
    runner.run_in_workers(tmp_path, [PlannedRun(TABLE1["rr"], seed, None, tmp_path) for seed in range(number)], [], 4)
    assert len(started) == number and {workers for _, workers in started} <= {shared_by}
    assert all(slot < shared_by for slot, _ in started)


@pytest.mark.slow
@pytest.mark.launch
def test_after_a_run_that_fails_no_other_one_is_started(run, tmp_path, capfd):
    with pytest.raises(InputError, match=r"2 of 3 runs failed .*seed 42; RR, all tasks, seed 43\): see the messages"):
        run("rr", seeds=(42, 43, 44), workers=2, flags=["--data", "./nowhere"])
    assert capfd.readouterr().err.count("error: ") == 2
    assert not (tmp_path / "table1" / "rr" / "seed-44").exists()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_from_its_last_complete_checkpoint(run, tmp_path):
    saving = ("--save_strategy", "steps", "--save_steps", "2")
    folder = tmp_path / "table1" / "rr" / "seed-42"
    run("rr", flags=saving)
    whole = (folder / "model.safetensors").read_bytes()
    assert not list(folder.glob("checkpoint-*"))  # a finished row needs none

    def interrupted(complete):
        (folder / "metrics.json").unlink()
        run_finetuning(PlannedRun(TABLE1["rr"], 42, None, folder).parse([*run.words, *saving]))
        for name in ("metrics.json", *([] if complete else ["checkpoint-2/complete", "checkpoint-3/complete"])):
            (folder / name).unlink()
        (folder / "predictions" / "of an earlier run").touch()
        record(folder, ["predictions/of an earlier run"])  # a file of the user would stay

    for complete in (True, False):
        interrupted(complete)
        run("rr", flags=saving)
        assert (folder / "model.safetensors").read_bytes() == whole
        assert (folder / "predictions" / "of an earlier run").exists() == complete  # a new start clears the folder


def test_runs_of_other_flags_are_not_mixed_into_one_table(run):
    run("rr")
    with pytest.raises(InputError, match=r"seed-42 was run with .*, now .*--learning_rate 3e-4.*--output_dir"):
        run("rr", flags=("--learning_rate", "3e-4"))
    with pytest.raises(InputError, match=r"rr/seed-42 was run with .*, now .*--learning_rate 3e-4"):
        run("rr_cs", flags=("--learning_rate", "3e-4"))


def test_all_runs_of_a_table_are_trained_in_the_precision_that_was_measured_first(run, tmp_path, monkeypatch):
    measured = iter([True, *[False] * 20])
    choose = "extrabert_hf.training.setup.choose_bf16"
    monkeypatch.setattr(choose, lambda *_: (next(measured), "as measured"))
    at = run.words.index("--bf16")
    del run.words[at : at + 2]
    run("rr")
    run("rr_cs")
    for row in ("rr", "rr_cs"):
        metrics = json.loads((tmp_path / "table1" / row / "seed-42" / "metrics.json").read_text())
        assert metrics["training"]["precision"] == "bf16"


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (["rrr"], {}, "each of `rows` must be one of 'baseline', .* got 'rrr'"),
        (["rr"], {"seeds": (1, 1)}, r"`seeds` must differ from each other, got \[1, 1\]"),
        (["rr"], {"flags": ("--learning_rat", "1")}, "`--learning_rat` is not a flag"),
        (
            ["rr"],
            {"flags": ("--seed=7",)},
            "--seed is not for a table: each run has its row's YAML and one of `seeds`",
        ),
        (["rr"], {"flags": ("--config", "other.yaml")}, "--config is not for a table"),
        (["rr"], {"flags": ("--dry_run",)}, "--dry_run is not for a table"),
        (["rr"], {"flags": ("--aggregator", "pcgrad")}, "--aggregator is not for a table"),
        (["rr"], {"flags": ("--pair_encoding=cross_encoder",)}, "--pair_encoding is not for a table"),
        (["rr"], {"workers": 0}, "`workers` must be 1 or more, got 0"),
        (["rr", "rr"], {}, "`rows` must differ from each other"),
        (["rr"], {"test": True}, "`test` needs the row sft_ma_cs, which is not finished"),
    ],
)
def test_what_cannot_be_used_is_named(run, rows, options, message):
    with pytest.raises(InputError, match=message):
        run(*rows, **options)
