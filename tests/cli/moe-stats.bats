# moe-stats: loads, metrics, pictures and verdicts, on real routing (ESFT) and on tables made here.

load lib

CONFIG=$DATA/configs/deepseek-v2-lite.json
HEAD='layer	expert	count	weight'

# Two sequences of each layer of ESFT's `intent`: small and real.
excerpt()
{
	moe-route --from esft --model-config "$CONFIG" "$DATA/esft-excerpt/intent" -o "${1:-x.trace}" -q
}

# small.tsv: layers 0, 2 and 3 of four experts; layer 2 was never asked.
small()
{
	printf '%s\n' "$HEAD" >small.tsv
	printf '%s\t%s\t%s\t%s\n' 0 0 8 4 0 1 0 0 0 2 4 2 0 3 4 0.1 \
		2 0 0 0 2 1 0 0 2 2 0 0 2 3 0 0 3 0 1 1 3 1 1 1 3 2 1 1 3 3 1 1e-06 >>small.tsv
}

reference()
{
	awk -v E=64 -v K=6 -v what="$1" -f "$TOP/tests/ref/esft_stats.awk" "$2"/expert_weights_*.txt
}

# close A B TOLERANCE: tables with equal keys and numbers that differ by at most TOLERANCE.
close()
{
	awk -F '\t' -v tol="$3" '
		NR == FNR { a[FNR] = $0; n = FNR; next }
		{
			if (split(a[FNR], x, "\t") != NF) { print "line " FNR ": fields"; exit bad = 1 }
			for (i = 1; i <= NF; i++) {
				d = x[i] - $i
				if (x[i] != $i && (i == 1 || !(d <= tol && -d <= tol))) { print "line " FNR ": " x[i] " " $i; exit bad = 1 }
			}
		}
		END { if (!bad && FNR != n) { print n " and " FNR " lines"; exit 1 } exit bad }' "$1" "$2"
}

# esft TASK MAXVIO GINI ENTROPY_NORM CV TOP8_SHARE
esft()
{
	tar -xJf "$DATA/esft/$1.tar.xz"
	moe-route --from esft --model-config "$CONFIG" "$1" -o "$1.trace" -q
	reference load "$1" >want.load
	[ "$(wc -l <want.load)" = $((26 * 64 + 1)) ]
	moe-stats "$1.trace" >load.tsv
	grep -v '^#' load.tsv | cut -f 1-3 | diff want.load -
	reference metrics "$1" >want.metrics
	moe-stats --metric maxvio,cv,gini,entropy_norm,top8_share "$1.trace" >metrics
	close want.metrics metrics 2e-9
	awk -v E=64 -v K=6 -v N=2048 -f "$TOP/tests/ref/esft_tokens.awk" "$1"/expert_weights_*.txt >want.tokens
	moe-stats --metric overlap,maxvio_batch,loss_importance "$1.trace" >tokens
	close want.tokens tokens 1e-6
	# The gates: awk adds the decimals, we add them as f32.
	awk -F '\t' '{ for (i = 1; $i != ""; i++) id[i] = $i; for (j = i + 1; j <= NF; j++) w[id[j - i]] += $j }
		END { for (e = 0; e < 64; e++) printf "%d\t%.6f\n", e, w[e] }' "$1/expert_weights_17.txt" >want.weights
	awk -F '\t' '$1 == 17 { printf "%d\t%.6f\n", $2, $4 }' load.tsv >weights
	close want.weights weights 1e-4
	moe-stats --metric maxvio,gini,entropy_norm,cv,top8_share "$1.trace" | tail -n 1 |
		awk -F '\t' -v want="$2 $3 $4 $5 $6" '{
			split(want, w, " ")
			for (i = 1; i <= 5; i++) if ($(i + 1) - w[i] > 0.0051 || w[i] - $(i + 1) > 0.0051) { print; exit 1 }
		}'
	# From the table as from the trace.
	moe-stats --metric maxvio,cv,gini,entropy_norm,top8_share load.tsv | cmp - metrics
}

@test "ESFT intent: loads as awk counts them, the published unevenness" {
	esft intent 2.81 .41 .933 .79 .33
	# Published: 26.2 % of a token's experts were those of the token before it.
	tail -n 1 tokens | awk '{ exit !($2 > .2615 && $2 < .2625) }'
}

@test "ESFT summary: loads as awk counts them, the published unevenness" {
	esft summary 3.28 .35 .946 .74 .309
	# By gates in place of choices the eight experts with the largest sums take more: .40 of intent, .34 of summary.
	awk -F '\t' '{ for (i = 1; $i != ""; i++) id[i] = $i; for (j = i + 1; j <= NF; j++) { w[FILENAME, id[j - i]] += $j; all[FILENAME] += $j } }
		END { for (f in all) { sum = 0; delete taken
				for (n = 0; n < 8; n++) { best = -1
					for (e = 0; e < 64; e++) if (!(e in taken) && (best < 0 || w[f, e] > w[f, best])) best = e
					taken[best]; sum += w[f, best] }
				mean += sum / all[f] / 26 }
			printf "%.5f\n", mean }' summary/expert_weights_*.txt >want
	moe-stats --metric gate_mass --top 8 summary.trace | awk 'NR > 1 && $1 != "all" { s += $3 / 26 } END { printf "%.5f\n", s }' | diff want -
	[ "$(cut -c 1-4 want)" = 0.34 ]
}

