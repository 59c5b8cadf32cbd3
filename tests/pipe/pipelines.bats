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
