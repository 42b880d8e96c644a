#!/usr/bin/env bash
# This package on one GPU: correctness of its kernels, training and scoring beside other libraries, gradient surgery.
#
#   benchmarks/gpu.sh pack FOLDER                       # MiniLM in bfloat16, in one file below 60 MB, with its tokenizer
#   benchmarks/gpu.sh run FOLDER DATA OUTPUT [flags]    # measures on the GPU machine, and writes the JSON file OUTPUT
#
# `run` needs no network. DATA is the CS224N folder, or `sample`. Flags are those of `python -m benchmarks.gpu --help`.
set -euo pipefail
python=${PYTHON:-python}
command=${1:-}
if [[ $command == pack && $# -ne 2 || $command == run && $# -lt 4 ]]; then
  command=
fi
root=$(cd "$(dirname "$0")/.." && pwd)
case $command in
  pack)
    exec "$root/benchmarks/table1_base.sh" pack minilm "$2"
    ;;
  run)
    shift
    export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
    exec "$python" -m benchmarks.gpu "$@"
    ;;
  *)
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
