import errno
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from extrabert_hf.console import command_console
from extrabert_hf.errors import InputError


def test_an_input_error_ends_in_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as caught, command_console():
        raise InputError("`data` must be a folder, got 'x'.")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: `data` must be a folder, got 'x'.\n"


def test_a_defect_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), command_console():
        1 / 0  # noqa: B018


def test_of_several_processes_only_the_first_talks(capsys, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with command_console():
        logging.getLogger("extrabert_hf.training").info("hello")
    with pytest.raises(SystemExit), command_console():
        raise InputError("no")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_packages_messages_are_as_they_were_after(rank, monkeypatch):
    package = logging.getLogger("extrabert_hf")
    level, handlers = package.level, list(package.handlers)
    monkeypatch.setenv("LOCAL_RANK", rank)
    with command_console():
        assert package.level != level
    assert (package.level, package.handlers) == (level, handlers)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("swallowed", [False, True])
def test_a_signal_ends_in_one_line_and_its_status(number, status, swallowed, capsys):
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)  # a job in the background of a shell ignores SIGINT
    try:
        with pytest.raises(SystemExit) as caught, command_console():
            try:
                os.kill(os.getpid(), number)
            except KeyboardInterrupt:
                if not swallowed:  # as gradio does
                    raise
        assert caught.value.code == status and signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == ("" if swallowed else f"interrupted by {number.name}\n")


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with command_console():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_while_a_command_is_interrupted_is_no_defect(capsys):
    with pytest.raises(SystemExit) as caught, command_console():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise RuntimeError("DataLoader worker exited")
    assert caught.value.code == 143 and capsys.readouterr().err == "interrupted by SIGTERM\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "No space left on device: a/b"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "Permission denied: a/b"),
        (OSError(errno.EROFS, "Read-only file system", "a/b"), "Read-only file system: a/b"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x", None, "y"), "File name too long: y"),
        (Exception("I/O error: No space left on device (os error 28)"), "No space left on device"),
        (sqlite3.OperationalError("database or disk is full"), "No space left on device"),
        (RuntimeError("basic_ios::clear: iostream error"), "No space left on device"),
    ],
)
def test_an_error_of_the_file_system_ends_in_one_line(error, line, capsys):
    with pytest.raises(SystemExit) as caught, command_console():
        raise error
    assert caught.value.code == 2 and capsys.readouterr().err == f"error: {line}\n"
    with pytest.raises(SystemExit), command_console():
        raise RuntimeError("could not save") from error
    assert capsys.readouterr().err == f"error: {line}\n"


def test_a_missing_file_may_be_a_defect_and_keeps_its_traceback():
    with pytest.raises(FileNotFoundError), command_console():
        Path("nowhere").read_text()


@pytest.mark.launch
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone_ends_a_command_in_silence(stream):
    program = "import sys\nfrom extrabert_hf.console import command_console\nwith command_console():\n    while True: "
    program += f"print('x' * 99, file=sys.{stream})"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as process:
        getattr(process, stream).readline()
        getattr(process, stream).close()
        other = process.stderr if stream == "stdout" else process.stdout
        assert other.read() == b""
    assert process.returncode == 141


@pytest.mark.launch
@pytest.mark.parametrize(("error", "status"), [("InputError('no')", 2), ("KeyboardInterrupt", 130)])
@pytest.mark.parametrize("is_cause", [False, True])
def test_the_last_line_of_a_command_whose_reader_has_gone_changes_no_status(error, status, is_cause):
    program = (
        "import sys\nfrom extrabert_hf.console import command_console\nfrom extrabert_hf.errors import InputError\n"
    )
    program += "with command_console():\n    sys.stdin.readline()\n    try:\n        "
    program += "print('x', file=sys.stderr)" if is_cause else "1 / 0"
    program += f"\n    except Exception as cause:\n        raise {error} from cause"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stderr.close()
        process.stdin.write(b"\n")
        process.stdin.close()
    assert process.returncode == (141 if is_cause and status == 2 else status)


LAUNCHED = """
import subprocess, sys, time
if sys.argv[1] == "child":
    from extrabert_hf.console import command_console
    with command_console():
        print("trains", flush=True)
        time.sleep(60)
subprocess.run([sys.executable, __file__, "child"])
"""


@pytest.mark.launch
@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("launcher", ["accelerate", "torchrun", "my_script"])
def test_a_command_ends_with_its_launcher_and_with_no_other_parent(launcher, number, tmp_path):
    (tmp_path / launcher).write_text(LAUNCHED)
    words = [sys.executable, tmp_path / launcher, "launch"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(words, **pipes) as process:
        process.stdout.readline()
        (child,) = psutil.Process(process.pid).children()
        process.send_signal(number)
        _, alive = psutil.wait_procs([child], timeout=1 if launcher == "my_script" else 20)
        assert bool(alive) == (launcher == "my_script")
        if alive:
            child.kill()
