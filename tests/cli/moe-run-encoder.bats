#!/usr/bin/env bats
# Models with an encoder: lines of encoder ids, a TAB, decoder ids; traces that hold both stacks.

load lib

setup()
{
	setup_scratch
	MODEL=$GOLDEN/models/switch
	printf '5 6 7 8 9 10 11 12 13 14 15 5 5 5 5 5 5\t0 3 4 5\n9 8 7\t0\n' >ids
}

@test "a line is encoder ids, a TAB, decoder ids" {
	for line in '1 2 3' '1 2 3\t' '\t4' '1\t4\t5' ''; do
		printf "$line\n" >bad
		fails 1 moe-run "$MODEL" --ids --score bad
		expect_message 'bad: line 1: expected encoder ids, a TAB, decoder ids'
	done
	printf '1 2 128\t4 5\n' >bad
	fails 1 moe-route "$MODEL" --ids bad
	expect_message 'line 1: token id 128 is outside the vocabulary of 128'
	# elsewhere a TAB is a blank
	printf '1 2\t3 4\n' >tab
	printf '1 2 3 4\n' >blank
	moe-run "$GOLDEN/models/mixtral" --ids --score tab | tail -n 1 >a
	moe-run "$GOLDEN/models/mixtral" --ids --score blank | tail -n 1 >b
	expect_same a b
}

@test "generation depends on the encoder's tokens, not on chunks" {
	moe-run "$MODEL" --ids -n 12 --ignore-eos ids >a
	[ "$(wc -l <a)" -eq 2 ]
	moe-run "$MODEL" --ids -n 12 --ignore-eos --chunk 1 -j 1 ids >b
	expect_same a b
	cut -f2 ids | sed 's/^/77 78\t/' >other
	moe-run "$MODEL" --ids -n 12 --ignore-eos other >c
	never cmp -s a c
	# the second sequence sees nothing of the first
	sed -n 2p ids | moe-run "$MODEL" --ids -n 12 --ignore-eos >d
	sed -n 2p a | cmp - d
}

@test "a trace holds the encoder's tokens and then the decoder's, each in the layers of its stack" {
	moe-run "$MODEL" --ids -n 0 --trace t.trace ids
	moe-route --print t.trace |
		awk -F'\t' '$2 == 0 && NR > 1 { print $5 < 4 ? "encoder" : "decoder", $3 < 17 ? "first" : "then" }' |
		sort | uniq -c | awk '{ print $1, $2, $3 }' >got
	printf '8 decoder then\n34 encoder first\n' | cmp - got
	[ "$(moe-route --print t.trace | awk -F'\t' '$2 == 0 && $5 == 5 { print $4 }' | tr '\n' ' ')" = "0 3 4 5 " ]
	moe-route --ids -o r.trace "$MODEL" ids
	moe-route --print t.trace >a
	moe-route --print r.trace >b
	expect_same a b
	# expert_capacity is 5: the sixth token of an expert weighs nothing
	awk -F'\t' 'NR > 1 { n[$2, $5, $7]++; if ((n[$2, $5, $7] > 5) != ($8 == 0)) exit 1; late += $8 == 0 }
	            END { exit !late }' a
}

@test "a trace replays, and re-routes where logits are kept" {
	moe-run "$MODEL" --ids -n 0 --trace t.trace --logits a.st ids
	moe-run "$MODEL" --ids -n 0 --replay t.trace --logits b.st ids
	expect_same a.st b.st
	moe-run "$MODEL" --ids -n 0 --replay t.trace --replay-gates --logits c.st ids
	expect_same a.st c.st
	sed 's/^5 6/5 7/' ids >other
	fails 1 moe-run "$MODEL" --ids --score --replay t.trace other
	expect_message 'sequence 0, position 1: expected token 7, found 6'
	moe-route --ids --logits --margin -o r.trace "$MODEL" ids
	moe-route --print r.trace | cut -f1-7 >a
	moe-route --policy switch --print r.trace | cut -f1-7 >b
	expect_same a b
}

@test "--capacity overrides the model's" {
	moe-run "$MODEL" --ids --score ids | rows >own
	moe-run "$MODEL" --ids --score --capacity-tokens 5 ids | rows >same
	expect_same own same
	moe-run "$MODEL" --ids --score --capacity 100 ids | rows >all
	never cmp -s own all
	moe-run "$MODEL" --ids -n 0 --capacity 100 --trace t.trace ids
	[ "$(moe-route --print t.trace | awk -F'\t' '$8 == 0' | wc -l)" -eq 0 ]
}

@test "hidden states: the encoder's layers first, --dry-run knows how many" {
	moe-run "$MODEL" --ids -n 0 --hidden h.st ids
	moe-run "$MODEL" --ids -n 0 --hidden h.st --dry-run ids >plan
	# 20 encoder tokens after 0 to 4 layers, 5 decoder tokens after 5 to 8, 40 numbers each
	grep -q '^writes.h\.st.18\.8 KiB$' plan
	head -c 4000 h.st | grep -a -o '"hidden\.0\.[0-9]":{[^}]*"shape":\[[0-9]*,40\]' |
		sed 's/"hidden.0.\(.\)".*\[\([0-9]*\),.*/\1 \2/' | sort >got
	printf '%s 17\n' 0 1 2 3 4 >want
	printf '%s 4\n' 5 6 7 8 >>want
	expect_same want got
}

@test "conversion and shards keep it whole" {
	moe-convert "$MODEL" out
	moe-convert --verify out "$MODEL" >report
	moe-run "$MODEL" --ids -n 0 --logits a.st ids
	moe-run out --ids -n 0 --logits b.st ids
	expect_same a.st b.st
	moe-route --ids "$MODEL" ids | moe-stats - >r.load
	moe-split -n 2 r.load >p.tsv
	moe-split --plan p.tsv -o shards "$MODEL"
	moe-split --merge -o merged shards/*
	moe-run merged --ids -n 0 --logits c.st ids
	expect_same a.st c.st
	moe-convert --to gguf "$MODEL" out.gguf
	moe-run out.gguf --ids -n 0 --logits d.st ids
	expect_same a.st d.st
}
