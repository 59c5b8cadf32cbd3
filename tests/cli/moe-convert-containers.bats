# moe-convert: forms that checkpoints come in beside a plain directory, and what proves and protects them.

load lib

values()
{
	moe-convert --hash "$1" | cut -f 1,3
}

# type_of MODEL NAME: storage type of a tensor.
type_of()
{
	moe-convert --list "$1" | awk -F'\t' -v name="$2" '$1 == name { print $2 }'
}

@test "--fp8-scales: powers of two, in four bytes or in one, hold the same values" {
	local name=model.layers.1.mlp.experts.3.up_proj.weight
	moe-convert -q --type f8_e4m3 --fp8-scales pow2 "$MODEL_V3" pow2
	moe-convert -q --type f8_e4m3 --fp8-scales e8m0 "$MODEL_V3" e8m0
	[ "$(type_of pow2 ${name}_scale_inv)" = f32 ]
	[ "$(type_of e8m0 ${name}_scale_inv)" = f8_e8m0 ]
	[ "$(jq -r .quantization_config.scale_fmt pow2/config.json e8m0/config.json | uniq -c | tr -s ' ')" = ' 2 ue8m0' ]
	diff <(values pow2) <(values e8m0)
	# there and back, without rounding anything again
	run_split moe-convert --fp8-scales e8m0 pow2 e8m0.again
	expect_status 0
	never grep -q 'powers of two' .err
	diff -r e8m0 e8m0.again
	run_split moe-convert --fp8-scales f32 e8m0 f32
	expect_status 0
	diff -r f32 pow2
	# new matrices beside such scales follow them, and what is stored stays
	moe-convert -q e8m0 as
	diff -r e8m0 as
	moe-convert -q --type bf16 pow2 wide
	jq --argjson q "$(jq .quantization_config pow2/config.json)" '.quantization_config = $q' wide/config.json >c
	cp c wide/config.json
	moe-convert -q --type f8_e4m3 wide narrow
	diff <(values pow2) <(values narrow)
	# programs that read the one read the other
	echo 5 6 7 8 9 >ids
	moe-run -q --ids --score pow2 ids | grep -v '^#' | cut -f 2- >want
	moe-run -q --ids --score e8m0 ids | grep -v '^#' | cut -f 2- >have
	expect_same want have
	[ -s have ]
}

@test "--fp8-scales: scales that are no powers of two are rounded anew, and said to be" {
	moe-convert -q --type f8_e4m3 "$MODEL_V3" any
	jq -e '.quantization_config | has("scale_fmt") | not' any/config.json
	run_split moe-convert -v --fp8-scales e8m0 any e8m0
	expect_status 0
	expect_message '[1-9][0-9]* tensors had block scales that are no powers of two: their values are rounded anew'
	expect_message 'model.layers.1.mlp.experts.3.up_proj.weight: rounded anew with powers of two as scales'
	run_split moe-convert --verify --tolerance 0.05 e8m0 any
	expect_status 0
	run_split moe-convert --verify --tolerance 0 e8m0 any
	expect_status 3
	fails 2 moe-convert -q --fp8-scales e8m0 "$MODEL_V3" no
	expect_message '--fp8-scales: no tensor of no would have block scales'
	fails 2 moe-convert -q --fp8-scales e8m0 any no.gguf
	fails 2 moe-convert -q --fp8-scales e4m3 any no
	fails 2 moe-convert --fp8-scales f32 --info any
	fails 2 moe-convert -q --type f8_e8m0 "$MODEL_V3" no
	expect_message "'f8_e8m0' is not a type that can be written"
}

# rank_tables DIR: every tensor of every file of ranks.
rank_tables()
{
	local f
	for f in "$1"/model*-mp*.safetensors; do
		perl "$TOP/tests/ref/list_tensors.pl" "$f" | sed "s/^/${f##*/}\t/"
	done
}

# as_published NAME SRC RANKS: what is written is what the published script wrote, and it is read as what it was made of.
as_published()
{
	moe-convert -q --to deepseek --model-parallel "$3" "$2" "$1"
	rank_tables "$1" >"$1.tsv"
	grep -F " $1.tsv" "$GOLDEN/ranks/digests" | sha256sum -c --quiet
	moe-convert -q "$1" "$1.hf"
	moe-convert -q "$2" "$1.want"
	diff -r "$1.want" "$1.hf"
}

