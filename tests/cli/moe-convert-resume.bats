# moe-convert --resume: whatever ends a run, the next goes on, and the result is the same to the byte.

load lib

# kills N SECONDS REF DST ARGS...: so many kills at random moments within that time, then a run to the end.
kills()
{
	local n=$1 most=$2 ref=$3 dst=$4 i t
	shift 4
	for ((i = 0; i < n; i++)); do
		t=$(awk -v r=$RANDOM -v most="$most" 'BEGIN { printf "%.4f", 0.001 + r / 32768 * most }')
		run_split timeout -s KILL "$t" moe-convert -q --resume "$@" "$dst"
		[ "$status" = 137 ] || [ "$status" = 0 ] || complain "a run that was to be killed"
		if [ -e "$dst" ]; then
			diff -r "$ref" "$dst"
			rm -r "$dst"
		fi
	done
	moe-convert -q --resume "$@" "$dst"
	diff -r "$ref" "$dst"
	[ ! -e "$dst.partial" ]
}

@test "kills at random moments: a directory of shards with block scales, and a GGUF file" {
	local shards=(--shard-size 1M --type f8_e4m3 "$MODEL_V3") blocks=(--type q4_k "$MODEL_V3")
	moe-convert -q "${shards[@]}" want
	moe-convert -q "${blocks[@]}" want.gguf
	kills 16 0.06 want out "${shards[@]}"
	kills 16 0.08 want.gguf out.gguf "${blocks[@]}"
}

@test "a full disk at many points: what is complete stays, and is gone on with" {
	local limit status=0 shards=()
	moe-convert -q --shard-size 3M "$MODEL_V3" want
	moe-convert -q "$MODEL_V3" want.gguf
	for dst in out out.gguf; do
		[ $dst = out ] && shards=(--shard-size 3M) || shards=()
		for limit in 1 40 500 1400 2900 6000 9500; do
			run_split bash -c "ulimit -f $limit; exec moe-convert -q --resume ${shards[*]} '$MODEL_V3' $dst"
			[ "$status" = 0 ] && break
			expect_status 1
			expect_message '(too large|cannot write).*; what is complete is kept: --resume goes on with it$'
			[ ! -e $dst ]
		done
		run_split moe-convert --resume "${shards[@]}" "$MODEL_V3" $dst
		expect_status 0
		[ "$status" = 0 ] && diff -r "want${dst#out}" $dst
		[ ! -e $dst.partial ]
	done
	expect_message 'out.gguf: went on behind the [1-9][0-9]* tensors that were there'
}

@test "SIGTERM and SIGINT keep what is there, and say so" {
	local sig rc i seen=0
	for ((i = 5; i < 3000 && seen < 2; i += 1 + i / 20)); do
		sig=TERM
		[ $seen = 0 ] || sig=INT
		rc=0
		rm -rf out.gguf out.gguf.*
		env --default-signal timeout -s $sig "$((i / 1000)).$(printf %03d $((i % 1000)))" \
			moe-convert -q --resume --type q4_k "$MODEL_V3" out.gguf 2>said || rc=$?
		[ "$rc" != 0 ] || continue
		grep -q 'moe-convert: interrupted: .*--resume' said || continue
		[ -e out.gguf.journal ] || continue
		((seen += 1))
	done
	moe-convert -q --resume --type q4_k "$MODEL_V3" out.gguf
	moe-convert -q --type q4_k "$MODEL_V3" want.gguf
	expect_same want.gguf out.gguf
	[ $seen = 2 ]
}

@test "what is complete is said to be, and nothing is written" {
	for dst in out out.gguf; do
		run_split moe-convert --resume "$MODEL_V3" $dst
		expect_status 0
		never grep -q 'went on\|complete' .err
		touch -d 2001-01-01 $dst
		run_split moe-convert --resume "$MODEL_V3" $dst
		expect_status 0
		expect_message "$dst is complete: nothing was left to do"
		[ "$(stat -c %Y $dst)" = "$(date -d 2001-01-01 +%s)" ]
	done
	printf x | dd of=out.gguf bs=1 seek=3000000 conv=notrunc status=none
	fails 2 moe-convert -q --resume "$MODEL_V3" out.gguf
	expect_message "'out.gguf' exists and is not what this run would write: use --force"
	moe-convert -q --resume --force "$MODEL_V3" out.gguf
	moe-convert -q "$MODEL_V3" want.gguf
	expect_same want.gguf out.gguf
	moe-convert -q "$MODEL_V3" plain
	fails 2 moe-convert -q --resume "$MODEL_V3" plain
	expect_message "'plain' exists and is not what this run would write"
	rm -r out
	moe-convert -q --resume "$MODEL_V2" out
	expect_same "$MODEL_V2/config.json" out/config.json
}

@test "what was begun otherwise is refused, what was damaged is written again" {
	moe-convert -q "$MODEL_V3" want.gguf
	run_split bash -c 'ulimit -f 6000; exec moe-convert -q --resume "$MODEL_V3" out.gguf'
	expect_status 1
	cp out.gguf.partial begun
	fails 2 moe-convert -q --resume --type f16 "$MODEL_V3" out.gguf
	expect_message "'out.gguf.partial' was begun from another source or with other options: remove it, or use --force"
	expect_same begun out.gguf.partial
	# a byte in the middle, then a journal cut inside a line
	printf '\377' | dd of=out.gguf.partial bs=1 seek=4000000 conv=notrunc status=none
	truncate -s 3000 out.gguf.journal
	moe-convert -q --resume "$MODEL_V3" out.gguf
	expect_same want.gguf out.gguf
	rm out.gguf
	cp begun out.gguf.partial
	moe-convert -q --resume --force --type f16 "$MODEL_V3" out.gguf
	moe-convert -q --type f16 "$MODEL_V3" other.gguf
	expect_same other.gguf out.gguf
	[ ! -e out.gguf.partial ]
}

@test "wrong use of --resume, and two runs at once" {
	fails 2 moe-convert --resume --info "$MODEL_V3"
	fails 2 moe-convert -q --resume --to gguf "$MODEL_V3" -
	expect_message 'stdout cannot be gone on with'
	run_split flock out.gguf.journal bash -c 'moe-convert -q --resume "$MODEL_V3" out.gguf'
	expect_status 1
	expect_message 'another run that can be resumed is writing this output'
	[ ! -e out.gguf ]
	cp -r "$MODEL_V3" dst.partial
	fails 2 moe-convert -q --resume --force --type f16 dst.partial dst
	expect_message "the output 'dst.partial' is the same as 'dst.partial'"
	mkdir mine.partial
	echo mine >mine.partial/notes
	fails 2 moe-convert -q --resume --force "$MODEL_V3" mine
	expect_message "'mine.partial' is not replaced, because it holds 'notes'"
	echo mine >own.gguf.journal
	fails 2 moe-convert -q --resume --force "$MODEL_V3" own.gguf
	expect_message "'own.gguf.journal' is there and no journal"
	[ "$(cat own.gguf.journal)" = mine ]
	moe-convert -q --resume --dry-run "$MODEL_V3" dry.gguf
	[ ! -e dry.gguf.journal ]
	# nothing is said to be kept where nothing is
	fails 1 moe-convert -q --resume "$MODEL_V3" none/out.gguf
	expect_message "cannot create 'none/out.gguf.journal': No such file or directory$"
}
