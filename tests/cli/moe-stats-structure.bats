# moe-stats: metrics of what choices have to do with each other, against a second program; comparisons of two traces;
# windows, positions, intervals; pictures.

load lib

CONFIG=$DATA/configs/deepseek-v2-lite.json

# x.trace: short pieces of two texts, two sequences of each.
two_texts()
{
	head -c 240 "$TEXT/code.txt" >c1.txt
	tail -c 160 "$TEXT/code.txt" >c2.txt
	head -c 180 "$TEXT/zh.txt" | iconv -c -f UTF-8 -t UTF-8 >z1.txt
	moe-route -q --margin tiny-v3 c1.txt c2.txt z1.txt -o x.trace
	moe-route -q --print x.trace >printed
}

# counted WHAT AWK-OPTION...: the second program's rows, sorted
counted()
{
	awk -v what="$1" "${@:2}" -f "$TOP/tests/ref/trace_structure.awk" printed | sort
}

# nine COLUMN...: rows of a metric without those of `all`, these columns with nine decimals, sorted
nine()
{
	awk -F '\t' -v OFS='\t' -v cols="$*" 'BEGIN { n = split(cols, c, " ") } NR > 1 && $1 != "all" {
		for (i = 1; i <= n; i++) if ($c[i] != "nan") $c[i] = sprintf("%.9f", $c[i])
		print }' | sort
}

@test "ESFT intent: the published hits of caches, and a second program's, for choices as they are listed" {
	tar -xJf "$DATA/esft/intent.tar.xz"
	# The importer puts choices in order of their gates. Gates that fall along the list keep the order of the list.
	mkdir listed
	for f in intent/expert_weights_*.txt; do
		perl -F'\t' -lane '$n = @F >> 1; print join "\t", @F[0 .. $n - 1], "", map { 6 - $_ % 6 } 0 .. $n - 1' "$f" >listed/"$(basename "$f")"
	done
	moe-route --from esft --model-config "$CONFIG" listed -o listed.trace -q
	moe-stats --metric miss_curve listed.trace >curve
	[ "$(head -n 1 curve)" = 'layer	resident	lru	lfu	static	belady' ]
	[ "$(wc -l <curve)" = $((27 * 64 + 1)) ]
	awk '$1 == "all" && ($2 == 8 || $2 == 16 || $2 == 32) { printf "%.1f %.1f\n", 100 * $3, 100 * $6 }' curve | diff - <(printf '%s\n' \
		'31.1 54.1' '50.6 71.5' '73.5 88.2')
	awk -v E=64 -v K=6 -v sizes='8 16 32' -f "$TOP/tests/ref/esft_caches.awk" intent/expert_weights_17.txt |
		sed '/^all/d' | sort >want
	awk '$1 == 17 && ($2 == 8 || $2 == 16 || $2 == 32)' curve |
		awk -v OFS='\t' '{ for (i = 3; i <= 6; i++) $i = sprintf("%.9f", $i); print }' | sort | diff want -
	# Best first, as traces have it: only lru and ties of lfu see a difference.
	moe-route --from esft --model-config "$CONFIG" intent -o intent.trace -q
	moe-stats --metric miss_curve intent.trace |
		awk '$1 == "all" && ($2 == 8 || $2 == 16 || $2 == 32) { printf "%.3f %.3f\n", $3, $6 }' |
		diff - <(printf '%s\n' '0.308 0.541' '0.504 0.715' '0.735 0.882')
}

