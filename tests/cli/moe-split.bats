# moe-split: plans from loads and traces, their verdicts, shards there and back, and what it refuses.

load lib

# make_load LAYERS EXPERTS: a skewed load table.
make_load()
{
	awk -v layers="$1" -v experts="$2" 'BEGIN {
		print "layer\texpert\tcount\tweight"
		for (l = 1; l <= layers; l++)
			for (e = 0; e < experts; e++) {
				n = int(1000 / (1 + (e * 7 + l * 3) % experts))
				print l "\t" e "\t" n "\t" n / 2
			}
	}'
}

# A plan of the V3 sample for N ranks, with copies.
make_plan()
{
	make_load 4 32 | moe-split -q -n "$1" --slots "$2" >plan.tsv
}

# check_plan FILE: what moe-plan(5) promises, counted apart from the programs.
check_plan()
{
	grep -v '^#' "$1" | awk -F '\t' '
		NR == 1 { if ($0 != "layer\texpert\treplica\trank\tslot") print "header: " $0; next }
		{
			if (seen[$1, $4, $5]++) print "slot twice: " $0
			if (held[$1, $2, $4]++) print "two copies on a rank: " $0
			if (copy[$1, $2, $3]++) print "replica twice: " $0
			n[$1, $2]++
			layers[$1]
			if ($2 > last) last = $2
		}
		END {
			for (l in layers)
				for (e = 0; e <= last; e++) {
					if (!n[l, e]) print "missing: " l " " e
					for (c = 0; c < n[l, e]; c++) if (!copy[l, e, c]) print "gap in replicas: " l " " e
				}
		}' >wrong
	cat wrong
	[ ! -s wrong ]
}

@test "the planners are listed" {
	run_split moe-split --list-planners
	expect_status 0
	[ "$(cut -f 1 .out | tr '\n' ' ')" = \
	  'planner affinity contiguous eplb greedy hierarchical min_moves optimal round_robin search snake ' ]
	run_split moe-split --list-planners --json
	[ "$(sed -n 's/.*"planner":"\([a-z_]*\)".*/\1/p' .out | tr '\n' ' ')" = \
	  'affinity contiguous eplb greedy hierarchical min_moves optimal round_robin search snake ' ]
}

@test "a plan is a table with its keys, and says on stderr what it costs" {
	make_load 3 12 >load.tsv
	run_split moe-split -n 4 --nodes 2 --groups 4 --slots 16 --planner greedy load.tsv
	expect_status 0
	[ "$(head -n 1 .out)" = '#ranks=4 #nodes=2 #planner=greedy' ]
	[ "$(wc -l <.out)" = $((2 + 3 * 16)) ]
	expect_message 'this traffic: peak-to-average 1\.[0-9]+, worst 1\.[0-9]+ in layer [123]; bound .* [0-9.]+$'
	expect_message 'held out: no figure, because a load table'
	cp .out plan.tsv
	check_plan plan.tsv
	awk -F '\t' '!/^#/ && $1 != "layer" { g = int($2 / 3); n = int($4 / 2); if (($1, g) in at && at[$1, g] != n) exit 1
		at[$1, g] = n }' plan.tsv
}

@test "contiguous puts experts in order and starts again behind the last" {
	make_load 1 4 | moe-split -q -n 2 --slots 6 --planner contiguous >plan.tsv
	diff - plan.tsv <<-'EOF'
	#ranks=2 #nodes=1 #planner=contiguous
	layer	expert	replica	rank	slot
	1	0	0	0	0
	1	1	0	0	1
	1	2	0	0	2
	1	3	0	1	0
	1	0	1	1	1
	1	1	1	1	2
	EOF
}

