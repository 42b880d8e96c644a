"""Runs the Python blocks of a README.md as a reader does, and compares what they print with their comments."""

import json
import os
import re
import subprocess
import sys
import sysconfig

RUNNER = f"""
import contextlib, io, json, sys

sys.path.append({sysconfig.get_path("purelib")!r})  # `-S` leaves out the .pth file of an editable install
sys.modules["extrabert_hf"] = None
printed = []
for block in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(block, "README.md", "exec"), {{}})
    printed.append(output.getvalue())
json.dump(printed, sys.stdout)
"""


def python_blocks(text):
    return re.findall(r"^```python\n(.+?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def run_without_the_package(blocks, cwd, home):
    """Runs blocks in one process without this package and with a closed standard input; returns what each printed."""
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", RUNNER, json.dumps(blocks)],
        cwd=cwd,
        env={"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def comments_of(block):
    """The comment after each `print(...)` of a block: its output, in which `...` stands for any text."""
    return re.findall(r"^ *print\(.*\)  # (.+)$", block, re.MULTILINE)


def assert_prints_its_comments(block, printed):
    due = comments_of(block)
    lines = printed.splitlines()
    assert len(lines) == len(due) == len(re.findall(r"^ *print\(", block, re.MULTILINE)), (block, printed)
    for line, comment in zip(lines, due, strict=True):
        assert re.fullmatch(re.escape(comment).replace(r"\.\.\.", ".+"), line), (comment, line)
