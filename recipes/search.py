"""
Searches for the best arguments of a training recipe, at random or with Parzen estimators. Each trial is a process.

    python recipes/search.py --task sts --config recipes/configs/minilm/sts.yaml --data sample --n_trials 4

The same command continues a search that was killed. Several machines can share one --storage. Flags that are not
listed here are passed to every run (see `python recipes/sft_sts.py --help`). Results: trials.csv, trials.png and
best.yaml.
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("search", sys.argv[1:])
