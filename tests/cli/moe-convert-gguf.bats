# Every family in GGUF and back: the same values, and the same logits to the last bit from either.

load lib

# Names and hashes of values.
values()
{
	moe-convert --hash "$@" | cut -f 1,3
}

# Logits of a model for a few tokens (and, with an encoder, a few more); an empty line for each tensor's header.
logits()
{
	printf '%s%s\n' "${2-}" '3 5 7 11 13 17 19 23 29 31 37 41 43 47' |
		moe-run --ids -n 0 --force --logits logits.safetensors "$1" >/dev/null
	tail -c 5376 logits.safetensors | od -An -tx4 -v
}

each_model()
{
	for dir in "$GOLDEN"/models/*/; do
		[ ! -e "$dir/config.json" ] || echo "${dir%/}"
	done
}

@test "every family goes to GGUF and comes back with the same values" {
	each_model >models
	[ "$(wc -l <models)" -ge 37 ]
	while read -r dir; do
		name=${dir##*/}
		# values of FP8 with scales are those of f32
		types=; [ "$name" != deepseek_v3_fp8 ] || types='--type f32'
		# shellcheck disable=SC2086  # words
		moe-convert -q $types "$dir" m.gguf
		moe-convert -q $types m.gguf back
		values "$dir" >want
		values m.gguf | diff want - || { echo "$name"; false; }
		values back | diff want - || { echo "$name"; false; }
		[ -n "$types" ] || diff <(moe-convert --list "$dir" | cut -f 1-3 | sort | grep -vE 'mtp|vision|mm_proj|projector') \
			<(moe-convert --list back | cut -f 1-3 | sort) || { echo "$name"; false; }
		rm -rf m.gguf back
	done <models
}

