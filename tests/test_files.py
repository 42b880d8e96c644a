import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from extrabert_hf import manifest
from extrabert_hf.errors import InputError
from extrabert_hf.files import atomic_folder, atomic_path, own_file, recorded, recorded_folder, write_json, write_text
from extrabert_hf.manifest import STATE, forget, is_own, manifest_names, record, remove_own


def names_in(folder):
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(path.as_posix() for path in files if STATE not in path.parts)


NAMES = ("a.txt", "a b.txt", "é.txt", "a\nb.txt", 'a"b.txt', "a/b/c.txt", "-", "%3F?#.csv")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_replaced_and_removed_only_if_it_was_written_here(name, tmp_path):
    mine = tmp_path / "mine" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with recorded(tmp_path), pytest.raises(InputError, match="which this package did not write"):
        write_text(mine, "other")
    remove_own(mine)
    remove_own(tmp_path / "mine")
    assert mine.read_text() == "mine" and not is_own(mine)
    for text in ("first", "second"):
        with recorded(tmp_path):
            write_text(tmp_path / "own" / name, text)
        assert (tmp_path / "own" / name).read_text() == text and is_own(tmp_path / "own" / name)
    remove_own(tmp_path / "own")
    assert names_in(tmp_path) == [f"mine/{name}"] and not (tmp_path / "own").exists()


def test_a_folder_that_was_moved_keeps_its_files(tmp_path):
    with recorded(tmp_path / "run"):
        write_text(tmp_path / "run" / "a" / "b.txt", "x")
    (tmp_path / "run").rename(tmp_path / "moved")
    assert is_own(tmp_path / "moved" / "a" / "b.txt")


def test_a_name_leaves_the_manifest_with_its_file(tmp_path):
    with recorded(tmp_path):
        write_text(tmp_path / "a.txt", "x")
    (tmp_path / "a.txt").unlink()
    with recorded(tmp_path):
        write_text(tmp_path / "b.txt", "x")
    assert manifest_names(tmp_path) == {"b.txt"}
    (tmp_path / "a.txt").write_text("mine")
    with recorded(tmp_path), pytest.raises(InputError):
        write_text(tmp_path / "a.txt", "other")


def test_a_call_that_fails_does_not_claim_a_file(tmp_path):
    with pytest.raises(ZeroDivisionError), own_file("output", tmp_path / "a.csv"):
        raise ZeroDivisionError
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(InputError, match=r"`output` would replace .*a\.csv"), own_file("output", tmp_path / "a.csv"):
        pass


def test_a_manifest_line_that_was_cut_short_names_nothing(tmp_path):
    with recorded(tmp_path):
        write_text(tmp_path / "a.txt", "x")
    with (tmp_path / STATE / "written").open("a") as file:
        file.write('nonsense\n"two"lines"\n{"b": 1}\n"b.tx')
    assert manifest_names(tmp_path) == {"a.txt"}
    with recorded(tmp_path):
        write_text(tmp_path / "c.txt", "x")
    assert manifest_names(tmp_path) == {"a.txt", "c.txt"}


def test_commands_that_end_while_a_file_is_written_leave_its_name_in_the_manifest(tmp_path):
    with recorded(tmp_path), atomic_path(tmp_path / "slow.csv") as path:
        forget(tmp_path, ["slow.csv"])  # another command in the folder has ended: the name has no file yet
        path.write_text("x")
    with recorded(tmp_path), atomic_folder(tmp_path / "model") as folder:
        (folder / "config.json").write_text("{}")
        forget(tmp_path, ["model/config.json"])
    assert manifest_names(tmp_path) == {"slow.csv", "model/config.json"}


