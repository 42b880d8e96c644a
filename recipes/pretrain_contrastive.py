"""
Pre-trains an encoder on plain text with a contrastive loss: the command `extrabert pretrain` as a script.

    python recipes/pretrain_contrastive.py --text README.md --model_name_or_path minilm --output_dir runs/pretrained
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("pretrain", sys.argv[1:])
