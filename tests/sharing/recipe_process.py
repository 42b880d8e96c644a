"""
One process that runs many recipes: importing torch takes longer than a push.

It reads a recipe's words and environment as a line of JSON, runs it as `python recipes/...` would, and answers with a
line of JSON that has its exit status and what it wrote.
"""

import contextlib
import io
import json
import os
import runpy
import sys
import traceback

if __name__ == "__main__":
    for line in sys.stdin:
        words, environment = json.loads(line)
        before = dict(os.environ)
        os.environ.update(environment)
        sys.argv, output, errors = words, io.StringIO(), io.StringIO()
        status = 0
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                runpy.run_path(words[0], run_name="__main__")
            except SystemExit as done:
                status = done.code or 0
            except BaseException:
                traceback.print_exc()
                status = 1
        os.environ.clear()
        os.environ.update(before)
        print(json.dumps([status, output.getvalue(), errors.getvalue()]), flush=True)  # noqa: T201