@test "ESFT summary: hits of caches as a second program counts them" {
	tar -xJf "$DATA/esft/summary.tar.xz"
	mkdir listed
	head -n 3 summary/expert_weights_1.txt >listed/expert_weights_1.txt
	head -n 3 summary/expert_weights_26.txt >listed/expert_weights_2.txt
	jq '.num_hidden_layers = 3' "$CONFIG" >three.json
	perl -i -F'\t' -lane '$n = @F >> 1; print join "\t", @F[0 .. $n - 1], "", map { 6 - $_ % 6 } 0 .. $n - 1' listed/*
	moe-route --from esft --model-config three.json listed -o listed.trace -q
	moe-stats --metric miss_curve listed.trace |
		awk -v OFS='\t' '$1 != "layer" && ($2 == 8 || $2 == 16 || $2 == 32) { for (i = 3; i <= 6; i++) $i = sprintf("%.9f", $i); print }' |
		sort >got
	awk -v E=64 -v K=6 -v sizes='8 16 32' -f "$TOP/tests/ref/esft_caches.awk" listed/*.txt | sort | diff - got
}

@test "caches: curves rise, the best is best, parts begin empty, one layer shares with itself" {
	cp -r "$DATA/esft-excerpt/intent" .
	moe-route --from esft --model-config "$CONFIG" intent -o x.trace -q
	moe-stats --metric miss_curve x.trace >curve
	awk 'NR > 1 {
		for (i = 3; i <= 6; i++) if ($2 > 1 && $i < before[i]) exit 1
		for (i = 3; i <= 6; i++) before[i] = $i
		if ($6 < $3 || $6 < $4) exit 1 }' curve
	# With room for all, only the first choice of each expert misses.
	moe-stats --metric dead --layer 5 x.trace | head -n 2 | tail -n 1 >dead
	awk 'NR == FNR { dead = $2; next } $1 == 5 && $2 == 64 { n = 127 * 6; d = $3 - (n - 64 + dead) / n; exit !(d < 1e-12 && d > -1e-12) }' dead curve
	cat x.trace x.trace >xx.trace
	moe-stats --metric miss_curve xx.trace | cmp - curve
	moe-stats -j 1 --metric miss_curve x.trace x.trace | cmp - curve
	moe-stats --metric miss_curve --layer 5 x.trace | grep all >one
	moe-stats --metric miss_curve_shared --layer 5 x.trace | tail -n +2 | cmp - one
	[ "$(moe-stats --metric miss_curve_shared --layer 5-7 x.trace | wc -l)" = $((3 * 64 + 1)) ]
	moe-stats --json --metric miss_curve x.trace | jq -es 'length == 27 * 64 and .[-1].layer == "all"'
}

@test "pairs in a layer and from layer to layer, as counted by a second program" {
	two_texts
	moe-stats --metric coactivation x.trace | nine 5 | diff - <(counted coactivation)
	moe-stats --metric coactivation_conditional x.trace | nine 4 5 | diff - <(counted conditional)
	moe-stats --metric affinity x.trace | nine 6 7 | diff - <(counted affinity)
	moe-stats --metric affinity_bits x.trace | grep -v '	nan$' | nine 2 | diff - <(counted bits)
	# All pairs, in the order of their names, and the largest ones.
	[ "$(moe-stats --metric coactivation --layer 2 x.trace | wc -l)" = $((32 * 31 / 2 + 1)) ]
	moe-stats --metric coactivation --layer 2 x.trace | tail -n +2 | sort -s -k 4,4gr | head -n 7 >want
	moe-stats --metric coactivation --layer 2 --top 7 x.trace | tail -n +2 | diff - want
	[ "$(moe-stats --metric affinity --top 2 --layer 1 x.trace | wc -l)" = $((2 * 32 + 1)) ]
	# Layers that are not asked for still come next.
	moe-stats --metric affinity --layer 2 x.trace | diff - <(moe-stats --metric affinity x.trace | awk 'NR == 1 || $1 == 2')
	cat x.trace x.trace >xx.trace
	moe-stats --metric coactivation xx.trace | awk -v OFS='\t' 'NR > 1 { $4 /= 2 } { print }' |
		diff - <(moe-stats --metric coactivation x.trace)
}

@test "combinations of experts, as counted by a second program; parts merge exactly" {
	two_texts
	moe-stats --metric combinations x.trace | nine 5 6 7 | diff - <(counted combinations -v experts=32)
	[ "$(moe-stats --metric combinations x.trace | awk -F '\t' 'NR == 2 { print $4 }')" = 35960 ]
	moe-stats --metric combinations x.trace x.trace | awk -F '\t' 'NR > 1 { print $1, $2 / 2, $3, $7 }' >twice
	moe-stats --metric combinations x.trace | awk -F '\t' 'NR > 1 { print $1, $2, $3, 0 }' | diff - twice
	# 70,000 over 3, counted with whole numbers.
	moe-route -q --from npz --n-experts 70000 "$TOP/tests/golden/traces/e70000.npz" -o e.trace
	[ "$(moe-stats --metric combinations e.trace | awk -F '\t' 'NR == 2 { print $4 }')" = $((70000 / 2 * 69999 / 3 * 69998)) ]
}

@test "statistics of parts merged are those of the whole, bit for bit" {
	head -c 240 "$TEXT/code.txt" >c1.txt
	tail -c 160 "$TEXT/code.txt" >c2.txt
	head -c 180 "$TEXT/zh.txt" | iconv -c -f UTF-8 -t UTF-8 >z1.txt
	moe-route -q --logits --margin tiny-v3 c1.txt c2.txt z1.txt -o whole.trace
	moe-route -q --logits --margin tiny-v3 c1.txt -o p1.trace
	moe-route -q --logits --margin tiny-v3 c2.txt -o p2.trace
	moe-route -q --logits --margin tiny-v3 z1.txt -o p3.trace
	cat p1.trace p2.trace >p12.trace
	n=0
	while IFS=$'\t' read -r m _ _ _ _ _ reads; do
		[ "$m" != metric ] || continue
		# Of the order of tokens across sequences: batches, caches and working sets begin anew with every part. Sequences
		# are owned by ranks by their number in a part, and told apart by their part in lists of flips.
		case $m in maxvio_batch | miss_curve | miss_curve_shared | working_set | fanout | traffic) continue ;; esac
		[[ $reads != *against* ]] || continue
		with=()
		[[ $reads != *groups* ]] || with=(--groups 4)
		moe-stats --metric "$m" "${with[@]}" whole.trace >whole
		moe-stats --metric "$m" "${with[@]}" p1.trace p2.trace p3.trace >parts
		cmp whole parts || { echo "$m"; return 1; }
		moe-stats --metric "$m" "${with[@]}" p3.trace p12.trace | sort >parts
		sort whole | cmp - parts || { echo "$m, in another order"; return 1; }
		n=$((n + 1))
	done < <(moe-stats --list)
	[ "$n" -ge 40 ]
	# Pairs of traces too, part by part.
	moe-route -q --policy softmax_topk whole.trace -o other.trace
	for i in 1 2 3; do moe-route -q --policy softmax_topk p$i.trace -o o$i.trace; done
	cat o1.trace o2.trace o3.trace >o.trace
	for m in saturation flips; do
		moe-stats --metric $m --against other.trace whole.trace >whole
		moe-stats --metric $m --against o.trace p1.trace p2.trace p3.trace | cmp - whole
	done
}

@test "sums do not depend on the order of files, nor on threads" {
	two_texts
	moe-route -q tiny-v3 "$TEXT/zh.txt" -o y.trace
	moe-stats x.trace | moe-split -q -n 4 --nodes 2 --planner contiguous - >plan.tsv
	moe-stats --list | awk -F '\t' '$7 ~ /^tokens/ && $7 !~ /logits|margins|against/ && $7 !~ /groups/ { print $1 }' >names
	[ "$(wc -l <names)" -ge 18 ]
	while read -r m; do
		with=
		! moe-stats --list | awk -F '\t' -v m="$m" '$1 == m && $7 ~ /plan/' | grep -q . ||
			with='--plan plan.tsv --hidden-size 64 --bytes-per-element 2'
		moe-stats -j 1 --metric "$m" $with x.trace y.trace >one
		moe-stats -j 4 --metric "$m" $with y.trace x.trace | cmp - one || { echo "$m"; return 1; }
	done <names
}

@test "time: persistence and working sets, as counted by a second program" {
	two_texts
	moe-stats --metric persistence x.trace | nine 3 | diff - <(counted persistence)
	moe-stats --metric working_set x.trace | awk 'NR == 1 || $2 <= 64' | nine 3 | diff - <(counted working)
	moe-stats --metric share --top 3 --layer 2 x.trace | grep '^2' >top
	moe-stats --metric share --layer 2 x.trace | grep '^2' | sort -s -k 3,3gr | head -n 3 | diff - top
}

@test "sources and token ids, as counted by a second program" {
	two_texts
	moe-stats --metric specialisation x.trace | nine 5 6 | diff - <(counted specialisation)
	moe-stats --metric specialisation_gain x.trace | nine 3 | diff - <(counted gain)
	moe-stats --metric vocabulary --top 100000 x.trace | cut -f 1-3,5- | nine 5 6 | diff - <(counted vocabulary)
	moe-stats --metric vocabulary --tokenizer tiny-v3 --top 1 x.trace | grep -q '	zh\|	[a-z(]'
	[ "$(moe-stats --metric vocabulary x.trace | awk '{ n[$1, $2]++ } END { for (i in n) if (n[i] > m) m = n[i]; print m }')" = 10 ]
	# The layer's number is what its experts' come to.
	moe-stats --metric specialisation_gain,share x.trace | awk '$1 == 2 && $3 != "nan" { s += $3 * $4 } END { printf "%.9f\n", s }' |
		diff - <(moe-stats --metric specialisation_bits x.trace | awk '$1 == 2 { printf "%.9f\n", $2 }')
	moe-stats --metric source_distance x.trace | awk 'NR > 1 && !($4 >= 0 && $4 <= 1 && $5 * $5 - $4 < 1e-12) { exit 1 }'
	[ "$(moe-stats --metric source_distance x.trace | wc -l)" = $((4 * 3 + 1)) ]
	# Imported traces have no ids.
	moe-route --from esft --model-config "$CONFIG" "$DATA/esft-excerpt/intent" -o n.trace -q
	fails 1 moe-stats --metric vocabulary n.trace
	expect_message 'n.trace: sequence 0, position 0, layer 1: its token id is not known'
	fails 1 moe-stats --metric vocabulary --tokenizer no-such-model x.trace
}

@test "traffic under a plan, as counted by a second program; copies near the owner" {
	two_texts
	moe-stats x.trace >load.tsv
	moe-split -q -n 4 --nodes 2 --planner greedy load.tsv >plan.tsv
	moe-stats --metric fanout --plan plan.tsv --hidden-size 64 --bytes-per-element 2 x.trace | nine 3 4 |
		diff - <(counted fanout -v plan=plan.tsv -v H=64 -v B=2)
	moe-stats --metric traffic --plan plan.tsv --hidden-size 64 --bytes-per-element 1 x.trace | nine |
		diff - <(counted traffic -v plan=plan.tsv -v H=64 -v B=1)
	moe-stats --metric fanout --plan plan.tsv x.trace | awk '$1 == "all" { exit !($5 == "nan" && $3 > 1) }'
	# A copy of everything everywhere: nothing is sent.
	awk 'BEGIN { OFS = "\t"; print "layer", "expert", "replica", "rank", "slot"
		for (l = 1; l <= 4; l++) for (e = 0; e < 32; e++) for (r = 0; r < 4; r++) print l, e, r, r, e }' >all.tsv
	moe-stats --metric fanout --plan all.tsv --hidden-size 8 --bytes-per-element 2 x.trace |
		awk '$1 == "all" { exit !($3 == 1 && $4 == 1 && $5 + $6 + $7 + $8 == 0) }'
	# A copy on each node: nothing crosses nodes, and with the topology turned round all is far that was near.
	awk 'BEGIN { OFS = "\t"; print "layer", "expert", "replica", "rank", "slot"
		for (l = 1; l <= 4; l++) for (e = 0; e < 32; e++) for (r = 0; r < 2; r++)
			print l, e, r, 2 * r + e % 2, int(e / 2) }' >near.tsv
	printf 'rank\tnode\n0\t0\n1\t0\n2\t1\n3\t1\n' >topology.tsv
	moe-stats --metric fanout --plan near.tsv --topology topology.tsv --hidden-size 8 --bytes-per-element 2 x.trace >f
	awk '$1 == "all" { exit !($5 > 0 && $7 == 0 && $8 == 0 && $4 == 1) }' f
	sed -i '/^[1-4]\t.*\t/!b; s/^4\t.*//; /^$/d' near.tsv
	moe-stats --metric fanout --plan near.tsv --topology topology.tsv x.trace | awk '$1 == 4 { exit !($4 > 1) }'
	fails 2 moe-stats --metric fanout x.trace
	expect_message 'fanout asks where the experts live: --plan'
	fails 2 moe-stats --metric traffic --plan plan.tsv x.trace
	expect_message -- '--hidden-size H and --bytes-per-element'
	fails 2 moe-stats --metric cv --plan plan.tsv x.trace
	fails 2 moe-stats --metric fanout --topology topology.tsv x.trace
	moe-route --from esft --model-config "$CONFIG" "$DATA/esft-excerpt/intent" -o n.trace -q
	fails 2 moe-stats --metric fanout --plan plan.tsv n.trace
	expect_message 'the plan places 32 experts of a layer, the trace has 64'
}

