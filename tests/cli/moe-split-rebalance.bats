# moe-split --rebalance: the list of moves counted again by awk, and shards patched into what a fresh cut gives.

load lib

# Plans old.tsv and new.tsv of the V3 sample: four ranks, 36 and (new) $1 slots; experts of layer 3 stay where they are.
make_plans()
{
	local which shift
	for which in old new; do
		shift=0
		[ $which = old ] || shift=11
		awk -v s=$shift 'BEGIN {
			print "layer\texpert\tcount\tweight"
			for (l = 1; l < 5; l++)
				for (e = 0; e < 32; e++) {
					n = int(1000 / (1 + (e * 7 + l * 3 + (l == 3 ? 0 : s)) % 32))
					print l "\t" e "\t" n "\t" n
				}
		}' | moe-split -q -n 4 --nodes 2 --slots 36 --planner "${1:-greedy}" >$which.tsv
	done
}

# In plan $1, the experts of ranks $2 and $3 of layer 2 change places in their first slots; the rest stays.
exchange()
{
	awk -F '\t' -v OFS='\t' -v a="$2" -v b="$3" '
		FNR == NR { if ($1 == 2 && $5 == 0) first[$4] = $2 OFS $3; next }
		$1 == 2 && $5 == 0 && $4 == a { print $1, first[b], $4, $5; next }
		$1 == 2 && $5 == 0 && $4 == b { print $1, first[a], $4, $5; next }
		1' "$1" "$1"
}

@test "moves are what the plans say, counted by awk; links sum them up" {
	make_plans
	run_split moe-split --rebalance old.tsv --expert-bytes 1000 new.tsv
	expect_status 0
	cp .out moves
	[ "$(head -n 1 moves)" = $'layer\texpert\tfrom\tto\tfrom_node\tto_node\tbytes' ]
	awk -F '\t' '/^#/ || $1 == "layer" { next } FILENAME == "old.tsv" { held[$1, $2, $4]; next }
		!(($1, $2, $4) in held) { print $1 "\t" $2 "\t" $4 }' old.tsv new.tsv | sort >want
	[ -s want ]
	sed 1d moves | cut -f 1,2,4 | sort | diff want -
	# who sends holds it, on the receiver's node wherever one there does
	awk -F '\t' '/^#/ || $1 == "layer" { next }
		FILENAME == "old.tsv" { held[$1, $2, $4]; near[$1, $2, int($4 / 2)]; next }
		!(($1, $2, $3) in held) || $5 != int($3 / 2) || $6 != int($4 / 2) || $7 != 1000 ||
		((($1, $2, $6) in near) && $5 != $6) { print "wrong: " $0 }' old.tsv moves >wrong
	cat wrong
	[ ! -s wrong ]
	expect_message "$(wc -l <want) experts move, .* copies are given up"
	run_split moe-split --rebalance old.tsv --expert-bytes 1000 --links new.tsv
	expect_status 0
	awk -F '\t' 'NR > 1 { n[$3 "\t" $4 "\t" $5 "\t" $6]++ }
		END { for (k in n) print k "\t" n[k] "\t" 1000 * n[k] }' moves | sort >links
	sed 1d .out | sort | diff links -
	moe-split -q --rebalance old.tsv --expert-bytes 1000 old.tsv | sed 1d >none
	[ ! -s none ]
	run_split moe-split -q --rebalance old.tsv --expert-bytes 7 --json new.tsv
	[ "$(jq -s 'length' .out)" = "$(wc -l <want)" ]
	[ "$(jq -s 'map(.bytes) | add' .out)" = $((7 * $(wc -l <want))) ]
}

@test "a model says what experts weigh, in every container" {
	make_plans
	moe-convert -q "$MODEL_V3" model.gguf
	for model in "$MODEL_V3" model.gguf; do
		moe-convert --list "$model" >list
		bytes=$(awk -F '\t' -v gguf="${model##*.}" '$8 == 1 && ($9 == 0 || gguf == "gguf" && $1 ~ /_exps/) {
			n += gguf == "gguf" ? $6 / 32 : $6 } END { print n }' list)
		moe-split -q --rebalance old.tsv new.tsv "$model" | awk -F '\t' '$1 == 1 { print $7 }' | sort -u >found
		[ "$(cat found)" = "$bytes" ]
	done
}