@test "the load table is the default in a pipe, with every pair and the number of tokens" {
	excerpt
	run_split moe-stats x.trace
	expect_status 0
	expect_line "$HEAD"
	[ "$(grep -vc '^#' .out)" = $((26 * 64 + 1)) ]
	expect_line '#tokens=127'
	cp .out load.tsv
	reference load "$DATA/esft-excerpt/intent" >want
	grep -v '^#' load.tsv | cut -f 1-3 | diff want -
	grep -q '	0	0$' load.tsv
	moe-stats --load x.trace | cmp - load.tsv
	moe-stats <x.trace | cmp - load.tsv
	cat x.trace | moe-stats - | cmp - load.tsv
	moe-stats <(cat x.trace) | cmp - load.tsv
	# A load table in, the same load table out.
	moe-stats load.tsv | cmp - load.tsv
	cat load.tsv | moe-stats | cmp - load.tsv
}

@test "the same bytes from any number of threads, and from a second run" {
	excerpt
	cat x.trace x.trace x.trace >y.trace
	for args in '--load' '--metric cv,gini,entropy' '--by source' '--plot heatmap' '--plot load' '--summary'; do
		moe-stats -j1 $args y.trace >one
		moe-stats -j4 $args y.trace >four
		moe-stats -j4 $args y.trace >again
		expect_same one four
		expect_same four again
	done
}

@test "files of one model add up, as traces and as tables" {
	excerpt
	moe-stats x.trace >x.tsv
	cat x.trace x.trace >joined.trace
	moe-stats joined.trace >want
	expect_line2() { grep -qxF -- "$1" want; }
	expect_line2 '#tokens=254'
	moe-stats x.trace x.trace | cmp - want
	moe-stats x.trace x.tsv | cmp - want
	moe-stats x.tsv x.tsv | cmp - want
	moe-stats x.tsv - <x.trace | cmp - want
}

@test "files of different models are refused, and both are named" {
	small
	sed 's/^layer/#model=one\n&/' small.tsv >one.tsv
	sed 's/^layer/#model=two\n&/' small.tsv >two.tsv
	fails 1 moe-stats one.tsv two.tsv
	expect_message "two.tsv: .*'one' and 'two'"
	excerpt
	fails 1 moe-stats x.trace small.tsv
	expect_message 'small.tsv: .*64 experts and 4 experts'
	moe-stats one.tsv small.tsv >both
	grep -qx '#model=one' both
}

@test "metrics per layer, with nan where nothing was chosen" {
	small
	run_split moe-stats --metric maxvio,peak_to_average,cv,gini,entropy,entropy_norm,effective_experts,dead small.tsv
	expect_status 0
	expect_stdout - <<-'E'
	layer	maxvio	peak_to_average	cv	gini	entropy	entropy_norm	effective_experts	dead
	0	1	2	0.7071067811865476	0.375	1.5	0.75	2.8284271247461903	1
	2	nan	nan	nan	nan	nan	nan	nan	4
	3	0	1	0	0	2	1	4	0
	all	0.5	1.5	0.3535533905932738	0.1875	1.75	0.875	3.414213562373095	5
	E
	run_split moe-stats --metric cv,dead --json small.tsv
	expect_stdout - <<-'E'
	{"layer":0,"cv":0.7071067811865476,"dead":1}
	{"layer":2,"cv":null,"dead":4}
	{"layer":3,"cv":0,"dead":0}
	{"layer":"all","cv":0.3535533905932738,"dead":5}
	E
}

@test "metrics per expert have their key behind the layer" {
	small
	run_split moe-stats -m count,share --layer 0 small.tsv
	expect_status 0
	expect_stdout - <<-'E'
	layer	expert	count	share
	0	0	8	0.5
	0	1	0	0
	0	2	4	0.25
	0	3	4	0.25
	all	0	8	0.5
	all	1	0	0
	all	2	4	0.25
	all	3	4	0.25
	E
	run_split moe-stats --by expert --metric count,share small.tsv
	expect_stdout - <<-'E'
	expert	count	share
	0	9	0.375
	1	1	0.125
	2	5	0.25
	3	5	0.25
	E
	run_split moe-stats --by expert small.tsv
	expect_stdout - <<-'E'
	expert	count	weight
	0	9	5
	1	1	1
	2	5	3
	3	5	0.10000100000070233
	E
}

