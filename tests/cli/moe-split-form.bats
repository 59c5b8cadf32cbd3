# moe-split --import, --export: plans in the forms of other programs, there and back, and what is refused.

load lib

FORMS='ascend eplb log2phy phy2log sglang vllm'

rows()
{
	grep -v '^#' "$1"
}

@test "the forms are listed, with those that are only written" {
	run_split moe-split --list-forms
	expect_status 0
	[ "$(cut -f 1,3 .out | tr '\t\n' ': ')" = \
	  'form:reads ascend:yes eplb:yes log2phy:yes logcnt:no phy2log:yes sglang:yes vllm:yes ' ]
	moe-split --list-forms --json | grep -q '^{"form":"ascend","help":".*","reads":"yes","source":".*"}$'
	fails 2 moe-split --list-forms plan.tsv
	fails 2 moe-split --list-forms --list-planners
}

@test "the published example is the plan that its map says" {
	cat >map.json <<-'EOF'
	{"phy2log": [[5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1],
	             [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1]]}
	EOF
	moe-split --import eplb -n 8 --nodes 2 map.json >plan.tsv
	head -n 1 plan.tsv | grep -qx '#ranks=8 #nodes=2'
	rows "$GOLDEN/eplb/example.plan.tsv" | diff - <(rows plan.tsv)
	moe-split --export eplb plan.tsv >again.json
	tr -d ' \n' <again.json >flat
	grep -qF '"phy2log":[[5,6,5,7,8,4,3,4,10,9,10,2,0,1,11,1],[7,10,6,8,6,11,8,9,2,4,5,1,5,0,3,1]]' flat
	grep -qF '"logcnt":[[1,2,1,1,2,2,1,1,1,1,2,1],[1,2,1,1,1,2,2,1,2,1,1,1]]' flat
	grep -qF '"log2phy":[[[12,-1],[13,15],[11,-1],[6,-1],[5,7],[0,2]' flat
}

@test "a plan goes through every form and comes back, its layers named" {
	moe-split -q -n 32 --nodes 4 --slots 288 --planner search "$GOLDEN/eplb/zipf-58x256.load.tsv" >plan.tsv
	for f in $FORMS; do
		moe-split --export $f -o map.$f plan.tsv
		moe-split --import $f -n 32 --nodes 4 --layers 3-60 map.$f >back.tsv
		diff <(rows plan.tsv) <(rows back.tsv)
		moe-split --export $f back.tsv | cmp - map.$f
	done
	moe-split --import ascend --layers 3-60 map.ascend | diff <(rows plan.tsv) <(rows - <back.tsv)
	moe-split --import vllm -n 32 map.vllm | awk -F '\t' '/^[0-9]/ && !seen[$1]++ { n++; last = $1 } END { exit n != 58 || last != 57 }'
	# a row for every layer of the model: those without experts hold them in order
	sed -n 2p map.sglang | tr -d ' [],' | head -c 10 | grep -qx 0123456789
	[ "$(grep -c '^  \[' map.sglang)" = 61 ]
	moe-split --import sglang -n 32 map.sglang | awk -F '\t' '$1 == 2 && $4 == 1 { print $2 }' | tr '\n' ' ' |
		grep -qx '9 10 11 12 13 14 15 16 17 '
}

@test "the order of copies is kept by forms that know it" {
	printf '#ranks=2 #nodes=1\nlayer\texpert\treplica\trank\tslot\n0\t0\t1\t0\t0\n0\t1\t0\t0\t1\n0\t0\t0\t1\t0\n0\t2\t0\t1\t1\n' >plan.tsv
	for f in $FORMS; do
		moe-split --export $f --force -o map plan.tsv
		moe-split --import $f -n 2 map >back.tsv
		case $f in
		eplb | vllm | log2phy) diff plan.tsv back.tsv ;;
		*) [ "$(diff plan.tsv back.tsv | wc -l)" -gt 0 ]
			diff <(rows plan.tsv | cut -f 1,2,4,5) <(rows back.tsv | cut -f 1,2,4,5) ;;
		esac
	done
	moe-split --export logcnt -o cnt.npy plan.tsv
	[ "$(tail -c 24 cnt.npy | od -An -td8 | tr -s ' \n' ' ')" = ' 2 1 1 ' ]
	[ "$(head -c 6 cnt.npy | od -An -c | tr -d ' ')" = '223NUMPY' ]
	fails 2 moe-split --import logcnt -n 2 cnt.npy
	expect_message 'form logcnt does not say where experts are'
}