@test "patched shards are those that a fresh cut gives: a directory, a GGUF file, stacks" {
	make_plans
	moe-convert -q "$MODEL_V3" model.gguf
	for model in "$MODEL_V3" model.gguf; do
		rm -rf shards want
		moe-split -q --plan old.tsv -o shards "$model"
		moe-split -q --plan new.tsv -o want "$model"
		run_split moe-split --rebalance old.tsv --patch shards new.tsv
		expect_status 0
		expect_no_output
		expect_message 'shards: [1-4] of 4 ranks rewritten'
		diff -r want shards
		[ "$(ls -d shards*)" = shards ]
		moe-split -q --plan new.tsv --verify shards "$model"
		run_split moe-split --rebalance old.tsv --patch shards new.tsv
		expect_status 0
		expect_message 'the shards are those of new.tsv already'
		diff -r want shards
	done
	source=$GOLDEN/models/granitemoe
	experts=$(moe-convert --info --json "$source" | jq .experts)
	layers=$(moe-convert --info --json "$source" | jq .layers)
	for s in 1 3; do
		awk -v s=$s -v layers="$layers" -v experts="$experts" 'BEGIN {
			print "layer\texpert\tcount\tweight"
			for (l = 0; l < layers; l++)
				for (e = 0; e < experts; e++)
					print l "\t" e "\t" (e * s + l) % experts + 1 "\t1"
		}' | moe-split -q -n 2 --replicas 2 >plan$s.tsv
	done
	rm -rf shards want
	moe-split -q --plan plan1.tsv -o shards "$source"
	moe-split -q --plan plan3.tsv -o want "$source"
	moe-split -q --rebalance plan1.tsv --patch shards plan3.tsv
	diff -r want shards
}

@test "ranks whose experts stay keep their files, but for the plan's hash" {
	make_plans
	exchange old.tsv 1 2 >next.tsv
	moe-convert -q "$MODEL_V3" model.gguf
	for model in "$MODEL_V3" model.gguf; do
		rm -rf shards want
		moe-split -q --plan old.tsv -o shards "$model"
		moe-split -q --plan next.tsv -o want "$model"
		find shards -type f \( -name 'model.safetensors' -o -name 'rank-*.gguf' \) -printf '%i %p\n' | sort -k 2 >before
		run_split moe-split --dry-run --rebalance old.tsv --patch shards next.tsv
		expect_status 0
		expect_message 'shards: 2 of 4 ranks would be rewritten'
		moe-split -q --plan old.tsv --verify shards "$model"
		run_split moe-split --rebalance old.tsv --patch shards next.tsv
		expect_status 0
		expect_message 'shards: 2 of 4 ranks rewritten'
		diff -r want shards
		find shards -type f \( -name 'model.safetensors' -o -name 'rank-*.gguf' \) -printf '%i %p\n' | sort -k 2 >after
		[ "$(diff before after | grep -c '^>')" = 2 ]
		diff before after | grep '^>' | never grep -v 'rank-00[12]'
	done
}

@test "kills at random moments: the shards are whole, of the old plan or of the new, or made so by the next run" {
	local i t n=0
	make_plans
	moe-convert -q "$MODEL_V3" model.gguf
	for model in "$MODEL_V3" model.gguf; do
		rm -rf first want
		moe-split -q --plan old.tsv -o first "$model"
		moe-split -q --plan new.tsv -o want "$model"
		for ((i = 0; i < 12; i++)); do
			[ -e shards.journal ] || { rm -rf shards; cp -r first shards; }
			t=$(awk -v r=$RANDOM 'BEGIN { printf "%.4f", 0.001 + r / 32768 * 0.05 }')
			run_split timeout -s KILL "$t" moe-split -q --rebalance old.tsv --patch shards new.tsv
			[ "$status" = 137 ] || [ "$status" = 0 ] || complain "a run that was to be killed"
			[ "$status" = 0 ] || ((n += 1))
			if [ "$status" = 137 ] && [ ! -e shards.partial/ready ] && [ -e shards.partial ]; then
				diff -r first shards
			fi
		done
		moe-split -q --rebalance old.tsv --patch shards new.tsv
		diff -r want shards
		[ ! -e shards.partial ]
		[ ! -e shards.journal ]
		rm -r shards
	done
	[ $n -gt 0 ]
}