@test "the list of metrics, and every metric of it can be asked for" {
	run_split moe-stats --list
	expect_status 0
	head -n 1 .out | grep -qx 'metric	unit	keys	all	help	formula	reads'
	cp .out list
	moe-stats --metric list | cmp - list
	small
	for m in count share maxvio peak_to_average cv gini entropy entropy_norm effective_experts dead; do
		grep -q "^$m	" list
	done
	moe-route -q --logits --margin -p 'A few words of text, to be routed.' tiny-v3 -o t.trace
	moe-stats t.trace | moe-split -q -n 4 --nodes 2 --planner contiguous - >plan.tsv
	tail -n +2 list | while IFS='	' read -r m _ keys _ _ _ reads; do
		what=small.tsv more=
		[[ $reads = counts* ]] || what=t.trace
		[[ $reads != *against* ]] || more='--against t.trace'
		[[ $reads != *plan* ]] || more='--plan plan.tsv --hidden-size 64 --bytes-per-element 2'
		moe-stats --groups 4 --metric "$m" $more $what >out || exit 1
		head -n 1 out | grep -qE "^${keys// /	}	" || exit 1
		# One text against itself: no flip, and no second source.
		[[ $m = flip_list || $m = source_distance ]] || [ "$(wc -l <out)" -gt 1 ] || exit 1
		[[ $reads = counts* ]] || fails 2 moe-stats --groups 4 --metric "$m" small.tsv || exit 1
		[[ -z $more ]] || fails 2 moe-stats --groups 4 --metric "$m" $what || exit 1
	done
	[ "$(moe-stats --list --json | wc -l)" = "$(($(wc -l <list) - 1))" ]
}

@test "the names that scripts rely on" {
	for m in count share maxvio maxvio_batch peak_to_average cv gini entropy entropy_norm effective_experts dead \
		top8_share loss_v1_expert loss_v1_device loss_v2_comm loss_v3_seq loss_switch loss_gshard loss_hf \
		loss_megatron z_loss loss_importance loss_load coactivation affinity specialisation saturation margin \
		gate_mass overlap fanout miss_curve; do
		echo "$m"
	done | sort >want
	[ "$(wc -l <want)" = 32 ]
	moe-stats --list | tail -n +2 | cut -f 1 | sort >names
	comm -23 want names >missing
	cat missing
	[ ! -s missing ]
	excerpt
	[ "$(moe-stats --metric miss_curve x.trace | head -n 1)" = 'layer	resident	lru	lfu	static	belady' ]
	moe-stats --metric miss_curve x.trace | awk 'NR > 1 { for (i = 3; i <= 6; i++) if ($i < 0 || $i > 1) exit 1 }'
	[ "$(moe-stats --metric coactivation x.trace | head -n 1)" = 'layer	expert	other	count	lift' ]
	[ "$(moe-stats x.trace | grep -v '^#' | head -n 1)" = "$HEAD" ]
}

