#!/bin/bash
# Conversions of a checkpoint of real widths (DeepSeek-V2-Lite, LAYERS layers), beside plain copies of the same bytes.
# Prints a tab-separated line per job: median seconds, GB of input a second, processor seconds for a GB of input, peak of
# memory of its own (RssAnon) and of all (VmHWM) in MB, and the rate against the copy made in the same rounds.
#
#	tests/bench/convert.sh [DIR]		DIR: where to make files, [a temporary directory]
#	LAYERS [2]  RUNS [3]  JOBS (a pattern of job names) [*]  THREADS (-j) [as moe-convert chooses]
#
# On a disk the copy is `dd bs=4M conv=fsync`, since moe-convert syncs what it writes; on a tmpfs it is cp. LAYERS=6 is a
# checkpoint of 6.8 GB, which with its outputs takes 21 GB in all.

set -eu -o pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$top/build}
PATH=${BIN:-$build/bin}:$PATH
layers=${LAYERS:-2}
runs=${RUNS:-3}
pattern=${JOBS:-*}
threads=${THREADS:+-j$THREADS}
dir=$(mktemp -d -p "${1:-${TMPDIR:-/tmp}}")
trap 'rm -rf "$dir"' EXIT
cd "$dir"
kind=$(stat -f -c %T .)

"$build/tests/bench/checkpoint" --layers "$layers" --shards $((layers + 1)) \
	"$top/tests/data/configs/deepseek-v2-lite.json" bf16 >/dev/null

copy()
{
	local f
	mkdir out
	for f in "$1"/*.safetensors; do
		if [ "$kind" = tmpfs ]; then
			cp "$f" out/
		else
			dd if="$f" of="out/${f##*/}" bs=4M conv=fsync status=none
		fi
	done
}

# measure CMD...: into $took (ns), $cpu (s), $anon and $all (kB)
measure()
{
	local from before after pid key value
	times >.times
	before=$(tail -n 1 .times)
	from=$(date +%s%N)
	"$@" &
	pid=$!
	anon=0 all=0
	while [ -e /proc/$pid/status ] && kill -0 $pid 2>/dev/null; do
		while read -r key value _; do
			case $key in
			RssAnon:) [ "$value" -le "$anon" ] || anon=$value ;;
			VmHWM:) [ "$value" -le "$all" ] || all=$value ;;
			esac
		done 2>/dev/null </proc/$pid/status || :
		sleep 0.02
	done
	wait $pid
	took=$(($(date +%s%N) - from))
	times >.times
	after=$(tail -n 1 .times)
	cpu=$(printf '%s %s\n' "$before" "$after" | awk '{
		for (i = 1; i <= 4; i++) { split($i, t, /[ms]/); s[i] = 60 * t[1] + t[2] }
		printf "%.3f", s[3] + s[4] - s[1] - s[2] }')
}

median() { tr ' ' '\n' | grep . | sort -g | awk '{ x[NR] = $1 } END { print x[int((NR + 1) / 2)] }'; }

# job NAME SRC ARGS...: conversion and copy in turn
job()
{
	local name=$1 src=$2 i n_bytes convs='' copies='' cpus='' most_anon=0 most_all=0
	shift 2
	# shellcheck disable=SC2053
	[[ $name == $pattern ]] || return 0
	n_bytes=$(cat "$src"/*.safetensors | wc -c)
	for ((i = 0; i < runs; i++)); do
		sync
		# shellcheck disable=SC2086
		measure moe-convert -q $threads "$@"
		convs+=" $took" cpus+=" $cpu"
		[ "$anon" -le "$most_anon" ] || most_anon=$anon
		[ "$all" -le "$most_all" ] || most_all=$all
		rm -rf out out.gguf
		sync
		measure copy "$src"
		copies+=" $took"
		rm -rf out
	done
	awk -v name="$name" -v n="$n_bytes" -v t="$(median <<<"$convs")" -v c="$(median <<<"$copies")" \
		-v cpu="$(median <<<"$cpus")" -v anon="$most_anon" -v all="$most_all" 'BEGIN {
		printf "%s\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.2f\n", name, t / 1e9, n / t, cpu * 1e9 / n, anon / 1024,
			all / 1024, c / t }'
}

printf 'job\tseconds\tgb_s\tcpu_s_gb\tanon_mb\thwm_mb\tof_copy\n'
job 'bf16 to gguf' bf16 bf16 out.gguf
job 'bf16 to shards' bf16 --shard-size 1G bf16 out
job 'q8_0' bf16 --type q8_0 bf16 out.gguf
job 'q4_0' bf16 --type q4_0 bf16 out.gguf
job 'q4_k' bf16 --type q4_k bf16 out.gguf
job 'bf16 to fp8' bf16 --type f8_e4m3 bf16 out
moe-convert -q --type f8_e4m3 --shard-size 1G bf16 fp8
job 'fp8 to bf16' fp8 --type bf16 fp8 out
job 'fp8 to q8_0' fp8 --type q8_0 fp8 out.gguf