@test "what torch.save wrote is read as SGLang reads it" {
	moe-split --import sglang -n 4 "$TOP/tests/fuzz/corpus/form/sglang.pt" >pt.tsv
	moe-split --import sglang -n 4 "$TOP/tests/fuzz/corpus/form/sglang.json" | diff - pt.tsv
	[ "$(rows pt.tsv | wc -l)" = 17 ]
	fails 1 moe-split --import sglang -n 4 "$GOLDEN/traces/plain.pt"
	expect_message "has no tensor 'physical_to_logical_map'"
}

# wrong FORM MESSAGE [OPTION...]: the file `map` is refused with this sentence.
wrong()
{
	local form=$1 message=$2
	shift 2
	fails 1 moe-split --import "$form" -n 2 "$@" map
	expect_message "^moe-split: map: $message"
}

@test "maps that cannot be are refused, with the place" {
	echo '{"phy2log": [[0, 1, 2, 1], [0, 1, 2]]}' >map
	wrong eplb 'phy2log\[1\]: 3 entries, expected 4 as in the first list'
	echo '{"phy2log": [[0, 1, 2, -1]]}' >map
	wrong eplb 'phy2log\[0\]\[3\]: expected an expert from 0 to 3, found -1'
	echo '{"phy2log": [[0, 1, 2, 4]]}' >map
	wrong eplb 'phy2log\[0\]\[3\]: expected an expert from 0 to 3, found 4'
	echo '{"phy2log": [[0, 1, 2, "1"]]}' >map
	wrong eplb 'phy2log\[0\]\[3\]: expected a whole number, found "1"'
	echo '{"phy2log": [[0, 1, 2, 1.5]]}' >map
	wrong eplb 'phy2log\[0\]\[3\]: expected a whole number'
	echo '{"phy2log": [[0, 1, 3, 1]]}' >map
	wrong eplb 'layer 0: expert 2 has no place'
	echo '{"phy2log": [[0, 0, 2, 1]]}' >map
	wrong eplb 'layer 0: two replicas of expert 0 on rank 0'
	echo '{"phy2log": []}' >map
	wrong eplb 'phy2log: the list is empty'
	echo '{"logcnt": [[1, 1]]}' >map
	wrong eplb "has no 'phy2log' and no 'log2phy': nothing says where experts are"
	echo '[1]' >map
	wrong eplb 'expected an object'
	echo '{"phy2log": [[0, 1, 2, 1]], "logcnt": [[1, 1, 2]]}' >map
	wrong eplb 'logcnt\[0\]\[1\]: 1 copies, but there are 2'
	echo '{"phy2log": [[0, 1, 2, 1]], "log2phy": [[[0, -1], [1, 2], [3, -1]]]}' >map
	wrong eplb 'log2phy\[0\]\[1\]\[1\]: slot 2 is of expert 2 already'
	echo '{"phy2log": [[0, 1, 2, 1]], "log2phy": [[[0, -1], [1, -1], [2, -1]]]}' >map
	wrong eplb 'log2phy: slot 3 of layer 0 is in no list'
	echo '{"log2phy": [[[0, -1], [-1, 1], [2, 3]]]}' >map
	wrong eplb 'log2phy\[0\]\[1\]\[1\]: expected -1 behind the last copy, found 1'
	echo '{"log2phy": [[[0, -1], [1, 900000000]]]}' >map
	wrong eplb 'log2phy: 900000001 slots cannot be in 2 lists of 2'
	echo '{"phy2log": [[0, 1, 2]]}' >map
	wrong eplb '3 slots do not spread evenly over 2 ranks'
	echo '{"logical_count": [[0, 1, 2]]}' >map
	wrong sglang "has no 'physical_to_logical_map': nothing says where experts are"
	echo '{"moe_layer_count": 2, "layer_list": [{"device_list": [{"device_expert": [0]}]}]}' >map
	wrong ascend 'key .moe_layer_count.|moe_layer_count'
	echo '{"moe_layer_count": 1, "layer_list": [{"device_count": 3, "device_list": [{"device_expert": [0]}]}]}' >map
	wrong ascend 'layer_list\[0\].*device_count'
	echo '{"layer_list": [{"device_list": [{"device_id": 1, "device_expert": [0]}]}]}' >map
	wrong ascend 'layer_list\[0\].device_list\[0\]: device_id is 1, expected 0'
	echo '{"layer_list": [{"device_list": [{"device_expert": [0, 1]}, {"device_expert": [2]}]}]}' >map
	wrong ascend 'device_expert\[0\]\[1\]: 1 entries, expected 2'
	echo 'no array' >map
	fails 1 moe-split --import phy2log -n 2 map
	head -c 130 "$TOP/tests/fuzz/corpus/form/phy2log.npy" >map
	fails 1 moe-split --import phy2log -n 2 map
	cp "$TOP/tests/fuzz/corpus/form/log2phy.npy" map
	wrong phy2log 'expected integers of 2 dimensions, found i64'
}

