#!/usr/bin/env bats
# moe-route: policies that go by more than one token's logits, groups, queues and drawn numbers.

load lib

setup_file()
{
	# shellcheck disable=SC2030
	PATH=${BIN:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)/build/bin}:$PATH
	head -c 6000 "$BATS_TEST_DIRNAME/../../share/text/de.txt" >"$BATS_FILE_TMPDIR/de.txt"
	head -c 3000 "$BATS_TEST_DIRNAME/../../share/text/zh.txt" >"$BATS_FILE_TMPDIR/zh.txt"
	moe-route --logits --window 128 -o "$BATS_FILE_TMPDIR/l.trace" tiny-v3 "$BATS_FILE_TMPDIR/de.txt" \
		"$BATS_FILE_TMPDIR/zh.txt"
}

setup()
{
	setup_scratch
	ln -s "$BATS_FILE_TMPDIR/l.trace" l.trace
}

# Least and largest number of choices of an expert in a layer of the table on stdin.
extremes()
{
	awk -F'\t' 'NR > 1 { n[$5, $7]++ } END { for (l = 1; l <= 4; l++) for (e = 0; e < 32; e++) {
		c = n[l, e] + 0; if (!s++ || c < lo) lo = c; if (c > hi) hi = c } print lo, hi }'
}

@test "expert choice gives every expert the same, and tokens what is left" {
	moe-route --policy expert_choice -k 4 --capacity-group tokens=64 -o e.trace l.trace 2>err
	grep -q 'got no expert and keep their residual alone' err
	n=$(moe-route -q --policy noaux_tc --print l.trace | awk -F'\t' 'NR > 1 { print $2, $3 }' | sort -u | wc -l)
	moe-route --print e.trace >e
	# C = ceil(4 T / 32): 8 of every 64 tokens, and of the rest
	want=$((n / 64 * 8 + (n % 64 * 4 + 31) / 32))
	[ "$(extremes <e)" = "$want $want" ]
	[ "$(moe-stats --metric maxvio e.trace | awk '$1 == "all" { print $2 }')" = 0 ]
	# within a group of tokens no expert took less than it left: by the softmax of stored logits, from another policy
	moe-route -q --policy softmax_topk -k 32 --scale 1 --no-normalize --print l.trace >all
	# every layer of every group: the least that an expert took is no less than the best that it left
	awk -F'\t' 'FNR == 1 { file++; next }
		file == 1 && $5 == 1 && $6 == 0 { group[$2, $3] = int(tokens / 64); tokens++ }
		file == 1 { score[$2, $3, $5, $7] = $8; next }
		{ g = group[$2, $3] SUBSEP $5 SUBSEP $7; took[$2, $3, $5, $7] = 1; n++
		  if (score[$2, $3, $5, $7] != $8) exit 1
		  if (!(g in least) || $8 < least[g]) least[g] = $8 }
		END { for (i in score) { split(i, at, SUBSEP); g = group[at[1], at[2]] SUBSEP at[3] SUBSEP at[4]
			if (!(i in took) && score[i] > least[g]) exit 1 } exit n < 1000 }' all e
	moe-route -q --policy expert_choice --capacity-tokens 3 --print l.trace | extremes >a
	moe-route -q --policy expert_choice --capacity 0.5 --capacity-group tokens=16 --print l.trace | extremes >b
	[ -s a ]
	never cmp -s a b
	fails 2 moe-route --policy expert_choice --margin --print l.trace
	expect_message 'chooses for a whole group'
	fails 2 moe-route --policy expert_choice --capacity 1 --drop prob --print l.trace
	expect_message 'drops nothing'
}

@test "BASE shares tokens out evenly, and its prices prove that no assignment is better" {
	moe-route --policy base --capacity-group tokens=32 -o b.trace l.trace 2>err
	sed -n 's/.*affinities of \(.*\) in all, and no assignment has more than \(.*\)$/\1 \2/p' err >sums
	awk '{ exit !($1 == $2 && $1 != 0) }' sums
	moe-route --print b.trace >b
	extremes <b | awk '{ exit !($2 - $1 <= 1 && $1 > 0) }'
	moe-route -j1 -q --policy base --capacity-group tokens=32 --print l.trace >c
	expect_same b c
	# a token alone takes its best, as at inference
	moe-route -q --policy base --capacity-group tokens=1 --print l.trace >d
	moe-route --policy llama4 -k 1 --print l.trace >e
	expect_same d e
	fails 2 moe-route --policy base --capacity 2 --print l.trace
	expect_message 'gives all experts the same'
}

