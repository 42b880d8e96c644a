"""
Searches for the best arguments of a training recipe, at random or with Parzen estimators. Each trial is a process.

    python recipes/search.py --task sts --config recipes/configs/minilm/sts.yaml --data sample --n_trials 4

The same command continues a search that was killed. Several machines can share one --storage. Flags that are not
listed here are passed to every run (see `python recipes/sft_sts.py --help`). Results: trials.csv, trials.png and
best.yaml.
"""

import sys
from pathlib import Path

from extrabert_hf.console import recipe_console
from extrabert_hf.errors import need_packages

if __name__ == "__main__":
    with recipe_console():
        need_packages("the search", "search", "optuna")
        from extrabert_hf.search.runner import run_search
        from extrabert_hf.search.trial import parse_search

        argv = ["--space", str(Path(__file__).parent / "configs" / "search" / "paper.yaml"), *sys.argv[1:]]
        arguments, flags = parse_search(argv, description=__doc__)
        print(*run_search(arguments, flags, argv), sep="\n")