@test "what a form does not know is asked for, and nothing else is mixed in" {
	cp "$TOP/tests/fuzz/corpus/form/ascend.json" "$TOP/tests/fuzz/corpus/form/eplb.json" .
	moe-split --import ascend ascend.json | head -n 1 | grep -qx '#ranks=4 #nodes=1'
	fails 2 moe-split --import ascend -n 3 ascend.json
	expect_message 'is for 4 ranks, not for 3'
	fails 2 moe-split --import eplb eplb.json
	expect_message 'form eplb does not say how many ranks there are: -n RANKS does'
	fails 2 moe-split --import eplb -n 4 --nodes 3 eplb.json
	fails 2 moe-split --import eplb -n 4 --layers 1-3 eplb.json
	expect_message 'has 2 layers, and --layers names 3'
	moe-split --import eplb -n 4 --layers 7,9 eplb.json >plan.tsv
	[ "$(rows plan.tsv | sed 1d | cut -f 1 | uniq | tr '\n' ' ')" = '7 9 ' ]
	fails 2 moe-split --import nothing -n 4 eplb.json
	fails 2 moe-split --export nothing plan.tsv
	fails 2 moe-split --import eplb -n 4 eplb.json eplb.json
	fails 2 moe-split --export eplb
	fails 2 moe-split --export eplb -n 4 plan.tsv
	fails 2 moe-split --export eplb --import eplb eplb.json
	fails 2 moe-split --export eplb --layers 3 plan.tsv
	fails 2 moe-split --import eplb -n 4 --max-imbalance 2 eplb.json
	fails 2 moe-split --import eplb -n 4 -o eplb.json --force eplb.json
	printf 'layer\texpert\treplica\trank\tslot\n0\t0\t0\t0\t0\n0\t1\t0\t0\t1\n0\t2\t0\t1\t0\n' >uneven.tsv
	fails 1 moe-split --export eplb uneven.tsv
	expect_message 'uneven.tsv: not every rank holds 2 experts in every layer'
	run_split moe-split --export eplb --dry-run -o x.json plan.tsv
	expect_status 0
	[ ! -e x.json ]
	moe-split --import eplb -n 4 --json eplb.json | head -n 1 |
		grep -qx '{"layer":0,"expert":0,"replica":0,"rank":0,"slot":0}'
}
