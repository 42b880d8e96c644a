"""
Fine-tunes one encoder with a head for each of several tasks: the command `extrabert train multitask` as a script.

    accelerate launch recipes/multitask.py --config recipes/configs/minilm/multitask.yaml --data sample
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("train", ["multitask", *sys.argv[1:]])
