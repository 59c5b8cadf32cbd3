# moe-split: experts chosen together, bytes between ranks and nodes, intervals, the time of a step.

load lib

# A trace of the published choices, intent.trace.
intent()
{
	command -v xz >/dev/null || skip "no xz"
	mkdir -p intent
	tar -xf "$DATA/esft/intent.tar.xz" -C intent
	moe-route -q --from esft --model-config "$DATA/configs/deepseek-v2-lite.json" -o intent.trace intent/intent
}

# said NAME: the number behind it in .err, of the held-out traffic.
said()
{
	sed -n "s/.*held out: .*$1 \([0-9.]*\)[, ].*/\1/p" .err
}

@test "affinity lowers what crosses ranks and nodes on held-out traffic, within --slack" {
	intent
	while read -r machine less; do
		# shellcheck disable=SC2086
		for p in greedy affinity; do
			run_split moe-split ${machine//,/ } --planner $p --hidden-size 2048 intent.trace
			expect_status 0
			cp .out $p.tsv
			echo "$(said 'a token sends') $(said 'between ranks,') $(said 'experts are on')" >$p
			sed -n 's/.*this traffic: peak-to-average [0-9.]*, worst \([0-9.]*\) .*/\1/p' .err >$p.worst
		done
		paste -d ' ' greedy affinity | awk -v less="$less" '{ print; exit !($4 < $1 * 0.96 && $5 < $2 * less && $6 < $3 * 0.9) }'
		awk '{ exit !($1 <= 1.0501) }' affinity.worst
	done <<-'EOF'
	-n,8,--nodes,2,--slots,72 0.8
	-n,32,--nodes,4,--slots,96 0.8
	-n,8,--nodes,2,--slots,64 0.95
	EOF
	moe-split -q -j 1 -n 8 --nodes 2 --slots 64 --planner affinity intent.trace | cmp - affinity.tsv
	run_split moe-split -n 8 --nodes 2 --slots 72 --planner affinity --slack 0.3 --hidden-size 2048 intent.trace
	awk -v a="$(said 'between ranks,')" -v w="$(sed -n 's/.*this traffic.*worst \([0-9.]*\) .*/\1/p' .err)" \
		'BEGIN { exit !(w <= 1.3001 && w > 1.06) }'
}

@test "affinity keeps groups on nodes, and needs traces that can be read twice" {
	moe-route -q -o a.trace "$MODEL_V3" "$TEXT/code.txt"
	moe-split -q -n 8 --nodes 2 --groups 4 --slots 40 --planner affinity a.trace >plan.tsv
	awk -F '\t' '/^[0-9]/ { n = int($4 / 4); g = int($2 / 8); if (($1, g) in at && at[$1, g] != n) exit 1; at[$1, g] = n }' plan.tsv
	moe-stats --load a.trace >load.tsv
	fails 2 moe-split -n 4 --planner affinity load.tsv
	expect_message 'chosen together is in traces'
	run_split bash -c 'moe-split -n 4 --planner affinity <a.trace'
	expect_status 2
	expect_message 'stdin cannot be'
	fails 2 moe-split -n 4 --planner greedy --slack 0.1 a.trace
	expect_message 'greedy does not look at --slack'
	fails 2 moe-split -n 4 --planner affinity --slack -1 a.trace
}

@test "bytes are those that moe-stats counts, on the nodes of the plan or of --topology" {
	moe-route -q -o a.trace "$MODEL_V3" "$TEXT/code.txt" "$TEXT/de.txt"
	moe-split -q -n 4 --nodes 2 --slots 40 a.trace >plan.tsv
	moe-split --evaluate plan.tsv --hidden-size 64 --bytes-per-element 1 a.trace >costs
	[ "$(head -n 1 costs)" = $'layer\tplan\tpeak_to_average\tbound\trank_bytes\tnode_bytes\tnode_bytes_once' ]
	moe-stats --metric fanout --plan plan.tsv --hidden-size 64 --bytes-per-element 1 a.trace >fan
	awk -F '\t' '
		NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next }
		FILENAME == "fan" { inter[$1] = $c["dispatch_inter"] + $c["combine_inter"]
			all[$1] = inter[$1] + $c["dispatch_intra"] + $c["combine_intra"]; next }
		FNR > 1 { n++; if ($5 != all[$1] || $6 != inter[$1] || $7 > $6) { print; exit 1 } }
		END { exit n != 5 }' fan costs
	# each rank a node of its own: all that leaves a rank leaves a node; all on one: nothing does
	printf 'rank\tnode\n0\t0\n1\t1\n2\t2\n3\t3\n' >far.tsv
	moe-split --evaluate plan.tsv --topology far.tsv --hidden-size 64 a.trace |
		awk -F '\t' 'NR > 1 && ($5 != $6 || $6 != $7 || $5 <= 0) { exit 1 }'
	printf 'rank\tnode\n0\t0\n1\t0\n2\t0\n3\t0\n' >near.tsv
	moe-split --evaluate plan.tsv --topology near.tsv --hidden-size 64 a.trace |
		awk -F '\t' 'NR > 1 && ($6 != 0 || $7 != 0 || $5 <= 0) { exit 1 }'
	printf 'rank\tnode\n0\t0\n1\t0\n2\t1\n' >three.tsv
	fails 2 moe-split --evaluate plan.tsv --topology three.tsv --hidden-size 64 a.trace
	fails 2 moe-split --evaluate plan.tsv --topology far.tsv a.trace
	moe-split -q --topology three.tsv a.trace >uneven.tsv
	moe-split --evaluate uneven.tsv --topology three.tsv --hidden-size 64 a.trace |
		awk -F '\t' 'NR > 1 && !($5 > $6 && $6 >= $7 && $7 > 0) { exit 1 }'
	moe-stats --load a.trace >load.tsv
	fails 2 moe-split --evaluate plan.tsv --hidden-size 64 load.tsv
	fails 2 moe-split -n 4 --hidden-size 64 load.tsv
	fails 2 moe-split -n 4 --bytes-per-element 2 a.trace
	fails 2 moe-split --list-planners --hidden-size 64
}