@test "every metric has an example in the page, which the tests run" {
	sed -n '/^\.Sh EXAMPLES/,/^\.Sh SEE/p' "$TOP/man/moe-stats.1" | grep '^[$>]' >commands
	for m in $(moe-stats --list | tail -n +2 | cut -f 1); do
		grep -qE "[-]-metric( |.*,)$m( |,|\$)" commands || grep -qE "[ ,]$m([ ,]|\$)" commands || echo "$m"
	done >missing
	cat missing
	[ ! -s missing ]
	# Formula, unit and source stand beside the code too.
	for f in "$TOP"/lib/stats/metric/*.c; do
		grep -q '\.unit = "' "$f" && grep -q '\.formula = "' "$f" && grep -q '\.source = "' "$f" || echo "$f"
	done >missing
	cat missing
	[ ! -s missing ]
}

@test "--by with every metric and picture: rows of each label, or a reason" {
	moe-route -q --window 40 --logits --margin tiny-v3 -p 'Text of one kind, a little longer than the other.' -o a.trace
	moe-route -q --window 40 --logits --margin tiny-v3 -p 'int main(void) { return 0; }' -o b.trace
	cat a.trace b.trace >x.trace
	moe-stats x.trace | moe-split -q -n 4 --nodes 2 --planner contiguous - >plan.tsv
	moe-stats --list | tail -n +2 | while IFS='	' read -r m _ keys _ _ _ reads; do
		with=()
		[[ $reads != *groups* ]] || with=(--groups 4)
		[[ $reads != *against* ]] || with=(--against x.trace)
		[[ $reads != *plan* ]] || with=(--plan plan.tsv --hidden-size 64 --bytes-per-element 2)
		for by in source window=20 position; do
			moe-stats -j 1 --layer 2 --by $by --metric "$m" "${with[@]}" x.trace >rows || exit 1
			column=${by%%=*}
			head -n 1 rows | grep -q "^$column	" || { echo "$m $by"; exit 1; }
		done
		if [ "$keys" = 'layer expert' ]; then
			[ "$(moe-stats -j 1 --by expert --metric "$m" x.trace | tail -n +2 | wc -l)" = 32 ] || { echo "$m"; exit 1; }
		fi
	done
	for m in cv overlap coactivation lorenz; do
		fails 2 moe-stats --by expert --metric $m x.trace
		expect_message "^moe-stats: --by expert: '$m' has no number per expert"
	done
	moe-stats --by domain --metric cv x.trace >rows
	moe-stats --by source --metric cv x.trace | cmp - rows
	fails 2 moe-stats --by token x.trace
	fails 2 moe-stats --by window=0 x.trace
	for by in expert source position; do
		fails 2 moe-stats --plot load --by $by x.trace
		expect_message '^moe-stats: --plot draws all layers of one load'
	done
}

@test "by source: the source comes first, and the parts add up to the whole" {
	for s in en zh.txt; do
		cp -r "$DATA/esft-excerpt/intent" "$s"
		moe-route --from esft --model-config "$CONFIG" "$s" -o "$s.trace" -q
	done
	cat en.trace zh.txt.trace >both.trace
	moe-stats --by source both.trace >by
	head -n 1 by | grep -qx "source	$HEAD"
	[ "$(wc -l <by)" = $((2 * 26 * 64 + 1)) ]
	moe-stats --source zh.txt both.trace | grep -v '^#' >zh
	moe-stats zh.txt.trace | grep -v '^#' | cmp - zh
	grep '^zh.txt	' by | cut -f 2- | cmp - <(tail -n +2 zh)
	moe-stats --by source --metric cv,dead both.trace >cv
	[ "$(wc -l <cv)" = $((2 * 27 + 1)) ]
	head -n 1 cv | grep -qx 'source	layer	cv	dead'
	grep -q '^en	all	' cv
	moe-stats --by source --json both.trace | head -n 1 | grep -q '^{"source":"en","layer":1,"expert":0,"count":'
	moe-stats --by source --summary both.trace | grep -c '^source ' | grep -qx 2
	fails 1 moe-stats --source de both.trace
	expect_message "'de'"
	small
	fails 2 moe-stats --by source small.tsv
	fails 2 moe-stats --source en small.tsv
	expect_message "small.tsv: a load table without a column 'source'"
}

@test "a table by source is read: in parts, one of them, or summed" {
	table=$MODEL_V3/load.tsv
	awk -F '\t' 'NR > 1 { if (!(($2, $3) in n)) key[++keys] = $2 "\t" $3
			n[$2, $3] += $4; w[$2, $3] += $5 }
		END { print "layer\texpert\tcount\tweight"
			for (i = 1; i <= keys; i++) { split(key[i], k, "\t")
				printf "%s\t%d\t%.5f\n", key[i], n[k[1], k[2]], w[k[1], k[2]] } }' "$table" >want
	moe-stats "$table" | grep -v '^#' |
		awk -F '\t' 'NR == 1 { print; next } { printf "%s\t%s\t%s\t%.5f\n", $1, $2, $3, $4 }' | diff want -
	for what in cv,dead,gini,entropy share,count; do
		moe-stats --metric $what want >summed
		moe-stats --metric $what "$table" | cmp - summed
		moe-stats --metric $what <"$table" | cmp - summed
	done
	moe-stats --by source "$table" >by
	awk -F '\t' 'NR > 1 { $5 = sprintf("%.5f", $5) } { print }' by >got
	awk -F '\t' 'NR > 1 { $5 = sprintf("%.5f", $5) } { print }' "$table" | diff - got
	moe-stats --by source by | cmp - by
	first=$(sed -n '2s/\t.*//p' by)
	moe-stats --source "$first" "$table" | grep -v '^#' | tail -n +2 >got
	sed -n "s/^$first\t//p" by | diff - got
	fails 1 moe-stats --source nobody "$table"
	expect_message "'nobody'"
	moe-stats --by source "$table" "$table" | awk -F '\t' 'NR > 1 { $4 /= 2; $5 = "" } { print }' >got
	awk -F '\t' 'NR > 1 { $5 = "" } { print }' by | diff - got
	sed 5d "$table" >short.tsv
	fails 1 moe-stats short.tsv
	expect_message "short.tsv: source '$first', layer 1, expert 3 is missing"
}

@test "tables and traces by source go together, and tokens are counted where they are known" {
	for s in en zh.txt; do
		cp -r "$DATA/esft-excerpt/intent" "$s"
		moe-route --from esft --model-config "$CONFIG" "$s" -o "$s.trace" -q
	done
	cat en.trace zh.txt.trace >both.trace
	moe-stats both.trace >want
	tokens=$(sed -n 's/.*#tokens=//p' want)
	{ sed -n '/^#/p' want; moe-stats --by source both.trace; } >by.tsv
	moe-stats by.tsv | cmp - want
	moe-stats by.tsv both.trace >twice
	grep -qx "#tokens=$((2 * tokens))" twice
	moe-stats both.trace by.tsv | cmp - twice
	moe-stats --by source both.trace both.trace >want
	moe-stats --by source both.trace by.tsv | cmp - want
}

@test "only some layers" {
	small
	moe-stats --layer 2-3 --metric dead small.tsv | tail -n 1 | grep -qx 'all	4'
	moe-stats --layer 3,0 small.tsv | cut -f 1 | uniq | tr '\n' ' ' | grep -qx 'layer 0 3 '
	fails 2 moe-stats --layer 1 small.tsv
	expect_message 'layer 1'
	for bad in x 3-2 '' '0,' '-1' 0-x; do
		[ "$bad" = '0,' ] || fails 2 moe-stats "--layer=$bad" small.tsv
	done
}

