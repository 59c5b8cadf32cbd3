# The worked examples of share/ run, from start to end, and what they leave is there.

load ../cli/lib

@test "demo.sh: everything it promises is made and proved" {
	"$TOP/share/pipelines/demo.sh" "$T/demo" >log 2>&1 || { tail -n 20 log; return 1; }
	[ "$(grep -c 'every byte equal$\|every value equal$' log)" = 2 ]
	grep -qx 'plan       .*/plan.tsv: 4 ranks, 160 placements' log
	[ -s demo/load.svg ] && [ -s demo/heatmap.svg ]
	[ "$(ls -d demo/shards/rank-00[0-3] | wc -l)" = 4 ]
	diff -r "$MODEL_V3" demo/merged
	moe-split --plan demo/plan.tsv --verify demo/shards tiny-v3
	grep -q "^   \$ moe-split --plan plan.tsv --verify shards" log
	# The text comes after its command, and is what the model says.
	moe-run tiny-v3 -p 'static int' -n 60 --echo >text
	sed -n '/^   \$ moe-run tiny-v3 -p/,/ s$/p' log | grep -qxF "$(sed -n 2p text)"
}

@test "demo.sh can be run again over what it left" {
	moe-route -q -o run.trace tiny-v3 -p 'int x;'
	mkdir demo
	cp run.trace demo/
	ln -s nowhere demo/shards
	"$TOP/share/pipelines/demo.sh" "$T/demo" >log 2>&1 || { tail -n 20 log; return 1; }
}

@test "merge.sh: half as many experts, of pairs that are chosen together" {
	moe-convert -q --drop-mtp tiny-v3 whole
	moe-route -q -o a.trace whole "$TEXT/code.txt"
	"$TOP/share/pipelines/merge.sh" a.trace 4 >merge.tsv
	[ "$(wc -l <merge.tsv)" = 129 ]
	# each expert once, with its neighbour of the same eight, weighted by its count
	awk -F '\t' 'NR > 1 { if (seen[$1, $3]++) exit 1; if (int($3 / 8) != int($2 / 4)) exit 1; n[$1, $2]++ }
		END { for (i in n) if (n[i] != 2) exit 1 }' merge.tsv
	moe-stats -q -m count a.trace | awk '/^[0-9]/ { print $1, $2, $3 + 1 }' | sort >want
	awk 'NR > 1 { print $1, $3, $4 }' merge.tsv | sort | diff want -
	# the first pair of a layer is the one with the largest lift of its group
	moe-stats -q -m coactivation a.trace | awk '$1 == 2 && int($2 / 8) == int($3 / 8)' | sort -k 5,5gr | head -n 1 >best
	read -r _ a b _ <best
	[ "$(awk -v a="$a" -v b="$b" '$1 == 2 && ($3 == a || $3 == b) { print $2 }' merge.tsv | uniq | wc -l)" = 1 ]
	moe-convert -q --merge-experts merge.tsv whole half
	moe-convert -q --verify half
	[ "$(jq .n_routed_experts half/config.json)" = 16 ]
	moe-run -q --score half "$TEXT/code.txt" | grep -q ^total
	run_split "$TOP/share/pipelines/merge.sh" a.trace 5
	expect_status 2
	expect_message '32 experts are not pairs in 5 groups'
}

@test "planners.sh: every planner on both traces and on both pooled, as moe-split judges them" {
	moe-route -q -o a.trace tiny-v3 "$TEXT/code.txt"
	moe-route -q -o b.trace tiny-v3 "$TEXT/zh.txt"
	SHAPES='4:36 2:16 2:32' run_split "$TOP/share/pipelines/planners.sh" a.trace b.trace
	expect_status 2
	expect_message '16 slots are too few for 32 experts'
	SHAPES='4:36 2:32' "$TOP/share/pipelines/planners.sh" a.trace b.trace >table
	planners=$(($(moe-split --list-planners | sed 1d | wc -l) - 2))   # min_moves and optimal are for other machines
	[ "$(wc -l <table)" = $((1 + 3 * 2 * planners)) ]
	moe-split -q -n 4 --slots 36 --planner search a.trace >plan.tsv
	for t in a b; do
		moe-split --evaluate plan.tsv $t.trace | awk '$1 == "all" { printf "%.4f\n", $3 }'
	done >want
	awk -F '\t' '$1 == "a" && $2 == 4 && $4 == "search" { print $5; print $10 }' table | diff want -
	awk -F '\t' 'NR > 1 && ($5 < $6 || $8 <= 0 || $9 < 1 || ($1 == "pooled") != ($10 == "-")) { print; exit 1 }' table
	awk -F '\t' '$4 == "search" && $5 > $6 && $7 < 0.8 { print; exit 1 }' table
	run_split "$TOP/share/pipelines/planners.sh"
	expect_status 2
	expect_message 'planners.sh A.trace \[B.trace\]'
}

@test "every machine in share/topologies is read, and has as many ranks as it says" {
	moe-route -q -o run.trace tiny-v3 -p 'int main(void) { return 0; }'
	for f in "$TOP"/share/topologies/*.tsv; do
		name=$(basename "$f" .tsv)
		nodes=${name%%x*}
		each=${name#*x}
		each=${each%%-*}
		moe-split -q --topology "$f" --slots 64 run.trace >plan.tsv
		[ "$(grep '^[0-9]' plan.tsv | cut -f 4 | sort -un | wc -l)" = $((nodes * each)) ]
		head -n 1 plan.tsv
		grep -qE "#.*nodes=$nodes( |\$)" plan.tsv
	done
}

@test "samples are found below MOE_SHARE first, and a path before a name" {
	mkdir -p other/models
	cp -r "$MODEL_V2" other/models/tiny-v3
	MOE_SHARE=$T/other moe-convert --info tiny-v3 | grep -q '^family *deepseek_v2'
	moe-convert --info tiny-v3 | grep -q '^family *deepseek_v3'
	cp -r "$MODEL_V2" tiny-v3
	moe-convert --info tiny-v3 | grep -q '^family *deepseek_v2'
	fails 1 moe-convert --info tiny-v4
	expect_message 'tiny-v4'
}

@test "org/name is found in the Hugging Face cache" {
	mkdir -p hub/models--deep--tiny/refs hub/models--deep--tiny/snapshots
	printf abc123 >hub/models--deep--tiny/refs/main
	cp -r "$MODEL_V3" hub/models--deep--tiny/snapshots/abc123
	HF_HUB_CACHE=$T/hub moe-convert --info deep/tiny | grep -q '^family *deepseek_v3'
	HF_HUB_CACHE='' HF_HOME=$T/nowhere run_split moe-convert --info deep/tiny
	expect_status 1
}
