"""
Combines models of one task each, fine-tuned separately with --lora true, into one model: one encoder, and an adapter
and a head for each task.

    python recipes/compose.py runs/sst runs/para runs/sts --output_dir runs/composed
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("compose", sys.argv[1:])
