# moe-convert: reports, conversions there and back, and what it refuses.

load lib

# Name and decoded hash of every tensor.
values()
{
	moe-convert --hash "$1" | cut -f 1,3
}

# A writable copy of the V3 sample, of which only config.json is edited or tensors are renamed.
copy_v3()
{
	mkdir "$1"
	cp "$MODEL_V3"/config.json "$MODEL_V3"/*.safetensors "$1"
	chmod -R u+w "$1"
}

@test "--info of published configs" {
	run_split moe-convert --info --json "$DATA/configs/deepseek-v3.json"
	expect_status 0
	[[ $output == *'"parameters":671026419200,"parameters_mtp_unique":11610068224,'* ]]
	[[ $output == *'"parameters_stored":684489845504,"activated":37552297472,"activated_no_embed":36625618432,'* ]]
	[[ $output == *'"activated_no_both":35698939392,'* ]]
	[[ $output == *'"cache_elems_token":35136,"cache_bytes_token":70272'* ]]
	[[ $output == *'"combinations":"409663695276000"'* ]]
	[[ $output == *'"tensors":91991,"bytes":688574839360,'* ]]
	run_split moe-convert --info "$DATA/configs/deepseek-v2-lite.json"
	expect_line 'parameters           15706484224'
	expect_line 'activated            2661150208'
	expect_line 'key-value cache      15552 numbers per token, 31104 bytes as bf16'
	[[ $output != *stored* ]]
}

@test "--info of a directory that holds only config.json, and of one with tensors" {
	mkdir only
	cp "$DATA/configs/moonlight.json" only/config.json
	run_split moe-convert --info only
	expect_line 'parameters           15960110208'
	run_split moe-convert --info "$MODEL_V3"
	expect_line 'parameters           3847136'
	expect_line 'tensors              571, one for each expert'
	[[ $output == *'stored               10.6 MiB in 571 tensors of 1 files (safetensors)'* ]]
}

@test "--info of a path that is not UTF-8, and of a model beyond counting" {
	local dir=$'only\xff'
	mkdir "$dir"
	cp "$DATA/configs/moonlight.json" "$dir/config.json"
	run_split moe-convert --info --json "$dir"
	expect_status 0
	[ "$(jq -r .path .out)" = $'only\xef\xbf\xbd' ]
	jq '.n_routed_experts = 2147483640 | .moe_intermediate_size = 2147483647' "$DATA/configs/moonlight.json" >big.json
	fails 1 moe-convert --info big.json
	expect_message 'big.json: a model of more than 2\^63 parameters'
}

@test "--info of a config that the tensors beside it contradict" {
	mkdir m
	cp "$MODEL_V3"/* m
	jq '.n_routed_experts = 1000000000' "$MODEL_V3/config.json" >m/config.json
	fails 1 moe-convert --info m
	expect_message 'experts.32'
	run_split moe-convert --info m/config.json
	expect_status 0
}

@test "--info tells which layers have experts, what an encoder has, and what has no end" {
	run_split moe-convert --info "$GOLDEN/models/switch"
	expect_line 'layers               8, 4 of them with experts'
	expect_line '  encoder            0-3'
	expect_line '  decoder            4-7'
	expect_line '  with experts       1, 3, 5, 7'
	[[ $output == *', any number of positions'* ]]
	[[ $output == *'weights times 1, 5 tokens of a sequence for an expert at most'* ]]
	moe-convert --info --json "$GOLDEN/models/switch" | jq -e '.encoder_layers == 4 and .max_positions == null and
		.layers_with_experts == [1, 3, 5, 7] and .capacity == 5'
	run_split moe-convert --info "$DATA/configs/deepseek-v3.json"
	expect_line '  with experts       3-60'
	[[ $output == *', 163840 positions'* && $output != *encoder* && $output != *' at most'* ]]
	run_split moe-convert --info "$GOLDEN/models/qwen2_moe_sparse"
	expect_line '  with experts       1, 5'
	run_split moe-convert --info "$GOLDEN/models/llama"
	[[ $output != *'  with experts'* ]]
	moe-convert --info --json "$GOLDEN/models/llama" | jq -e '.layers_with_experts == [] and .capacity == null'
}

@test "every key of --info --json is in the page" {
	for model in "$MODEL_V3" "$GOLDEN/models/switch" "$GOLDEN/models/gpt_oss_mxfp4"; do
		moe-convert --info --json "$model" | jq -r 'keys[]'
	done | sort -u | while read -r key; do
		grep -qwE -- "$key" "$TOP/man/moe-convert.1" || echo "$key"
	done >missing
	cat missing
	[ ! -s missing ]
}

@test "--info of 10^9 experts answers at once" {
	sed 's/"n_routed_experts": 256/"n_routed_experts": 1000000000/' "$DATA/configs/deepseek-v3.json" >config.json
	run_split moe-convert --info config.json
	expect_status 0
	[[ $output == *'1000000000 of width 2048'* ]]
}

@test "--list has a row for every tensor" {
	run_split moe-convert --list "$MODEL_V3"
	expect_status 0
	[ "$(head -n 1 .out)" = "$(printf 'name\tdtype\tshape\tfile\toffset\tbytes\trole\tlayer\texpert')" ]
	[ "$(wc -l <.out)" = 572 ]
	[ "$(awk -F'\t' '$7 == "exps" { n++ } END { print n }' .out)" = 384 ]
	[ "$(awk -F'\t' '$1 == "model.layers.2.mlp.experts.7.up_proj.weight" { print $2, $3, $7, $8, $9 }' .out)" = \
	  'bf16 [48, 128] exps 2 7' ]
	run_split moe-convert --list --json "$MODEL_V3"
	[ "$(wc -l <.out)" = 571 ]
	[ "$(grep -c '"layer":null,"expert":null}' .out)" = 3 ]
}

@test "--verify of a whole model" {
	run_split moe-convert --verify "$MODEL_V3"
	expect_status 0
	expect_no_output
	expect_message 'all 571 tensors are there'
}

@test "HF to GGUF and back: the same values, the same bytes, the same files" {
	values "$MODEL_V3" >want
	moe-convert -q "$MODEL_V3" m.gguf
	values m.gguf | diff want -
	moe-convert -q m.gguf back
	diff <(moe-convert --hash "$MODEL_V3") <(moe-convert --hash back)
	for file in config.json tokenizer.json tokenizer_config.json; do
		expect_same "$MODEL_V3/$file" "back/$file"
	done
	moe-convert -q "$MODEL_V2" m2.gguf
	moe-convert -q m2.gguf back2
	diff <(moe-convert --hash "$MODEL_V2") <(moe-convert --hash back2)
}

@test "every type, there and back" {
	for type in bf16 f32 f16 q8_0 'exps=q8_0,*=bf16'; do
		moe-convert -q --force --type "$type" "$MODEL_V3" m.gguf
		moe-convert -q --force m.gguf back
		diff <(values m.gguf) <(values back)
	done
	moe-convert -q --force --type f32 "$MODEL_V3" m.gguf
	diff <(values "$MODEL_V3") <(values m.gguf)
	moe-convert -q --type f32 "$MODEL_V3" wide
	diff <(values "$MODEL_V3") <(values wide)
	[ "$(moe-convert --list wide | awk -F'\t' 'NR > 1 && $2 != "f32"' | wc -l)" = 0 ]
}

@test "every block type is written, runs, and costs the text no more than its bits" {
	# type, relative rms error of the experts' matrices, bits per byte of the text (2.1946 as published)
	head -c 6000 "$TEXT/tech.txt" >text
	while read -r type error bits; do
		run_split moe-convert -q --force --type "$type" "$MODEL_V2" m.gguf
		expect_status 0
		[ "$(moe-convert --list m.gguf | awk -F'\t' '$7 == "exps" { print $2 }' | sort -u)" = "$type" ]
		moe-convert -q --verify m.gguf "$MODEL_V2" >rows || [ $? = 3 ]
		awk -F'\t' -v most="$error" '/ffn_(gate|up|down)_exps|experts/ && $4 > most { print; bad = 1 }
			/experts|exps/ { n++ } END { exit bad || !n }' rows
		moe-run m.gguf --score text >score
		awk -F'\t' -v most="$bits" '$1 == "total" { n++; if ($6 > most) { print; bad = 1 } }
			END { exit bad || !n }' score
	done <<-'END'
		q8_0 0.007 2.195
		q6_k 0.022 2.196
		q5_k 0.042 2.198
		q4_k 0.08 2.2
		iq4_nl 0.085 2.2
		q4_0 0.1 2.204
		q3_k 0.16 2.216
		mxfp4 0.15 2.21
		q2_k 0.33 2.28
	END
}

@test "rows that are no whole blocks of 256 take a type with blocks of 32" {
	run_split moe-convert -v --type q4_k "$MODEL_V2" m.gguf
	expect_status 0
	expect_message '6 tensors have rows that are not whole blocks of the type asked for: stored otherwise'
	expect_message 'are not whole blocks of q4_k: stored as q5_0'
}

@test "rows that are not whole blocks fall back to bf16 and are counted" {
	run_split moe-convert -v --type q8_0 "$MODEL_V3" m.gguf
	expect_status 0
	expect_message '16 tensors have rows that are not whole blocks of the type asked for: stored otherwise'
	expect_message 'blk.1.ffn_down_exps.weight: rows of 48 are not whole blocks of q8_0: stored as bf16'
	run_split moe-convert --verify m.gguf "$MODEL_V3"
	expect_status 3
	[ "$(head -n 1 .out)" = "$(printf 'name\tmax\trms\trel\tcosine\tnan\tinf')" ]
	[ "$(awk -F'\t' 'NR > 1 && ($4 > 0.01 || $5 < 0.999)' .out | wc -l)" = 0 ]
	expect_message "368 of 571 tensors differ"
	run_split moe-convert --verify --tolerance 0.01 m.gguf "$MODEL_V3"
	expect_status 0
}

@test "GGUF names, shapes and keys are llama.cpp's" {
	moe-convert -q "$MODEL_V3" m.gguf
	moe-convert --list m.gguf | cut -f 1-3 >list
	grep -qxF "$(printf 'blk.2.attn_k_b.weight\tbf16\t[4, 32, 24]')" list
	grep -qxF "$(printf 'blk.2.attn_v_b.weight\tbf16\t[4, 24, 32]')" list
	grep -qxF "$(printf 'blk.2.ffn_gate_exps.weight\tbf16\t[32, 48, 128]')" list
	grep -qxF "$(printf 'blk.2.exp_probs_b.bias\tf32\t[32]')" list
	grep -qxF "$(printf 'blk.2.ffn_gate_inp.weight\tf32\t[32, 128]')" list
	grep -qxF "$(printf 'blk.5.nextn.eh_proj.weight\tbf16\t[128, 256]')" list
	for key in deepseek2.block_count deepseek2.expert_group_used_count deepseek2.attention.key_length_mla \
	           deepseek2.expert_gating_func tokenizer.ggml.merges deepseek-v3; do
		grep -qaF "$key" m.gguf
	done
}

@test "multi-token-prediction layers are kept, or dropped on request" {
	run_split moe-convert "$MODEL_V3" m.gguf
	expect_message 'kept from blk.5 on; .*--drop-mtp'
	moe-convert -q --drop-mtp "$MODEL_V3" main.gguf
	[ "$(moe-convert --list main.gguf | grep -c nextn)" = 0 ]
	moe-convert -q main.gguf back
	grep -q '"num_nextn_predict_layers": 0' back/config.json
	moe-convert --verify back
	moe-convert -q --drop-mtp m.gguf again.gguf
	diff <(moe-convert --hash main.gguf) <(moe-convert --hash again.gguf)
}

@test "the output does not depend on -j" {
	moe-convert -q -j1 --type q8_0 "$MODEL_V2" one.gguf
	moe-convert -q -j3 --type q8_0 "$MODEL_V2" three.gguf
	expect_same one.gguf three.gguf
	diff <(moe-convert -j1 --hash one.gguf) <(moe-convert -j3 --hash one.gguf)
}

@test "--type-map: rules by layer and by expert, before those of roles" {
	printf 'pattern\ttype\nmodel.layers.[12].mlp.experts.7.*\tf32\n*.experts.*\tf16\n*norm.weight\tf32\n' >map
	moe-convert -q --type-map map --type attn=f16 "$MODEL_V3" out
	moe-convert --list out | awk -F'\t' 'NR > 1 {
		want = $7 == "attn" ? "f16" : "bf16"
		if ($1 ~ /norm.weight/) want = "f32"
		if ($1 ~ /mlp.experts./) want = $9 == 7 && ($8 == 1 || $8 == 2) ? "f32" : "f16"
		if ($1 ~ /e_score/) want = "f32"
		if ($1 ~ /layers.5/ && $7 == "mtp" && $1 !~ /norm|experts/) next
		if ($2 != want) { print; bad = 1 } } END { exit bad }'
	printf 'pattern\ttype\nblk.2.ffn_*_exps.weight\tq8_0\n' >gguf
	moe-convert -q --type-map gguf "$MODEL_V3" out.gguf
	[ "$(moe-convert --list out.gguf | awk -F'\t' '$2 == "q8_0"' | cut -f 1 | xargs)" = \
	  'blk.2.ffn_gate_exps.weight blk.2.ffn_up_exps.weight' ]
	printf 'pattern\ttype\nmodel.layers.99.*\tf32\n' >none
	fails 2 moe-convert -q --type-map none "$MODEL_V3" no
	expect_message "line 2: no tensor of no is called 'model.layers.99.\*'"
	printf 'pattern\ttype\n*\tq9\n' >bad
	fails 2 moe-convert -q --type-map bad "$MODEL_V3" no
	expect_message "bad: line 2: 'q9' is not a type that can be written"
	fails 2 moe-convert --list --type-map map "$MODEL_V3"
}

@test "--experts stacked, and split again: the same bytes, the same model" {
	local model
	for model in "$MODEL_V3" "$GOLDEN/models/qwen3_moe" "$GOLDEN/models/olmoe"; do
		moe-convert -q --force "$model" plain
		moe-convert -q --force --experts stacked "$model" stacked
		moe-convert -q --force --experts split stacked split
		diff -r plain split
		moe-convert -q --force stacked split
		diff -r plain split
		moe-convert -q --verify stacked "$model" >/dev/null
	done
	moe-convert -q --force --experts stacked "$MODEL_V3" stacked
	grep -aq '"model.layers.4.mlp.experts.gate_up_proj":{"dtype":"BF16","shape":\[32,96,128\]' stacked/model.safetensors
	grep -aq '"model.layers.4.mlp.experts.down_proj":{"dtype":"BF16","shape":\[32,128,48\]' stacked/model.safetensors
	moe-convert -q "$MODEL_V3" v3.gguf
	moe-convert -q --experts stacked v3.gguf from
	cmp stacked/model.safetensors from/model.safetensors
	moe-convert -q --segment 2 "$MODEL_V3" cut
	moe-convert -q --segment 2 --experts stacked "$MODEL_V3" both
	moe-convert -q --verify both cut >/dev/null
	moe-convert -q --experts stacked "$GOLDEN/models/deepseek_v3_fp8" wide
	moe-convert -q --verify --tolerance 0.004 wide "$GOLDEN/models/deepseek_v3_fp8" >/dev/null
	fails 2 moe-convert -q --experts stacked "$GOLDEN/models/mixtral" no
	expect_message 'mixtral has no experts that are published as stacks'
	fails 2 moe-convert -q --experts split "$GOLDEN/models/gpt_oss" no
	expect_message 'published stacked only'
	fails 2 moe-convert -q --experts split "$MODEL_V3" no.gguf
	expect_message 'in gguf the experts of a layer are always stacked'
	[ ! -e no ]
}

@test "shards of a size, and one file" {
	moe-convert -q --shard-size 2M "$MODEL_V3" many
	[ -f many/model.safetensors.index.json ]
	[ "$(ls many/*.safetensors | wc -l)" = 7 ]
	diff <(moe-convert --hash "$MODEL_V3") <(moe-convert --hash many)
	moe-convert -q --shard-size 0 many one
	[ -f one/model.safetensors ]
}

@test "--dry-run names files and sizes and writes nothing" {
	run_split moe-convert --dry-run --shard-size 2M "$MODEL_V3" out
	expect_status 0
	[ "$(grep -c "^out/" .out)" -ge 11 ]
	expect_message 'peak memory .* nothing was written'
	[ ! -e out ]
	moe-convert -q --shard-size 2M "$MODEL_V3" out
	while IFS=$(printf '\t') read -r file bytes; do
		[ "$file" = file ] || [ "$(stat -c %s "$file")" = "$bytes" ]
	done <.out
	run_split moe-convert --dry-run "$MODEL_V3" m.gguf
	moe-convert -q "$MODEL_V3" m.gguf
	expect_line "$(printf 'm.gguf\t%s' "$(stat -c %s m.gguf)")"
}

@test "an existing output stays, unless forced; a source is never its own destination" {
	moe-convert -q "$MODEL_V3" m.gguf
	fails 2 moe-convert -q "$MODEL_V3" m.gguf
	expect_message 'force'
	moe-convert -q --force "$MODEL_V3" m.gguf
	fails 2 moe-convert --force m.gguf ./m.gguf
	expect_message "the output './m.gguf' is the same file as 'm.gguf'"
}

@test "--force replaces a checkpoint, and no directory with anything else in it" {
	mkdir p
	cp -r "$MODEL_V3" p/src
	echo mine >p/precious
	fails 2 moe-convert --force p/src p
	expect_message "the output 'p' holds 'p/src'"
	fails 2 moe-convert --force p/src p/src
	expect_message "'p/src' is the same"
	fails 2 moe-convert p/src p/src/in
	expect_message "lies inside 'p/src'"
	fails 2 moe-convert --force "$MODEL_V2" p
	expect_message "'p' is not replaced, because it holds 'src'"
	[ "$(cat p/precious)" = mine ]
	diff -r "$MODEL_V3" p/src
	mkdir empty
	moe-convert -q --force p/src empty
	moe-convert -q --force "$MODEL_V2" empty
	expect_same empty/config.json "$MODEL_V2/config.json"
	[ "$(find . -name '.*tmp*' | wc -l)" = 0 ]
}

@test "no output takes the place of a file of the source" {
	cp -r "$MODEL_V3" src
	ln src/tokenizer.json other
	for f in src/config.json src/model.safetensors src/tokenizer.json other; do
		fails 2 moe-convert --force --to gguf src $f
		expect_message "the output '$f' is the same file as "
		fails 2 moe-convert --force --list -o $f src
	done
	fails 2 moe-convert --force --info -o src/config.json src/config.json
	diff -r "$MODEL_V3" src
}

@test "a GGUF file may go to stdout, a directory not" {
	fails 2 moe-convert "$MODEL_V3" -
	expect_message 'this output is a directory'
	[ ! -e ./- ]
	moe-convert -q --to gguf "$MODEL_V3" - >piped.gguf
	moe-convert -q "$MODEL_V3" m.gguf
	expect_same piped.gguf m.gguf
}

@test "a limit on file size is a sentence, and nothing is left" {
	for dst in out out.gguf; do
		run_split bash -c "ulimit -f 200; exec moe-convert '$MODEL_V3' $dst"
		expect_status 1
		expect_message "^moe-convert: .*$dst.*: File too large$"
		[ ! -e $dst ]
		[ "$(find . -name '.*tmp*' | wc -l)" = 0 ]
	done
	# shellcheck disable=SC2016
	run_split bash -c 'ulimit -f 1; moe-convert --list "$MODEL_V3" >list'
	expect_status 1
	expect_message 'stdout: .*File too large$'
}

@test "a signal while the replaced directory is removed leaves only the new one" {
	mkdir out
	cp "$MODEL_V3/config.json" out/
	(cd out && seq -f 'f%.0f' 40000 | xargs touch)
	env --default-signal moe-convert -q --force "$MODEL_V3" out &
	pid=$!
	for ((i = 0; i < 3000; i++)); do
		[ ! -e out/model.safetensors ] || break
		read -rt 0.01 <> <(:) || true
	done
	kill -TERM $pid 2>/dev/null || true
	wait $pid || true
	moe-convert -q --verify out "$MODEL_V3" >rows
	ls -A
	[ "$(find . -name '.out*' | wc -l)" = 0 ]
}

@test "what is there but is no file is named, not taken for absent" {
	for f in config.json tokenizer.json model.safetensors; do
		cp -r "$MODEL_V3" "d-$f"
		rm "d-$f/$f"
		mkdir "d-$f/$f"
		fails 1 moe-convert --list "d-$f"
		expect_message "^moe-convert: d-$f/$f: expected a file, found a directory$"
		rmdir "d-$f/$f"
		mkfifo "d-$f/$f"
		fails 1 moe-convert --list "d-$f"
		expect_message "^moe-convert: d-$f/$f: expected a file, found a FIFO$"
		rm "d-$f/$f"
		ln -s ../../blobs/none "d-$f/$f"
		fails 1 moe-convert --list "d-$f"
		expect_message "^moe-convert: d-$f/$f: expected a file, found a symbolic link to nothing$"
	done
	mkdir -p only/LICENSES
	cp "$MODEL_V3/config.json" only/
	moe-convert --list only >/dev/null
	ln -s ../none only/model-00001-of-00002.safetensors
	fails 1 moe-convert --list only
	expect_message 'only/model-00001-of-00002.safetensors: .*a symbolic link to nothing'
	mkfifo pipe
	fails 1 moe-convert --list pipe
	expect_message 'pipe: expected a checkpoint, found a FIFO'
}

@test "wrong use" {
	fails 2 moe-convert "$MODEL_V3"
	fails 2 moe-convert --info --list "$MODEL_V3"
	fails 2 moe-convert --type q9 "$MODEL_V3" out
	fails 2 moe-convert --type nobody=bf16 "$MODEL_V3" out
	fails 2 moe-convert --type bf16,bf16 "$MODEL_V3" out
	fails 2 moe-convert --type q8_0 "$MODEL_V3" out
	expect_message 'q8_0 cannot be stored in safetensors'
	fails 2 moe-convert --to zip "$MODEL_V3" out
	fails 2 moe-convert "$MODEL_V3" out.safetensors
	fails 2 moe-convert "$MODEL_V3" out.Safetensors
	expect_message 'out.Safetensors: safetensors output is a directory'
	[ "$(moe-convert -q --dry-run "$MODEL_V3" OUT.GGUF | tail -n +2 | cut -f 1)" = OUT.GGUF ]
	fails 2 moe-convert --info --type bf16 "$MODEL_V3"
	# nothing that was asked for is left undone in silence
	fails 2 moe-convert --tolerance 1 "$MODEL_V3" out
	fails 2 moe-convert --verify --tolerance 1 "$MODEL_V3"
	expect_message '--tolerance goes with --verify MODEL REF'
	fails 2 moe-convert --hash --shard-size 1G "$MODEL_V3"
	fails 2 moe-convert --shard-size 1M --to deepseek --drop-mtp "$MODEL_V3" out
	fails 2 moe-convert --shard-size 1M "$MODEL_V3" out.gguf
	expect_message '--shard-size: gguf is not written in shards'
	fails 2 moe-convert - out
	expect_message "'-': a model cannot be read from stdin"
	[ ! -e out ] && [ ! -e out.gguf ]
}

@test "tables and keys that are wrong are named with file and place" {
	printf 'pattern\ttype\nno.such\tbf16\n' >map.tsv
	fails 2 moe-convert -q --type-map map.tsv "$MODEL_V3" out
	expect_message "map.tsv: line 2: no tensor of out is called 'no.such'"
	printf 'pattern\ttype\n*\tq9\n' >map.tsv
	fails 2 moe-convert -q --type-map map.tsv "$MODEL_V3" out
	expect_message "map.tsv: line 2: 'q9' is not a type"
	printf 'layer\texpert\n0\t1\n' >keep.tsv
	fails 2 moe-convert -q --keep-experts keep.tsv "$MODEL_V3" out
	expect_message 'keep.tsv: line 2: layer 0 has no experts'
	# a GGUF file with nothing but an architecture, and with an alignment that is none
	head='GGUF\3\0\0\0\0\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\24\0\0\0\0\0\0\0general.architecture'
	value='\10\0\0\0\5\0\0\0\0\0\0\0llama\21\0\0\0\0\0\0\0general.alignment\4\0\0\0'
	# shellcheck disable=SC2059
	printf "$head$value"'\40\0\0\0' >bare.gguf
	fails 1 moe-convert --info bare.gguf
	expect_message 'bare.gguf: GGUF keys: block_count 0, .* make no model'
	# shellcheck disable=SC2059
	printf "$head$value"'\3\0\0\0' >three.gguf
	fails 1 moe-convert --info three.gguf
	expect_message 'three.gguf: expected general.alignment to be a multiple of 8 up to [0-9]*, found 3'
}

@test "a checkpoint that may not be read is not called none" {
	moe-convert -q "$MODEL_V3" v3.gguf
	chmod 0 v3.gguf
	if [ -r v3.gguf ]; then
		command -v setpriv >/dev/null || skip 'root may read everything, and there is no setpriv'
		local less=(setpriv --bounding-set=-all --inh-caps=-all)
		"${less[@]}" true || skip 'root may read everything here'
	fi
	run_split "${less[@]}" moe-convert --info v3.gguf
	expect_status 1
	expect_message 'v3.gguf: cannot open the checkpoint: Permission denied'
}

@test "unknown architectures and FP8 are named" {
	printf '{"model_type": "bert", "architectures": ["BertModel"]}' >config.json
	fails 1 moe-convert --info config.json
	expect_message "architecture 'BertModel' .* known families: dbrx, .*, deepseek_v3, .*, switch\$"
	run_split moe-convert --list-families
	[ "$(wc -l <.out)" -ge 3 ]
	grep -q "^deepseek_v3	DeepseekV3ForCausalLM	DeepSeek V3, V3.1, R1, Moonlight, Kimi K2	latent attention, " .out
	# models and traits of every one
	awk -F'\t' 'NF != 4 || $3 == "" || $4 == "" { print; bad = 1 } END { exit bad }' .out
}

@test "missing, extra and misshapen experts are named before anything is written" {
	copy_v3 bad
	sed -i 's/experts.31.up_proj/experts.32.up_proj/' bad/model.safetensors
	fails 1 moe-convert bad out.gguf
	expect_message "tensor 'model.layers.1.mlp.experts.31.up_proj.weight' is missing: .*32 experts in 6 layers \(571 tensors\)"
	[ ! -e out.gguf ]

	copy_v3 shaped
	sed -i 's/"moe_intermediate_size": 48/"moe_intermediate_size": 47/' shaped/config.json
	fails 1 moe-convert --verify shaped
	expect_message 'expected shape \[47, 128\], found \[48, 128\]'

	copy_v3 many
	sed -i 's/"n_routed_experts": 32/"n_routed_experts": 1000000000/' many/config.json
	fails 1 moe-convert --verify many
	expect_message '1000000000 experts in 6 layers .* the checkpoint holds 571 tensors'

	copy_v3 less
	sed -i 's/"num_nextn_predict_layers": 1/"num_nextn_predict_layers": 0/' less/config.json
	fails 1 moe-convert --verify less
	expect_message 'model.layers.5.*is none of the'
}

@test "NaN and infinity are counted" {
	copy_v3 bad
	offset=$(moe-convert --list bad | awk -F'\t' '$1 == "model.layers.3.mlp.experts.9.gate_proj.weight" { print $5 }')
	printf '\300\177\200\177\200\377' | dd of=bad/model.safetensors bs=1 seek="$offset" conv=notrunc status=none
	run_split moe-convert --verify bad
	expect_status 3
	expect_line "$(printf 'model.layers.3.mlp.experts.9.gate_proj.weight\t1\t2')"
	expect_message '1 values are NaN and 2 infinite'
	run_split moe-convert --verify bad "$MODEL_V3"
	expect_status 3
	expect_line "$(printf 'model.layers.3.mlp.experts.9.gate_proj.weight\tinf\tinf\tinf\t1\t1\t2')"
	run_split moe-convert --verify --by role bad
	expect_status 3
	expect_line "$(printf 'exps\t384\t1\t2')"
	[ "$(wc -l <.out)" = 10 ]
}

@test "--verify --by role: the numbers of all of a role's values" {
	moe-convert -q --type exps=q8_0,attn=f16 "$MODEL_V3" m.gguf
	moe-convert --verify m.gguf "$MODEL_V3" >tensors || [ $? = 3 ]
	run_split moe-convert --verify --by role m.gguf "$MODEL_V3"
	expect_status 3
	[ "$(head -n 1 .out)" = "$(printf 'role\ttensors\tmax\trms\trel\tcosine\tnan\tinf')" ]
	[ "$(head -n 1 tensors)" = "$(printf 'name\tmax\trms\trel\tcosine\tnan\tinf')" ]
	# experts outside the MTP layer are all of one size: the mean of squares is theirs
	awk -F'\t' 'NR == FNR { if ($1 == "exps") { n = $2; max = $3; rms = $4 } next }
		/layers\.[1-4]\..*\.experts\./ { k++; s += $3 ^ 2; if ($2 > m) m = $2 }
		END { d = sqrt(s / k) / rms - 1; exit !(k == n && m == max && d < 1e-6 && d > -1e-6) }' .out tensors
	awk -F'\t' '$1 == "norm" || $1 == "router" { n++; bad += $3 != 0 || $6 != 1 } END { exit bad || n != 2 }' .out
	fails 2 moe-convert --by role "$MODEL_V3" no
	expect_message '--by goes with --verify'
}

@test "--diff: config, names, shapes, types, values, in any container" {
	run_split moe-convert --diff "$MODEL_V3" "$MODEL_V3"
	expect_status 0
	expect_no_output
	expect_message 'do not differ'
	moe-convert -q "$MODEL_V3" m.gguf
	run_split moe-convert --diff m.gguf "$MODEL_V3"
	expect_status 3
	[ "$(cut -f 1 .out | sort | uniq -c | xargs)" = "33 type 1 what" ]
	expect_message '0 config keys, 0 tensors that one of them has, 0 shapes, 33 types, values of 0 tensors'
	moe-convert -q --experts stacked "$MODEL_V3" stacked
	run_split moe-convert --diff --only config,names,shapes,values stacked m.gguf
	expect_status 0
	# an expert's bytes, a key, a number that is written otherwise
	copy_v3 bad
	offset=$(moe-convert --list bad | awk -F'\t' '$1 == "model.layers.3.mlp.experts.9.gate_proj.weight" { print $5 }')
	printf '\200\077' | dd of=bad/model.safetensors bs=1 seek="$offset" conv=notrunc status=none
	jq '.rope_theta = (.rope_theta | tostring | tonumber) | .seen = {"a": [1]} | .topk_group = 3' \
		"$MODEL_V3/config.json" >bad/config.json
	run_split moe-convert --diff bad "$MODEL_V3" -j1
	expect_status 3
	[ "$(wc -l <.out)" = 4 ]
	expect_line "$(printf 'config\ttopk_group\t3\t2\t-\t-\t-')"
	expect_line "$(printf 'config\tseen\t{"a":[1]}\t-\t-\t-\t-')"
	grep -qP '^values\tmodel.layers.3.mlp.experts.9.gate_proj.weight\t-\t-\t[01]\.[0-9]+\t[0-9.e-]+\t[0-9.e-]+$' .out
	moe-convert --diff bad "$MODEL_V3" -j2 >two || [ $? = 3 ]
	diff .out two
	moe-convert --diff --json bad "$MODEL_V3" >json || [ $? = 3 ]
	[ "$(jq -s 'map(select(.what == "values"))[0].a' json)" = null ]
	moe-convert --diff --only names,shapes,types bad "$MODEL_V3"
	# other layers, other widths
	moe-convert -q --drop-mtp "$MODEL_V3" short
	run_split moe-convert --diff --only names,shapes short "$MODEL_V3"
	expect_status 3
	expect_line "$(printf 'name\tmodel.layers.5.eh_proj.weight\t-\tmodel.layers.5.eh_proj.weight\t-\t-\t-')"
	never grep -q ^shape .out
	moe-convert -q --segment 2 "$MODEL_V3" cut
	moe-convert --diff --only shapes cut "$MODEL_V3" >rows || [ $? = 3 ]
	grep -qxP 'shape\tmodel.layers.1.mlp.experts.0.down_proj.weight\t\[128, 24\]\t\[128, 48\]\t-\t-\t-' rows
	# families that have little in common
	moe-convert --diff --only config,names "$MODEL_V3" "$GOLDEN/models/mixtral" >rows || [ $? = 3 ]
	grep -qxP 'config\tmodel_type\t"deepseek_v3"\t"mixtral"\t-\t-\t-' rows
	fails 2 moe-convert --diff "$MODEL_V3"
	expect_message 'expected two models, found 1 operands'
	fails 2 moe-convert --diff --only values,colour bad "$MODEL_V3"
	expect_message "'colour' is nothing that is compared"
	fails 2 moe-convert --diff --only values,values bad "$MODEL_V3"
	expect_message 'values is given twice'
	fails 2 moe-convert --only values "$MODEL_V3" no
	expect_message '--only goes with --diff'
}

@test "a report to a full disk, and to -o" {
	run_split sh -c 'moe-convert --list "$MODEL_V3" >/dev/full'
	expect_status 1
	moe-convert --list -o list.tsv "$MODEL_V3"
	[ "$(wc -l <list.tsv)" = 572 ]
	moe-convert -q -o out.gguf "$MODEL_V3"
	moe-convert --verify out.gguf
}

@test "types of a directory are verified against itself" {
	run_split moe-convert --type bf16 "$GOLDEN/models/mixtral" m
	expect_status 0
	run_split moe-convert --verify "$GOLDEN/models/mixtral" "$GOLDEN/models/mixtral"
	expect_status 0
}

@test "FP8 with block scales: scales belong to their weights, values convert" {
	fp8=$GOLDEN/models/deepseek_v3_fp8
	moe-convert --list "$fp8" >list
	grep -qxP 'model.layers.1.mlp.experts.7.down_proj.weight_scale_inv\tf32\t\[2, 1\]\t.*\texps\t1\t7' list
	run_split moe-convert --verify "$fp8"
	expect_status 0
	expect_message 'all 53 tensors are there'
	moe-convert -q --type f32 "$fp8" wide
	moe-convert --verify wide "$fp8" >/dev/null
	run_split moe-convert --type bf16 "$fp8" narrow
	expect_message '40 tensors with block scales are stored as the values they stand for'
	[ "$(moe-convert --list narrow | awk -F'\t' 'NR > 1 { print $2 }' | sort | uniq -c | xargs)" = '52 bf16 1 f32' ]
	never grep -q quantization_config narrow/config.json
	moe-convert --verify --tolerance 0.004 narrow "$fp8" >/dev/null
	moe-convert -q "$fp8" m.gguf
	moe-convert -q m.gguf back
	diff <(values narrow) <(values back)
}

# Name, type and hash of what is stored, block scales apart where a second argument says so.
stored_bytes()
{
	moe-convert --list "$1" | awk -F'\t' -v skip="${2-none}" 'NR > 1 && $1 !~ skip { print $4, $5, $6, $1, $2 }' |
		while read -r file at n name type; do
			echo "$name $type $(tail -c +$((at + 1)) "$1/$file" | head -c "$n" | md5sum | cut -d' ' -f1)"
		done | sort
}

@test "FP8 is written: kept byte for byte, the same codes from wider types, a config that says so" {
	fp8=$GOLDEN/models/deepseek_v3_fp8
	moe-convert -q "$fp8" same
	diff <(stored_bytes "$fp8") <(stored_bytes same)
	cmp "$fp8/config.json" same/config.json
	moe-convert -q --type '*=f8_e4m3,embed=bf16' "$fp8" asked
	diff <(stored_bytes "$fp8") <(stored_bytes asked)
	moe-convert -q --type f32 "$fp8" wide
	moe-convert -q --type f8_e4m3 wide again
	moe-convert --verify again "$fp8" >/dev/null
	grep -q '"weight_block_size"' again/config.json
	# Through bf16 the scales move by its rounding; the codes do not.
	moe-convert -q --type bf16 "$fp8" narrow
	moe-convert -q --type f8_e4m3 narrow back
	diff <(stored_bytes "$fp8" _scale_inv) <(stored_bytes back _scale_inv)
	moe-convert --verify --tolerance 0.004 back "$fp8" >/dev/null
	# from one of many experts in a stack, with MTP layers
	moe-convert -q "$MODEL_V3" m.gguf
	run_split moe-convert -v --type f8_e4m3 m.gguf v3
	expect_status 0
	expect_message 'model.layers.0.self_attn.kv_b_proj.weight: put together of parts that are not whole scale blocks: stored as bf16'
	moe-convert -q --type f8_e4m3 "$MODEL_V3" direct
	diff <(stored_bytes direct kv_b) <(stored_bytes v3 kv_b)
	head -c 3000 "$TEXT/tech.txt" >text
	moe-run v3 --score text | awk -F'\t' '$1 == "total" { n = $6 } END { exit !(n > 1.87 && n < 1.885) }'
	fails 2 moe-convert --type f8_e4m3 "$MODEL_V3" n.gguf
	expect_message 'f8_e4m3 cannot be stored in gguf'
	fails 2 moe-convert --type f8_e4m3 "$GOLDEN/models/gpt_oss_mxfp4" mx
	expect_message 'block scales do not go with the quantization_config'
}

@test "FP8 without its scales, or with scales of another shape, is refused" {
	fp8=$GOLDEN/models/deepseek_v3_fp8
	mkdir lost shape plain
	cp "$fp8"/* lost && cp "$fp8"/* shape && cp "$fp8"/* plain && chmod -R u+w lost shape plain
	sed -i 's/layers.0.mlp.up_proj.weight_scale_inv/layers.0.mlp.up_proj.weight_scale_foo/' lost/model.safetensors
	fails 1 moe-convert --verify lost
	expect_message "up_proj.weight_scale_inv' is missing"
	sed -i 's/weight_scale_inv":{"dtype":"F32","shape":\[2,1\]/weight_scale_inv":{"dtype":"F32","shape":[1,2]/' \
	  shape/model.safetensors
	fails 1 moe-convert --verify shape
	expect_message 'expected shape \[2, 1\], a scale for each 128x128 block'
	sed -i 's/"quantization_config"/"quantisation_config"/' plain/config.json
	fails 1 moe-convert --verify plain
	expect_message 'f8_e4m3, but no quantization_config of'
}

@test "tensors outside the text model are left out, and counted" {
	run_split moe-convert "$GOLDEN/models/kimi_k25" text
	expect_status 0
	expect_message '23 tensors that are copies or not of the text model are left out'
	diff <(values "$GOLDEN/models/kimi_k25") <(values text)
	run_split moe-convert --list text
	[[ $output != *vision_tower* ]]
}