@test "stopped while files are put in place: the next run goes on, and nothing else may" {
	make_plans
	moe-split -q --plan old.tsv -o shards "$MODEL_V3"
	moe-split -q --plan new.tsv -o want "$MODEL_V3"
	mv shards/rank-002/model.safetensors shards/rank-002/other.safetensors
	fails 1 moe-split -q --rebalance old.tsv --patch shards new.tsv
	expect_message 'rank-002: expected rank 2 in shards/rank-002/model.safetensors alone, as it was written'
	mv shards/rank-002/other.safetensors shards/rank-002/model.safetensors
	[ ! -e shards.partial ]
	[ ! -e shards.journal ]
	run_split bash -c 'ulimit -f 2000; exec moe-split -q --rebalance old.tsv --patch shards new.tsv'
	expect_status 1
	expect_message 'too large.*what is complete is kept: the same command goes on with it'
	moe-split -q --plan old.tsv --verify shards "$MODEL_V3"
	exchange old.tsv 0 3 >other.tsv
	fails 2 moe-split -q --rebalance old.tsv --patch shards other.tsv
	expect_message "shards.partial' was begun from another source or with another plan"
	run_split moe-split --rebalance old.tsv --patch shards new.tsv
	expect_status 0
	diff -r want shards
	# as after a kill between two renames
	rm -rf shards
	moe-split -q --plan old.tsv -o shards "$MODEL_V3"
	run_split bash -c 'ulimit -f 2000; exec moe-split -q --rebalance old.tsv --patch shards new.tsv'
	rm -r shards.partial/staged
	mkdir -p shards.partial/ready
	for r in 0 1 2 3; do
		mkdir shards.partial/ready/rank-00$r
		cp want/rank-00$r/model.safetensors shards.partial/ready/rank-00$r
	done
	cp want/rank-000/moe-source.json shards.partial/ready/rank-000
	mv shards.partial/ready/rank-001/model.safetensors shards/rank-001/
	fails 1 moe-split --plan new.tsv --verify shards "$MODEL_V3"
	expect_message 'is a shard of plan [0-9a-f]{32}, 4 ranks; the others are of plan'
	run_split moe-split --rebalance old.tsv --patch shards new.tsv
	expect_status 0
	expect_message 'what an earlier run had made ready is in place'
	diff -r want shards
}

@test "shards of another plan, a damaged or missing expert, and other ranks are refused, and nothing is changed" {
	make_plans
	moe-split -q --plan old.tsv -o shards "$MODEL_V3"
	exchange old.tsv 0 3 >other.tsv
	cp -r shards kept
	fails 1 moe-split --rebalance other.tsv --patch shards new.tsv
	expect_message 'shards: the shards are of plan [0-9a-f]{32}, 4 ranks; the old plan is [0-9a-f]{32}, 4 ranks'
	sed 's/#ranks=4/#ranks=8/' new.tsv >wide.tsv
	fails 2 moe-split --rebalance old.tsv --patch shards wide.tsv
	expect_message 'the old plan has 4 ranks, the new one 8: such shards are cut anew, not patched'
	mv shards/rank-001 away
	fails 1 moe-split --rebalance old.tsv --patch shards new.tsv
	expect_message 'the shard of rank 1 of 4 is missing'
	mv away shards/rank-001
	fails 1 moe-split --rebalance old.tsv --patch nowhere new.tsv
	mv shards/rank-000/moe-source.json json
	fails 1 moe-split --rebalance old.tsv --patch shards new.tsv
	expect_message 'moe-source.json'
	mv json shards/rank-000/moe-source.json
	diff -r kept shards
	# every byte of rank 1's tensors is another: what leaves it is noticed
	size=$(stat -c %s shards/rank-001/model.safetensors)
	dd if=shards/rank-001/model.safetensors bs=1M skip=1 status=none | tr '\000-\377' '\001-\377\000' >turned
	dd if=turned of=shards/rank-001/model.safetensors bs=1M seek=1 conv=notrunc status=none
	[ "$(stat -c %s shards/rank-001/model.safetensors)" = "$size" ]
	fails 1 moe-split --rebalance old.tsv --patch shards new.tsv
	expect_message "expert [0-9]+ of tensor '.*' is not what the source held"
	cmp shards/rank-000/model.safetensors kept/rank-000/model.safetensors
	cmp shards/rank-003/model.safetensors kept/rank-003/model.safetensors
}

