# moe-split --pin: experts that must be on certain ranks.

load lib

ZIPF=$GOLDEN/eplb/zipf-58x256.load.tsv

# holds PLAN: every pin of `pins` does, no rank holds an expert twice, every expert has a place.
holds()
{
	awk -F '\t' '
		FILENAME == "pins" { if (FNR > 1) { n++; l[n] = $1; e[n] = $2; r[n] = $3 } next }
		/^[0-9]/ { if (at[$1, $2, $4]++) { print "twice: " $0; bad = 1 } seen[$1]; copies[$1, $2]++; if ($2 > last) last = $2 }
		END {
			for (i = 1; i <= n; i++)
				for (k in seen)
					if ((l[i] == "*" || l[i] == k) && !((k, e[i], r[i]) in at)) { print "not there: " k, e[i], r[i]; bad = 1 }
			for (k in seen) for (i = 0; i <= last; i++) if (!copies[k, i]) { print "no place: " k, i; bad = 1 }
			exit bad
		}' pins "$1"
}

@test "pins hold under every planner, and cost little balance" {
	printf 'layer\texpert\trank\n*\t5\t0\n*\t5\t31\n3\t0\t7\n4\t200\t7\n' >pins
	for p in contiguous round_robin snake eplb greedy hierarchical search; do
		moe-split -q -n 32 --slots 288 --planner $p "$ZIPF" >free.tsv
		moe-split -q -n 32 --slots 288 --planner $p --pin pins "$ZIPF" >plan.tsv
		never holds free.tsv >out
		[ -s out ]
		holds plan.tsv
		[ "$(grep -c '^[0-9]' plan.tsv)" = $((58 * 288)) ]
		moe-split --evaluate free.tsv --evaluate plan.tsv "$ZIPF" |
			awk '$1 == "all" { v[$2] = $3 } END { print v["free.tsv"], v["plan.tsv"]; exit !(v["plan.tsv"] < v["free.tsv"] * 1.01) }'
	done
	moe-split -q -j 1 -n 32 --slots 288 --planner search --pin pins "$ZIPF" | cmp - plan.tsv
	moe-split -q -n 32 --nodes 4 --groups 8 --slots 288 --planner greedy "$ZIPF" >free.tsv
	printf 'layer\texpert\trank\n' >pins
	moe-split -q -n 32 --nodes 4 --groups 8 --slots 288 --planner greedy --pin pins "$ZIPF" | cmp - free.tsv
	# to another rank of the node that its group is on
	rank=$(awk -F '\t' '$1 == 3 && $2 == 9 { print int($4 / 8) * 8 + ($4 + 1) % 8; exit }' free.tsv)
	printf 'layer\texpert\trank\n3\t9\t%s\n' "$rank" >pins
	moe-split -q -n 32 --nodes 4 --groups 8 --slots 288 --planner greedy --pin pins "$ZIPF" >plan.tsv
	holds plan.tsv
	printf 'layer\texpert\trank\n3\t9\t%s\n' $(((rank + 8) % 32)) >pins
	fails 2 moe-split -n 32 --nodes 4 --groups 8 --slots 288 --planner greedy --pin pins "$ZIPF"
	expect_message 'pins: line 2: expert 9 of layer 3 cannot come to rank [0-9]+: .* the group is on another node'
}

@test "what cannot be pinned is refused with its line" {
	printf 'layer\texpert\trank\n3\t0\t1\n3\t256\t1\n' >pins
	fails 1 moe-split -n 32 --pin pins "$ZIPF"
	expect_message "pins: line 3, column 'expert': '256' is out of range"
	printf 'layer\texpert\trank\n3\t0\t32\n' >pins
	fails 1 moe-split -n 32 --pin pins "$ZIPF"
	expect_message "pins: line 2, column 'rank': '32' is out of range"
	printf 'layer\texpert\trank\n2\t0\t3\n' >pins
	fails 1 moe-split -n 32 --pin pins "$ZIPF"
	expect_message 'pins: line 2: there is no load of layer 2'
	printf 'layer\texpert\trank\n3\t0\t3\n4\t0\t3\n3\t0\t3\n' >pins
	fails 1 moe-split -n 32 --pin pins "$ZIPF"
	expect_message 'pins: line 4: expert 0 is pinned to rank 3 in line 2 already'
	printf 'layer\texpert\n3\t0\n' >pins
	fails 1 moe-split -n 32 --pin pins "$ZIPF"
	expect_message "rank"
	(printf 'layer\texpert\trank\n'; for e in $(seq 0 8); do printf '3\t%d\t1\n' "$e"; done) >pins
	fails 2 moe-split -n 32 --pin pins "$ZIPF"
	expect_message 'pins: line 10: expert 8 of layer 3 cannot come to rank 1: its places are pinned'
	printf 'layer\texpert\trank\n3\t0\t3\n' >pins
	moe-split -q -n 32 "$ZIPF" >old.tsv
	fails 2 moe-split -n 32 --from old.tsv --pin pins "$ZIPF"
	fails 2 moe-split --evaluate old.tsv --pin pins "$ZIPF"
}
