"""
Runs the unfinished rows of the paper's Table 1, then writes the table with confidence intervals and paired tests.

    accelerate launch recipes/table1.py --data sample --model_name_or_path minilm --num_train_epochs 1

Flags that are not listed here are passed to every run (see `python recipes/sft_sts.py --help`).
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("table1", sys.argv[1:])