@test "--ci: the interval of resampled sequences holds the figure, and is the same again" {
	moe-route -q --window 16 -o a.trace "$MODEL_V3" "$TEXT/code.txt" "$TEXT/de.txt"
	moe-split -q -n 4 --slots 40 a.trace >plan.tsv
	moe-split -q -n 4 --planner contiguous a.trace >plain.tsv
	moe-split --evaluate plan.tsv --evaluate plain.tsv --ci a.trace >one
	moe-split -j 1 --evaluate plan.tsv --evaluate plain.tsv --ci a.trace | cmp - one
	awk -F '\t' '$1 == "all" && $2 == "plain.tsv" { exit !($5 < $3 && $3 < $6) }' one
	awk -F '\t' '$1 == "all" { n++; if (!($5 >= 1 && $5 < $6)) exit 1 } END { exit n != 2 }' one
	[ "$(awk -F '\t' '$1 == 1 { print $5 }' one | sort -u)" = nan ]
	moe-split --evaluate plain.tsv --ci --seed 2 a.trace | awk '$1 == "all" { print $5 }' >two
	[ "$(cat two)" != "$(awk -F '\t' '$1 == "all" && $2 == "plain.tsv" { print $5 }' one)" ]
	run_split moe-split -n 4 --slots 40 --ci --test a.trace a.trace
	expect_message 'held out: peak-to-average from 1\.[0-9]+ to 1\.[0-9]+ in 95 % of resampled sequences'
	lo=$(awk -F '\t' '$1 == "all" && $2 == "plan.tsv" { printf "%.4f", $5 }' one)
	grep -q "from $lo to" .err
	run_split moe-split -n 4 --slots 40 --ci a.trace
	expect_message 'held out: peak-to-average from 1\.[0-9]+ to [12]\.[0-9]+ in 95 % of resampled sequences'
	# Of one sequence there is none.
	moe-route -q -o one.trace "$MODEL_V3" -p 'a few words'
	moe-split --evaluate plain.tsv --ci one.trace | awk -F '\t' '$1 == "all" { exit !($3 >= 1 && $5 == "nan" && $6 == "nan") }'
	run_split moe-split -n 4 --ci --test one.trace a.trace
	expect_message 'held out: a single sequence, of which there is no interval'
	moe-stats --load a.trace >load.tsv
	fails 2 moe-split -n 4 --ci load.tsv
	fails 2 moe-split -n 4 --ci --test load.tsv a.trace
	run_split bash -c 'moe-split -n 4 --ci <a.trace'
	expect_status 2
}

@test "the time of a step follows from its parts" {
	moe-route -q -o a.trace "$MODEL_V3" "$TEXT/code.txt"
	moe-stats --load a.trace >load.tsv
	moe-split -q -n 4 --nodes 2 --slots 40 a.trace >plan.tsv
	moe-split --evaluate plan.tsv --hidden-size 64 --expert-width 32 --flops 1e9 --gbps 2 --batch-tokens 100 a.trace >costs
	tokens=$(sed -n 's/^#.*tokens=\([0-9]*\).*/\1/p' load.tsv)
	[ "$tokens" -gt 100 ]
	awk -F '\t' -v tokens="$tokens" '
		FILENAME == "load.tsv" { if (/^[0-9]/) total[$1] += $3; next }
		FNR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next }
		{
			want = 100 / tokens * (6 * 64 * 32 * $3 * total[$1] / 4 / 1e9 + $c["node_bytes"] / 4 / 2e9) * 1e3
			if ($1 == "all") want = sum
			sum += want
			if ($c["step_ms"] < want * (1 - 1e-9) || $c["step_ms"] > want * (1 + 1e-9) || want <= 0) { print; exit 1 }
			n++
		}
		END { exit n != 5 }' load.tsv costs
	run_split moe-split -n 4 --nodes 2 --slots 40 --test a.trace --hidden-size 64 --expert-width 32 --flops 1e9 --gbps 2 \
		--batch-tokens 100 a.trace
	expect_message "held out: a step of 100 tokens takes $(awk '$1 == "all" { printf "%.6g", $NF }' costs) ms"
	fails 2 moe-split -n 4 --hidden-size 64 --flops 1e9 a.trace
	fails 2 moe-split -n 4 --hidden-size 64 --flops 1e9 --gbps 1 a.trace
	fails 2 moe-split -n 4 --expert-width 32 --flops 1e9 --gbps 1 a.trace
}