@test "two traces: saturation, flips, where, and the verdict" {
	moe-route -q --logits --margin -p 'Some words that are to be routed twice, and then compared.' tiny-v3 -o l.trace
	moe-route -q --policy noaux_tc --margin l.trace -o a.trace
	moe-route -q --policy softmax_topk --margin l.trace -o b.trace
	for f in a b; do moe-route -q --print $f.trace | awk 'NR > 1 { s[$2 FS $3 FS $5] = s[$2 FS $3 FS $5] " " $7 } END { for (i in s) print i "\t" s[i] }' | sort >$f; done
	join -t '	' a b | awk -F '\t' '{ split($1, key, " "); n = split($2, x, " "); split($3, y, " "); delete in_y; other = 0
			for (i in y) in_y[y[i]]
			for (i in x) other += !(x[i] in in_y)
			t[key[3]]++; flips[key[3]] += other > 0; o[key[3]] += other; k = n }
		END { for (l in t) printf "%d\t%d\t%d\t%d\t%.9f\n", l, t[l], flips[l], o[l], 1 - o[l] / t[l] / k }' | sort >want
	run_split moe-stats --diff a.trace b.trace
	expect_status 3
	expect_message '^moe-stats: the traces differ: [1-9][0-9]* of [0-9]* choices of a token in a layer'
	[ "$(head -n 1 .out)" = 'layer	tokens	flips	rate	choices	margin' ]
	awk -F '\t' -v OFS='\t' 'NR > 1 && $1 != "all" { print $1, $2, $3, $5 }' .out | diff - <(cut -f 1-4 want)
	moe-stats --metric saturation --against b.trace a.trace | grep -v all | nine 2 | diff - <(cut -f 1,5 want)
	run_split moe-stats --diff a.trace a.trace
	expect_status 0
	awk 'NR > 1 && $3 != 0 { exit 1 }' .out
	# The list begins with the largest margin; with room it has every flip.
	run_split moe-stats --diff --metric flip_list --top 1000 a.trace b.trace
	expect_status 3
	[ "$(($(wc -l <.out) - 1))" = "$(awk '{ n += $3 } END { print n }' want)" ]
	awk -F '\t' 'NR > 1 && $1 == l && $5 > m { exit 1 } { l = $1; m = $5 }' .out
	awk -F '\t' 'NR == 2 { print $6; print $7 }' .out >lists
	[ "$(sort -u lists | wc -l)" = 2 ]
	sed 5q .out >five
	run_split moe-stats --diff --metric flip_list --top 4 --layer 1 a.trace b.trace
	expect_stdout five
	# However the tokens are cut into runs and parts.
	cat a.trace a.trace >aa.trace
	cat b.trace b.trace >bb.trace
	run_split moe-stats --diff aa.trace bb.trace
	expect_status 3
	awk 'NR > 1 { print $3 / 2 }' .out >flips
	run_split moe-stats --diff a.trace b.trace
	awk 'NR > 1 { print $3 }' .out | diff - flips
	run_split moe-stats --metric flip_list --top 3 --layer 2 --against bb.trace a.trace a.trace
	expect_status 0
	[ "$(cut -f 2 .out | tr '\n' ' ')" = 'part 0 1 0 ' ]
}