@test "the summary: bars as wide as there is room, in blocks or ASCII" {
	small
	run_split moe-stats --summary --ascii small.tsv
	expect_status 0
	expect_line '    0    2.00    0.71    0.38   0.750       1  @ =='
	expect_line '    2     nan     nan     nan     nan       4      '
	expect_line '  all    1.50    0.35    0.19   0.875       5'
	run_split moe-stats --summary small.tsv
	expect_line '    3    1.00    0.00    0.00   1.000       0  ▄▄▄▄'
	excerpt
	for width in 40 80 120 200; do
		COLUMNS=$width moe-stats --summary --ascii x.trace >s
		[ "$(grep -c '^ *[0-9]* ' s)" -ge 26 ]
		[ "$width" = 40 ] || [ "$(grep '^ *[0-9]' s | tail -n +2 | awk '{ if (length > m) m = length } END { print m }')" -le "$width" ]
	done
	COLUMNS=200 moe-stats --summary --ascii x.trace | sed -n 3p | awk '{ exit length != 47 + 64 }'
}

@test "a terminal gets the summary, and hostile labels cannot steer it" {
	script -qec true /dev/null </dev/null >/dev/null || skip 'no pseudo-terminal'
	command -v script >/dev/null || skip "no script(1)"
	small
	printf '#model=a\033]0;b\n' | cat - small.tsv >h.tsv
	script -qec 'moe-stats h.tsv' /dev/null </dev/null >seen
	grep -q 'peak/avg' seen
	never grep -q "$(printf '\033')" seen
	script -qec 'moe-stats --load h.tsv' /dev/null </dev/null | tr -d '\r' | grep -qx "$HEAD"
}

@test "a limit on imbalance ends with 3 and names the worst layer, after the output" {
	small
	run_split moe-stats --max-imbalance 1.9 --metric peak_to_average small.tsv
	expect_status 3
	expect_line '0	2'
	expect_message '^moe-stats: layer 0: peak_to_average is 2, more than 1.9'
	[ "$(wc -l <.err)" = 1 ]
	run_split moe-stats --max-imbalance 2 small.tsv
	expect_status 0
	expect_line "$HEAD"
	run_split moe-stats --max-imbalance 1.5 --layer 3 small.tsv
	expect_status 0
	run_split moe-stats --max-imbalance 1.5 --plot load -o x.svg small.tsv
	expect_status 3
	[ -s x.svg ]
	fails 2 moe-stats --max-imbalance no small.tsv
	fails 2 moe-stats --max-imbalance -1 small.tsv
}

@test "limits on metrics end with 3, whether or not they are printed" {
	small
	moe-stats --max cv=1,dead=4,gini=0.5 small.tsv >got
	moe-stats small.tsv | cmp - got
	run_split moe-stats --max cv=1,dead=0 --metric maxvio small.tsv
	expect_status 3
	expect_message '^moe-stats: layer 2: dead is 4, more than 0 .2 of 3 layers too high.$'
	expect_line 'layer	maxvio'
	run_split moe-stats --max peak_to_average=1.5 small.tsv
	cp .err err
	run_split moe-stats --max-imbalance 1.5 small.tsv
	expect_same err .err
	run_split moe-stats --max cv=1 --max-imbalance 1.5 small.tsv
	expect_status 3
	excerpt
	overlap=$(moe-stats --metric overlap x.trace | awk '$1 == 7 { print $2 }')
	run_split moe-stats --max "overlap=$overlap" --layer 7 x.trace
	expect_status 0
	run_split moe-stats --max overlap=0.01 --layer 7 --metric cv x.trace
	expect_status 3
	expect_message 'layer 7: overlap is 0'
	run_split moe-stats --by source --max overlap=0.01 --layer 7 --plot load x.trace
	expect_status 2
	run_split moe-stats --max maxvio_batch=0.1 --layer 5 --plot load -o x.svg x.trace
	expect_status 3
	[ -s x.svg ]
	fails 2 moe-stats --max overlap=0.1 small.tsv
	fails 2 moe-stats --max count=5 small.tsv
	expect_message "a metric with a number per layer, found 'count'"
	fails 2 moe-stats --max cv small.tsv
	expect_message "METRIC=NUMBER, found 'cv'"
	fails 2 moe-stats --max cv=x small.tsv
	fails 2 moe-stats --max '' small.tsv
	fails 2 moe-stats --max nothing=1 small.tsv
}

@test "pictures are whole SVG files, whatever the labels" {
	small
	printf '#model=<&"\377\001]]>\n' | cat - small.tsv >h.tsv
	for plot in load heatmap; do
		moe-stats --plot $plot -o $plot.svg h.tsv
		head -n 2 $plot.svg | grep -q '<svg xmlns='
		[ "$(tail -n 1 $plot.svg)" = '</svg>' ]
		moe-stats --plot $plot h.tsv | cmp - $plot.svg
		if command -v xmllint >/dev/null; then
			xmllint --noout $plot.svg
		fi
		perl -CSD -ne 'exit 1 if /[\x00-\x08\x0b\x0c\x0e-\x1f]/ || /\x{fffe}|\x{ffff}/' $plot.svg
		iconv -f UTF-8 -t UTF-8 $plot.svg >/dev/null
		grep -q 'model &lt;&amp;&quot;' $plot.svg
	done
	fails 2 moe-stats --plot load -o x.pdf small.tsv
	expect_message 'SVG or PNG'
	[ ! -e x.pdf ]
	fails 2 moe-stats --plot load -o heatmap.svg small.tsv
	expect_message -- '--force'
	moe-stats --force --plot load -o heatmap.svg small.tsv
	fails 2 moe-stats --plot curve small.tsv
}

