# moe-split --plan --resume: whatever ends a run, the next goes on, and the shards are the same to the byte.

load lib

# The plan of a model in $1 (folder or file) for three ranks with copies, in plan.tsv.
make_plan()
{
	local experts layers
	experts=$(moe-convert --info --json "$1" | jq .experts)
	layers=$(moe-convert --info --json "$1" | jq .layers)
	awk -v first="$2" -v layers="$layers" -v experts="$experts" 'BEGIN {
		print "layer\texpert\tcount\tweight"
		for (l = first; l < layers; l++)
			for (e = 0; e < experts; e++)
				print l "\t" e "\t" (e * 7 + l * 3) % experts + 1 "\t" 1
	}' | moe-split -q -n 3 --replicas "$3" >plan.tsv
}

# kills N SECONDS SOURCE: so many kills at random moments within that time, then a run to the end.
kills()
{
	local i t
	moe-split -q --plan plan.tsv -o want "$3"
	for ((i = 0; i < $1; i++)); do
		t=$(awk -v r=$RANDOM -v most="$2" 'BEGIN { printf "%.4f", 0.001 + r / 32768 * most }')
		run_split timeout -s KILL "$t" moe-split -q --resume --plan plan.tsv -o out "$3"
		[ "$status" = 137 ] || [ "$status" = 0 ] || complain "a run that was to be killed"
		if [ -e out ] && [ "$status" = 0 ]; then
			diff -r want out
			rm -r out
		fi
	done
	moe-split -q --resume --plan plan.tsv -o out "$3"
	diff -r want out
	[ ! -e out.partial ]
	[ ! -e out.journal ]
}

@test "kills at random moments: a directory, a GGUF file, and stacks of experts" {
	make_plan "$MODEL_V3" 1 4
	kills 12 0.08 "$MODEL_V3"
	rm -r want out
	moe-convert -q "$MODEL_V3" source.gguf
	kills 12 0.08 source.gguf
	rm -r want out
	make_plan "$GOLDEN/models/granitemoe" 0 1
	kills 4 0.02 "$GOLDEN/models/granitemoe"
}

@test "a full disk at many points: what is complete stays, and is gone on with" {
	make_plan "$MODEL_V3" 1 4
	moe-convert -q "$MODEL_V3" source.gguf
	for source in "$MODEL_V3" source.gguf; do
		rm -rf want out
		moe-split -q --plan plan.tsv -o want "$source"
		for limit in 1 40 500 1400 2900; do
			run_split bash -c "ulimit -f $limit; exec moe-split -q --resume --plan plan.tsv -o out '$source'"
			expect_status 1
			expect_message '(too large|cannot write).*; what is complete is kept: --resume goes on with it$'
			[ ! -e out ]
		done
		run_split moe-split --resume --plan plan.tsv -o out "$source"
		expect_status 0
		expect_message 'out: went on behind the [1-9][0-9]* tensors that were there'
		diff -r want out
		[ ! -e out.partial ]
	done
}

@test "what is complete is said to be, and what is not is written again where --force allows" {
	make_plan "$MODEL_V3" 1 4
	run_split moe-split --resume --plan plan.tsv -o out "$MODEL_V3"
	expect_status 0
	never grep -q 'went on\|complete' .err
	[ "$(ls -A | tr '\n' ' ')" = '.err .out out plan.tsv ' ]
	touch -d 2001-01-01 out/rank-001
	run_split moe-split --resume --plan plan.tsv -o out "$MODEL_V3"
	expect_status 0
	expect_message 'out is complete: nothing was left to do'
	[ "$(stat -c %Y out/rank-001)" = "$(date -d 2001-01-01 +%s)" ]
	cp -r out want
	printf '\377' | dd of=out/rank-002/model.safetensors bs=1 seek=900000 conv=notrunc status=none
	fails 2 moe-split --resume --plan plan.tsv -o out "$MODEL_V3"
	expect_message "'out' exists and is not what this run would write: use --force"
	moe-split -q --resume --force --plan plan.tsv -o out "$MODEL_V3"
	diff -r want out
}

@test "what was begun otherwise is refused, what was damaged is written again" {
	make_plan "$MODEL_V3" 1 4
	moe-split -q --plan plan.tsv -o want "$MODEL_V3"
	run_split bash -c 'ulimit -f 3000; exec moe-split -q --resume --plan plan.tsv -o out "$MODEL_V3"'
	expect_status 1
	cp plan.tsv first.tsv
	make_plan "$MODEL_V3" 1 7
	fails 2 moe-split -q --resume --plan plan.tsv -o out "$MODEL_V3"
	expect_message "out.partial' was begun from another source or with another plan: remove it, or use --force"
	printf '\377' | dd of=out.partial/rank-001.partial/model.safetensors bs=1 seek=1000000 conv=notrunc status=none
	truncate -s 200 out.partial/rank-002.journal
	moe-split -q --resume --plan first.tsv -o out "$MODEL_V3"
	diff -r want out
	rm -r out
	run_split bash -c 'ulimit -f 3000; exec moe-split -q --resume --plan first.tsv -o out "$MODEL_V3"'
	moe-split -q --resume --force --plan plan.tsv -o out "$MODEL_V3"
	moe-split -q --plan plan.tsv -o other "$MODEL_V3"
	diff -r other out
	[ ! -e out.partial ]
	echo mine >new.journal
	fails 2 moe-split -q --resume --plan plan.tsv -o new "$MODEL_V3"
	expect_message "new.journal' is there and no journal of shards"
	[ "$(cat new.journal)" = mine ]
}

@test "wrong use of --resume, and two runs at once" {
	make_plan "$MODEL_V3" 1 4
	fails 2 moe-split --resume --plan plan.tsv --fits 1G "$MODEL_V3"
	fails 2 moe-split --resume --plan plan.tsv --verify out "$MODEL_V3"
	fails 2 moe-split --resume --merge -o merged out
	run_split bash -c 'ulimit -f 3000; exec moe-split -q --resume --plan plan.tsv -o out "$MODEL_V3"'
	run_split flock out.journal moe-split -q --resume --plan plan.tsv -o out "$MODEL_V3"
	expect_status 1
	expect_message 'out.journal: another run is at work on this directory'
	[ -e out.partial ]
}
