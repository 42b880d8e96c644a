"""
Checks rows before training: the command `extrabert audit` as a script.

    python recipes/audit_data.py --data sample --json audit.json
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("audit", sys.argv[1:])
