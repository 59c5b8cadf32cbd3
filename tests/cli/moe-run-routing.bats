#!/usr/bin/env bats
# moe-run with a routing other than the model's: fewer experts, barred experts, other policies, replays.

load lib

setup()
{
	setup_scratch
	head -c 1200 "$TEXT/de.txt" >de.txt
}

# moe-run OPTIONS: writes $1.trace and $1.st.
record()
{
	local name=$1
	shift
	moe-run --force tiny-v3 -n 0 --trace "$name.trace" --logits "$name.st" "$@" de.txt
	moe-route --print "$name.trace" >"$name.txt"
}

@test "-k chooses fewer and the trace says so" {
	record two -k 2
	[ "$(awk -F'\t' 'NR > 1 { print $6 }' two.txt | sort -u | tr '\n' ' ')" = "0 1 " ]
	record four
	record same -k 4
	expect_same four.st same.st
	# the first of two is the first of four, in the first layer with a router
	[ "$(awk -F'\t' '$5 == 1 && $6 < 2' two.txt | cut -f7 | cksum)" = "$(awk -F'\t' '$5 == 1 && $6 < 2' four.txt | cut -f7 | cksum)" ]
}

@test "disabled experts are never chosen, the others as before where nothing was taken" {
	record plain
	record off --disable '1:0-7,*:31'
	[ "$(awk -F'\t' 'NR > 1 && (($5 == 1 && $7 < 8) || $7 == 31)' off.txt | wc -l)" -eq 0 ]
	[ "$(awk -F'\t' 'NR > 1 && (($5 == 1 && $7 < 8) || $7 == 31)' plain.txt | wc -l)" -gt 0 ]
}

@test "--mask-top bars each token's likeliest experts" {
	moe-route --logits -o logits.trace tiny-v3 de.txt
	moe-route --policy topk_softmax -k 8 --print logits.trace | awk -F'\t' '$5 == 1 { print $2, $3, $7 }' | sort >barred
	record masked --mask-top 0.25
	awk -F'\t' '$5 == 1 { print $2, $3, $7 }' masked.txt | sort >chosen
	[ -s chosen ]
	[ -z "$(comm -12 barred chosen)" ]
}

@test "--no-shared and one more routed expert change the score, not the number of choices per layer otherwise" {
	a=$(moe-run tiny-v3 --score de.txt | tail -n 1 | cut -f6)
	b=$(moe-run tiny-v3 --score --no-shared -k 5 de.txt | tail -n 1 | cut -f6)
	c=$(moe-run tiny-v3 --score --no-shared de.txt | tail -n 1 | cut -f6)
	awk -v a="$a" -v b="$b" -v c="$c" 'BEGIN { exit !(a < b && b != c) }'
}

@test "--policy routes by another rule" {
	record soft --policy softmax_topk
	record model
	never cmp -s soft.txt model.txt
	moe-run tiny-v3 --policy noaux_tc --score de.txt | rows >a
	moe-run tiny-v3 --score de.txt | rows >b
	expect_same a b
}

@test "--policy means what it means to moe-route, also where the model has none of its parameters" {
	model=$GOLDEN/models/mixtral
	echo 1 5 9 33 77 12 64 100 3 >ids
	moe-route --ids --logits -o logits.trace "$model" ids
	for policy in $(moe-route --list-policies | sed 1d | cut -f1); do
		case $policy in
		base | expert_choice | hash | random | round_robin)
			fails 2 moe-run --force --ids -n 0 --policy "$policy" --trace run.trace "$model" ids
			expect_message 'goes by more than the logits of one token'
			continue
			;;
		esac
		moe-run --force --ids -n 0 --policy "$policy" --trace run.trace "$model" ids
		moe-route --print run.trace | awk -F'\t' '$5 == 0' | cut -f2- >a
		moe-route -q --noise 0 --policy "$policy" --print logits.trace | awk -F'\t' '$5 == 0' | cut -f2- >b
		[ -s a ]
		diff a b || { echo "$policy"; return 1; }
	done
}

