# moe-convert --fits: the memory of a rank, against numbers that were worked out by hand and files that were written.

load lib

part() { awk -F '\t' -v part="$1" '$1 == part { print $2 }' .out; }

# weights: the sum of all rows before the cache
weights() { awk -F '\t' '$1 == "cache" { printf "%.0f\n", sum } !/^#/ && NR > 2 { sum += $2 }' .out; }

@test "DeepSeek-V2-Lite in bf16" {
	local config=$DATA/configs/deepseek-v2-lite.json
	run_split moe-convert --fits 40G --ctx 32768 --type bf16 "$config"
	expect_status 0
	# 15,706,484,224 parameters of two bytes; 26 layers of 64 experts of 3 x 2048 x 1408
	[ "$(weights)" = 31412968448 ]
	[ "$(part exps)" = $((2 * 26 * 64 * 3 * 2048 * 1408)) ]
	[ "$(part embed)" = $((2 * 102400 * 2048)) ]
	# 27 layers of a latent of 512 and a rotated key of 64
	[ "$(part cache)" = $((2 * 27 * 576 * 32768)) ]
	[ "$(part total)" = $(($(weights) + $(part cache) + $(part buffers))) ]
	head -n 1 .out | grep -qF '#limit=42949672960 #ctx=32768 #ranks=1 #kv=bf16 #longest_ctx='
	expect_message 'which leaves .* of 40.0 GiB; [0-9]* would fit'
	# eight ranks: an eighth of the experts, all of the rest
	run_split moe-convert --fits 40G --ctx 32768 --ranks 8 --type bf16 "$config"
	[ "$(part exps)" = $((2 * 26 * 8 * 3 * 2048 * 1408)) ]
	[ "$(part shared)" = $((2 * 26 * 2 * 3 * 2048 * 1408)) ]
	# 64 experts among 5: one has 13; among 100: one each
	run_split moe-convert --fits 40G --ranks 5 --type bf16 "$config"
	[ "$(part exps)" = $((2 * 26 * 13 * 3 * 2048 * 1408)) ]
	run_split moe-convert --fits 40G --ranks 100 --type bf16 "$config"
	[ "$(part exps)" = $((2 * 26 * 3 * 2048 * 1408)) ]
	# a block of 256 numbers takes 144 bytes as q4_k; 1408 is no multiple of 256, so down goes to q5_0, 22 for 32
	run_split moe-convert --fits 40G --type exps=q4_k,*=f32 "$config"
	[ "$(part exps)" = $((26 * 64 * 2048 * 1408 * 2 / 256 * 144 + 26 * 64 * 2048 * 1408 / 32 * 22)) ]
}

@test "DeepSeek-V3 as published: what eight and sixteen ranks of 80G hold" {
	local config=$DATA/configs/deepseek-v3.json matrix=$((7168 * 2048)) scales=$((4 * 56 * 16))
	run_split moe-convert --fits 80G --ctx 32768 --ranks 16 "$config"
	expect_status 0
	[ "$(part exps)" = $((58 * 16 * 3 * (matrix + scales))) ]
	[ "$(part cache)" = $((2 * 61 * 576 * 32768)) ]
	local longest
	longest=$(sed -n 's/.*#longest_ctx=//p' .out)
	run_split moe-convert --fits 80G --ctx "$longest" --ranks 16 "$config"
	expect_status 0
	expect_message 'positions are more than the 163840 the model was made for'
	run_split moe-convert -q --fits 80G --ctx $((longest + 1)) --ranks 16 "$config"
	expect_status 3
	run_split moe-convert --fits 80G --ctx 32768 --ranks 8 "$config"
	expect_status 3
	expect_message 'a rank needs 101.4 GiB with 32768 positions, 21.4 GiB more than 80.0 GiB; none would fit'
	grep -q '#longest_ctx=0$' .out
	# all of it, and without multi-token prediction, whose layer has a router and experts too
	run_split moe-convert --fits 1T --ctx 1 "$config"
	[ "$(weights)" = 688574839360 ]
	[ "$(part mtp)" -gt 11610068224 ]
	run_split moe-convert --fits 1T --ctx 1 --drop-mtp "$config"
	[ "$(part mtp)" = 0 ]
}