@test "traces of other tokens are not compared" {
	moe-route -q -p 'one two three four' tiny-v3 -o a.trace
	moe-route -q -p 'one two three five' tiny-v3 -o b.trace
	moe-route -q -p 'one two three four and more' tiny-v3 -o c.trace
	fails 1 moe-stats --diff a.trace b.trace
	expect_message 'a.trace: part 0, sequence 0, position [0-9]*: token [0-9]*, where b.trace has token'
	fails 1 moe-stats --diff c.trace a.trace
	expect_message 'c.trace: part 0, sequence 0, position [0-9]*: a.trace ends before this token'
	fails 1 moe-stats --diff a.trace c.trace
	expect_message 'c.trace: part 0, sequence 0, position [0-9]*: the traces it is compared with end before'
	cat a.trace a.trace >aa.trace
	fails 1 moe-stats --metric saturation --against a.trace aa.trace
	moe-route --from esft --model-config "$CONFIG" "$DATA/esft-excerpt/intent" -o n.trace -q
	fails 1 moe-stats --diff a.trace n.trace
	expect_message '4 MoE layers of 32 experts, 4 for a token, but n.trace has 26 of 64, 6 for a token'
	fails 2 moe-stats --diff a.trace
	fails 2 moe-stats --diff --metric cv a.trace a.trace
	fails 2 moe-stats --diff --against a.trace a.trace a.trace
	fails 2 moe-stats --diff --load a.trace a.trace
	fails 2 moe-stats --against a.trace --metric cv a.trace
	fails 2 moe-stats --metric saturation a.trace
	fails 2 moe-stats --diff --force -o ./b.trace a.trace b.trace
	expect_message "is the same file as 'b.trace'"
	# Only the tokens of one source, in both.
	moe-route -q tiny-v3 "$TEXT/code.txt" "$TEXT/zh.txt" -o two.trace
	moe-stats --source zh --metric flips --against two.trace two.trace | tail -n 1 | awk -v want="$(moe-stats --source zh two.trace | sed -n 's/.*#tokens=//p')" '{ exit !($2 == 4 * want && $3 == 0) }'
}

