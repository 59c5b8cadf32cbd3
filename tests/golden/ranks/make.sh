#!/bin/bash
# Makes the tables of this folder: what DeepSeek's own convert.py writes. Run it in the folder with moe-convert on PATH:
#
#   make.sh PYTHON V3/inference/convert.py V3.2-Exp/inference/convert.py
#
# PYTHON has torch, safetensors and tqdm; the scripts are those of DeepSeek-V3 and DeepSeek-V3.2-Exp.

set -eu
python=$1 v3=$2 v32=$3
top=$(cd "$(dirname "$0")/../../.." && pwd)
ref=$top/tests/ref
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# table NAME SCRIPT MODEL EXPERTS RANKS
table()
{
	"$python" "$2" --hf-ckpt-path "$3" --save-path "$work/$1" --n-experts "$4" --model-parallel "$5" 2>/dev/null
	for f in "$work/$1"/*.safetensors; do
		perl "$ref/list_tensors.pl" "$f" | sed "s/^/${f##*/}\t/"
	done >"$work/$1.tsv"
}

moe-convert -q --drop-mtp "$top/share/models/tiny-v3" "$work/tiny"
table tiny-v3-mp1 "$v3" "$work/tiny" 32 1
table tiny-v3-mp4 "$v3" "$work/tiny" 32 4
moe-convert -q "$top/tests/golden/models/deepseek_v2" "$work/v2"
table deepseek_v2-mp2 "$v3" "$work/v2" 16 2
moe-convert -q "$top/tests/golden/models/deepseek_v32" "$work/v32"
table deepseek_v32-mp2 "$v32" "$work/v32" 16 2
perl "$ref/make_ranks_model.pl" "$work/wide"
moe-convert -q --type f8_e4m3 "$work/wide" "$work/fp8"
table fp8-mp2 "$v3" "$work/fp8" 4 2
cp "$work/fp8-mp2.tsv" .
(cd "$work" && sha256sum -- *-mp*.tsv) >digests