@test "a record that cuts experts otherwise, or names what no shard holds, is refused" {
	make_plans
	moe-convert -q "$MODEL_V3" model.gguf
	moe-split -q --plan old.tsv -o shards model.gguf
	cp shards/rank-000.source.json record
	cp -r shards kept
	jq -c '(.files[].tensors[] | select(length == 5) | .[4]) |= .[:16]' record >shards/rank-000.source.json
	fails 1 moe-split --rebalance old.tsv --patch shards new.tsv
	expect_message "has 16 hashes for tensor 'blk.1.ffn_[a-z]*_exps.weight', expected 32"
	jq -c '(.files[].tensors[] | select(length == 4) | .[0]) |= sub("output_norm"; "nothing")' record \
		>shards/rank-000.source.json
	fails 1 moe-split --rebalance old.tsv --patch shards new.tsv
	expect_message "no shard holds tensor 'nothing.weight'"
	head -c 1000 record >shards/rank-000.source.json
	fails 1 moe-split --rebalance old.tsv --patch shards new.tsv
	cp record shards/rank-000.source.json
	diff -r kept shards
}

@test "plans of different models, machines that do not fit, and wrong use" {
	make_plans
	awk -F '\t' '/^#/ || $2 != 31' new.tsv >fewer.tsv
	fails 2 moe-split --rebalance old.tsv --expert-bytes 1 fewer.tsv
	printf 'layer\texpert\treplica\trank\tslot\n1\t0\t0\t0\t0\n1\t1\t0\t1\t0\n' >small.tsv
	fails 2 moe-split --rebalance old.tsv --expert-bytes 1 small.tsv
	expect_message 'old.tsv places 32 experts, small.tsv 2: they are not of one model'
	fails 2 moe-split --rebalance old.tsv new.tsv
	expect_message 'what experts weigh is said by a MODEL behind the plan, or by --expert-bytes'
	printf 'rank\tnode\n0\t0\n1\t0\n2\t1\n' >machine.tsv
	fails 2 moe-split --rebalance old.tsv --expert-bytes 1 --topology machine.tsv new.tsv
	expect_message 'machine.tsv has 3 ranks, the plans 4'
	printf 'rank\tnode\n0\t0\n1\t1\n2\t1\n3\t1\n' >machine.tsv
	moe-split -q --rebalance old.tsv --expert-bytes 1 --topology machine.tsv new.tsv |
		awk -F '\t' 'NR > 1 && ($5 != ($3 > 0) || $6 != ($4 > 0)) { exit 1 }'
	fails 2 moe-split --rebalance old.tsv
	fails 2 moe-split --links new.tsv
	fails 2 moe-split --patch shards new.tsv
	fails 2 moe-split --rebalance old.tsv --patch shards --links new.tsv
	fails 2 moe-split --rebalance old.tsv --patch shards -o x new.tsv
	fails 2 moe-split --rebalance old.tsv --plan new.tsv -o x "$MODEL_V3"
	fails 2 moe-split --rebalance old.tsv --patch shards --topology machine.tsv new.tsv
	# with other numbers of ranks there is still a list
	awk 'NR > 1' new.tsv | sed '1i #ranks=8 #nodes=2' >wide.tsv
	moe-split -q --rebalance old.tsv --expert-bytes 1 wide.tsv | sed 1d | wc -l >n
	[ "$(cat n)" -gt 0 ]
}