@test "DeepSeek's inference layout: as its own script writes it, and back" {
	moe-convert -q --drop-mtp "$MODEL_V3" tiny
	as_published tiny-v3-mp1 tiny 1
	as_published tiny-v3-mp4 tiny 4
	as_published deepseek_v2-mp2 "$GOLDEN/models/deepseek_v2" 2
	as_published deepseek_v32-mp2 "$GOLDEN/models/deepseek_v32" 2
	perl "$TOP/tests/ref/make_ranks_model.pl" wide
	moe-convert -q --type f8_e4m3 wide fp8
	as_published fp8-mp2 fp8 2
	diff "$GOLDEN/ranks/fp8-mp2.tsv" fp8-mp2.tsv
}

@test "DeepSeek's inference layout: other numbers of ranks, GGUF, types, reports, an interrupted run" {
	moe-convert -q --drop-mtp "$MODEL_V3" tiny
	moe-convert -q --to deepseek --model-parallel 2 tiny mp2
	moe-convert -q --to deepseek --model-parallel 4 mp2 mp4
	moe-convert -q --to deepseek --model-parallel 4 tiny want
	diff -r want mp4
	moe-convert -q mp4 mp4.gguf
	diff <(values tiny) <(values mp4.gguf)
	moe-convert -q --to deepseek --model-parallel 4 mp4.gguf from-gguf
	diff -r want from-gguf
	diff <(moe-convert --hash tiny) <(moe-convert --hash mp4)
	run_split moe-convert --verify mp4 tiny
	expect_status 0
	[ "$(moe-convert --list mp2 | grep -c o_proj)" = "$(moe-convert --list tiny | grep -c o_proj)" ]
	# one rank's files are whole tensors: every program reads them
	moe-convert -q --to deepseek tiny mp1
	moe-run -q --tokenize mp1 <(echo the cat) | moe-run -q --ids --score mp1 - | grep -v '^#' | cut -f 2- >have
	moe-run -q --tokenize tiny <(echo the cat) | moe-run -q --ids --score tiny - | grep -v '^#' | cut -f 2- >want.score
	expect_same want.score have
	fails 1 moe-run -q --score mp2 /dev/null
	expect_message "lies in 2 parts: moe-convert puts them together"
	# blocks of the type come and go at whole rows of what the ranks hold, values in between are not rounded
	moe-convert -q --type q8_0 tiny q8.gguf
	moe-convert -q --type f32 --to deepseek --model-parallel 4 q8.gguf q8
	diff <(values q8.gguf) <(values q8)
	run_split bash -c 'ulimit -f 1800; exec moe-convert -q --resume --to deepseek --model-parallel 4 tiny cut'
	expect_status 1
	moe-convert -q --resume --to deepseek --model-parallel 4 tiny cut
	diff -r want cut
	# scales in four bytes or one are cut with their blocks
	perl "$TOP/tests/ref/make_ranks_model.pl" wide
	moe-convert -q --type f8_e4m3 --fp8-scales e8m0 wide fp8
	moe-convert -q --to deepseek --model-parallel 2 fp8 fp8-mp2
	diff <(moe-convert --hash fp8) <(moe-convert --hash fp8-mp2)
	moe-convert -q --to deepseek --model-parallel 2 --type f8_e4m3 --fp8-scales e8m0 wide cut-fp8
	diff -r fp8-mp2 cut-fp8
	moe-convert -q fp8-mp2 fp8.back
	diff -r fp8 fp8.back
}

@test "DeepSeek's inference layout: its own kind of config" {
	local args=$DATA/configs/deepseek-v3.1-args.json
	run_split moe-convert --info --json "$args"
	expect_status 0
	moe-convert --info --json "$DATA/configs/deepseek-v3.json" >want
	for key in parameters activated cache_elems_token layers_with_experts combinations flops_token; do
		diff <(jq -c ".$key" want) <(jq -c ".$key" .out)
	done
	# of a model that lies there without one
	moe-convert -q --to deepseek --model-parallel 2 "$GOLDEN/models/deepseek_v2" mp
	jq '{ vocab_size, dim: .hidden_size, inter_dim: .intermediate_size, moe_inter_dim: .moe_intermediate_size,
		n_layers: .num_hidden_layers, n_dense_layers: .first_k_dense_replace, n_heads: .num_attention_heads,
		n_routed_experts, n_shared_experts, n_activated_experts: .num_experts_per_tok, n_expert_groups: .n_group,
		n_limited_groups: .topk_group, route_scale: .routed_scaling_factor, q_lora_rank: (.q_lora_rank // 0),
		kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim }' mp/config.json >args.json
	rm mp/config.json
	fails 1 moe-convert --info mp
	moe-convert -q --config args.json mp hf
	diff <(values "$GOLDEN/models/deepseek_v2") <(values hf)
	[ "$(jq -r .model_type hf/config.json)" = deepseek_v2 ]
	cp args.json mp/config.json
	diff <(values hf) <(values mp)
	run_split moe-convert --config args.json --info mp
	expect_message 'mp has a config of its own: --config is not for it'
	jq '.score_func = "tanh"' args.json >bad.json
	fails 1 moe-convert --info bad.json
	expect_message 'score_func: expected "softmax" or "sigmoid", found "tanh"'
	jq 'del(.vocab_size)' args.json >bad.json
	fails 1 moe-convert --info bad.json
	expect_message 'bad.json: the key vocab_size is missing'
	echo '[' >bad.json
	rm mp/config.json
	fails 1 moe-convert -q --config bad.json mp no
	fails 1 moe-convert -q --config missing.json mp no
}

