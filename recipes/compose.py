"""
Combines models with adapters into one model: the command `extrabert compose` as a script.

    python recipes/compose.py runs/sst runs/para runs/sts --output_dir runs/composed
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("compose", sys.argv[1:])