@test "a picture as PNG is whole, or a sentence says what is missing" {
	small
	mkdir none painter
	run_split env PATH="$BIN:$T/none" moe-stats --plot load -o x.png small.tsv
	expect_status 1
	expect_message '^moe-stats: a picture as PNG is painted by rsvg-convert .librsvg., which is not installed: install it, or write -o NAME.svg'
	# A painter that fails, that paints half a picture, that dies.
	for words in 'echo "no colour" >&2; exit 1' 'printf "\211PNG\r\n\032\nhalf of it"' 'kill -9 $$'; do
		printf '#!/bin/sh\n%s\n' "$words" >painter/rsvg-convert
		chmod +x painter/rsvg-convert
		run_split env PATH="$T/painter:$PATH" moe-stats --plot load -o x.png small.tsv
		expect_status 1
		expect_message 'rsvg-convert painted no picture: (no colour|it did not say why)'
	done
	[ ! -e x.png ]
	[ -z "$(find . -name '*.tmp*' -o -name '.*new*' -o -name '*.png')" ]
	moe-stats --dry-run --plot load -o x.png small.tsv | grep -qx 'write	x.png	png	unknown'
	command -v rsvg-convert >/dev/null || skip 'rsvg-convert is not installed'
	for plot in load heatmap lorenz; do
		moe-stats --plot $plot -o $plot.png small.tsv
		[ "$(head -c 8 $plot.png | od -An -tx1)" = ' 89 50 4e 47 0d 0a 1a 0a' ]
		[ "$(tail -c 8 $plot.png | head -c 4)" = IEND ]
	done
	# Twice as wide as the SVG.
	moe-stats --plot load -o load.svg small.tsv
	width=$(sed -n 's/^<svg [^>]* width="\([0-9]*\)".*/\1/p' load.svg)
	[ $((0x$(head -c 20 load.png | tail -c 4 | od -An -tx1 | tr -d ' '))) = $((2 * width)) ]
	fails 2 moe-stats --plot load -o load.png small.tsv
	expect_message -- '--force'
}

@test "pictures of hard sizes: nothing is drawn beyond the paper" {
	awk 'BEGIN { srand(1); print "layer\texpert\tcount\tweight"
		for (l = 3; l < 61; l++) for (e = 0; e < 256; e++) printf "%d\t%d\t%d\t0\n", l, e, 1000 * exp(3 * rand()) }' >big.tsv
	awk 'BEGIN { print "layer\texpert\tcount\tweight"; for (e = 0; e < 256; e++) printf "0\t%d\t%d\t0\n", e, 1000 / (e + 1) }' >flat.tsv
	printf '%s\n0\t0\t5\t0\n' "$HEAD" >lone.tsv
	for f in big flat lone; do
		for plot in load heatmap lorenz; do
			moe-stats --plot $plot $f.tsv >p.svg
			# Every x and y of text, and the start of every box, is on the paper; text is as wide as 6 pixels a character.
			perl -CSD -0ne '/<svg [^>]*width="([\d.]+)" height="([\d.]+)"/ or die "no size"; my ($w, $h) = ($1, $2);
				while (/<text([^>]*)>([^<]*)</g) {
					my ($at, $words) = ($1, $2);
					my ($x) = $at =~ / x="([-\d.]+)"/; my ($y) = $at =~ / y="([-\d.]+)"/;
					my ($anchor) = $at =~ /text-anchor="(\w+)"/; my $n = 5.8 * length $words;
					$n *= 1.4 if $at =~ /title/;
					my $left = ($anchor // "start") eq "end" ? $x - $n : ($anchor // "") eq "middle" ? $x - $n / 2 : $x;
					die "text beyond the paper: $words" if $left < 0 || $left + $n > $w + 6 || $y > $h || $y < 8 }
				while (/M([-\d.]+) ([-\d.]+)h/g) { die "box beyond the paper: $1 $2" if $1 < 0 || $1 > $w || $2 < 0 || $2 > $h }' p.svg
		done
	done
	# 58 layers of 256 experts fit a page's proportions.
	moe-stats --plot load big.tsv | sed -n 's/^<svg [^>]* width="\([0-9]*\).*height="\([0-9]*\).*/\1 \2/p' | awk '{ exit !($2 < 2 * $1) }'
	# Between whole experts there is no mark.
	small
	moe-stats --plot lorenz small.tsv | grep 'text-anchor="middle"' | never grep '>[0-9]*[.]'
}

