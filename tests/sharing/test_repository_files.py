import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from extrabert_hf.errors import InputError
from extrabert_hf.runs.folder import CARD_MARK
from extrabert_hf.sharing.hub import push_folder
from extrabert_hf.sharing.model_card import HubArguments
from extrabert_hf.sharing.repository_files import check_names, described, files_to_push, preview_push
from extrabert_hf.sharing.shared_run import SharedRun

pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")


def test_no_pickle_no_checkpoint_and_no_labels_go_up(run_of):
    folder = run_of("sst")
    torch.save({"token": "secret"}, folder / "training_args.bin")
    (folder / "notes.txt").write_text("mine")
    files = files_to_push(SharedRun(folder))
    assert {"config.json", "model.safetensors", "tokenizer.json", "modeling_extrabert.py"} <= set(files)
    assert not [path for path in files if path.endswith((".bin", ".txt", ".csv")) or "/" in path]


@pytest.mark.parametrize("task", ["sts", "multitask"])
def test_no_file_tells_a_path_of_this_machine(task, run_of, finished_run, tiny_encoder):
    run = SharedRun(run_of(task))
    assert str(finished_run(task)) in (run.path / "metrics.json").read_text()  # else there is nothing to see
    files = files_to_push(run) | described(run, "me/a", HubArguments(), None)
    for path, file in files.items():
        content = file if isinstance(file, bytes) else file.read_bytes()
        assert not [
            part for part in (tiny_encoder, str(run.path), str(finished_run(task).parent)) if part.encode() in content
        ], path


@pytest.mark.parametrize("task", ["sts", "multitask"])
def test_the_model_in_a_runs_folder_names_no_folder_of_this_machine(task, finished_run, tiny_encoder):
    run = finished_run(task)
    root = str(Path(tiny_encoder).parent).encode()
    of_model = {"config.json", "adapter_config.json", "tokenizer_config.json", "trainer_state.json"}
    paths = [path for folder in (run, run / "adapter") for path in folder.glob("*.*") if path.name in of_model]
    paths += [path for path in run.rglob("*") if path.suffix in (".safetensors", ".py")]
    paths += list(run.glob("checkpoint-*/config.json"))
    assert len(paths) > 5
    assert not [path for path in paths if root in path.read_bytes()]


@pytest.mark.parametrize("name", ["tokenizer.model", "model.safetensors", "README.md"])
def test_a_link_to_a_file_elsewhere_is_not_pushed(name, run_of, tmp_path):
    folder = run_of("sts")
    (tmp_path / "id_rsa").write_text("a key of the user")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "id_rsa")
    for push in (preview_push, push_folder):
        with pytest.raises(InputError, match=rf"{name} is a link to .*id_rsa"):
            push(folder, "me/mine", sharing=HubArguments())


def test_an_adapters_files_name_its_encoder_on_the_hub(run_of):
    folder = run_of("sts")
    metrics = json.loads((folder / "metrics.json").read_text())
    on_hub = {"encoder": "sentence-transformers/all-MiniLM-L6-v2", "encoder_is_on_hub": True}
    metrics["tasks"]["sts"]["model"] |= on_hub
    (folder / "metrics.json").write_text(json.dumps(metrics))
    files = files_to_push(SharedRun(folder), adapter_only=True)
    assert "model.safetensors" not in files
    assert json.loads(files["config.json"])["adapter_subfolder"] == "adapter"
    lora = json.loads(files["adapter/adapter_config.json"])
    assert lora["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert load_file(files["adapter/adapter_model.safetensors"])


def test_an_adapter_of_an_encoder_in_a_folder_is_refused(run_of, tiny_encoder):
    with pytest.raises(
        InputError, match=f"is for an encoder from the Hub, but the encoder of the run is {Path(tiny_encoder).name}"
    ):
        files_to_push(SharedRun(run_of("sts")), adapter_only=True)
    with pytest.raises(InputError, match="is for a run with --lora true"):
        files_to_push(SharedRun(run_of("multitask")), adapter_only=True)


def test_folders_of_one_name_are_refused():
    with pytest.raises(InputError, match="must have a repository each, got 2 for extrabert-sts"):
        check_names([Path("a/sts"), Path("b/sts")], None)
    with pytest.raises(InputError, match="must have a repository each, got 2 for me/x"):
        check_names([Path("a/sts"), Path("a/sst")], "me/x")
    check_names([Path("a/sts"), Path("a/sst")], None)
    with pytest.raises(InputError, match="`hub_model_id` must be 'name' or 'owner/name', got 'bad name!'"):
        check_names([Path("a/sts")], "bad name!")
    check_names([Path("my best run!")], None)  # extrabert-my-best-run


def test_a_folder_without_weights_is_refused(run_of):
    folder = run_of("sts")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"must hold model\.safetensors"):
        files_to_push(SharedRun(folder))


def test_a_card_of_ones_own_stays_as_it_is(run_of):
    run = SharedRun(run_of("sts"))
    described(run, "me/a", HubArguments(), None)
    assert CARD_MARK in (run.path / "README.md").read_text()
    described(run, "me/b", HubArguments(), None)
    assert "me/b" in (run.path / "README.md").read_text()
    own = (run.path / "README.md").read_text().replace(CARD_MARK, "") + "\nMy words.\n"
    (run.path / "README.md").write_text(own)
    described(run, "me/c", HubArguments(), None)
    assert (run.path / "README.md").read_text() == own


def test_a_push_renders_a_card_for_the_repository_and_leaves_the_card_of_the_folder(run_of):
    run = SharedRun(run_of("sts"))
    before = (run.path / "README.md").read_bytes()
    files = described(run, "me/b", HubArguments(), None, keeps_card=True)
    assert (run.path / "README.md").read_bytes() == before
    assert b"me/b" in files["README.md"] and b"me/b" not in before
    (run.path / "README.md").unlink()  # of a run by an earlier version
    described(run, "me/b", HubArguments(), None, keeps_card=True)
    assert (run.path / "README.md").read_bytes() == files["README.md"]


def test_a_preview_lists_each_file_with_its_size(run_of):
    folder = run_of("sts")
    lines = preview_push(folder, None, sharing=HubArguments()).splitlines()
    assert lines[0].startswith(f"extrabert-sts: {len(lines) - 1} files, ")
    size = (folder / "model.safetensors").stat().st_size / 1e6
    assert f"{size:10.3f} MB  model.safetensors" in lines
    assert [line.split()[-1] for line in lines if "README.md" in line]
