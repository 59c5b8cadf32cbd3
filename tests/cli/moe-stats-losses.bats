# Balance losses from programs alone: logits of the golden files as traces, routed by moe-route, measured by moe-stats.

load lib

R=$GOLDEN/routers

# trace FILE OPTION...: golden logits as x.trace, by a writer of its own
trace()
{
	perl "$TOP/tests/ref/write_trace.pl" "${@:2}" "$R/$1.safetensors" | gzip -c >x.trace
}

# golden LOSS FILE N: the Nth value of that loss
golden()
{
	jq -r "[.[] | select(.loss == \"$1\" and .file == \"$2.safetensors\")][${3:-0}].value" "$R/losses.json"
}

# near METRIC LOSS FILE N OPTION...: the row `all` of a metric of y.trace is the golden value, within 1e-9 of it
near()
{
	moe-stats --metric "$1" "${@:5}" y.trace | tail -n 1 |
		awk -v name="$1" -v want="$(golden "$2" "$3" "$4")" '{
			e = ($2 - want) / want
			printf "%s: %s, wanted %s\n", name, $2, want
			if (want == "null" || $1 != "all" || e > 1e-9 || e < -1e-9) exit 1
		}'
}

@test "DeepSeek V1: losses of experts and devices, and of sequences in the published code" {
	trace e64 -k 6
	moe-route -q --policy softmax_topk --logits x.trace -o y.trace
	near loss_v1_expert v1_expert e64 0
	near loss_v1_device v1_device e64 0 --groups 4
	near loss_v1_device v1_device e64 1 --groups 8
	trace e64 -k 6 -s 2
	moe-route -q --policy softmax_topk --logits x.trace -o y.trace --force
	near loss_rc_seq_aux rc_seq_aux e64 0
	near loss_v2_expert rc_seq_aux e64 0
}

@test "DeepSeek V2: losses of experts, devices and communication" {
	trace e160 -k 6
	moe-route -q --policy group_limited --groups 8 --top-groups 3 --scale 16 --logits x.trace -o y.trace
	near loss_v2_expert v2_expert e160 0
	# The groups of the router are the devices, and its limit theirs, unless said otherwise.
	near loss_v2_device v2_device e160 0
	near loss_v2_comm v2_communication e160 0
	near loss_v2_device v2_device e160 0 --groups 8
	near loss_v2_comm v2_communication e160 0 --groups 8 --top-groups 3
}

@test "DeepSeek V3: the loss of sequences, from scores without bias and groups, and MaxVio" {
	perl "$TOP/tests/ref/write_trace.pl" -b "$R/e256.safetensors" >bias.tsv
	for s in 1 4; do
		trace e256 -k 8 -s $s
		moe-route -q --policy noaux_tc --groups 8 --top-groups 4 --scale 2.5 --normalize --bias bias.tsv --logits \
			x.trace -o y.trace --force
		near loss_v3_seq v3_sequence e256 $((s / 4))
		near maxvio max_violation e256 0
		near maxvio_batch max_violation e256 0
	done
}

@test "Switch, GShard, NLLB, Flaxformer, Megatron, Transformers: before dropping" {
	trace capacity -k 1
	moe-route -q --policy switch --capacity-tokens 8 --logits x.trace -o y.trace
	near loss_switch switch capacity 0
	near loss_gshard gshard capacity 0
	near loss_nllb nllb capacity 0
	trace capacity -k 2
	moe-route -q --policy softmax_topk --capacity-tokens 12 --logits x.trace -o y.trace --force
	near loss_flaxformer_topk flaxformer_topk capacity 0
	near loss_megatron megatron capacity 0
	near loss_hf hf_load_balancing capacity 0
	near z_loss z_loss capacity 0
	trace capacity -k 2 -m
	moe-route -q --policy softmax_topk --logits x.trace -o y.trace --force
	near loss_hf hf_load_balancing capacity 1
	trace e8 -k 2
	moe-route -q --policy mixtral --logits x.trace -o y.trace --force
	near z_loss z_loss e8 0
}