@test "by window and by position: parts of the whole" {
	two_texts
	moe-stats --load --layer 2 x.trace | grep -v '^#' | tail -n +2 | cut -f 1-3 >whole
	tokens=$(moe-stats x.trace | sed -n 's/.*#tokens=//p')
	for by in window=50 position domain; do
		moe-stats --by $by --layer 2 x.trace >by
		head -n 1 by | grep -qE '^(window|position|source)	layer	expert	count	weight$'
		awk -F '\t' -v OFS='\t' 'NR > 1 { n[$2 OFS $3] += $4 } END { for (i in n) print i, n[i] }' by | sort -k 2,2n | diff - whole
	done
	[ "$(moe-stats --by window=50 --metric cv --layer 2 x.trace | grep -c all)" = $(((tokens + 49) / 50)) ]
	# A window of everything is everything; the first token of each text is at position 0.
	moe-stats --by window=1000000 --metric cv,overlap,maxvio_batch x.trace | cut -f 2- | diff - <(moe-stats --metric cv,overlap,maxvio_batch x.trace)
	moe-stats --by position --metric count --layer 2 x.trace | awk '$1 == "0" && $2 == 2 { n += $4 } END { exit n != 3 * 4 }'
	moe-stats --by position --metric cv x.trace | cut -f 1 | uniq | head -n 5 | diff - <(printf '%s\n' position 0 1 2-3 4-7)
	moe-stats --by position --metric saturation --against x.trace x.trace | awk 'NR > 1 && $3 != 1 { exit 1 }'
	moe-stats --by window=7 --summary --ascii x.trace | grep -q '^window 3: '
	moe-stats --by window=50 x.trace >table.tsv
	fails 2 moe-stats --by position <(moe-stats x.trace)
	expect_message 'windows, positions and resamples need the traces'
	run_split moe-stats --by window=50 --max-imbalance 1 --metric cv x.trace
	expect_status 3
	expect_message "window '[0-9]*', layer [0-9]: peak_to_average"
}