def test_names_that_are_recorded_and_forgotten_at_once_are_kept_apart(tmp_path):
    def work(number):
        for each in range(20):
            record(tmp_path, [f"{number}-{each}", f"gone-{number}-{each}"])
            forget(tmp_path, [f"gone-{number}-{each}"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert manifest_names(tmp_path) == {f"{number}-{each}" for number in range(4) for each in range(20)}


def test_an_empty_file_is_replaced_and_a_link_is_not(tmp_path):
    (tmp_path / "a.csv").touch()  # of `mktemp`
    with own_file("output", tmp_path / "a.csv"):
        write_text(tmp_path / "a.csv", "x")
    assert is_own(tmp_path / "a.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(InputError), own_file("output", tmp_path / "link.csv"):
        pass


def test_the_manifest_of_another_user_costs_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(manifest, "FileLock", refuse)
    with own_file("output", tmp_path / "a.csv"):
        write_text(tmp_path / "a.csv", "x")
    assert (tmp_path / "a.csv").read_text() == "x" and not is_own(tmp_path / "a.csv")
    assert "a later command will not replace a.csv" in caplog.text


def test_an_error_names_the_argument_of_the_command(tmp_path):
    (tmp_path / "a.md").write_text("mine")
    with recorded(tmp_path, "output_dir"), pytest.raises(InputError, match=r"`output_dir` would replace .*a\.md"):
        write_text(tmp_path / "a.md", "x")


def test_an_unfinished_folder_is_own_and_a_file_of_the_user_in_a_finished_one_is_not(tmp_path):
    folder = tmp_path / "checkpoint-1"
    with recorded(tmp_path), pytest.raises(KeyboardInterrupt), recorded_folder(folder):
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt
    assert is_own(folder / "half")
    with recorded(tmp_path), recorded_folder(folder):
        (folder / "whole").touch(mode=0o600)
    assert (folder / "whole").stat().st_mode & 0o777 == folder.stat().st_mode & 0o666
    (folder / "notes").touch()
    remove_own(folder)
    assert names_in(tmp_path) == ["checkpoint-1/notes"]


def test_a_folder_appears_whole_and_with_the_mode_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_folder(tmp_path / "model") as folder:
            for name in ("config.json", "model.safetensors", "1_Pooling/config.json"):
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).touch(mode=0o600)
                assert not (tmp_path / "model" / "config.json").exists()
    finally:
        os.umask(before)
    assert names_in(tmp_path / "model") == ["1_Pooling/config.json", "config.json", "model.safetensors"]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "model").rglob("*") if path.is_file()} == {0o640}


@pytest.mark.parametrize("count", range(1, 5))
def test_a_folder_that_was_left_half_way_does_not_look_finished(count, tmp_path, monkeypatch):
    with atomic_folder(tmp_path) as folder:
        for name in ("config.json", "metrics.json", "model.safetensors"):
            (folder / name).write_text("old")
    moves, replace = [], os.replace

    def killed(self, target):
        moves.append(target.name)
        if len(moves) == count:
            raise KeyboardInterrupt
        replace(self, target)

    monkeypatch.setattr(type(tmp_path), "replace", killed)
    if count < 4:
        with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path) as folder:
            for name in ("config.json", "metrics.json", "model.safetensors"):
                (folder / name).write_text("new")
        assert not (tmp_path / "metrics.json").exists() and not list(tmp_path.glob(".extrabert-*"))
        assert (count == 3) == (tmp_path / "config.json").exists()  # the last but one
        assert (tmp_path / "model.safetensors").read_text() == ("old" if count == 1 else "new")


def test_a_link_stays_a_link_and_its_file_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.txt").write_text("old")
    (tmp_path / "a.txt").symlink_to(tmp_path / "there" / "a.txt")
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").is_symlink() and (tmp_path / "there" / "a.txt").read_text() == "new"
    with recorded(tmp_path), pytest.raises(InputError):  # a link of the user
        write_text(tmp_path / "a.txt", "newer")


def test_devices_and_pipes_are_written_directly(tmp_path):
    write_json(tmp_path.joinpath("/dev/null"), 1)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with own_file("output", tmp_path / "pipe"):
        write_text(tmp_path / "pipe", "x")
    assert os.read(reader, 9) == b"x"
    os.close(reader)


def test_the_mode_of_a_file_that_is_replaced_is_kept(tmp_path):
    write_text(tmp_path / "a.txt", "x")
    (tmp_path / "a.txt").chmod(0o600)
    write_text(tmp_path / "a.txt", "y")
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o600


class FullDisk(Exception):  # as of safetensors
    def __str__(self):
        return "Error while serializing: I/O error: No space left on device (os error 28)"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), FullDisk()])
@pytest.mark.parametrize("write", [atomic_path, atomic_folder])
def test_a_full_disk_names_the_file_and_leaves_the_earlier_one(write, error, tmp_path):
    write_text(tmp_path / "a", "whole") if write is atomic_path else (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="No space left on device") as caught, write(tmp_path / "a"):
        raise error
    assert caught.value.filename == str(tmp_path / "a") and list(tmp_path.iterdir()) == [tmp_path / "a"]
    assert write is atomic_folder or (tmp_path / "a").read_text() == "whole"


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("x" * 251 + ".txt")
    write_text(path, "x")
    assert path.read_text() == "x" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match="too long"):
        write_text(tmp_path / ("x" * 300), "x")
