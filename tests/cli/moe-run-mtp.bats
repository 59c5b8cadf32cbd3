#!/usr/bin/env bats
# The layer of multi-token prediction: scored beside the model's own head, and in traces.

load lib

setup()
{
	setup_scratch
	# lines of 90, 90, 1, 2, 3 and 0 ids
	moe-run tiny-v3 --tokenize "$TEXT/code.txt" | tr ' ' '\n' | sed -n '1,180p' | xargs -n 90 >ids
	printf '5\n17 18\n300 301 302\n\n' >>ids
}

@test "--score --mtp is what its logits say, computed again apart from the programs" {
	moe-run tiny-v3 --ids ids --logits l.st --mtp --score | rows >table
	perl "$TOP/tests/ref/score.pl" l.st ids >want
	head -n 1 table | tr '\t' '\n' >names
	printf '%s\n' source tokens bytes logprob ppl bpb mtp_tokens mtp_bytes mtp_logprob mtp_ppl mtp_bpb mtp_agree |
		cmp - names
	tail -n 1 table | cut -f2,4,7,9,12 >got
	paste got want | awk -F'\t' '
		function off(a, b) { return (a > b ? a - b : b - a) > 1e-5 }
		$1 != $6 || off($2, $7) || $3 != $8 || off($4, $9) || off($5, $10) || $1 != 181 || $3 != 177 { exit 1 }'
	# a share of tokens, neither none nor all
	awk -F'\t' '$5 <= 0.1 || $5 >= 0.95 { exit 1 }' got
	# perplexity and bits per byte are of these sums
	tail -n 1 table | awk -F'\t' '
		function off(a, b) { return (a > b ? a - b : b - a) > 1e-5 * b }
		off($10, exp(-$9 / $7)) || off($11, -$9 / ($8 * log(2))) { exit 1 }'
	# bytes of the tokens it predicts: all but the first two of each line
	[ "$(sed -n '1,2p;5p' ids | cut -d' ' -f3- | moe-run --detokenize tiny-v3 | wc -c)" -eq \
		"$(tail -n 1 table | cut -f8)" ]
	# the other columns are those of --score alone
	moe-run tiny-v3 --ids ids --score | rows | cmp - <(cut -f1-6 table)
	# and neither depends on how it was computed, or on what else is written
	for how in '--chunk 1' '--chunk 7 -j 2' '--trace t.trace --force'; do
		moe-run tiny-v3 --ids ids $how --mtp --score | rows >again
		expect_same table again
	done
}

@test "--score --mtp: rows of each text add up, as objects too" {
	head -c 2000 "$TEXT/code.txt" >code.txt
	head -c 2000 "$TEXT/zh.txt" >zh.txt
	moe-run tiny-v3 --score --mtp --window 100 --overlap 20 code.txt zh.txt | rows >table
	[ "$(wc -l <table)" -eq 4 ]
	awk -F'\t' 'NR == 1 { next }
		$1 != "total" { n += $7; bytes += $8; logprob += $9; agree += $7 * $12; next }
		{ exit !($7 == n && $8 == bytes && ($9 - logprob) ^ 2 < 1e-8 && ($12 * n - agree) ^ 2 < 1e-4) }' table
	# windows behind an overlap lose none, the first loses the token behind BOS
	[ "$(awk -F'\t' 'NR > 1 && NR < 4 { print $2 - $7 }' table | tr '\n' ' ')" = '1 1 ' ]
	moe-run tiny-v3 --score --mtp --window 100 --overlap 20 --json code.txt zh.txt | jq -c "select(.source)" >json
	jq -r '[.source, .tokens, .bytes, .logprob, .ppl, .bpb, .mtp_tokens, .mtp_bytes, .mtp_logprob, .mtp_ppl,
	        .mtp_bpb, .mtp_agree] | map(if type == "number" then . * 1000000 | round else . end) | @tsv' json >a
	awk -F'\t' -v OFS='\t' 'NR > 1 { for (i = 2; i <= NF; i++) $i = sprintf("%.0f", $i * 1000000); print }' table >b
	expect_same a b
	echo 5 >one
	moe-run tiny-v3 --ids one --score --mtp --json | tail -n 1 >json
	jq -e '.mtp_tokens == 0 and .mtp_logprob == 0 and .mtp_ppl == null and .mtp_agree == null' json
}

