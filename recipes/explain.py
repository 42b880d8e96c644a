"""
Explains a prediction: the command `extrabert explain` as a script.

    python recipes/explain.py runs/sts "A man is playing a guitar." "Someone plays the guitar." --html why.html
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("explain", sys.argv[1:])