@test "without --slots there are as many as the ranks need; --replicas counts beyond the experts" {
	make_load 1 10 >load.tsv
	[ "$(moe-split -q -n 4 load.tsv | grep -vc '^#')" = 13 ]
	[ "$(moe-split -q -n 4 --replicas 6 load.tsv | grep -vc '^#')" = 17 ]
	moe-split -q -n 4 load.tsv >plan.tsv
	check_plan plan.tsv
}

@test "the published example is met: no rank is loaded more than in the published map" {
	moe-split -q -n 8 --nodes 2 --groups 4 --slots 16 --planner greedy "$GOLDEN/eplb/example.load.tsv" >plan.tsv
	check_plan plan.tsv
	moe-split --evaluate plan.tsv --evaluate "$GOLDEN/eplb/example.plan.tsv" "$GOLDEN/eplb/example.load.tsv" >costs
	awk -F '\t' '$2 == "plan.tsv" { ours[$1] = $3 } $2 != "plan.tsv" { theirs[$1] = $3 }
		END { for (l = 0; l < 2; l++) if (!(l in ours) || ours[l] > theirs[l] * 1.0000001) exit 1 }' costs
}

@test "--evaluate prints a row per layer and all, as awk counts them" {
	make_load 2 12 >load.tsv
	moe-split -q -n 4 --slots 16 load.tsv >plan.tsv
	run_split moe-split --evaluate plan.tsv load.tsv
	expect_status 0
	[ "$(cut -f 1 .out | tr '\n' ' ')" = 'layer 1 2 all ' ]
	[ "$(head -n 1 .out)" = $'layer\tplan\tpeak_to_average\tbound' ]
	awk -F '\t' '
		FILENAME == "load.tsv" && FNR > 1 { load[$1, $2] = $3; total[$1] += $3 }
		FILENAME == "plan.tsv" && !/^#/ && $1 != "layer" { row[++n] = $0; copies[$1, $2]++ }
		FILENAME == ".out" && FNR > 1 { said[$1] = $3 }
		END {
			for (i = 1; i <= n; i++) { split(row[i], f, "\t"); rank[f[1], f[4]] += load[f[1], f[2]] / copies[f[1], f[2]] }
			for (l = 1; l <= 2; l++) {
				peak = 0
				for (r = 0; r < 4; r++) if (rank[l, r] > peak) peak = rank[l, r]
				want = peak / (total[l] / 4)
				mean += want / 2
				if (said[l] < want - 1e-9 || said[l] > want + 1e-9) exit 1
			}
			if (said["all"] < mean - 1e-9 || said["all"] > mean + 1e-9) exit 1
		}' load.tsv plan.tsv .out
	run_split moe-split --json --evaluate plan.tsv load.tsv
	grep -q '^{"layer":"1","plan":"plan.tsv","peak_to_average":1[.0-9]*,"bound":[.0-9]*}$' .out
}

@test "--max-imbalance ends with status 3 after the output" {
	make_load 2 12 >load.tsv
	run_split moe-split -n 4 --planner contiguous --max-imbalance 1.01 load.tsv
	expect_status 3
	cp .out plan.tsv
	check_plan plan.tsv
	expect_message 'peak-to-average [0-9.]+ in layer [12] exceeds 1\.01'
	run_split moe-split --evaluate plan.tsv --max-imbalance 1.01 load.tsv
	expect_status 3
	run_split moe-split --evaluate plan.tsv --max-imbalance 12 load.tsv
	expect_status 0
}

@test "traces give a held-out figure, loads of the same trace the same plan" {
	moe-route -q -o run.trace "$MODEL_V3" "$TEXT/code.txt" "$TEXT/de.txt"
	run_split moe-split -n 4 --slots 36 run.trace
	expect_status 0
	expect_message 'held out: peak-to-average 1\.[0-9]+, worst 1\.[0-9]+ in layer [1-4] \(a plan made on even sequences'
	cp .out plan.tsv
	check_plan plan.tsv
	moe-stats --load run.trace >load.tsv
	moe-split -q -n 4 --slots 36 load.tsv >from_load.tsv
	moe-split -q -n 4 --slots 36 <run.trace >from_stdin.tsv
	expect_same plan.tsv from_load.tsv
	expect_same plan.tsv from_stdin.tsv
	head -n 1 plan.tsv | grep -q '#model=xxh3:[0-9a-f]\{32\}'
	run_split moe-split -n 4 --dry-run run.trace
	expect_status 0
	expect_no_output
	expect_message 'held out: peak-to-average'
}

