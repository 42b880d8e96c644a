"""
Serves a web page that predicts typed sentences: the command `extrabert demo` as a script.

    python recipes/demo.py runs/sst runs/para runs/sts
    python recipes/demo.py runs/multitask attention=runs/sts mean=runs/sts_mean --port 8000
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("demo", sys.argv[1:])