@test "a table of anybody's as lines" {
	printf 'share\tfirst line\tother <&>\n0\t1\t2\n0.05\tnan\t3\n0.15\t4\t5\n' >t.tsv
	moe-stats --plot table --title 'A & B' -o t.svg t.tsv
	moe-stats --plot table --title 'A & B' t.tsv | cmp - t.svg
	grep -q '<title>A &amp; B</title>' t.svg
	grep -q '>other &lt;&amp;&gt;<' t.svg
	grep -q '>0.06<' t.svg
	never grep -qE '>[0-9.]{6,}<' t.svg
	[ "$(grep -c '<circle class="m0"' t.svg)" = 2 ]
	[ "$(grep -c '<circle class="m1"' t.svg)" = 3 ]
	if command -v xmllint >/dev/null; then xmllint --noout t.svg; fi
	moe-stats --plot table <t.tsv | grep -q '<title>stdin</title>'
	printf 'a\tb\n1\t2\n1\t3\n' >same.tsv
	fails 1 moe-stats --plot table same.tsv
	expect_message "same.tsv:3: column 'a': expected rising numbers, found 1"
	printf 'a\tb\n1\t-2\n' >less.tsv
	fails 1 moe-stats --plot table less.tsv
	expect_message "less.tsv:2: column 'b': expected a number of at least 0, found -2"
	printf 'a\tb\n1\tx\n' >word.tsv
	fails 1 moe-stats --plot table word.tsv
	printf 'a\n1\n' >one.tsv
	fails 1 moe-stats --plot table one.tsv
	expect_message 'one to 6 columns'
	fails 2 moe-stats --plot table t.tsv t.tsv
	fails 2 moe-stats --plot table --layer 2 t.tsv
	fails 2 moe-stats --title x t.tsv
}

@test "outputs appear whole or not at all" {
	small
	moe-stats -o out.tsv small.tsv
	moe-stats small.tsv | cmp - out.tsv
	fails 2 moe-stats -o out.tsv small.tsv
	fails 2 moe-stats -o out.tsv no-such-file.tsv
	fails 1 moe-stats -o none/out.tsv small.tsv
	cp small.tsv kept.tsv
	fails 2 moe-stats --force -o ./small.tsv small.tsv
	expect_message "the output './small.tsv' is the same file as 'small.tsv'"
	expect_same kept.tsv small.tsv
	run_split sh -c 'moe-stats small.tsv >/dev/full'
	expect_status 1
	expect_message '^moe-stats: stdout: '
	run_split sh -c 'moe-stats small.tsv >&-'
	expect_status 1
	printf '%s\n0\t0\t-1\t0\n' "$HEAD" >bad.tsv
	fails 1 moe-stats -o new.tsv bad.tsv
	[ ! -e new.tsv ]
	[ -z "$(find . -name '*.tmp*' -o -name '.*new*')" ]
}

@test "bad load tables: a sentence with the place, what was expected, what was found" {
	bad()
	{
		printf '%b' "$1" >bad.tsv
		fails 1 moe-stats bad.tsv || return 1
		expect_message "^moe-stats: bad.tsv: .*$2" || return 1
		run_split sh -c 'moe-stats <bad.tsv'
		expect_status 1 || return 1
		expect_message "^moe-stats: stdin: .*$2"
	}
	bad '' 'header'
	bad "$HEAD\n" 'without rows'
	bad 'rank\tnode\n0\t0\n' "no column 'layer'"
	bad 'layer\texpert\tcount\n0\t0\t1\n' "no column 'weight'"
	bad "$HEAD\n0\t0\t1\t1\n0\t2\t1\t1\n" 'layer 0, expert 1 is missing'
	bad "$HEAD\n0\t0\t1\t1\n0\t1\t1\t1\n4\t0\t1\t1\n" 'layer 4, expert 1 is missing'
	bad "$HEAD\n0\t0\t1\t1\n0\t0\t1\t1\n" 'line 3: layer 0, expert 0 is there twice'
	bad "$HEAD\n0\t0\t-1\t1\n" "line 2: count '-1'"
	bad "$HEAD\n0\t0\t1e30\t1\n" "line 2: count '1e30'"
	bad "$HEAD\n0\t0\t1000000000000000000000000000000\t1\n" "line 2: count '1000"
	bad "$HEAD\n0\t0\t1.5\t1\n" "line 2: count '1.5'"
	bad "$HEAD\n0\t0\t1\tNaN\n" "line 2.*'NaN'"
	bad "$HEAD\n0\t0\t1\tinf\n" "line 2.*'inf'"
	bad "$HEAD\n0\t0\t1\t-1\n" "line 2: weight '-1'"
	bad "$HEAD\n0\t4000000000\t1\t1\n" 'line 2'
	bad "$HEAD\n0\t2000000000\t1\t1\n" '2000000001 experts'
	bad "$HEAD\n0\t0\t1\n" 'expected 4 fields, found 3'
	bad 'PK\x03' 'no column'
	printf 'PK\x03\x04' >cut.pt
	fails 1 moe-stats --load cut.pt
	expect_message 'cut.pt: not a zip archive this program can read: it is too short'
}

