import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios

import pytest

from tests.conftest import tiny_run
from tests.recipes.processes import ENVIRONMENT, ROOT

pytestmark = pytest.mark.launch


def test_a_run_in_a_terminal_has_one_bar_and_ctrl_c_leaves_the_terminal_clean(tiny_encoder, tmp_path):
    words = tiny_run(tiny_encoder, tmp_path / "run", "--num_train_epochs", "500", "--disable_tqdm", "false")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "recipes/sft_sst.py", *words]
    terminal = {"cwd": ROOT, "env": ENVIRONMENT, "stdout": slave, "stderr": slave}
    with subprocess.Popen(command, **terminal, preexec_fn=heed_ctrl_c) as process:
        os.close(slave)
        shown = b""
        while chunk := read(master):
            is_before = b"dev accuracy" not in shown
            shown += chunk
            if is_before and b"dev accuracy" in shown:
                process.send_signal(signal.SIGINT)
        process.kill()  # without effect after its end
    os.close(master)
    assert process.returncode == 130, shown
    lines = [line.rstrip("\r").split("\r")[-1] for line in shown.decode().split("\n") if line.strip()]
    # of each line what is seen last; the scores of a tiny model may be constant
    *plan, bar, end = [line for line in lines if not line.startswith("warning: ")]
    assert end == "interrupted by SIGINT"
    assert re.match(r"(training|evaluating( \d+%)?): +\d+%\|", bar)
    assert [line.split()[0] for line in plan[:4]] == ["rows", "sst", "tiny_encoder,", "training"] and len(plan) == 5
    assert "\x1b[A" not in shown.decode()  # a second bar would move the cursor up


def heed_ctrl_c():
    """Ends the ignoring of SIGINT, which a job in the background of a shell inherits."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def read(master):
    """Returns what was written on a terminal; nothing once it has no writer, or after four minutes."""
    try:
        return os.read(master, 4096) if select.select([master], [], [], 240)[0] else b""
    except OSError:
        return b""