@test "the same bytes from one thread and two, and from two runs" {
	make_load 5 64 >load.tsv
	for j in 1 2 2; do
		moe-split -q -j $j -n 8 --slots 72 load.tsv >plan.tsv
		cksum plan.tsv
	done | sort -u >sums
	[ "$(wc -l <sums)" = 1 ]
	make_plan 3 36
	moe-split -q -j 1 --plan plan.tsv -o one "$MODEL_V3"
	moe-split -q -j 2 --plan plan.tsv -o two "$MODEL_V3"
	diff -r one two
}

@test "a load table by source is planned and judged by its sum" {
	table=$MODEL_V3/load.tsv
	awk -F '\t' 'NR > 1 { if (!(($2, $3) in n)) key[++keys] = $2 "\t" $3
			n[$2, $3] += $4 }
		END { print "layer\texpert\tcount\tweight"
			for (i = 1; i <= keys; i++) { split(key[i], k, "\t"); print key[i] "\t" n[k[1], k[2]] "\t0" } }' \
		"$table" >summed
	moe-split -q -n 4 --slots 36 "$table" >plan.tsv
	check_plan plan.tsv
	moe-split -q -n 4 --slots 36 summed | cmp - plan.tsv
	moe-split --evaluate plan.tsv "$table" >costs
	moe-split --evaluate plan.tsv summed | cmp - costs
}

@test "a topology says how ranks sit on nodes" {
	printf 'rank\tnode\tmemory_bytes\n3\t0\t0\n0\t1\t0\n1\t1\t0\n2\t0\t0\n' >machine.tsv
	make_load 1 8 >load.tsv
	run_split moe-split -q --topology machine.tsv --groups 2 load.tsv
	expect_status 0
	[ "$(head -n 1 .out)" = '#ranks=4 #nodes=2 #planner=greedy' ]
	awk -F '\t' 'NR > 2 { n = $4 == 3 || $4 == 2; g = int($2 / 4); if (g in at && at[g] != n) exit 1; at[g] = n }' .out
	fails 2 moe-split -n 3 --topology machine.tsv load.tsv
	printf 'rank\tnode\n0\t0\n1\t0\n2\t1\n' >uneven.tsv
	run_split moe-split --topology uneven.tsv load.tsv
	expect_status 0
	expect_message ' 3 ranks, 2 nodes'
	[ "$(head -n 1 .out)" = '#ranks=3 #planner=greedy' ]
	moe-split --evaluate .out load.tsv >costs
	printf 'rank\tnode\n0\t0\n0\t0\n' >machine.tsv
	fails 1 moe-split --topology machine.tsv load.tsv
	expect_message 'machine.tsv: line 3: rank 0 is given twice'
}

@test "shards are as large as --dry-run says, verified, and merged back byte for byte" {
	make_plan 4 40
	run_split moe-split --plan plan.tsv --dry-run "$MODEL_V3"
	expect_status 0
	cp .out sizes
	run_split moe-split --plan plan.tsv -o shards "$MODEL_V3"
	expect_status 0
	expect_no_output
	for r in 0 1 2 3; do
		printf '%d\t%d\n' $r "$(find shards/rank-00$r -type f -exec cat {} + | wc -c)"
	done >found
	tail -n 4 sizes | diff - found
	run_split moe-split --plan plan.tsv --verify shards "$MODEL_V3"
	expect_status 0
	run_split moe-split --merge -o merged shards
	expect_status 0
	diff -r "$MODEL_V3" merged
	moe-split -q --merge -o again shards/rank-002 shards/rank-000 shards/rank-003 shards/rank-001
	diff -r merged again
	[ "$(find . -name '.*tmp*' | wc -l)" = 0 ]
}