@test "intervals: around the number, the same from any threads, narrower with more text" {
	moe-route -q tiny-v3 "$TEXT/code.txt" -o a.trace
	moe-stats --ci --metric cv,top8_share,entropy a.trace >ci
	[ "$(head -n 1 ci)" = 'layer	cv	cv_lo	cv_hi	top8_share	top8_share_lo	top8_share_hi	entropy	entropy_lo	entropy_hi' ]
	awk 'NR > 1 && !($3 < $2 && $2 < $4 && $6 < $5 && $5 < $7) { exit 1 }' ci
	cut -f 1,2,5,8 ci | diff - <(moe-stats --metric cv,top8_share,entropy a.trace)
	moe-stats -j 3 --ci --metric cv,top8_share,entropy a.trace | cmp - ci
	moe-stats --ci --metric cv,top8_share,entropy --layer 3 a.trace | sed -n 2p | diff - <(grep '^3' ci)
	moe-stats --ci --seed 7 --metric cv,top8_share,entropy a.trace | never cmp -s - ci
	# Four times the sequences, about half the width.
	cat a.trace a.trace a.trace a.trace >b.trace
	moe-stats --ci --metric top8_share b.trace | tail -n 1 | awk -v wide="$(tail -n 1 ci | awk '{ print $7 - $6 }')" '{ r = ($4 - $3) / wide; exit !(r > .3 && r < .75) }'
	# One sequence says nothing of others, whatever the metric reads; the same twice does.
	moe-route -q -p 'a few words' tiny-v3 -o one.trace
	moe-stats --ci --metric cv,overlap one.trace | awk 'NR > 1 && !($2 != "nan" && $3 $4 $6 $7 == "nannannannan") { exit 1 }'
	cat one.trace one.trace | moe-stats --ci --metric cv,overlap | awk 'NR > 1 && ($3 $4 $6 $7) ~ /nan/ { exit 1 }'
	fails 2 moe-stats --ci --metric maxvio_batch a.trace
	expect_message 'how sequences follow each other, and resamples take them apart'
	fails 2 moe-stats --ci --metric coactivation a.trace
	expect_message "'coactivation' is a table"
	fails 2 moe-stats --ci a.trace
	fails 2 moe-stats --ci --metric cv <(moe-stats a.trace)
}