@test "a model gives the same logits from GGUF, to the last bit" {
	each_model >models
	while read -r dir; do
		name=${dir##*/}
		types=; [ "$name" != deepseek_v3_fp8 ] || types='--type f32'
		encoder=; [ "$name" != switch ] || encoder=$'9 8 7 6\t'
		# shellcheck disable=SC2086  # words
		moe-convert -q --force $types "$dir" m.gguf
		[ -z "$types" ] || { moe-convert -q $types "$dir" wide; dir=wide; }
		logits "$dir" "$encoder" >want
		[ "$(sort -u want | wc -l)" -gt 100 ]
		logits m.gguf "$encoder" | diff want - >/dev/null || { echo "$name"; false; }
	done <models
}

# Files of others have no config.json inside: the keys must do.
@test "keys alone say what model a file holds" {
	for name in dbrx deepseek_v1 deepseek_v2_lite deepseek_v3 deepseek_v32 exaone_moe glm4_moe glm4_moe_qk_norm \
	            glm_moe_dsa gpt_oss gpt_oss_mxfp4 granitemoe hunyuan_v1_moe kimi_k2 llama_bias minimax_m2 mixtral \
	            olmoe qwen2 qwen3 qwen3_moe; do
		moe-convert -q --force "$GOLDEN/models/$name" m.gguf
		LC_ALL=C sed -i 's/moe\.file\.config\.json/moe.fold.config.json/' m.gguf
		run_split moe-convert --info m.gguf
		expect_status 0
		logits "$GOLDEN/models/$name" >want
		logits m.gguf | diff want - >/dev/null || { echo "$name"; false; }
	done
}

# Llama 3's scaling has no keys in GGUF, only divisors of frequencies.
@test "the frequencies of Llama 3 and 4 are told by their divisors" {
	jq '.rope_scaling.original_max_position_embeddings = 8192 | .rope_theta = 500000' \
		"$GOLDEN/models/llama/config.json" >config.json
	mkdir src && mv config.json src && ln -s "$GOLDEN/models/llama/model.safetensors" src
	moe-convert -q src m.gguf
	moe-convert --list m.gguf | grep -q $'^rope_freqs.weight\tf32\t\\[6\\]'
	LC_ALL=C sed -i 's/moe\.file\.config\.json/moe.fold.config.json/' m.gguf
	logits src >want
	logits m.gguf | diff want -
	moe-convert -q m.gguf back
	jq -e '.rope_scaling | .factor == 8 and .low_freq_factor == 1 and .high_freq_factor == 4' back/config.json
	moe-convert -q --force "$GOLDEN/models/llama" m.gguf
	LC_ALL=C sed -i 's/moe\.file\.config\.json/moe.fold.config.json/' m.gguf
	fails 1 moe-run --ids -n 0 m.gguf <<<'1 2 3'
	expect_message "tensor 'rope_freqs.weight': not a scaling of frequencies that is known"
}

@test "names, shapes and types are llama.cpp's" {
	shapes()
	{
		moe-convert -q --force "$GOLDEN/models/$1" m.gguf
		moe-convert --list m.gguf | cut -f 1-3 >list
	}
	shapes mixtral
	grep -qxF $'blk.1.ffn_gate_exps.weight\tf32\t[8, 20, 48]' list
	grep -qxF $'blk.1.ffn_gate_inp.weight\tf32\t[8, 48]' list
	shapes gpt_oss_mxfp4
	grep -qxF $'blk.0.ffn_up_exps.weight\tmxfp4\t[8, 32, 64]' list
	grep -qxF $'blk.0.ffn_gate_exps.bias\tf32\t[8, 32]' list
	grep -qxF $'blk.0.attn_sinks.weight\tf32\t[4]' list
	grep -q '^blk.0.post_attention_norm.weight' list
	shapes llama4
	grep -qxF $'blk.1.ffn_gate_exps.weight\tf32\t[6, 14, 40]' list
	grep -qxF $'blk.1.ffn_down_exps.weight\tf32\t[6, 40, 14]' list
	shapes dbrx
	grep -qxF $'blk.2.ffn_down_exps.weight\tf32\t[8, 40, 14]' list
	grep -q '^blk.2.attn_qkv.weight' list
	shapes qwen2_moe
	grep -qxF $'blk.0.ffn_gate_inp_shexp.weight\tf32\t[40]' list
	shapes ernie4_5_moe
	grep -qxF $'blk.1.exp_probs_b.bias\tf32\t[12]' list
	shapes glm4_moe
	grep -q '^blk.3.nextn.eh_proj.weight' list
	shapes glm_moe_dsa
	grep -q '^blk.0.indexer.attn_q_b.weight' list
	shapes phimoe
	grep -qxF $'rope_factors_long.weight\tf32\t[5]' list
}

@test "rows of queries and keys lie in pairs where llama.cpp rotates neighbours" {
	moe-convert -q "$GOLDEN/models/mixtral" m.gguf
	row()   # FILE NAME ROW
	{
		moe-convert --list "$1" | awk -F'\t' -v name="$2" '$1 == name { print $5 }' | {
			read -r at
			tail -c +$((at + 192 * $3 + 1)) "${4-$1}" | head -c 192 | md5sum
		}
	}
	hf=$GOLDEN/models/mixtral name=model.layers.1.self_attn
	for pair in '0 0' '1 4' '2 1' '7 7' '9 12'; do
		read -r there here <<<"$pair"
		[ "$(row m.gguf blk.1.attn_q.weight "$there")" = \
		  "$(row "$hf" $name.q_proj.weight "$here" "$hf/model.safetensors")" ]
		[ "$(row m.gguf blk.1.attn_k.weight "$there")" = \
		  "$(row "$hf" $name.k_proj.weight "$here" "$hf/model.safetensors")" ]
		[ "$(row m.gguf blk.1.attn_v.weight "$there")" = \
		  "$(row "$hf" $name.v_proj.weight "$there" "$hf/model.safetensors")" ]
	done
}

@test "what llama.cpp would not run right gets a name of its own, and a sentence" {
	for case in 'mixtral_window mixtral knows no window' 'switch switch has none for the family switch' \
	            'llama4 llama4 sees chunks of 8192 positions' 'qwen2_moe qwen2_moe knows no layers without experts' \
	            'olmoe_clip olmoe expects as many key-value heads' 'phimoe phimoe knows one magnitude' \
	            'ernie4_5_moe ernie4_5_moe knows no layers without experts' \
	            'deepseek_v2 deepseek_v2 takes mscale and mscale_all_dim' \
	            'deepseek_v1_norm deepseek_v1 knows no layers without'; do
		read -r dir name why <<<"$case"
		run_split moe-convert --force "$GOLDEN/models/$dir" m.gguf
		expect_status 0
		expect_message "architecture moe-$name: llama.cpp.*$why.*only these tools read the file"
		grep -qaF "moe-$name" m.gguf
	done
	run_split moe-convert --force "$GOLDEN/models/mixtral" m.gguf
	never grep -q 'only these tools' .err
	LC_ALL=C sed -i 's/moe\.file\.config\.json/moe.fold.config.json/' m.gguf
	moe-convert -q --force "$GOLDEN/models/switch" m.gguf
	LC_ALL=C sed -i 's/moe\.file\.config\.json/moe.fold.config.json/' m.gguf
	fails 1 moe-run --ids -n 0 m.gguf <<<'1 2 3'
	expect_message "general.architecture 'moe-switch' is of none of the families"
}

@test "MXFP4 blocks are packed anew, not rounded; other types leave the config without them" {
	src=$GOLDEN/models/gpt_oss_mxfp4
	moe-convert -q "$src" m.gguf
	moe-convert -q m.gguf back
	moe-convert --hash "$src" >want
	moe-convert --hash back | diff want -
	moe-convert --hash m.gguf | cut -f 1,3 | diff <(cut -f 1,3 want) -
	jq -e .quantization_config back/config.json >/dev/null
	for type in q8_0 bf16; do
		moe-convert -q --force --type exps=$type "$src" m.gguf
		rm -rf back
		moe-convert -q m.gguf back
		never jq -e .quantization_config back/config.json >/dev/null
		moe-convert --verify back m.gguf >/dev/null
		moe-convert --list back | grep -q $'experts.gate_up_proj\t'
	done
}

@test "quantised files of paired rows, stacks and turned matrices run and come back" {
	for name in llama_bias gpt_oss granitemoe deepseek_v1; do
		moe-convert -q --force --type bf16 "$GOLDEN/models/$name" m.gguf
		rm -rf narrow
		moe-convert -q --type bf16 "$GOLDEN/models/$name" narrow
		values narrow >want
		# routers, norms and biases stay f32 in GGUF
		values m.gguf | diff want - | grep '^[<>]' | cut -f 1 | grep -vE 'bias$' >different || true
		never grep -E 'proj|experts|linear' different
		moe-convert -q --force --type q8_0 narrow m.gguf
		moe-convert --verify --tolerance 0.05 m.gguf "$GOLDEN/models/$name" >/dev/null
	done
}

@test "a GGUF file of any layout is split over ranks and put together again" {
	for name in mixtral gpt_oss_mxfp4 switch; do
		moe-convert -q --force "$GOLDEN/models/$name" m.gguf
		experts=$(moe-convert --info --json m.gguf | sed 's/.*"experts":\([0-9]*\).*/\1/')
		printf 'layer\texpert\tcount\tweight\n' >load.tsv
		for layer in $(moe-convert --info --json m.gguf | jq -r '.layers_with_experts[]'); do
			for expert in $(seq 0 $((experts - 1))); do
				printf '%d\t%d\t%d\t%d\n' "$layer" "$expert" 4 $((expert + 1))
			done
		done >>load.tsv
		moe-split -q -n 2 load.tsv >plan.tsv
		rm -rf shards merged.gguf
		moe-split -q --plan plan.tsv -o shards m.gguf
		moe-split -q --merge -o merged.gguf shards
		expect_same m.gguf merged.gguf
	done
}

@test "what llama.cpp would not load is told, and the file keeps its architecture" {
	for name in moonlight deepseek_v2_lite; do
		run_split moe-convert --force "$GOLDEN/models/$name" m.gguf
		expect_status 0
		expect_message 'architecture deepseek2: llama.cpp loads models without q_lora_rank of 26 or 27 layers only'
	done
	run_split moe-convert --force "$GOLDEN/models/kimi_k2" m.gguf
	never grep -q 'q_lora_rank' .err
}

@test "what llama.cpp does otherwise is told, and the file keeps its architecture" {
	for case in 'gpt_oss gpt-oss begins and ends YaRN' 'kimi_k2 deepseek2 takes YaRN' \
	            'glm4_moe_lite deepseek2 gives the norms of latents'; do
		read -r dir arch what <<<"$case"
		run_split moe-convert --force "$GOLDEN/models/$dir" m.gguf
		expect_status 0
		expect_message "architecture $arch: llama.cpp $what.*: its answers are not quite those of the model"
	done
	mkdir src
	ln -s "$GOLDEN/models/phimoe/model.safetensors" src
	jq '.rope_scaling.long_mscale = 1.1' "$GOLDEN/models/phimoe/config.json" >src/config.json
	run_split moe-convert --force src m.gguf
	expect_message 'architecture phimoe: llama.cpp runs it with a norm'
}

@test "a tokenizer of pieces becomes a vocabulary with scores, and gives the same ids" {
	for name in sp_bpe fallback; do
		rm -rf src
		cp -rL "$MODEL_V2" src
		cp "$GOLDEN/tokenizers/small/$name.json" src/tokenizer.json
		echo '{"add_bos_token": false}' >src/tokenizer_config.json
		moe-convert -q --force src m.gguf
		LC_ALL=C sed -i 's/moe\.file\.tokenizer\.json/moe.fold.tokenizer.json/' m.gguf
		for key in scores add_space_prefix token_type; do
			grep -qaF tokenizer.ggml.$key m.gguf
		done
		jq -r '.text | select(test("[\\n\\u0000]") | not)' "$GOLDEN/tokenizers/small/$name.jsonl" | head -n 25 >texts
		[ "$(wc -l <texts)" -ge 20 ]
		while IFS= read -r text; do
			moe-run --tokenize src -p "$text"
		done <texts >want
		while IFS= read -r text; do
			moe-run --tokenize m.gguf -p "$text"
		done <texts | diff want -
	done
}

@test "without a tokenizer the vocabulary is none" {
	run_split moe-convert "$GOLDEN/models/mixtral" m.gguf
	expect_message 'there is no tokenizer.json: the GGUF file gets no vocabulary, and runs on token ids'
	grep -qaF no_vocab m.gguf
	grep -qaF llama.vocab_size m.gguf
}
