#!/bin/bash
# Seconds and rates of each program on tiny-v3; part of `make bench`. One line per job, tab-separated; the best of RUNS [3].

set -eu -o pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
PATH=${BIN:-$top/build/bin}:$PATH
model=$top/share/models/tiny-v3
text=$top/share/text
runs=${RUNS:-3}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# bench NAME AMOUNT UNIT COMMAND...: least wall-clock time of some runs; AMOUNT per second in UNIT.
bench()
{
	local name=$1 amount=$2 unit=$3 best="" from took i
	shift 3
	for ((i = 0; i < runs; i++)); do
		from=$(date +%s%N)
		"$@" >/dev/null 2>err || { cat err >&2; return 1; }
		took=$(($(date +%s%N) - from))
		if [ -z "$best" ] || [ "$took" -lt "$best" ]; then
			best=$took
		fi
	done
	awk -v n="$name" -v t="$best" -v a="$amount" -v u="$unit" \
		'BEGIN { printf "%s\t%.3f\t%.4g\t%s\n", n, t / 1e9, a * 1e9 / t, u "/s" }'
}

mb=$(stat -L -c %s "$model/model.safetensors" | awk '{ print $1 / 1e6 }')
text_mb=$(cat "$text"/*.txt | wc -c | awk '{ print $1 / 1e6 }')
tokens=$(moe-run --tokenize "$model" "$text"/*.txt | wc -w)
moe-route -o run.trace "$model" "$text"/*.txt
moe-route --logits -o logits.trace "$model" "$text"/*.txt
moe-stats --load run.trace >load.tsv
moe-split -q -n 4 --nodes 2 --slots 40 load.tsv >plan.tsv

printf 'job\tseconds\trate\tunit\n'
bench 'convert bf16 -> gguf' "$mb" MB moe-convert --force "$model" x.gguf
bench 'convert hash' "$mb" MB moe-convert --hash "$model"
bench 'tokenize' "$text_mb" MB moe-run --tokenize "$model" "$text"/*.txt
bench 'score' "$tokens" tokens moe-run --score "$model" "$text"/*.txt
bench 'route' "$tokens" tokens moe-route --force -o y.trace "$model" "$text"/*.txt
bench 're-route' "$tokens" tokens moe-route --force --policy softmax_topk -o z.trace logits.trace
bench 'decompress' "$tokens" tokens moe-stats --load logits.trace
bench 'generate 200' 200 tokens moe-run "$model" -p 'static int' -n 200 --ignore-eos
bench 'stats load' "$tokens" tokens moe-stats --load run.trace
# planner NAME OPTION...: the time the program says that planning 58 layers of 256 experts took, without reading.
planner()
{
	local name=$1 i
	shift
	for ((i = 0; i < runs; i++)); do
		moe-split -v --dry-run -n 32 --slots 288 --planner "$name" "$@" "$top/tests/golden/eplb/zipf-58x256.load.tsv" 2>&1 |
			sed -n 's/.*: planned in \([0-9.]*\) ms$/\1/p'
	done | sort -n | awk -v n="plan $name $*" 'NR == 1 { printf "%s\t%.6f\t%.4g\tlayers/s\n", n, $1 / 1e3, 58e3 / $1 }'
}

planner eplb
planner eplb --nodes 4 --groups 8
planner greedy --nodes 4 --groups 8
planner search
planner search --nodes 4 --groups 8
bench 'split plan' 1 plans moe-split -n 4 --nodes 2 --slots 40 load.tsv
bench 'split shards' "$mb" MB moe-split --force --plan plan.tsv -o shards "$model"