@test "a replay gives the logits of the run that wrote the trace, bit for bit" {
	for how in "" "-k 2" "--disable *:0-3" "--mask-top 0.1"; do
		# shellcheck disable=SC2086
		record first $how
		moe-run --force tiny-v3 -n 0 --replay first.trace --logits again.st de.txt
		expect_same first.st again.st
		moe-run --force -j1 --chunk 7 tiny-v3 -n 0 --replay first.trace --replay-gates --logits again.st de.txt
		expect_same first.st again.st
	done
	record first --policy softmax_topk
	moe-run --force tiny-v3 -n 0 --replay first.trace --replay-gates --logits again.st de.txt
	expect_same first.st again.st
}

@test "a replay of generated text" {
	moe-run tiny-v3 -p 'static int' -n 40 --trace g.trace >a
	moe-run tiny-v3 -p 'static int' -n 40 --replay g.trace >b
	expect_same a b
}

@test "a replay goes over sequences without tokens" {
	printf '\n5 6 7\n\n\n8 9\n\n' >ids
	moe-run tiny-v3 --ids -n 0 --trace e.trace --logits a.st ids
	moe-run tiny-v3 --ids -n 0 --replay e.trace --logits b.st ids
	expect_same a.st b.st
	printf '\n5 6 7\n\n8 9\n1\n' >more
	fails 1 moe-run tiny-v3 --ids -n 0 --replay e.trace --logits c.st more
	expect_message 'more, sequence 4: e.trace: the trace ends before the text does'
}

