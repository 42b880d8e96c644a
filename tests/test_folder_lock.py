import json
import os
import platform
import subprocess
import sys

import pytest
from filelock import FileLock

from extrabert_hf.errors import InputError
from extrabert_hf.folder_lock import HOLDER, LOCK, hold_folder
from extrabert_hf.manifest import STATE


def test_a_second_run_in_one_folder_gets_the_process_of_the_first(tmp_path):
    (tmp_path / "run" / STATE).mkdir(parents=True)
    with FileLock(tmp_path / "run" / STATE / LOCK):  # another object: as another process
        holder = {"pid": 7, "host": "there", "since": "2026-01-01 00:00:00"}
        (tmp_path / "run" / STATE / HOLDER).write_text(json.dumps(holder))
        for path in (tmp_path / "run", tmp_path / "run" / ".." / "run"):
            with pytest.raises(InputError) as error, hold_folder("output_dir", path):
                pass
            assert "is in use by process 7 on there since 2026-01-01 00:00:00" in str(error.value)
            assert "\n" not in str(error.value)
        for text in ("", "{", "[]"):  # the other process has not written it yet
            (tmp_path / "run" / STATE / HOLDER).write_text(text)
            with pytest.raises(InputError, match="in use by another process"), hold_folder("x", tmp_path / "run"):
                pass


def test_a_folder_is_free_after_each_run_however_it_ended(tmp_path):
    with hold_folder("output_dir", tmp_path), hold_folder("output_dir", tmp_path):  # a run in a trial of a search
        holder = json.loads((tmp_path / STATE / HOLDER).read_text())
        assert (holder["pid"], holder["host"]) == (os.getpid(), platform.node())
    assert not (tmp_path / STATE / HOLDER).exists()  # a folder that is handed on names no machine
    with pytest.raises(KeyboardInterrupt), hold_folder("output_dir", tmp_path):
        raise KeyboardInterrupt
    with hold_folder("output_dir", tmp_path):
        pass


def test_only_the_first_process_of_a_launcher_locks(tmp_path, monkeypatch):
    with FileLock(f"{tmp_path}/lock"), hold_folder("output_dir", tmp_path / "run"):
        monkeypatch.setenv("RANK", "1")
        with hold_folder("output_dir", tmp_path / "run"), hold_folder("output_dir", tmp_path / "other"):
            assert not (tmp_path / "other").exists()


def test_what_a_killed_run_left_half_written_goes_away(tmp_path):
    (tmp_path / ".extrabert-1-ab.part").mkdir()
    (tmp_path / ".extrabert-1-ab.part" / "model.safetensors").touch()
    (tmp_path / "scored").mkdir()
    (tmp_path / "scored" / ".extrabert-1-cd.part").touch()
    (tmp_path / "notes.part").touch()
    with hold_folder("output_dir", tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [STATE, "notes.part", "scored"]
    assert list((tmp_path / "scored").iterdir()) == []


@pytest.mark.launch
def test_a_killed_process_never_leaves_a_folder_locked(tmp_path):
    program = (
        "import sys, pathlib\nfrom extrabert_hf.folder_lock import hold_folder\n"
        "with hold_folder('output_dir', pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], **pipes) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {process.pid} on"), hold_folder("output_dir", tmp_path):
            pass
        process.kill()
    with hold_folder("output_dir", tmp_path):
        pass
