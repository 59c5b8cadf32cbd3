#!/usr/bin/env bats
# moe-route --adapt-bias: biases that balance the load of stored logits.

load lib

setup_file()
{
	# shellcheck disable=SC2030
	PATH=${BIN:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)/build/bin}:$PATH
	for name in prose zh code; do
		head -c 5000 "$BATS_TEST_DIRNAME/../../share/text/$name.txt" >"$BATS_FILE_TMPDIR/$name.txt"
	done
	cd "$BATS_FILE_TMPDIR" && moe-route --logits --window 64 -o l.trace tiny-v3 prose.txt zh.txt code.txt
}

setup()
{
	setup_scratch
	ln -s "$BATS_FILE_TMPDIR/l.trace" l.trace
}

# MaxVio of all layers under a table of biases.
maxvio()
{
	moe-route --policy noaux_tc --bias "$1" l.trace | moe-stats --metric maxvio - | awk '$1 == "all" { print $2 }'
}

@test "loss-free balancing brings MaxVio of all tokens below 0.1, and says so beside what chance makes" {
	moe-route --policy noaux_tc --adapt-bias 0.01 --epochs 40 --batch-tokens 3000 --seed 1 -o a.tsv l.trace 2>err
	moe-route --policy noaux_tc --adapt-bias 0.001 --epochs 40 --batch-tokens 3000 --bias a.tsv l.trace >b.tsv 2>err2
	sed -n 's/.*all tokens: \(.*\) before, \(.*\) with the biases found; chance alone makes \(.*\)/\1 \2 \3/p' err >said
	awk '{ exit !($1 > 0.5 && $2 < 0.3 && $3 > 0.05 && $3 < 0.2) }' said
	awk -v a="$(maxvio a.tsv)" '{ exit !(a - $2 < 0.001 && $2 - a < 0.001) }' said
	awk -v b="$(maxvio b.tsv)" 'BEGIN { exit !(b < 0.1) }'
	grep -q 'MaxVio of batches: .* in the first epoch, .* in the last' err
	[ "$(head -n 1 b.tsv)" = 'layer	expert	bias' ]
	[ "$(wc -l <b.tsv)" -eq 129 ]
}

@test "the replay is the same on any number of threads, and another by another seed" {
	moe-route -q --policy noaux_tc --adapt-bias 0.01 --batch-tokens 500 --epochs 2 -j1 --batches a.batches l.trace >a
	moe-route -q --policy noaux_tc --adapt-bias 0.01 --batch-tokens 500 --epochs 2 -j2 --batches b.batches l.trace >b
	expect_same a b
	expect_same a.batches b.batches
	moe-route -q --policy noaux_tc --adapt-bias 0.01 --batch-tokens 500 --epochs 2 --seed 9 l.trace >c
	never cmp -s a c
	tokens=$(moe-route -q --policy noaux_tc -k 1 --print l.trace | awk -F'\t' '$5 == 1' | wc -l)
	[ "$(head -n 1 a.batches)" = 'epoch	batch	layer	maxvio' ]
	[ "$(wc -l <a.batches)" -eq $((1 + tokens * 2 / 500 * 4)) ]
	[ "$(tail -n 1 a.batches | cut -f1)" = 2 ]
}

@test "one batch: a step of U by the sign of the error, of its size, or less the mean" {
	tokens=$(moe-route -q --policy noaux_tc -k 1 --print l.trace | awk -F'\t' '$5 == 1' | wc -l)
	moe-route -q --policy noaux_tc l.trace | moe-stats --load - | grep -v '^#' >load
	for rule in sign proportional centred; do
		moe-route -q --policy noaux_tc --adapt-bias 0.01 --adapt-rule $rule --batch-tokens "$tokens" l.trace >got
		awk -F'\t' -v rule=$rule -v k=4 -v tokens="$tokens" '
			NR == FNR && FNR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
			NR == FNR { load[$at["layer"], $at["expert"]] = $at["count"]; next }
			FNR == 1 { next }
			{ mean = tokens * k / 32; e = mean - load[$1, $2]; s = (e > 0) - (e < 0); up[$1] += s
			  want[$1, $2] = rule == "proportional" ? e / mean : s; got[$1, $2] = $3; layer[$1, $2] = $1; n++ }
			END { for (i in got) { d = got[i] - 0.01 * (want[i] - (rule == "centred" ? up[layer[i]] / 32 : 0))
				if (d > 1e-6 || d < -1e-6) exit 1 } exit n != 128 }' load got
	done
	moe-route -q --json --policy noaux_tc --adapt-bias 0.01 --batch-tokens "$tokens" l.trace |
		jq -es 'length == 128 and (.[0] | keys) == ["bias","expert","layer"]'
}

@test "what does not go with --adapt-bias is refused" {
	fails 2 moe-route --policy softmax_topk --adapt-bias 0.01 l.trace
	expect_message 'there is nothing to adapt'
	fails 2 moe-route --policy noaux_tc --adapt-bias 0.01 --batch-tokens 1000000 l.trace
	expect_message 'less than one batch of 1000000'
	fails 2 moe-route --policy noaux_tc --adapt-bias 0.01 --print l.trace
	expect_message 'writes a table of biases and no trace'
	fails 2 moe-route --policy noaux_tc --epochs 2 l.trace
	expect_message 'go with --adapt-bias'
	fails 2 moe-route --policy noaux_tc --adapt-bias 0.01 -o l.trace --force l.trace
	expect_message 'is the same file as'
}