@test "all losses at once, as JSON, by source, of some layers, and of parts in any order" {
	moe-route -q --logits --margin tiny-v3 "$TEXT/code.txt" -o a.trace
	moe-route -q --logits --margin tiny-v3 "$TEXT/zh.txt" -o b.trace
	all=$(moe-stats --list | awk -F '\t' '$3 == "layer" && $7 ~ /^tokens/ && $7 !~ /plan|against/ && $1 !~ "^(maxvio_batch|combinations)$" { printf "%s%s", n++ ? "," : "", $1 }')
	[[ $all = *loss_v3_seq* ]]
	cat a.trace b.trace >ab.trace
	moe-stats --groups 4 --metric "$all" ab.trace >ab
	for j in 1 2 5; do
		moe-stats -j $j --groups 4 --metric "$all" b.trace a.trace | cmp - ab
	done
	moe-stats --groups 4 --metric "$all" --by source ab.trace >by
	moe-stats --groups 4 --metric "$all" b.trace | tail -n +2 | sed 's/^/zh\t/' | cmp - <(grep '^zh' by)
	moe-stats --groups 4 --metric "$all" --source zh ab.trace | cmp - <(moe-stats --groups 4 --metric "$all" b.trace)
	moe-stats --groups 4 --metric "$all" --layer 2,4 ab.trace | sed '1d;$d' | cmp - <(grep '^[24]' ab)
	moe-stats --json --groups 4 --metric "$all" ab.trace | jq -es "length == $(($(wc -l <ab) - 1)) and .[0].loss_v3_seq > 1"
	# The pooled row of some layers is not that of all.
	[ "$(moe-stats --metric loss_hf --layer 2,4 ab.trace | tail -n 1)" != "$(moe-stats --metric loss_hf ab.trace | tail -n 1)" ]
}

@test "what an input lacks is told, and how to get it" {
	moe-route -q -p 'a b c d' tiny-v3 -o bare.trace
	fails 1 moe-stats --metric loss_hf bare.trace
	expect_message "bare.trace: loss_hf reads the router's outputs, which this trace does not keep: moe-route --logits"
	fails 1 moe-stats --metric margin bare.trace
	expect_message 'bare.trace: margin reads margins.*moe-route --margin'
	moe-route -q --gates none --logits -p 'a b c d' tiny-v3 -o none.trace
	fails 1 moe-stats --metric gate_mass none.trace
	expect_message 'none.trace: gate_mass reads gates'
	# tiny-v3 has groups of its own; others must divide its experts.
	moe-stats --metric loss_v2_comm none.trace >/dev/null
	fails 2 moe-stats --metric loss_v2_comm --groups 5 none.trace
	expect_message -- '--groups 5 does not divide the 32 experts'
	fails 2 moe-stats --metric loss_v2_comm --groups 4 --top-groups 5 none.trace
	moe-stats --load none.trace >none.tsv 2>note
	fails 2 moe-stats --metric overlap none.tsv
	expect_message 'none.tsv: overlap reads the tokens of a trace; a load table has counts only'
	# A second part may lack what the first one keeps.
	cat none.trace bare.trace >both.trace
	fails 1 moe-stats --metric z_loss both.trace
	fails 2 moe-stats --batch-tokens 0 --metric maxvio_batch none.trace
	fails 2 moe-stats --flip-below 0 --metric flip_risk none.trace
}

@test "margins below a limit" {
	moe-route -q --margin tiny-v3 "$TEXT/code.txt" -o m.trace
	moe-route -q --margin --print m.trace >text
	column=$(head -n 1 text | tr '\t' '\n' | grep -n '^margin$' | cut -d: -f1)
	[ -n "$column" ]
	for x in 0.001 0.02; do
		awk -F '\t' -v c="$column" -v x=$x 'NR > 1 && $c != "inf" { n++; below += $c < x; sum += $c }
			END { printf "%.9f\t%.6f\n", below / n, sum / n }' text >want
		moe-stats --flip-below $x --metric flip_risk,margin m.trace | tail -n 1 |
			awk '{ printf "%.9f\t%.6f\n", $2, $3 }' | diff - want
	done
	# The text has a line for each of the four experts that a token chooses.
	moe-stats --metric margin_curve m.trace >curve
	[ "$(head -n 1 curve)" = 'layer	below	choices	share' ]
	awk -F '\t' -v c="$column" 'NR > 1 && $c != "inf" { n++; for (i = -7; i <= 1; i++) below[i] += $c < 10 ^ i }
		END { for (i = -7; i <= 1; i++) printf "%d\t%.9f\n", below[i] / 4, below[i] / n }' text >want
	awk '$1 == "all" { printf "%d\t%.9f\n", $3, $4 }' curve | diff - want
	[ "$(wc -l <curve)" = $((5 * 9 + 1)) ]
	[ "$(awk '$1 == 2 && $2 == 0.1 { print $3 }' curve)" -gt 0 ]
	cat m.trace m.trace >mm.trace
	moe-stats --by source --json --metric margin_curve mm.trace |
		jq -s -e '.[-1] == {source: "code", layer: "all", below: 10, choices: (2 * '"$(tail -n 1 curve | cut -f 3)"'), share: 1}'
	fails 2 moe-stats --metric margin,margin_curve m.trace
	expect_message "'margin_curve' is a table of its own"
	fails 2 moe-stats --by expert --metric margin_curve m.trace
}
