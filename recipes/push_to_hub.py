"""
Pushes finished runs to the Hub: the command `extrabert push` as a script.

    python recipes/push_to_hub.py runs/sst runs/para runs/sts --collection "ExTraBERT on MiniLM-L6"
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("push", sys.argv[1:])
