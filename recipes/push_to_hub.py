"""
Pushes finished runs to the Hub: model, code, tokenizer, card, figures and scores, one repository per run.

    python recipes/push_to_hub.py runs/sst runs/para runs/sts --collection "ExTraBERT on MiniLM-L6"

The token is from `hf auth login` or HF_TOKEN. A failed push can be repeated.
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("push", sys.argv[1:])