@test "a trace with --mtp has the layer behind the model's last, but not for the last token" {
	moe-run tiny-v3 --ids ids -n 0 --mtp --trace run.trace
	moe-route --ids --mtp -o route.trace tiny-v3 ids
	moe-route --print run.trace >a
	moe-route --print route.trace >b
	expect_same a b
	moe-route --ids -o plain.trace tiny-v3 ids
	moe-route --print plain.trace >c
	awk -F'\t' '$5 != 5' a | cmp - c
	# 186 tokens in five sequences, four experts each
	[ "$(awk -F'\t' 'NR > 1 { n[$5]++ } END { print n[1], n[2], n[3], n[4], n[5] }' a)" = '744 744 744 744 724' ]
	[ "$(moe-stats --load run.trace | awk -F'\t' '{ n[$1] += $3 } END { print n[4], n[5] }')" = '744 724' ]
	awk -F'\t' 'NR > 1 && $5 == 5 { n[$5 "\t" $7]++ } END { for (i in n) print i "\t" n[i] }' a | sort >want
	moe-stats --load run.trace | awk -F'\t' -v OFS='\t' '$1 == 5 && $3 > 0 { print $1, $2, $3 }' | sort | cmp - want
	perl "$TOP/tests/ref/read_trace.pl" run.trace | cmp - a
	moe-stats --metric maxvio run.trace | grep -q '^5'
	# joined, and with the layer or without it in all
	cat run.trace route.trace >both.trace
	moe-stats --load both.trace | awk -F'\t' '$1 == 5 { n += $3 } END { exit n != 1448 }'
	fails 1 moe-stats --load run.trace plain.trace
	expect_message 'layers'
}

@test "generated tokens are in it as given ones are" {
	for how in '--chunk 512' '--chunk 2 -j 1'; do
		rm -f gen.trace
		moe-run tiny-v3 $how --ids -p '0 5 6 7 8' -p '300 301' -n 12 --ignore-eos --mtp --trace gen.trace
		# eleven of the twelve are fed, and the last that is has none
		moe-route --print gen.trace |
			awk -F'\t' 'NR > 1 && ($5 == 4 || $5 == 5) { n[$2 " " $5]++; last[$2 " " $5] = $3 }
				END { for (i in n) print i, n[i], last[i] }' | sort >got
		printf '%s\n' '0 4 64 15' '0 5 60 14' '1 4 52 12' '1 5 48 11' | cmp - got
	done >out
	# the tokens are those of a run without
	moe-run tiny-v3 --ids -p '0 5 6 7 8' -p '300 301' -n 12 --ignore-eos >plain
	cat plain plain | cmp - out
}

@test "a trace with the layer re-routes and replays" {
	moe-route --ids --mtp --logits --margin -o full.trace tiny-v3 ids
	moe-route --print --margin full.trace >own
	moe-route --policy noaux_tc --bias tiny-v3 --margin --print full.trace >again
	expect_same own again
	moe-route --policy noaux_tc --bias tiny-v3 -k 2 full.trace | moe-stats --load - |
		awk -F'\t' '{ n[$1] += $3 } END { exit !(n[4] == 372 && n[5] == 362) }'
	# forced in the model's own layers; the other chooses for itself, and finds the same
	moe-run tiny-v3 --ids ids --mtp --logits a.st --trace a.trace
	for how in --replay '--replay-gates --replay'; do
		moe-run tiny-v3 --ids ids --mtp --force --logits b.st --trace b.trace $how a.trace
		expect_same a.st b.st
		moe-route --print a.trace >a
		moe-route --print b.trace >b
		expect_same a b
	done
	moe-run tiny-v3 --ids ids --logits c.st
	moe-run tiny-v3 --ids ids --force --logits b.st --replay a.trace
	expect_same c.st b.st
	moe-run tiny-v3 --ids ids --mtp --trace k.trace -k 2 -n 0
	moe-route --print k.trace | awk -F'\t' 'NR > 1 { n[$5]++ } END { exit !(n[4] == 372 && n[5] == 362) }'
}

@test "plans made of it place the layer, and shards hold it" {
	moe-route --ids --mtp tiny-v3 ids | moe-split -n 2 - >plan.tsv
	[ "$(awk -F'\t' '$1 == 5' plan.tsv | wc -l)" -ge 32 ]
	moe-split --plan plan.tsv -o shards tiny-v3
	moe-split --merge -o merged shards/*
	moe-run merged --ids ids --score --mtp | rows >a
	moe-run tiny-v3 --ids ids --score --mtp | rows >b
	expect_same a b
}

@test "models without the layer, and --mtp for nothing, are refused" {
	for how in '--score' '--logits l.st' '--trace t.trace -n 0'; do
		fails 2 moe-run tiny-v2 --ids ids --mtp $how
		expect_message 'has no multi-token-prediction layer'
		[ ! -e l.st ] && [ ! -e t.trace ]
	done
	fails 2 moe-route --ids --mtp -o t.trace tiny-v2 ids
	expect_message 'has no multi-token-prediction layer'
	fails 2 moe-run tiny-v3 --ids ids --mtp -n 0
	expect_message 'give one'
	moe-route --ids --logits -o t.trace tiny-v3 ids
	fails 2 moe-route --mtp t.trace
	expect_message 'go with a model'
}