@test "bad traces: empty, cut, damaged, absent" {
	excerpt
	size=$(stat -c %s x.trace)
	for n in 1 17 100 $((size / 2)) $((size - 28)) $((size - 1)); do
		head -c "$n" x.trace >cut.trace
		fails 1 moe-stats cut.trace
		expect_message '^moe-stats: cut.trace: '
	done
	: >cut.trace
	fails 1 moe-stats cut.trace
	fails 1 moe-stats absent.trace
	expect_message 'absent.trace'
	fails 1 moe-stats .
	echo nothing | gzip >n.gz
	fails 1 moe-stats n.gz
	expect_message 'n.gz'
	fails 1 moe-stats x.trace cut.trace
}

@test "wrong use ends with 2 and prints nothing" {
	small
	fails 2 moe-stats --metric nothing small.tsv
	expect_message "'nothing'.*--list"
	fails 2 moe-stats --metric cv,cv small.tsv
	fails 2 moe-stats --metric cv,,gini small.tsv
	fails 2 moe-stats --metric '' small.tsv
	fails 2 moe-stats --metric count,cv small.tsv
	expect_message "'count'.*'cv'.*two calls"
	fails 2 moe-stats --by expert --metric cv small.tsv
	fails 2 moe-stats --by expert --summary small.tsv
	fails 2 moe-stats --by token small.tsv
	fails 2 moe-stats --by window=0 small.tsv
	fails 2 moe-stats --by window=x small.tsv
	fails 2 moe-stats --load --summary small.tsv
	fails 2 moe-stats --plot load --metric cv small.tsv
	fails 2 moe-stats --plot load --by source small.tsv
	fails 2 moe-stats --plot load --json small.tsv
	fails 2 moe-stats --summary --json small.tsv
	fails 2 moe-stats --list small.tsv
	fails 2 moe-stats --no-such-option small.tsv
}

@test "a dry run says what would be read and written" {
	excerpt
	small
	run_split moe-stats --dry-run --plot load -o x.svg x.trace small.tsv
	expect_status 0
	expect_line "read	x.trace	trace	$(stat -c %s x.trace)"
	expect_line "read	small.tsv	load	$(stat -c %s small.tsv)"
	expect_line 'write	x.svg	svg	unknown'
	moe-stats --dry-run --json x.trace | jq -e 'select(.action == "write") | .bytes == null'
	[ ! -e x.svg ]
}

@test "the examples of the pages run" {
	for s in en zh; do
		cp -r "$DATA/esft-excerpt/intent" "$s"
		moe-route --from esft --model-config "$CONFIG" "$s" -o "$s.trace" -q
	done
	cat en.trace zh.trace >run.trace
	for f in eval mon tue; do cp run.trace $f.trace; done
	moe-route -q --logits --margin tiny-v3 "$TEXT/code.txt" -o logits.trace
	for f in wed monday tuesday load; do moe-stats run.trace >$f.tsv; done
	moe-split -q -n 4 --nodes 2 --planner contiguous load.tsv >plan.tsv
	cp "$TOP/tests/golden/traces/sglang-stat.pt" expert_distribution_recorder_1.pt
	for page in moe-stats.1 moe-load.5; do
		sed -n '/^\.Sh EXAMPLES/,/^\.Sh SEE/p' "$TOP/man/$page" | sed 's/^\.Dl //; s/\\e/\\/g' |
			awk '/^\$ / { sub(/^\$ /, ""); print; more = 1; next } more && /^> / { sub(/^> /, ""); print; next } { more = 0 }' >script
		[ "$(wc -l <script)" -ge 5 ]
		# The limit of the first example is there to be exceeded.
		sed -i 's/^\(moe-stats --max-imbalance .*\)/{ \1; } || [ $? = 3 ]/' script
		# sort | head: the reader leaves early.
		bash -e script >out 2>err || { cat script err; return 1; }
		[ -s out ]
	done
	[ -s zh.svg ]
	[ "$(moe-stats --metric dead load.tsv | tail -n 1)" = 'all	1' ]
}

@test "an unpacked trace, and text without end" {
	moe-run -q tiny-v3 -p 'a b c' -n 2 --trace t >text
	gzip -cd t >raw
	fails 1 moe-stats raw
	expect_message 'raw: expected a trace or a load table, found what looks like an unpacked trace'
	run_split moe-stats - <raw
	expect_status 1
	expect_message 'stdin: .* unpacked trace'
	run_split timeout 20 moe-stats --load /dev/zero
	expect_status 1
	expect_message '/dev/zero: line 1: expected a table, found a NUL byte at byte 0'
	run_split timeout 20 moe-split --topology /dev/zero load.tsv
	expect_status 1
	expect_message '/dev/zero: line 1: expected a table'
}

@test "a header that claims more experts than a trace may have" {
	moe-run -q tiny-v3 -p 'a b c' -n 2 --trace t >text
	gzip -cd t | perl -0777 -pe 's/"n_experts":32/"n_experts":2147483647/; s/"id_bits":5/"id_bits":31/' |
		perl -0777 -pe 'my $n = unpack("V", substr($_, 12, 4)); substr($_, 12, 4) = pack("V", $n + 9)' >claims
	cmp -s <(gzip -cd t) claims && return 1
	gzip -c claims >claims.gz
	run_split timeout 20 moe-stats claims.gz
	expect_status 1
	expect_message 'claims.gz.*: n_experts: expected 1 to 1048576, found 2147483647'
}