@test "no output takes the place of what is read" {
	make_plan 2 32
	cp plan.tsv plan.old
	cp -r "$MODEL_V3" src
	fails 2 moe-split --force --plan plan.tsv -o src src
	expect_message "the output 'src' is the same as 'src'"
	fails 2 moe-split --plan plan.tsv -o src/shards src
	expect_message "lies inside 'src'"
	fails 2 moe-split --force --plan plan.tsv --fits 1G -o src/config.json src
	fails 2 moe-split --force --plan plan.tsv --fits 1G -o plan.tsv src
	diff -r "$MODEL_V3" src
	fails 2 moe-split --plan plan.tsv -o - src
	moe-split -q --plan plan.tsv -o sh src
	cp -r sh sh.old
	fails 2 moe-split --merge --force -o sh sh
	fails 2 moe-split --merge --force -o sh/rank-000 sh/rank-000 sh/rank-001
	fails 2 moe-split --merge -o sh/merged sh
	diff -r sh.old sh
	moe-split -q --merge --force -o src sh
	diff -r "$MODEL_V3" src
	moe-convert -q src m.gguf
	moe-split -q --plan plan.tsv -o gguf m.gguf
	for f in rank-000.gguf rank-001.gguf rank-000.source.json rank-000.source.bin; do
		fails 2 moe-split --merge --force -o gguf/$f gguf
		expect_message "the output 'gguf/$f' is the same file as 'gguf/$f'"
	done
	moe-split -q --force --plan plan.tsv -o gguf m.gguf
	make_load 1 2 >load.tsv
	fails 2 moe-split --force -n 2 -o load.tsv load.tsv
	fails 2 moe-split --force --evaluate plan.tsv -o plan.tsv load.tsv
	expect_same plan.old plan.tsv
	[ "$(find . -name '.*tmp*' | wc -l)" = 0 ]
}

@test "shards hold the experts of their rank under global names, copies in each" {
	make_plan 4 40
	moe-split -q --plan plan.tsv -o shards "$MODEL_V3"
	awk -F '\t' '!/^#/ && $1 != "layer" { printf "%d model.layers.%d.mlp.experts.%d.up_proj.weight\n", $4, $1, $2 }' plan.tsv |
		sort >want
	for e in $(seq 0 31); do
		echo "$((e / 8)) model.layers.5.mlp.experts.$e.up_proj.weight"
	done | sort - want >want_all
	for r in 0 1 2 3; do
		moe-convert --list shards/rank-00$r | awk -F '\t' -v r=$r '$1 ~ /mlp\.experts\..*up_proj/ { print r, $1 }'
	done | sort >found
	diff want_all found
}

@test "a GGUF file becomes GGUF shards, and one file again" {
	make_plan 4 40
	moe-convert -q "$MODEL_V3" model.gguf
	moe-split -q --plan plan.tsv --dry-run model.gguf >sizes
	moe-split -q --plan plan.tsv -o shards model.gguf
	for r in 0 1 2 3; do
		printf '%d\t%d\n' $r "$(cat shards/rank-00$r.* | wc -c)"
	done >found
	tail -n 4 sizes | diff - found
	run_split moe-split --plan plan.tsv --verify shards model.gguf
	expect_status 0
	moe-split -q --merge -o merged.gguf shards
	expect_same model.gguf merged.gguf
	moe-convert --list shards/rank-001.gguf | grep -qF $'blk.1.ffn_up_exps.weight\t'
}

