# moe-convert on a checkpoint as large as the largest there are: DeepSeek-V3's 163 files and 91,991 tensors with real
# headers, and nothing behind them but holes. Times are generous: the test is for what grows out of bounds.

load lib

setup_file()
{
	MOE_HOLES=$BATS_FILE_TMPDIR/v3
	export MOE_HOLES
	"${BUILD:-$BATS_TEST_DIRNAME/../../build}/tests/bench/checkpoint" --holes --shards 163 \
		"$BATS_TEST_DIRNAME/../data/configs/deepseek-v3.json" "$MOE_HOLES" >"$BATS_FILE_TMPDIR/said"
}

# bounded CMD...: as run_split, with 100 MB of memory of its own at most, and 60 seconds.
bounded()
{
	local limit=(ulimit -d 100000)
	! nm "$BIN/moe-convert" 2>/dev/null | grep -q __asan_init || limit=(:)
	# shellcheck disable=SC2016
	run_split timeout 60 bash -c '"${@:2:$1}" && exec "${@:$1 + 2}"' bash "${#limit[@]}" "${limit[@]}" "$@"
}

@test "the checkpoint is what was published" {
	grep -qx '91991 tensors, 688574839360 bytes' "$BATS_FILE_TMPDIR/said"
	[ "$(find "$MOE_HOLES" -name '*.safetensors' | wc -l)" = 163 ]
	[ "$(du -sk "$MOE_HOLES" | cut -f 1)" -lt 100000 ]
}

@test "--info and --list of 91,991 tensors within 100 MB" {
	bounded moe-convert --info --json -j 1 "$MOE_HOLES"
	expect_status 0
	[ "$(jq -c '[.files, .stored_tensors, .stored_bytes]' .out)" = '[163,91991,688574839360]' ]
	bounded moe-convert --list -j 1 "$MOE_HOLES"
	expect_status 0
	[ "$(awk -F '\t' 'NR > 1 { n++; bytes += $6 } END { printf "%d %.0f", n, bytes }' .out)" = '91991 688574839360' ]
}

@test "an index that there is no memory for is not called wrong" {
	nm "$BIN/moe-convert" 2>/dev/null | grep -q __asan_init && skip "the sanitizer needs the memory itself"
	local limit
	for limit in 16000 19000 22000 25000 28000; do
		# shellcheck disable=SC2016
		run_split bash -c 'ulimit -d "$1" && exec moe-convert --list -j 1 "$MOE_HOLES"' bash $limit
		expect_status 1
		expect_message 'out of memory'
	done
	expect_message 'v3/model.safetensors.index.json: out of memory: its [0-9]* bytes of JSON'
}

@test "--dry-run to GGUF and to bf16 looks at every header and writes nothing, within 100 MB" {
	bounded moe-convert --dry-run -j 2 "$MOE_HOLES" x.gguf
	expect_status 0
	[ "$(cut -f 1 .out | tail -n 1)" = x.gguf ]
	bounded moe-convert --dry-run -j 2 --type bf16 "$MOE_HOLES" x
	expect_status 0
	[ "$(grep -c 'x/model-.*-of-.*safetensors' .out)" -gt 100 ]
	[ ! -e x ]
	[ ! -e x.gguf ]
}

@test "what a conversion holds is bounded, whatever the number of threads" {
	local n unit
	run_split moe-convert --dry-run -j 256 --type bf16 "$MOE_HOLES" x
	expect_status 0
	read -r n unit <<<"$(grep -o 'peak memory [0-9.]* [KMG]iB' .err | cut -d ' ' -f 3-)"
	[ "$unit" = MiB ] && [ "${n%.*}" -lt 95 ]
}

@test "a file that is shorter than its header says is told by name" {
	local file
	mkdir v3
	cp "$MOE_HOLES"/config.json "$MOE_HOLES"/*.index.json v3
	for file in "$MOE_HOLES"/*.safetensors; do ln -s "$file" v3; done
	rm v3/model-00100-of-00163.safetensors
	head -c 4000000 "$MOE_HOLES/model-00100-of-00163.safetensors" >v3/model-00100-of-00163.safetensors
	truncate -s 4000000000 v3/model-00100-of-00163.safetensors
	fails 1 moe-convert --list v3
	expect_message 'model-00100-of-00163.safetensors'
}
