"""
Exports a trained model: the command `extrabert export` as a script.

    python recipes/export.py runs/sts --format onnx --int8 true --data sample --split dev
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("export", sys.argv[1:])
