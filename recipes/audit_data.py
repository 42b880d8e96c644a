"""
Checks rows before training: duplicates, texts in two splits, texts with several labels, the distribution of labels
and of lengths, and the score of a constant prediction.

    python recipes/audit_data.py --data sample --json audit.json
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("audit", sys.argv[1:])