@test "DeepSeek's inference layout: what is refused" {
	fails 2 moe-convert -q --to deepseek "$MODEL_V3" no
	expect_message 'does not hold multi-token-prediction layers, and .* has 1: --drop-mtp leaves them out'
	fails 2 moe-convert -q --drop-mtp --to deepseek --model-parallel 5 "$MODEL_V3" no
	expect_message 'model-parallel 5: so many ranks cannot share 32 experts evenly'
	fails 2 moe-convert -q --drop-mtp --to deepseek --experts stacked "$MODEL_V3" no
	fails 2 moe-convert -q --model-parallel 2 "$MODEL_V3" no
	fails 2 moe-convert -q --to deepseek "$GOLDEN/models/mixtral" no
	expect_message "the deepseek layout has no name for tensor '.*k_proj.weight"
	fails 2 moe-convert -q --to deepseek --model-parallel 2 "$GOLDEN/models/deepseek_v3_fp8" no
	expect_message 'cannot be cut between blocks that share a scale'
	[ ! -e no ]
	moe-convert -q --to deepseek --model-parallel 2 "$GOLDEN/models/deepseek_v2" mp
	cp -r mp bad
	rm bad/model1-mp2.safetensors
	fails 1 moe-convert --list bad
	expect_message 'bad: expected the files of 2 ranks, found 1: there is no model1-mp2.safetensors'
	cp mp/model0-mp2.safetensors bad/model1-mp2.safetensors
	fails 1 moe-convert --list bad
	expect_message "tensor '.*experts.0.*' is in two files"
	cp mp/model1-mp2.safetensors bad
	cp mp/model1-mp2.safetensors bad/model2-mp3.safetensors
	fails 1 moe-convert --list bad
	expect_message 'files for 2 ranks and for 3 lie side by side'
	mv bad/model2-mp3.safetensors bad/other.safetensors
	fails 1 moe-convert --list bad
	expect_message 'other.safetensors lies beside the files of ranks and is none'
	rm bad/other.safetensors
	# a copy that is none: the last number of a norm
	norm=$(moe-convert --list mp/model1-mp2.safetensors | awk -F'\t' '$1 == "norm.weight" { print $5 + $6 - 1 }')
	printf 'x' | dd of=bad/model1-mp2.safetensors bs=1 seek="$norm" conv=notrunc status=none
	fails 1 moe-convert -q bad no
	expect_message "model1-mp2.safetensors: tensor 'model.norm.weight' holds other numbers than in model0-mp2.safetensors"
	[ ! -e no ]
	# what reports on values sees it too
	fails 3 moe-convert -q --verify bad
	expect_message "'model.norm.weight' holds other numbers"
	for args in '--verify mp bad' '--hash bad' '--diff mp bad'; do
		# shellcheck disable=SC2086
		run_split moe-convert -q $args
		expect_status 1
		expect_message "'model.norm.weight' holds other numbers"
		[ ! -s .out ]
	done
	moe-convert -q --diff --only config,names,shapes,types mp bad
}

