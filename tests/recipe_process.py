"""
One process that runs many recipes: importing torch takes longer than most of them.

As a program it reads the words, the environment and the standard input of a recipe as a line of JSON, runs the recipe
as `python recipes/...` would, and writes its exit status and output as a line of JSON. [`RecipeProcess`] starts it.
"""

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
import traceback


class RecipeProcess:
    """
    Starts the process in the folder `cwd` with `environment`, and ends it when its `with` block ends.

    Args:
        cwd (`Path`): The working directory of every recipe.
        environment (`dict`): All environment variables of the process.
    """

    def __init__(self, cwd, environment):
        self.cwd, self.environment = cwd, environment

    def __enter__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, __file__], cwd=self.cwd, env=self.environment, **pipes)
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def run(self, *words, stdin="", **environment):
        """Runs a recipe, and returns its status and output as `subprocess.run` does."""
        words = [*map(str, words)]
        self.process.stdin.write(json.dumps([words, environment, stdin]) + "\n")
        self.process.stdin.flush()
        return subprocess.CompletedProcess(words, *json.loads(self.process.stdout.readline()))


def run_recipe(words, environment, stdin):
    """Returns the exit status of a recipe, and what it wrote to its two outputs."""
    output, errors, status = io.StringIO(), io.StringIO(), 0
    before = dict(os.environ), sys.stdin
    os.environ.update(environment)
    sys.argv, sys.stdin = words, io.TextIOWrapper(io.BytesIO(stdin.encode()))
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as done:
            status = done.code or 0
        except BaseException:
            traceback.print_exc()
            status = 1
    os.environ.clear()
    os.environ.update(before[0])
    sys.stdin = before[1]
    return status, output.getvalue(), errors.getvalue()


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, which has folders named like packages
    for line in sys.stdin:
        result = run_recipe(*json.loads(line))
        print(json.dumps(result), flush=True)  # noqa: T201