@test "stacks of experts in one tensor are cut by expert, and put together again" {
	for name in granitemoe dbrx llama4_multimodal gpt_oss_mxfp4; do
		source=$GOLDEN/models/$name
		experts=$(moe-convert --info --json "$source" | sed 's/.*"experts":\([0-9]*\).*/\1/')
		layers=$(moe-convert --info --json "$source" | sed 's/.*"layers":\([0-9]*\),"moe_layers".*/\1/')
		make_load "$layers" "$experts" | awk -F '\t' -v OFS='\t' 'NR > 1 { $1-- } 1' >load.tsv
		moe-split -q -n 2 --replicas 2 load.tsv >plan.tsv
		rm -rf shards merged
		run_split moe-split --plan plan.tsv -o shards "$source"
		expect_status 0
		run_split moe-split --plan plan.tsv --verify shards "$source"
		expect_status 0
		moe-split -q --merge -o merged shards
		diff -r "$source" merged
		# the first expert in rank 1 begins its stacks there
		first=$(awk -F '\t' '$1 == 0 && $4 == 1 && $5 == 0 { print $2 }' plan.tsv)
		moe-convert --list shards/rank-001 >list
		moe-convert --list "$source" | grep -F '.0.' | grep -E '\.experts\.[a-z]|_linear' >stacks
		[ "$(wc -l <stacks)" -ge 2 ]
		while IFS=$'\t' read -r tensor _ _ _ at n_bytes _; do
			size=$((n_bytes / experts))
			IFS=$'\t' read -r there held < <(awk -F '\t' -v t="$tensor" -v OFS='\t' '$1 == t { print $5, $6 }' list)
			[ "$held" = $((size * (experts / 2 + 1))) ]
			cmp -i $((at + first * size)):"$there" -n "$size" "$source/model.safetensors" \
				shards/rank-001/model.safetensors
		done <stacks
	done
}

@test "a sharded source with an index comes back with it" {
	make_plan 3 33
	moe-convert -q --shard-size 4M "$MODEL_V3" source
	[ -e source/model.safetensors.index.json ]
	moe-split -q --plan plan.tsv -o shards source
	moe-split -q --plan plan.tsv --verify shards source
	moe-split -q --merge -o merged shards
	diff -r source merged
}