@test "hash: ids of tokens from a table, a balanced one, a drawn one" {
	moe-route --policy softmax_topk -k 1 --print l.trace | awk -F'\t' 'NR > 1 && $5 == 1 { n[$4]++ }
		END { print "token\tcount"; for (t in n) print t "\t" n[t] }' >counts
	awk -F'\t' 'NR == 1 { print "token\texpert"; next } { print $1 "\t" $1 % 32; print $1 "\t" ($1 + 7) % 32 }' \
		counts >table
	moe-route --policy hash --table table --print l.trace >a
	awk -F'\t' 'NR > 1 && ($7 != ($4 + 7 * $6) % 32 || $8 != 0.5) { exit 1 }' a
	[ "$(wc -l <a)" -gt 1000 ]
	moe-route --policy hash --counts counts -o h.trace l.trace
	moe-route --policy hash -o r.trace l.trace
	awk -v a="$(moe-stats --metric maxvio h.trace | awk '$1 == "all" { print $2 }')" \
		-v b="$(moe-stats --metric maxvio r.trace | awk '$1 == "all" { print $2 }')" 'BEGIN { exit !(a < b / 2) }'
	moe-route --print r.trace | awk -F'\t' 'NR > 1 && ($4 in e) && e[$4] != $7 { exit 1 } { e[$4] = $7 }'
	moe-route --seed 1 --policy hash --print l.trace >s1
	moe-route --print r.trace >s0
	never cmp -s s0 s1
	sed '$d' table >short
	fails 1 moe-route --policy hash --table short --print l.trace
	expect_message 'has fewer experts than the first one: 2'
	awk 'NR < 4' table >few
	fails 1 moe-route --policy hash --table few -o x.trace l.trace
	expect_message 'is not in the table'
	sed '2p' table >twice
	fails 1 moe-route --policy hash --table twice --print l.trace
	expect_message 'has this expert already'
	fails 2 moe-route --policy hash -k 3 --table table --print l.trace
	expect_message 'the table has 2 of 32 experts for a token, expected 3 of 32'
	fails 2 moe-route --policy hash --table table --counts counts --print l.trace
	# sqrtsoftplus weighs the experts of a table
	moe-route --policy sqrtsoftplus --scale 1 --table table --print l.trace | cut -f1-7 >b
	cut -f1-7 a >c
	expect_same b c
}

@test "random, round_robin and noise are drawn by the seed, whatever the threads" {
	for policy in random noisy_topk 'gshard --second random' 'gshard --second sampling' 'softmax_topk --noise 0.5'; do
		# shellcheck disable=SC2086
		moe-route --policy $policy -j1 --print l.trace >a
		# shellcheck disable=SC2086
		moe-route --policy $policy -j2 --print l.trace >b
		expect_same a b
		# shellcheck disable=SC2086
		moe-route --policy $policy --seed 5 --print l.trace >c
		never cmp -s a c
	done
	moe-route --policy round_robin -k 3 --print l.trace |
		awk -F'\t' 'NR > 1 && $7 != ($3 * 3 + $6) % 32 { exit 1 }'
	moe-route --policy random -k 32 --print l.trace | awk -F'\t' 'NR > 1 { n[$2, $3, $5] += $7 }
		END { for (i in n) if (n[i] != 496) exit 1 }'
	moe-route --policy noisy_topk --noise 0 --print l.trace >a
	moe-route --policy topk_softmax --print l.trace >b
	expect_same a b
}

@test "--temperature flattens, and chooses the same" {
	moe-route --policy softmax_topk --scale 1 --no-normalize --print l.trace >a
	moe-route --policy softmax_topk --scale 1 --no-normalize --temperature 4 --print l.trace >b
	expect_same <(cut -f1-7 a) <(cut -f1-7 b)
	paste a b | awk -F'\t' 'NR > 1 && $6 == 0 && $16 >= $8 { exit 1 }'
}

@test "gshard: all second choices, some, and what weights share" {
	moe-route --policy gshard --print l.trace >all
	awk -F'\t' 'NR > 1 { k = $2 "/" $3 "/" $5; s[k] += $8; n[k]++ }
		END { for (k in s) if (n[k] != 2 || s[k] < 0.999999 || s[k] > 1.000001) exit 1 }' all
	moe-route --policy gshard --second random --print l.trace >some
	moe-route --policy gshard --second random-pair --print l.trace >pair
	[ "$(wc -l <some)" -lt "$(wc -l <pair)" ]
	[ "$(wc -l <pair)" -lt "$(wc -l <all)" ]
	# one that is left alone weighs 1, or what it weighed
	awk -F'\t' 'NR > 1 { k = $2 "/" $3 "/" $5; s[k] += $8 }
		END { for (k in s) if (s[k] < 0.999999) exit 1 }' some
	moe-route --policy gshard --second random --normalize-when before --print l.trace |
		awk -F'\t' 'NR > 1 { k = $2 "/" $3 "/" $5; s[k] += $8 } END { for (k in s) n += s[k] < 0.99; exit n < 10 }'
	# capacity: every expert at most C, tokens with one expert left give it all
	moe-route --policy gshard --capacity 0.5 --capacity-group tokens=64 -o g.trace l.trace 2>err
	grep -Eq '[1-9][0-9]* of [0-9]* choices found no room; [1-9][0-9]* of' err
	moe-route --print g.trace | awk -F'\t' 'NR > 1 { k = $2 "/" $3 "/" $5; s[k] += $8 }
		END { for (k in s) { n[s[k] > 0.999999 && s[k] < 1.000001 ? "one" : s[k] == 0 ? "none" : "bad"]++ }
		exit !(n["one"] > 10 && n["none"] > 0 && !n["bad"]) }'
	fails 2 moe-route --policy softmax_topk --second all --print l.trace
	expect_message 'does not read --second'
	fails 2 moe-route --policy softmax_topk --normalize-when after --print l.trace
}

