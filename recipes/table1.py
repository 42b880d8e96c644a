"""
Runs and prints the paper's Table 1: the command `extrabert table1` as a script.

    accelerate launch recipes/table1.py --data sample --model_name_or_path minilm --num_train_epochs 1
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("table1", sys.argv[1:])
