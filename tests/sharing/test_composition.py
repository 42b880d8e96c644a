import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from extrabert_hf.errors import InputError
from extrabert_hf.pretrained.adapters import load_adapter
from extrabert_hf.sharing.composition import compose_adapters, compose_runs
from extrabert_hf.training.command_line import parse_run
from extrabert_hf.training.finetune import run_finetuning

from ..conftest import tiny_run

pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
TASKS = ("sst", "para", "sts")


@pytest.fixture
def runs(finished_run):
    return {task: finished_run(task) for task in TASKS}


@pytest.fixture
def batches(random_batch):
    return {task: random_batch(5, pair=task != "sst") for task in TASKS}


def test_the_joined_model_gives_each_tasks_own_logits(runs, batches):
    joined = compose_adapters(runs)
    for task, folder in runs.items():
        own = AutoModel.from_pretrained(folder)
        for model in (joined.extract(task), own):
            torch.testing.assert_close(
                joined(task=task, **batches[task]).logits, model(**batches[task]).logits, atol=1e-5, rtol=1e-5
            )


def test_the_adapters_make_a_difference(runs, batches):
    joined = compose_adapters(runs)
    own = joined(task="sts", **batches["sts"]).logits
    joined.backbone.load_state_dict(
        {name: 0 * w if "lora_B" in name else w for name, w in joined.backbone.state_dict().items()}
    )
    assert (own - joined(task="sts", **batches["sts"]).logits).abs().max() > 1e-3


def test_the_joined_folder_has_one_encoder_and_each_runs_scores(runs, batches, tmp_path):
    table = compose_runs(list(runs.values()), tmp_path / "joined")
    model = AutoModel.from_pretrained(tmp_path / "joined")
    encoders = [name for name in model.state_dict() if name.endswith("word_embeddings.weight")]
    assert encoders == ["backbone.embeddings.word_embeddings.weight"]
    metrics = json.loads((tmp_path / "joined" / "metrics.json").read_text())
    assert metrics["lora"]["lora_r"] == 4 and metrics["arguments"]["seed"] == 42
    assert "output_dir" not in metrics["arguments"]  # it differs
    written = metrics["tasks"]
    for task, folder in runs.items():
        assert written[task]["scores"] == json.loads((folder / "metrics.json").read_text())["tasks"][task]["scores"]
        assert (tmp_path / "joined" / "scored" / f"{task}-dev.csv").is_file()
    size = (tmp_path / "joined" / "model.safetensors").stat().st_size
    assert f"| joined | {size / 1e6:.1f} |" in re.sub(" +", " ", table)


def test_a_lora_run_on_a_task_of_the_joined_model_is_refused(runs, tmp_path):
    compose_runs(list(runs.values()), tmp_path / "joined")
    for name in ("joined", "sst"):
        folder = runs["sst"] if name == "sst" else tmp_path / name
        flags = ["--lora", "true", "--max_steps", "1"]
        run = parse_run("sst", tiny_run(str(folder), tmp_path / f"from_{name}", *flags))
        if name == "joined":
            with pytest.raises(
                InputError, match=r"without adapters, got .*joined with adapters for para, sst, sts: name"
            ):
                run_finetuning(run)
            continue
        run_finetuning(run)
        load_adapter(tmp_path / "from_sst" / "adapter")


def test_an_encoder_that_lacks_a_weight_is_refused(runs, tiny_encoder, tmp_path):
    encoder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    weights = load_file(encoder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, encoder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 weights do not fit, the first 'backbone\.encoder\.layer\.1\.output"):
        compose_adapters(runs, resolve=lambda name: str(encoder))


def test_runs_that_cannot_be_joined_are_named(runs, finished_run, tmp_path):
    with pytest.raises(InputError, match=r"`folders` must hold an adapter .* as a run with --lora true does"):
        compose_adapters({"all": finished_run("multitask")})
    with pytest.raises(InputError, match="one task each, all different, got "):
        compose_runs([runs["sts"], runs["sts"]], tmp_path / "joined")
    with pytest.raises(InputError, match="must hold two runs or more, got 1"):
        compose_runs([runs["sts"]], tmp_path / "joined")
    with pytest.raises(InputError, match=r"has no metrics\.json"):
        compose_runs([tmp_path], tmp_path / "joined")
    with pytest.raises(InputError, match="`output_dir` must be a folder without a model, got "):
        compose_runs(list(runs.values()), runs["sst"])
    other = shutil.copytree(runs["sst"], tmp_path / "sst")
    path = other / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "another/encoder"}))
    with pytest.raises(InputError, match=r"must hold adapters of one encoder, got .*another/encoder"):
        compose_adapters({"sst": other, "sts": runs["sts"]})
    path = other / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 7}))
    with pytest.raises(InputError, match="one tokenizer and `max_length`"):
        compose_runs([other, runs["sts"]], tmp_path / "joined")