@test "weights are those of the files that a conversion writes" {
	local model type dst
	for model in "$MODEL_V3" "$GOLDEN/models/deepseek_v2_lite" "$GOLDEN/models/gpt_oss_mxfp4" \
		"$GOLDEN/models/deepseek_v3_fp8" "$GOLDEN/models/dbrx"; do
		run_split moe-convert -q --fits 1G --ctx 16 "$model"
		[ "$(weights)" = "$(moe-convert --info --json "$model" | jq .stored_bytes)" ]
		for type in q4_k exps=q4_0,attn=q8_0,*=bf16 exps=iq4_nl bf16 f8_e4m3; do
			dst=out
			[[ $type != *q* ]] || dst=out.gguf
			rm -rf out out.gguf
			moe-convert -q --type "$type" "$model" $dst 2>why || continue
			run_split moe-convert -q --fits 1G --ctx 16 --type "$type" "$model"
			[ "$(weights)" = "$(moe-convert --info --json $dst | jq .stored_bytes)" ]
			echo "$model $type" >>done
		done
	done
	[ "$(wc -l <done)" -ge 21 ]
	# GGUF is a source too, and --to says what the types do not
	moe-convert -q --type q8_0 "$MODEL_V3" v3.gguf
	moe-convert -q --type bf16 v3.gguf back.gguf
	run_split moe-convert -q --fits 1G --type bf16 --to gguf "$MODEL_V3"
	[ "$(weights)" = "$(moe-convert --info --json back.gguf | jq .stored_bytes)" ]
	run_split moe-convert -q --fits 1G v3.gguf
	[ "$(weights)" = "$(moe-convert --info --json v3.gguf | jq .stored_bytes)" ]
}

@test "the cache by its type, with windows, chunks and an encoder" {
	jq '.sliding_window = 100' "$GOLDEN/models/mixtral/config.json" >config.json
	local n
	n=$(moe-convert --info --json config.json | jq .cache_elems_token)
	run_split moe-convert --fits 1G --type bf16 --ctx 64 config.json
	[ "$(part cache)" = $((2 * n * 64)) ]
	run_split moe-convert --fits 1G --type bf16 --ctx 1000 config.json
	[ "$(part cache)" = $((2 * n * 100)) ]
	run_split moe-convert --fits 1G --type bf16 --ctx 64 --kv f32 config.json
	[ "$(part cache)" = $((4 * n * 64)) ]
	run_split moe-convert --fits 1G --type bf16 --ctx 64 --kv q8_0 config.json
	[ "$(part cache)" = $((n * 64 / 32 * 34)) ]
	# cross-attention keeps as much again
	n=$(moe-convert --info --json "$GOLDEN/models/switch" | jq .cache_elems_token)
	run_split moe-convert --fits 1G --ctx 10 "$GOLDEN/models/switch"
	[ "$(part cache)" = $((2 * 2 * n * 10)) ]
	# the cache and the buffers of moe-run are what it says
	run_split moe-convert --fits 1G --ctx 600 --kv f32 --json "$MODEL_V2"
	jq -r '"buffers\t\(((.bytes.cache + .bytes.buffers) / 1048576 * 10 + 0.5 | floor) / 10) MiB"' .out >want
	seq -s ' ' 600 | moe-run --dry-run --score --ids "$MODEL_V2" | grep buffers >got
	expect_same want got
}

@test "--info and --fits in one report, and --json" {
	run_split moe-convert --info --fits 64M --json "$MODEL_V3"
	expect_status 0
	jq -e '.family == "deepseek_v3" and .fits.fits and .fits.limit == 67108864 and .fits.ranks == 1 and
		.fits.total == ([.fits.bytes[]] | add) and .fits.longest_ctx > .fits.ctx' .out
	run_split moe-convert --info --fits 1M "$MODEL_V3"
	expect_status 3
	expect_line 'family               deepseek_v3 (DeepseekV3ForCausalLM)'
	grep -q '^total	' .out
	run_split moe-convert --fits 1M --json "$MODEL_V3"
	expect_status 3
	jq -e '.fits == false and .longest_ctx == 0' .out
}

@test "wrong use of --fits, and models beyond counting" {
	local config=$DATA/configs/deepseek-v2-lite.json
	fails 2 moe-convert --fits 40G "$config"
	expect_message 'deepseek-v2-lite.json does not say what types its weights have: say --type'
	fails 2 moe-convert --ctx 5 --info "$MODEL_V3"
	expect_message '--ctx goes with --fits'
	fails 2 moe-convert --ranks 5 --info "$MODEL_V3"
	fails 2 moe-convert --kv f32 --info "$MODEL_V3"
	fails 2 moe-convert --fits 40G --ranks 0 "$MODEL_V3"
	fails 2 moe-convert --fits 40G --list "$MODEL_V3"
	expect_message '--fits and --list exclude each other'
	fails 2 moe-convert --fits 40G --segment 2 "$MODEL_V3"
	expect_message '--segment is for conversions, --fits reports'
	fails 2 moe-convert --fits 40G --type q4_k,f32 "$config"
	fails 2 moe-convert --fits 40G --type q4_k --to safetensors "$config"
	expect_message '--type: q4_k cannot be stored in safetensors'
	fails 2 moe-convert --fits 40G "$GOLDEN/models/switch"
	expect_message 'takes any number of positions: say how many with --ctx'
	fails 2 moe-convert --fits 40G --type bf16 "$GOLDEN/models/gpt_oss_mxfp4"
	expect_message 'experts of .* are MXFP4 matrices'
	jq '.n_routed_experts = 2147483640 | .moe_intermediate_size = 2147483647' "$config" >big.json
	fails 1 moe-convert --fits 40G --type bf16 big.json
	expect_message 'weights of more than 2\^62 bytes'
}