@test "--manifest and --sha256: written beside an output, checked by other programs and by --verify" {
	moe-convert --hash --sha256 "$MODEL_V3" >hashes || skip 'this build has no SHA-256'
	name=model.norm.weight
	moe-convert --list "$MODEL_V3" | awk -F'\t' -v n=$name '$1 == n { print $5, $6 }' >place
	read -r at n <place
	want=$(tail -c +$((at + 1)) "$MODEL_V3/model.safetensors" | head -c "$n" | sha256sum | cut -d' ' -f1)
	[ "$(awk -F'\t' -v n=$name '$1 == n { print $4 }' hashes)" = "$want" ]
	moe-convert -q --sha256 --manifest m.tsv --shard-size 4M "$MODEL_V3" out
	[ "$(rows m.tsv | head -n 1)" = $'kind\tname\tfile\tdtype\tshape\tbytes\txxh3\tsha256' ]
	grep -q '^#command=.*--sha256 --manifest m.tsv --shard-size 4M .* out$' m.tsv
	[ "$(grep -c '^file' m.tsv)" = "$(find out -type f | wc -l)" ]
	[ "$(grep -c '^tensor' m.tsv)" = "$(moe-convert --list out | tail -n +2 | wc -l)" ]
	(cd out && awk -F'\t' '$1 == "file" { print $8 "  " $2 }' ../m.tsv | sha256sum -c --quiet)
	run_split moe-convert --verify --manifest m.tsv out
	expect_status 0
	expect_message 'out: all [0-9]* files and tensors are as m.tsv has them'
	# other threads, the same rows
	moe-convert -q -j 1 --sha256 --manifest one.tsv --shard-size 4M "$MODEL_V3" one
	diff <(rows m.tsv) <(rows one.tsv)
	# a byte of a tensor, a file that is gone, one that came
	echo new >out/NOTES
	moe-convert -q --verify --manifest m.tsv out
	rm out/PROVENANCE.md
	file=$(find out -name '*-00001-of-*.safetensors')
	size=$(stat -c %s "$file")
	printf '\377' | dd of="$file" bs=1 seek=$((size - 1)) conv=notrunc status=none
	run_split moe-convert -q --verify --manifest m.tsv out
	expect_status 3
	[ "$(tail -n +2 .out | cut -f 1 | sort | uniq -c | tr -s ' ' | tr '\n' ,)" = ' 2 file, 1 tensor,' ]
	expect_message 'out: 3 files and tensors are not as m.tsv has them'
	# another container holds other files
	moe-convert -q --manifest g.tsv "$MODEL_V3" g.gguf
	moe-convert -q --verify --manifest g.tsv g.gguf
	[ "$(rows g.tsv | awk -F'\t' '$1 == "file" { print $2, $8 }')" = 'g.gguf -' ]
	run_split moe-convert -q --verify --manifest m.tsv g.gguf
	expect_status 3
	moe-convert -q --json --manifest g.json --force "$MODEL_V3" g.gguf
	jq -es 'map(select(.kind == "file")) | length == 1 and .[0].bytes > 0' g.json
}

@test "--manifest and --sha256: wrong use" {
	fails 2 moe-convert -q --manifest m.tsv --info "$MODEL_V3"
	fails 2 moe-convert -q --sha256 --list "$MODEL_V3"
	fails 2 moe-convert -q --sha256 "$MODEL_V3" no
	fails 2 moe-convert -q --manifest no "$MODEL_V3" no
	fails 2 moe-convert -q --to gguf --manifest m.tsv "$MODEL_V3" -
	fails 1 moe-convert -q --verify --manifest missing.tsv "$MODEL_V3"
	echo mine >m.tsv
	fails 2 moe-convert -q --manifest m.tsv "$MODEL_V3" no
	expect_message "'m.tsv' exists"
	fails 1 moe-convert -q --verify --manifest m.tsv "$MODEL_V3"
	expect_message 'kind'
	fails 2 moe-convert -q --verify --manifest m.tsv "$MODEL_V3" "$MODEL_V3"
	# where it cannot be written is known before, not behind, the conversion
	fails 1 moe-convert -q --manifest none/m.tsv "$MODEL_V3" no
	expect_message "'none/m.tsv' cannot be written: there is no folder 'none/'"
	fails 1 moe-convert -q --manifest no.gguf/m.tsv "$MODEL_V3" no.gguf
	[ ! -e no.gguf ]
	fails 1 moe-convert -q --dry-run --manifest none/m.tsv "$MODEL_V3" no
	moe-convert -q --dry-run --manifest dry.tsv "$MODEL_V3" no
	[ ! -e dry.tsv ] && [ ! -e no ]
	# nor inside of what it is about, where it would have to name itself
	fails 1 moe-convert -q --manifest in/m.tsv "$MODEL_V3" in
	[ ! -e in ]
	moe-convert -q "$MODEL_V3" in
	ln -s in link
	fails 2 moe-convert -q --force --manifest link/m.tsv "$MODEL_V3" in
	expect_message "'link/m.tsv' lies inside 'in', which it is about"
	rm -r in
	# the same command again finds all complete, the manifest too; what is no manifest stays
	moe-convert -q --resume --manifest r.tsv "$MODEL_V3" r.gguf
	cp r.tsv first.tsv
	moe-convert -q --resume --manifest r.tsv "$MODEL_V3" r.gguf
	expect_same first.tsv r.tsv
	fails 2 moe-convert -q --resume --manifest m.tsv "$MODEL_V3" r.gguf
	[ "$(cat m.tsv)" = mine ]
}
