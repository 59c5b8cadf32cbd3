# moe-split on checkpoints as large as the largest there are, with holes for numbers, and on 384 experts with numbers.
# Times are generous: the tests are for what grows out of bounds.

load lib

# make_loads FIRST LAYERS EXPERTS [SHIFT]
make_loads()
{
	awk -v first="$1" -v layers="$2" -v experts="$3" -v shift="${4:-0}" 'BEGIN {
		print "layer\texpert\tcount\tweight"
		for (l = first; l < layers; l++)
			for (e = 0; e < experts; e++)
				print l "\t" e "\t" int(1000 / (1 + (e * 7 + l * 3 + shift) % experts)) "\t1"
	}'
}

# bounded CMD...: as run_split, with 100 MB of memory of its own at most, and 60 seconds.
bounded()
{
	local limit=(ulimit -d 100000)
	! nm "$BIN/moe-split" 2>/dev/null | grep -q __asan_init || limit=(:)
	# shellcheck disable=SC2016
	run_split timeout 60 bash -c '"${@:2:$1}" && exec "${@:$1 + 2}"' bash "${#limit[@]}" "${limit[@]}" "$@"
}

@test "91,991 tensors in 163 files, 32 ranks: what each needs, and what a new plan moves, within 100 MB" {
	"$BUILD/tests/bench/checkpoint" --holes --shards 163 "$DATA/configs/deepseek-v3.json" v3 >/dev/null
	make_loads 3 61 256 | moe-split -q -n 32 --nodes 4 --slots 288 >plan.tsv
	bounded moe-split --plan plan.tsv --dry-run -j 1 v3
	expect_status 0
	[ "$(wc -l <.out)" = 33 ]
	# counted from the list: all of what is no expert on every rank, and experts by the plan; headers and the record of
	# the source come on top, at most 250 bytes a tensor
	moe-convert --list v3 | awk -F '\t' '
		FILENAME == "plan.tsv" { if ($1 ~ /^[0-9]+$/) copies[$1, $2]++; next }
		FNR > 1 && $1 ~ /mlp\.experts\./ { c = ($8, $9) in copies ? copies[$8, $9] : 1; n += $6 * c; k += c + 1; next }
		FNR > 1 { n += 32 * $6; k += 33 }
		END { printf "%.0f\t%.0f\n", n, k }' plan.tsv - >want
	read -r bytes tensors <want
	awk -F '\t' -v want="$bytes" -v k="$tensors" 'NR > 1 { n += $2 } END {
		if (n < want || n > want + 250 * k) { printf "%.0f", n; exit 1 } }' .out
	make_loads 3 61 256 5 | moe-split -q -n 32 --nodes 4 --slots 288 --from plan.tsv --max-moves 4 >next.tsv
	bounded moe-split --rebalance plan.tsv --links -j 1 next.tsv v3
	expect_status 0
	# 7168 x 2048, three matrices, a byte a number, and a scale of four bytes for 128 x 128
	[ "$(awk -F '\t' 'NR > 1 && $6 != $5 * 3 * (7168 * 2048 + 4 * 56 * 16) { print }' .out | wc -l)" = 0 ]
	[ "$(wc -l <.out)" -gt 1 ]
}

@test "384 experts on 48 ranks: cut, verified, patched, merged, under names with blanks" {
	jq '.text_config? // . | .num_hidden_layers = 2 | .hidden_size = 64 | .vocab_size = 300 | .intermediate_size = 64 |
		.moe_intermediate_size = 32 | .num_attention_heads = 2 | .num_key_value_heads = 2 | .kv_lora_rank = 16 |
		.q_lora_rank = 16 | .qk_nope_head_dim = 16 | .qk_rope_head_dim = 16 | .v_head_dim = 16' \
		"$DATA/configs/kimi-k2.json" >config.json
	"$BUILD/tests/bench/checkpoint" config.json 'a model' >/dev/null
	[ "$(moe-convert --info --json 'a model' | jq .experts)" = 384 ]
	make_loads 1 2 384 | moe-split -q -n 48 --slots 432 >'old plan'
	make_loads 1 2 384 50 | moe-split -q -n 48 --slots 432 >'new plan'
	moe-split -q --plan 'old plan' --resume -o 'the shards' 'a model'
	moe-split -q --plan 'old plan' --verify 'the shards' 'a model'
	moe-convert --list 'the shards/rank-047' | grep -q 'experts\.3[0-9][0-9]\.'
	moe-split -q --rebalance 'old plan' --patch 'the shards/' 'new plan'
	moe-split -q --plan 'new plan' --verify 'the shards' 'a model'
	moe-split -q --merge -o 'the model' 'the shards'
	diff -r 'a model' 'the model'
}

@test "a reader that leaves, a full stdout, and places where nothing can be written" {
	make_loads 3 61 256 | moe-split -q -n 32 --slots 288 >plan.tsv
	make_loads 3 61 256 9 | moe-split -q -n 32 --slots 288 >next.tsv
	run_split bash -c 'set -o pipefail; moe-split -q --rebalance plan.tsv --expert-bytes 9 next.tsv | head -n 1'
	expect_status 141
	run_split bash -c 'moe-split -q --rebalance plan.tsv --expert-bytes 9 next.tsv >/dev/full'
	expect_status 1
	expect_message 'stdout: cannot write'
	make_loads 1 5 32 | moe-split -q -n 2 >small.tsv
	for options in '' --resume; do
		# shellcheck disable=SC2086
		fails 1 moe-split $options --plan small.tsv -o /proc/shards "$MODEL_V3"
		expect_message "cannot create '/proc/.*shards"
	done
}
