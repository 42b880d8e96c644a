"""
Searches for the best arguments of a training run: the command `extrabert search` as a script.

    python recipes/search.py --task sts --config recipes/configs/minilm/sts.yaml --data sample --n_trials 4
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("search", sys.argv[1:])