@test "every family replays its own choices" {
	for model in "$GOLDEN"/models/*/config.json; do
		dir=$(dirname "$model")
		grep -q 'experts' "$model" || continue
		ids='1 2 3 4 5 6 7 8 9'
		! grep -q '"is_encoder_decoder": true' "$model" || ids=$'1 2 3 4 5\t6 7 8 9'
		moe-run --force "$dir" --ids -p "$ids" -n 0 --trace x.trace --logits x.st 2>err || { cat err; return 1; }
		moe-run --force "$dir" --ids -p "$ids" -n 0 --replay x.trace --logits y.st
		expect_same x.st y.st
	done
}

@test "latent attention: both forms agree, each is the same bits in any chunk" {
	moe-run tiny-v3 --score --mla absorbed de.txt | rows >a
	moe-run tiny-v3 --score --mla absorbed --chunk 1 -j1 de.txt | rows >b
	expect_same a b
	moe-run tiny-v3 --score --mla expanded de.txt | rows >c
	moe-run tiny-v3 --score de.txt | rows >d
	expect_same c d
	paste <(tail -n 1 a) <(tail -n 1 c) | awk -F'\t' '{ d = $4 / $10 - 1; exit !(d < 1e-5 && d > -1e-5) }'
}

@test "an option that would have no effect is refused, and nothing is written" {
	echo 1 2 3 4 >ids
	for model in mixtral exaone_moe; do
		fails 2 moe-run "$GOLDEN/models/$model" --ids --mtp --logits x.st ids
		expect_message "--mtp: .*$model has no multi-token-prediction layer, or one that family $model does not run"
	done
	fails 2 moe-run "$GOLDEN/models/mixtral" --ids --mla absorbed ids
	expect_message '--mla: the model has no latent attention'
	for tool in moe-run moe-route; do
		fails 2 "$tool" "$GOLDEN/models/mixtral" --ids -o x.out --window 2 ids
		fails 2 "$tool" "$GOLDEN/models/mixtral" --ids -o x.out --overlap 2 ids
		expect_message '--window and --overlap cut texts'
	done
	fails 2 moe-run tiny-v3 -p int --window 2
	[ ! -e x.st ] && [ ! -e x.out ]
	# where there is something to do they work
	moe-run "$GOLDEN/models/deepseek_v3" --ids --mtp --mla absorbed --logits x.st ids
	head -c 300 x.st | grep -aq '"mtp_logits.0":{"dtype":"F32","shape":\[3,128\]'
}

@test "what makes no sense is refused" {
	fails 2 moe-run tiny-v3 --disable 0:1 --score de.txt
	expect_message 'layer 0 has no experts'
	fails 2 moe-run tiny-v3 --disable 1:32 --score de.txt
	fails 2 moe-run tiny-v3 --disable 9:1 --score de.txt
	fails 2 moe-run tiny-v3 --disable 1 --score de.txt
	fails 2 moe-run tiny-v3 --disable '1:0-30' --score de.txt
	expect_message 'left with 1 experts'
	fails 2 moe-run tiny-v3 --mask-top 0.95 --score de.txt
	fails 2 moe-run tiny-v3 -k 33 --score de.txt
	# before anything is made for so many
	fails 2 moe-run tiny-v3 -k 2147483647 -n 0 --trace t.trace de.txt
	expect_message "-k 2147483647: expected at most the model's 32 experts"
	# a share that is no expert at all
	fails 2 moe-run tiny-v3 --mask-top 1e-300 --score de.txt
	expect_message 'bars none of the 32 experts'
	fails 2 moe-run tiny-v3 --mask-top 0.015 --score de.txt
	for list in '' , '1:1,' '1:1-' '1-:1' '1:-2' '1:2-1' '1:' ':1' '1: 1'; do
		fails 2 moe-run tiny-v3 --disable "$list" --score de.txt
		expect_message "--disable: '.*': expected LAYER:EXPERT"
	done
	fails 2 moe-run tiny-v3 --policy nonsense --score de.txt
	expect_message "'nonsense' is not known: moe-route --list-policies"
	fails 2 moe-run tiny-v3 --capacity 0 --score de.txt
	expect_message '^moe-run: option --capacity: 0 is not above 0'
	fails 2 moe-run tiny-v3 --replay-gates --score de.txt
	moe-run tiny-v3 -n 0 --trace t.trace de.txt
	fails 2 moe-run tiny-v3 --replay t.trace -k 2 --score de.txt
	head -c 500 "$TEXT/zh.txt" >zh.txt
	fails 1 moe-run tiny-v3 --replay t.trace --score zh.txt
	expect_message 'expected token'
	fails 1 moe-run tiny-v2 --replay t.trace --score de.txt
	cat de.txt de.txt >twice.txt
	fails 1 moe-run tiny-v3 --replay t.trace --score twice.txt
}

@test "capacity drops the later choices; a batch neighbour changes the output only where groups cross sequences" {
	head -c 300 "$TEXT/zh.txt" >zh.txt
	plain=$(moe-run tiny-v3 --score zh.txt | grep '^zh')
	[ "$plain" = "$(moe-run tiny-v3 --score --capacity 1000 zh.txt | grep '^zh')" ]
	# more room than can be counted is no limit
	[ "$plain" = "$(moe-run tiny-v3 --score --capacity 1e9 --capacity-group tokens=9223372036854775807 zh.txt | grep '^zh')" ]
	alone=$(moe-run tiny-v3 --score --capacity 1 zh.txt | grep '^zh')
	[ "$alone" != "$plain" ]
	[ "$alone" = "$(moe-run tiny-v3 --score --capacity 1 de.txt zh.txt | grep '^zh')" ]
	alone=$(moe-run tiny-v3 --score --capacity 1 --capacity-group tokens=64 zh.txt | grep '^zh')
	[ "$alone" != "$(moe-run tiny-v3 --score --capacity 1 --capacity-group tokens=64 de.txt zh.txt | grep '^zh')" ]
	for how in "--chunk 1" "--chunk 7 -j1"; do
		# shellcheck disable=SC2086
		[ "$alone" = "$(moe-run $how tiny-v3 --score --capacity 1 --capacity-group tokens=64 zh.txt | grep '^zh')" ]
	done
	# no expert of a layer keeps more than C choices of a group; the first of a group are kept
	moe-run tiny-v3 -n 0 --capacity-tokens 3 --trace c.trace zh.txt
	moe-route --print c.trace | awk -F'\t' 'NR > 1 && $8 > 0 { k = $2"/"$5"/"$7; if (++n[k] > 3) exit 1 } NR > 1 && $8 == 0 { d++ } END { exit !d }'
	fails 2 moe-run tiny-v3 --score --capacity-group tokens=0 --capacity 1 zh.txt
	fails 2 moe-run tiny-v3 --score --capacity-group sequence zh.txt
	fails 2 moe-run tiny-v3 --score --capacity 1 --capacity-tokens 2 zh.txt
}