@test "--drop, --priority, devices and exempt sequences" {
	for how in '--drop position' '--drop choice' '--drop prob' '--drop random' '--drop prob --priority batch' \
	           '--priority batch' '--normalize-when after'; do
		# shellcheck disable=SC2086
		moe-route -q --policy softmax_topk -k 3 --scale 1 --no-normalize --capacity-tokens 5 $how \
			--capacity-group tokens=60 --print l.trace >"t$how"
		awk -F'\t' 'NR > 1 && $5 == 2 { g = int(n / 3 / 60); n++; if ($8 > 0) c[g, $7]++ }
			END { for (i in c) { if (c[i] > 5) exit 1; full += c[i] == 5 } exit full < 20 }' "t$how"
		expect_same <(cut -f1-7 "t$how") <(cut -f1-7 't--drop position')
	done
	[ "$(cksum t* | cut -d' ' -f1 | sort -u | wc -l)" -ge 6 ]
	# what position drops last: first tokens keep all
	awk -F'\t' 'NR > 1 && $2 == 0 && $3 < 1 && $8 == 0 { exit 1 }' 't--drop position'
	# prob: no expert drops a weight above one it keeps
	awk -F'\t' 'NR > 1 && $5 == 1' 't--drop prob' >p
	moe-route -q --policy softmax_topk -k 3 --scale 1 --no-normalize --print l.trace | awk -F'\t' '$5 == 1' >w
	paste p w | awk -F'\t' '{ g = int((NR - 1) / 180) "/" $7 }
		$8 == 0 { if ($16 > hi[g]) hi[g] = $16; next } { if (!(g in lo) || $8 < lo[g]) lo[g] = $8 }
		END { for (g in hi) { n++; if (hi[g] > lo[g]) exit 1 } exit n < 5 }'
	# V2: a budget for each of 8 devices
	moe-route -q --policy group_limited --groups 8 --top-groups 3 -k 4 --capacity 1 --capacity-devices 8 --drop prob \
		--print l.trace >d
	awk -F'\t' 'NR > 1 && $5 == 1 { t[$2, $3] = 1; if (!(($2, $3) in s)) s[$2, $3] = T[$2]++; if ($8 > 0) c[$2, int($7 / 4)]++; d += $8 == 0 }
		END { for (i in c) { split(i, a, SUBSEP); if (c[i] > int((T[a[1]] * 4 + 7) / 8)) exit 1 } exit d == 0 }' d
	moe-route -q --policy group_limited --groups 8 --top-groups 3 -k 4 --capacity 1 --capacity-devices 8 --drop prob \
		--exempt 0.5 --print l.trace >x
	awk -F'\t' 'NR > 1 { n[$2] += $8 == 0 } END { for (i in n) { a++; b += n[i] == 0 } exit !(b > 0 && b < a) }' x
	fails 2 moe-route --policy softmax_topk --capacity 1 --capacity-devices 5 --print l.trace
	expect_message '5 devices do not divide 32 experts'
	fails 2 moe-route --policy softmax_topk --drop prob --print l.trace
	expect_message 'go with --capacity'
}

@test "MOE_CPU takes instruction sets away and changes nothing; a word that is none is refused" {
	for policy in softmax_topk noaux_tc topk_softmax; do
		moe-route -q --policy $policy --margin --print l.trace >best
		for name in generic avx2; do
			MOE_CPU=$name moe-route -q --policy $policy --margin --print l.trace | cmp - best
		done
	done
	MOE_CPU=nonsense fails 2 moe-route --policy softmax_topk --print l.trace
	expect_message 'MOE_CPU=nonsense: expected one of .*generic'
	# all programs know the same words, whatever of them they make use of
	for name in moe-convert moe-route moe-run moe-split moe-stats; do
		MOE_CPU=nonsense fails 2 $name nothing
		expect_message "$name: MOE_CPU=nonsense: expected one of avx2 avx512 generic"
		MOE_CPU=nonsense $name --version
	done
	MOE_CPU='' moe-run -n 1 -p 'int' tiny-v3 >best
	MOE_CPU=avx512 moe-run -n 1 -p 'int' tiny-v3 | cmp - best
}

@test "a last group that is shorter has the room of a whole one" {
	# Four of 32 experts in turn: in 32 tokens each is chosen four times and finds room twice; in the 16 behind them,
	# where it is chosen twice, as well. By both ways of queueing.
	seq -s ' ' 100 147 >ids
	moe-route -q --logits --ids tiny-v3 ids -o x.trace
	for drop in position prob; do
		moe-route -q --policy round_robin --capacity 0.5 --capacity-group tokens=32 --drop $drop --print x.trace |
			awk -F '\t' 'NR > 1 && $8 > 0 { n[$5]++; late[$5] += $3 >= 32; if ($3 >= 16 && $3 < 32) exit 1 }
				END { for (l in n) { layers++; if (n[l] != 128 || late[l] != 64) exit 1 } exit layers < 4 }'
	done
}