@test "neighbours that choose nothing in a layer are none there" {
	{
		echo token,layer,expert
		printf '%s\n' 0,1,3 0,2,5 1,1,3 1,2,5 2,1,3 3,1,3 3,2,5 4,1,0 4,2,5
	} >x.csv
	moe-route -q --from csv --n-experts 8 -o x.trace x.csv
	moe-stats --metric overlap x.trace | sed -n 2,3p | diff - <(printf '1\t0.75\n2\t1\n')
	moe-stats --metric persistence x.trace | awk '$2 == 3 && $1 == 1 && $3 == .75 { n++ } $2 == 5 && $1 == 2 && $3 == 1 { n++ } END { exit n != 2 }'
}

@test "intervals: as often around the truth as they say, of a few sequences too" {
	# Thirty traces of 12 texts of 15 tokens; expert e of 16 is chosen with a chance of (e + 1) / 136.
	awk 'BEGIN { x = 42
		for (f = 0; f < 30; f++) {
			print "seq,token,layer,expert" >(f ".csv")
			for (i = 0; i < 180; i++) {
				x = x * 16807 % 2147483647
				u = x / 2147483647 * 136
				for (e = 0; u > e + 1; e++) u -= e + 1
				printf "%d,%d,0,%d\n", i / 15, i % 15, e >(f ".csv")
			}
		} }'
	for f in {0..29}; do
		moe-route -q --from csv --n-experts 16 -o x.trace --force $f.csv
		moe-stats --ci --metric cv,entropy,gini x.trace | tail -n 1
	done | awk '{ cv += $3 < .5423 && .5423 < $4; h += $6 < 3.7613 && 3.7613 < $7; g += $9 < .3125 && .3125 < $10 }
		END { print NR, cv, h, g; exit !(NR == 30 && cv >= 25 && h >= 25 && g >= 25) }'
}

@test "intervals of what reads tokens: as drawn by a second program, and of every metric" {
	head -c 9000 "$TEXT/code.txt" >code.txt
	head -c 3000 "$TEXT/prose.txt" >prose.txt
	moe-route -q --window 100 --logits --margin tiny-v3 code.txt prose.txt -o a.trace
	moe-route -q --print a.trace >printed
	# Overlap of layer 2: choices shared with the token before, and choices, of each sequence.
	awk -F '\t' 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
		$at["layer"] == 2 { has[$at["seq"], $at["pos"], $at["expert"]]; s[NR] = $at["seq"]; p[NR] = $at["pos"]; e[NR] = $at["expert"] }
		END { for (r in s) if (p[r] > 0) { n[s[r]]++; shared[s[r]] += ((s[r], p[r] - 1, e[r]) in has) }
			for (q in n) printf "%d\t%d\t%d\n", q, shared[q], n[q] }' printed >sums
	[ "$(wc -l <sums)" -gt 40 ]
	moe-stats --ci --seed 3 --metric overlap --layer 2 a.trace | awk 'NR == 2 { printf "%.9f\t%.9f\n", $3, $4 }' >got
	perl "$TOP/tests/ref/bootstrap.pl" 3 <sums | diff - got
	# Gate mass of an expert: its gates, and all of the layer.
	awk -F '\t' 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
		$at["layer"] == 2 { all[$at["seq"]] += $at["weight"]; if ($at["expert"] == 5) one[$at["seq"]] += $at["weight"] }
		END { for (q in all) printf "%d\t%.9f\t%.9f\n", q, one[q], all[q] }' printed >sums
	moe-stats --ci --metric gate_mass --layer 2 a.trace | awk '$2 == 5 { printf "%.6f\t%.6f\n", $4, $5; exit }' >got
	perl "$TOP/tests/ref/bootstrap.pl" <sums | awk '{ printf "%.6f\t%.6f\n", $1, $2 }' | diff - got
	# Every metric with a number per layer or expert, but for those of parts.
	n=0
	while IFS=$'\t' read -r m _ keys _ _ _ reads; do
		[[ $keys == layer || $keys == 'layer expert' ]] || continue
		case $m in maxvio_batch | combinations | flips | fanout) continue ;; esac   # of parts; tables
		with=()
		[[ $reads != *groups* ]] || with=(--groups 4)
		[[ $reads != *against* ]] || with=(--against a.trace)
		moe-stats --ci --metric "$m" --layer 1-2 "${with[@]}" a.trace >ci 2>err || { echo "$m"; cat err; return 1; }
		awk -F '\t' -v m="$m" 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
			{ v = $at[m]; lo = $at[m "_lo"]; hi = $at[m "_hi"] }
			v != "nan" && !(lo <= hi && lo < 1e300) { print m ": " $0; exit 1 }
			v != "nan" && lo < hi { moved++ }
			END { if (!moved && m != "saturation" && m != "dead" && m != "maxvio_bound") { print m ": nothing moves"; exit 1 } }' ci
		n=$((n + 1))
	done < <(moe-stats --list)
	[ "$n" -ge 35 ]
	# Of sequences that alternate, and over several files, from any threads.
	moe-stats --ci --metric overlap,loss_v3_seq,margin a.trace a.trace >ci
	moe-stats -j 3 --ci --metric overlap,loss_v3_seq,margin a.trace a.trace | cmp - ci
	cut -f 1,2,5,8 ci | diff - <(moe-stats --metric overlap,loss_v3_seq,margin a.trace a.trace)
}

