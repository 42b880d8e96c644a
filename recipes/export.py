"""
Exports a trained model as ONNX with all heads, as a folder for sentence-transformers, or as merged safetensors, and
compares the export with the model on labelled rows. It needs the extra `export`.

    python recipes/export.py runs/sts --format onnx --int8 true --data sample --split dev
"""

import sys

from extrabert_hf.cli.main import run_command

if __name__ == "__main__":
    run_command("export", sys.argv[1:])