# A copy of the V3 sample in `source`, its checkpoint behind symbolic links.
linked_source()
{
	mkdir source
	ln -s "$MODEL_V3"/* source
}

@test "every other file of the source comes back, whatever its name" {
	linked_source
	make_plan 3 36
	echo one >'source/a name with  blanks'
	echo two >$'source/latin-\xe9'
	echo three >$'source/tab\tand\nline'
	echo four >$'source/\xc3\xa9'
	echo five >source/moe-source.json
	echo six >source/stray.safetensors
	echo seven >"source/$(printf 'x%.0s' {1..255})"
	echo eight >elsewhere
	ln -s ../elsewhere source/linked
	: >source/empty
	moe-split -q --plan plan.tsv --dry-run source >sizes
	run_split moe-split --plan plan.tsv -o shards source
	expect_status 0
	[ "$(grep -c 'not kept' .err)" = 0 ]
	[ "$(sed -n 's/^0\t//p' sizes)" = "$(find shards/rank-000 -type f -exec cat {} + | wc -c)" ]
	[ "$(ls shards/rank-001 | wc -l)" -lt "$(ls source | wc -l)" ]
	[ ! -e shards/rank-001/moe-source.files ]
	expect_same elsewhere shards/rank-000/moe-source.files/linked
	run_split moe-split --plan plan.tsv --verify shards source
	expect_status 0
	run_split moe-split --merge -o merged shards
	expect_status 0
	diff -r source merged
	[ -z "$(find merged -type l)" ]
}

@test "large files, hidden ones and subdirectories are not kept; the large ones are named" {
	linked_source
	make_plan 2 32
	truncate -s 67108864 source/most.bin
	truncate -s 67108865 source/pytorch_model.bin
	truncate -s 70000000 source/other.pth
	echo hidden >source/.hidden
	mkdir source/sub
	echo below >source/sub/file
	ln -s nothing source/dangling
	run_split moe-split --plan plan.tsv --dry-run source
	expect_status 0
	expect_message '^moe-split: source: not kept, .* larger than 64 MiB: other.pth, pytorch_model.bin$'
	cp .out sizes
	run_split moe-split --plan plan.tsv -o shards source
	expect_status 0
	[ "$(grep -c 'not kept' .err)" = 1 ]
	[ "$(sed -n 's/^0\t//p' sizes)" = "$(find shards/rank-000 -type f -exec cat {} + | wc -c)" ]
	moe-split -q --merge -o merged shards
	expect_same source/most.bin merged/most.bin
	rm -r source/sub source/.hidden source/dangling source/*.pth source/pytorch_model.bin
	diff -r source merged
}

@test "a kept file that is damaged, missing, new or gone is found" {
	linked_source
	make_plan 2 32
	echo note >source/note
	moe-split -q --plan plan.tsv -o shards source
	echo nose >shards/rank-000/moe-source.files/note
	fails 3 moe-split --plan plan.tsv --verify shards source
	expect_message "rank-000: file 'note' is missing or differs"
	fails 1 moe-split --merge -o merged shards
	expect_message "'note' is not what the source held"
	echo longer >shards/rank-000/moe-source.files/note
	fails 1 moe-split --merge -o merged shards
	expect_message 'moe-source.files/note: has 7 bytes, expected 5'
	rm shards/rank-000/moe-source.files/note
	fails 3 moe-split --plan plan.tsv --verify shards source
	fails 1 moe-split --merge -o merged shards
	expect_message 'moe-source.files/note: No such file'
	[ ! -e merged ]
	rm source/note
	fails 3 moe-split --plan plan.tsv --verify shards source
	expect_message 'moe-source.json: does not describe this source'
	echo new >source/new
	fails 3 moe-split --plan plan.tsv --verify shards source
	expect_message "file 'new' is missing or differs"
}

@test "a record that leads out of the directory is refused" {
	linked_source
	make_plan 2 32
	echo note >source/note
	moe-split -q --plan plan.tsv -o shards source
	cp shards/rank-000/moe-source.json record
	for name in '"name":"../note"' '"hex":"2e2e2f6e"' '"hex":"6"' '"hex":"6G"' '"hex":"6100"' '"hex":""' \
		'"hex":"2e2e"'; do
		sed "s|\"name\":\"note\"|$name|" record >shards/rank-000/moe-source.json
		fails 1 moe-split --merge -o merged shards
		expect_message 'moe-source.json: a file is without a name'
	done
	[ ! -e merged ]
}

@test "--fits says no with status 3" {
	make_plan 4 40
	run_split moe-split --plan plan.tsv --fits 80G "$MODEL_V3"
	expect_status 0
	[ "$(head -n 1 .out)" = $'rank\tbytes' ]
	[ "$(wc -l <.out)" = 5 ]
	run_split moe-split --plan plan.tsv --fits 5M "$MODEL_V3"
	expect_status 3
	[ "$(wc -l <.out)" = 5 ]
	expect_message 'rank 0 needs [0-9.]+ MiB, more than the 5\.?0* MiB of --fits'
}

@test "a difference between shards and source is found, named, and not merged" {
	make_plan 4 40
	cp -r "$MODEL_V3" source
	moe-split -q --plan plan.tsv -o shards source
	make_plan 4 44
	fails 3 moe-split --plan plan.tsv --verify shards source
	expect_message 'the shards are of plan [0-9a-f]{32}'
	make_plan 4 40
	printf x | dd of=shards/rank-003/tokenizer.json bs=1 seek=3 conv=notrunc status=none
	fails 3 moe-split --plan plan.tsv --verify shards source
	expect_message "rank-003: file 'tokenizer.json' is missing or differs"
	cp source/tokenizer.json shards/rank-003/
	mv shards/rank-002 away
	fails 1 moe-split --merge -o merged shards
	expect_message 'the shard of rank 2 of 4 is missing'
	mv away shards/rank-002
	truncate -s -1 shards/rank-002/model.safetensors
	fails 1 moe-split --merge -o merged shards
	expect_message 'rank-002/model.safetensors'
	[ ! -e merged ]
}

@test "layers that the plan does not name are placed, and said unless they predict ahead" {
	make_load 3 32 | moe-split -q -n 2 >plan.tsv
	run_split moe-split --plan plan.tsv -o shards "$MODEL_V3"
	expect_status 0
	expect_message 'plan.tsv does not name layer 4: its experts are placed contiguously'
	[ "$(grep -c 'layer 5' .err)" = 0 ]
	make_load 6 32 | moe-split -q -n 2 >plan.tsv
	fails 1 moe-split --plan plan.tsv -o other "$MODEL_V3"
	expect_message 'layer 6 is not a layer with experts'
	make_load 4 31 | moe-split -q -n 2 >plan.tsv
	fails 1 moe-split --plan plan.tsv -o other "$MODEL_V3"
	expect_message 'layer 1: expert 31 has no place'
	[ ! -e other ]
}

@test "existing outputs need --force, and nothing is left of a failure" {
	make_plan 2 32
	mkdir shards
	echo kept >shards/note
	fails 2 moe-split --plan plan.tsv -o shards "$MODEL_V3"
	expect_message '--force'
	[ "$(cat shards/note)" = kept ]
	fails 2 moe-split --force --plan plan.tsv -o shards "$MODEL_V3"
	expect_message "'shards' is not replaced, because it holds 'note'"
	[ "$(cat shards/note)" = kept ]
	rm shards/note
	moe-split -q --force --plan plan.tsv -o shards "$MODEL_V3"
	moe-split -q --force --plan plan.tsv -o shards "$MODEL_V3"
	[ -e shards/rank-001/model.safetensors ]
	fails 1 moe-split --plan plan.tsv -o nowhere/shards "$MODEL_V3"
	moe-split -q --merge -o merged shards
	fails 2 moe-split --merge -o merged shards
	[ "$(find . -name '.*tmp*' | wc -l)" = 0 ]
}

@test "too few open files is a sentence that says how many are needed" {
	make_plan 32 32
	# shellcheck disable=SC2016
	run_split bash -c 'ulimit -n 40; exec moe-split --plan plan.tsv -o shards "$MODEL_V3"'
	expect_status 1
	expect_message "32 shards are written at once, but only 40 files may be open: raise the limit with 'ulimit -n [0-9]+'"
	[ ! -e shards ]
}

@test "bad plans are refused with file and line" {
	H=$'layer\texpert\treplica\trank\tslot\n'
	make_load 1 2 >load.tsv
	while IFS='|' read -r rows message; do
		printf "%s$rows" "$H" >plan.tsv
		fails 1 moe-split --evaluate plan.tsv load.tsv
		expect_message "$message"
	done <<-'EOF'
	1\t0\t0\t0\t0\n1\t1\t0\t0\t0\n|plan.tsv: line 3: layer 1, rank 0, slot 0 is given twice
	1\t0\t0\t0\t0\n1\t1\t0\t0\t2\n|plan.tsv: line 3: .* slot 2 follows where slot 1
	1\t1\t0\t0\t0\n|plan.tsv: layer 1: expert 0 has no place
	1\t0\t0\t0\t0\n1\t0\t1\t0\t1\n|plan.tsv: line 3: .* two replicas of expert 0 on rank 0
	1\t0\t0\t0\n|plan.tsv: line 2: expected 5 fields, found 4
	1\t0\t0\tx\t0\n|plan.tsv: line 2, column .rank.
	|plan.tsv: the plan has no rows
	1\t0\t0\t0\t0\n|plan.tsv: the plan does not place expert 1 of layer 1
	EOF
	printf '#ranks=1\n%s1\t0\t0\t1\t0\n' "$H" >plan.tsv
	fails 1 moe-split --evaluate plan.tsv load.tsv
	expect_message 'plan.tsv: line 3: rank 1, but the plan has ranks 0 to 0'
	: >plan.tsv
	fails 1 moe-split --evaluate plan.tsv load.tsv
	fails 1 moe-split --evaluate nothing.tsv load.tsv
}

@test "a plan of a million ranks is judged at once, and refused for the files it would open" {
	make_plan 4 40
	sed '1s/#ranks=4/#ranks=1048576/' plan.tsv >many.tsv
	run_split timeout 60 moe-split -q --plan many.tsv --fits 1G "$MODEL_V3"
	expect_status 0
	[ "$(wc -l <.out)" = 1048577 ]
	# Forty ranks, some of them without any expert: what is written is what was said.
	sed '1s/#ranks=4/#ranks=40/' plan.tsv >few.tsv
	moe-split -q --plan few.tsv --fits 1G "$MODEL_V3" | sed 1d >sizes
	moe-split -q --plan few.tsv -o few "$MODEL_V3"
	[ "$(cut -f 2 sizes | sort -u | wc -l)" -gt 3 ]
	while read -r rank bytes; do
		[ "$(find "few/rank-$(printf %03d "$rank")" -type f -exec cat {} + | wc -c)" = "$bytes" ] || return 1
	done <sizes
	run_split bash -c 'ulimit -n 1024; timeout 60 moe-split -q --plan many.tsv -o dir "$MODEL_V3"'
	expect_status 1
	expect_message '1048576 shards are written at once, but only 1024 files may be open'
	[ ! -e dir ]
}

@test "wrong use ends with status 2 and a sentence" {
	make_load 2 12 >load.tsv
	fails 2 moe-split load.tsv
	fails 2 moe-split -n 0 load.tsv
	fails 2 moe-split -n 4 --slots 8 load.tsv
	expect_message '8 slots are too few for 12 experts'
	fails 2 moe-split -n 5 --slots 12 load.tsv
	expect_message '12 slots do not spread evenly over 5 ranks; 15 would'
	fails 2 moe-split -n 4 --slots 12 --replicas 0 load.tsv
	fails 2 moe-split -n 4 --nodes 3 load.tsv
	fails 2 moe-split -n 4 --groups 5 load.tsv
	fails 2 moe-split -n 4 --nodes 2 --groups 3 load.tsv
	fails 2 moe-split -n 4 --planner nothing load.tsv
	fails 2 moe-split -n 4 --evaluate plan.tsv load.tsv
	fails 2 moe-split --merge
	fails 2 moe-split --merge shards
	fails 2 moe-split --plan plan.tsv
	fails 2 moe-split --plan plan.tsv "$MODEL_V3"
	fails 2 moe-split --fits 5G "$MODEL_V3"
	fails 1 moe-split -n 4 nothing.tsv
	sed 1d load.tsv >headless.tsv
	fails 1 moe-split -n 4 headless.tsv
	expect_message 'headless.tsv'
}

@test "a full stdout is an error" {
	make_load 40 256 >load.tsv
	run_split bash -c 'moe-split -q -n 4 load.tsv >/dev/full'
	expect_status 1
}

@test "--evaluate places a layer that the plan leaves out contiguously" {
	moe-stats --load "$MODEL_V3/load.tsv" >load.tsv
	moe-split -q -n 4 --planner contiguous load.tsv >plan.tsv
	grep -v '^4	' plan.tsv >short.tsv
	[ "$(moe-split --evaluate plan.tsv load.tsv | cut -f1,3)" = "$(moe-split --evaluate short.tsv load.tsv | cut -f1,3)" ]
}