@test "what chance does: the noise of even loads, against draws" {
	# 64 experts, 6000 choices, drawn 300 times by awk.
	awk 'BEGIN { srand(3); for (r = 0; r < 300; r++) { delete c; m = 0
			for (i = 0; i < 6000; i++) { e = int(64 * rand()); if (++c[e] > m) m = c[e] }
			v[r] = m / (6000 / 64) - 1; sum += v[r] }
		for (r = 0; r < 300; r++) for (k = r; k > 0 && v[k - 1] > v[k]; k--) { t = v[k]; v[k] = v[k - 1]; v[k - 1] = t }
		print sum / 300, v[285] }' >draws
	printf 'layer\texpert\tcount\tweight\n' >even.tsv
	for e in $(seq 0 63); do printf '0\t%d\t%d\t0\n' $e $((93 + (e < 48))); done >>even.tsv
	moe-stats --metric maxvio,maxvio_noise,maxvio_bound even.tsv | tail -n 1 >got
	paste got draws | awk '{ a = $3 / $5; b = $4 / $6; print; exit !(a > .97 && a < 1.03 && b > .93 && b < 1.07 && $2 < $3 && $3 < $4) }'
	# A large load comes near the normal distribution from both sides of where it takes over.
	for n in 99000000 101000000; do
		printf 'layer\texpert\tcount\tweight\n0\t0\t%d\t0\n0\t1\t%d\t0\n' $((2 * n)) $((2 * n)) >large.tsv
		moe-stats --metric maxvio_noise large.tsv | tail -n 1 | awk -v n=$((4 * n)) '{ print $2 * sqrt(n) }'
	done | awk '{ d = $1 / .5642 - 1; print; if (d > .001 || d < -.001) exit 1 }'
}

@test "Lorenz points end at one, and say what gini says" {
	printf 'layer\texpert\tcount\tweight\n0\t0\t8\t0\n0\t1\t0\t0\n0\t2\t4\t0\n0\t3\t4\t0\n' >small.tsv
	run_split moe-stats --metric lorenz small.tsv
	expect_stdout - <<-'E'
	layer	experts	share
	0	0	0
	0	1	0
	0	2	0.25
	0	3	0.5
	0	4	1
	E
	moe-stats --metric top8_share small.tsv | tail -n 1 | grep -qx 'all	1'
}

@test "pictures of structure: whole SVG files with a legend, and what they need" {
	two_texts
	for p in 'lorenz' 'curve' 'coactivation --layer 2' 'specialisation --layer 2' 'maxvio --by window=40'; do
		# shellcheck disable=SC2086
		moe-stats --plot $p -o p.svg x.trace --force
		head -n 2 p.svg | grep -q '<svg xmlns='
		[ "$(tail -n 1 p.svg)" = '</svg>' ]
		grep -q 'prefers-color-scheme:dark' p.svg
		never grep -qw 'nan' p.svg
		if command -v xmllint >/dev/null; then xmllint --noout p.svg; fi
		# shellcheck disable=SC2086
		moe-stats -j 3 --plot $p x.trace | cmp - p.svg
	done
	moe-stats --plot curve x.trace | grep -q '>best possible (belady)<'
	moe-stats --plot lorenz x.trace | grep -q '>an even load<'
	[ "$(moe-stats --plot lorenz x.trace | grep -c 'class="thin" d=')" = 4 ]
	moe-stats --plot coactivation --layer 2 x.trace | grep -q '>lift: tokens that chose both'
	fails 2 moe-stats --plot coactivation x.trace
	expect_message -- '--layer L says which'
	fails 2 moe-stats --plot maxvio x.trace
	expect_message -- '--by window=N'
	fails 2 moe-stats --plot curve <(moe-stats x.trace)
}
