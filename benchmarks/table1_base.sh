#!/usr/bin/env bash
# The paper's Table 1 with a base-size encoder: all eight rows, ten epochs, three seeds, six runs at a time on one GPU.
#
#   benchmarks/table1_base.sh pack mpnet FOLDER                 # the encoder in bfloat16, in files below 60 MB
#   benchmarks/table1_base.sh run FOLDER DATA OUTPUT [flags]    # trains what is not finished, and writes the table
#
# FOLDER of `run` can also be a name or a Hub id. Flags go to every run, such as --num_train_epochs 1.
set -euo pipefail
python=${PYTHON:-python}
command=${1:-}
if [[ $command == pack && $# -ne 3 || $command == run && $# -lt 4 ]]; then
  command=
fi
case $command in
  pack)
    exec "$python" - "$2" "$3" <<'END'
import sys
import torch
from transformers import AutoModel, AutoTokenizer
from extrabert_hf.pretrained.names import resolve_model_name

name, folder = resolve_model_name(sys.argv[1]), sys.argv[2]
AutoModel.from_pretrained(name, dtype=torch.bfloat16).save_pretrained(folder, max_shard_size="59MB")
AutoTokenizer.from_pretrained(name).save_pretrained(folder)
END
    ;;
  run)
    encoder=$2 data=$3 output=$4
    shift 4
    exec "$python" -m extrabert_hf table1 --workers 6 --seeds 42 43 44 --model_name_or_path "$encoder" --data "$data" \
      --output_dir "$output" --num_train_epochs 10 --learning_rate 2e-5 --per_device_train_batch_size 32 \
      --eval_strategy no --save_strategy no --load_best_model_at_end false "$@"
    ;;
  *)
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
