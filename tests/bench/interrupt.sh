#!/bin/bash
# moe-convert --resume under fire: kills at random moments, then disks that are full at random points. Every resumed
# run must give what an uninterrupted one gives, to the byte. Prints a line per conversion, tab-separated.
#
#	tests/bench/interrupt.sh [KILLS [FULL [SEED]]]		200 kills, 50 full disks, seed 1
#
# Full disks are small tmpfs mounts where mounting is allowed, else limits on the size of files.

set -eu -o pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$top/build}
PATH=${BIN:-$build/bin}:$PATH
kills=${1:-200}
full=${2:-50}
RANDOM=${3:-1}
dir=$(mktemp -d)
mounted=
clean()
{
	[ -z "$mounted" ] || umount "$dir/disk"
	rm -rf "$dir"
}
trap clean EXIT
cd "$dir"

die()
{
	echo "interrupt.sh: $*" >&2
	exit 1
}

# A model of some 80 MB in shards.
jq '.hidden_size = 512 | .vocab_size = 8192 | .num_hidden_layers = 4 | .intermediate_size = 1024 |
	.moe_intermediate_size = 256 | .n_routed_experts = 24 | .kv_lora_rank = 128' \
	"$top/tests/data/configs/deepseek-v2-lite.json" >config.json
"$build/tests/bench/checkpoint" --seed 1 --shards 5 config.json hf >/dev/null
moe-convert -q hf source.gguf

names=('HF to GGUF q4_k' 'HF to HF fp8, shards' 'GGUF to HF, shards')
wants=(want0.gguf want1 want2)
dsts=(out0.gguf out1 out2)
# args_of C: what conversion C is asked for, in args
args_of()
{
	case $1 in
	0) args=(--type q4_k hf) ;;
	1) args=(--type f8_e4m3 --shard-size 9M hf) ;;
	2) args=(--shard-size 9M source.gguf) ;;
	esac
}
times=()
n_bytes=()
for c in 0 1 2; do
	args_of $c
	from=$(date +%s%N)
	moe-convert -q "${args[@]}" "${wants[$c]}"
	times+=($((($(date +%s%N) - from) / 1000)))
	n_bytes+=("$(du -sb "${wants[$c]}" | cut -f 1)")
done

# resume C WHERE: to the end, and compare.
resume()
{
	local c=$1 where=$2
	args_of "$c"
	moe-convert --resume --force "${args[@]}" "$where/${dsts[$c]}" 2>said || die "no resume: $(cat said)"
	diff -r "${wants[$c]}" "$where/${dsts[$c]}" || die "${names[$c]}: not the same"
	[ ! -e "$where/${dsts[$c]}.partial" ] || die "${names[$c]}: something is left"
	rm -r "${where:?}/${dsts[$c]}" "$where/${dsts[$c]}.journal"
}

printf 'conversion\tinterruptions\twent_on\twhole\n'
for c in 0 1 2; do
	args_of $c
	killed=0 on=0 whole=0
	while [ $killed -lt $((kills / 3 + (c < kills % 3))) ]; do
		t=$(awk -v r="$RANDOM" -v most="${times[$c]}" 'BEGIN { printf "%.4f", 0.002 + r / 32768 * most / 1e6 }')
		rc=0
		(timeout -s KILL "$t" moe-convert -q --resume "${args[@]}" "${dsts[$c]}"; exit $?) 2>said || rc=$?
		case $rc in
		137) killed=$((killed + 1)) ;;
		0) ;;
		*) die "${names[$c]}: status $rc: $(cat said)" ;;
		esac
		# one in three is killed again
		[ $((RANDOM % 3)) != 0 ] || [ $rc = 0 ] || continue
		resume $c .
		whole=$((whole + 1))
		if grep -q 'went on behind' said; then on=$((on + 1)); fi
	done
	[ ! -e "${dsts[$c]}.journal" ] || resume $c .
	printf '%s, killed\t%d\t%d\t%d\n' "${names[$c]}" $killed $on $whole
done

mkdir disk
for c in 0 1 2; do
	args_of $c
	failed=0 on=0
	while [ $failed -lt $((full / 3 + (c < full % 3))) ]; do
		size=$((64 + (RANDOM * 32768 + RANDOM) % (n_bytes[c] / 1024)))
		rc=0
		if mount -t tmpfs -o size=${size}k none disk 2>/dev/null; then
			mounted=1
			moe-convert -q --resume --force "${args[@]}" "disk/${dsts[$c]}" 2>said || rc=$?
		else
			(ulimit -f $size; exec moe-convert -q --resume --force "${args[@]}" "disk/${dsts[$c]}") 2>said || rc=$?
		fi
		if [ $rc != 0 ]; then
			[ $rc = 1 ] || die "${names[$c]}: status $rc where the disk is full: $(cat said)"
			grep -q 'cannot write.*--resume goes on with it$\|cannot create.*--resume goes on with it$' said ||
				die "${names[$c]}: what it said is: $(cat said)"
			[ ! -e "disk/${dsts[$c]}" ] || die "${names[$c]}: a full disk and an output"
			failed=$((failed + 1))
		fi
		[ -z "$mounted" ] || mount -o remount,size=400m disk
		if [ $rc != 0 ]; then
			resume $c disk
			if grep -q 'went on behind' said; then on=$((on + 1)); fi
		else
			rm -rf "disk/${dsts[$c]}" "disk/${dsts[$c]}.journal"
		fi
		[ -z "$mounted" ] || umount disk
		mounted=
	done
	printf '%s, full disk\t%d\t%d\t%d\n' "${names[$c]}" $failed $on $failed
done
