# moe-convert on experts: cut, left out, in another order; proved by the logits of what comes out.

load lib

setup()
{
	setup_scratch
	seq 3 40 | xargs >ids
}

# The numbers of the file that --logits wrote, one a line.
numbers()
{
	local n
	n=$(od -An -t u8 -N 8 "$1" | tr -d ' ')
	tail -c +$((n + 9)) "$1" | od -An -v -t f4 -w4
}

# logits FILE MODEL ARGS...
logits()
{
	local file=$1 model=$2
	shift 2
	moe-run -q --force --ids "$model" --logits "$file" "$@" ids >/dev/null
}

# near A B X: the largest difference is at most X of the largest number.
near()
{
	paste <(numbers "$1") <(numbers "$2") | awk -v most="$3" 'NF != 2 { bad = 1 }
		{ d = $1 - $2; d = d < 0 ? -d : d; m = d > m ? d : m; a = $1 < 0 ? -$1 : $1; s = a > s ? a : s }
		END { print m, s; exit bad || NR == 0 || !(m <= most * s) }'
}

# rows FROM TO STEP LAYERS...: a table of experts.
rows()
{
	local from=$1 to=$2 step=$3 l
	shift 3
	printf 'layer\texpert\n'
	for l; do
		seq "$from" "$step" "$to" | sed "s/^/$l\t/"
	done
}

@test "--segment leaves the outputs: groups, sigmoid, softmax, normalised and not" {
	local model m g=$GOLDEN/models
	for model in "$MODEL_V3" "$MODEL_V2" "$g"/{mixtral,deepseek_v2,deepseek_v3,deepseek_v1,ernie4_5_moe}; do
		logits want "$model"
		m=2
		[ "$model" != "$MODEL_V3" ] || m=3
		moe-convert -q --force --segment $m "$model" cut
		moe-convert -q --verify cut
		logits have cut
		near want have 2e-6
	done
	moe-convert -q --segment 4 "$GOLDEN/models/mixtral" four
	jq -e '.num_local_experts == 32 and .num_experts_per_tok == 8 and .intermediate_size == 5' four/config.json
	moe-convert -q --segment 2 "$MODEL_V3" v3
	jq -e '.n_group == 8 and .topk_group == 4 and .n_shared_experts == 2 and .routed_scaling_factor == 5.0 and
		.moe_intermediate_size == 24 and .n_routed_experts == 64 and .num_experts_per_tok == 8' v3/config.json
	moe-convert -q --segment 2 "$MODEL_V3" v3.gguf
	moe-convert -q --verify v3.gguf v3 >/dev/null
	moe-convert -q -j1 --segment 2 "$MODEL_V3" again
	diff -r v3 again
}

@test "--segment refuses what it cannot keep, and says why" {
	fails 2 moe-convert -q --segment 3 "$GOLDEN/models/mixtral" no
	expect_message "the experts' width 20 is no multiple of it"
	fails 2 moe-convert -q --segment 2 "$GOLDEN/models/phimoe" no
	expect_message 'router of phimoe, sparsemixer, is not cut: what its weights become'
	fails 2 moe-convert -q --segment 2 "$GOLDEN/models/gpt_oss" no
	expect_message 'the experts of gpt_oss share tensors'
	fails 2 moe-convert -q --segment 2 "$GOLDEN/models/llama" no
	expect_message 'has no experts'
	fails 2 moe-convert -q --segment 2 "$GOLDEN/models/deepseek_v3_fp8" no
	expect_message 'is f8_e4m3, which is not cut: convert to --type bf16 first'
	fails 2 moe-convert -q --segment 2 --type f8_e4m3 "$MODEL_V2" no
	expect_message 'not cut and given block scales at once'
	moe-convert -q "$MODEL_V3" m.gguf
	fails 2 moe-convert -q --segment 2 m.gguf no
	expect_message 'in safetensors only: convert it first'
	fails 2 moe-convert -q --segment 1 "$MODEL_V3" no
	[ ! -e no ]
}

@test "experts left out: as if they were disabled" {
	moe-convert -q --drop-mtp "$MODEL_V3" v3
	rows 0 31 4 1 2 3 4 >drop
	moe-convert -q --drop-experts drop v3 dropped
	moe-convert -q --verify dropped
	logits want v3 --disable "$(awk 'NR > 1 { printf "%s%s:%s", s, $1, $2; s = "," }' drop)"
	logits have dropped
	near want have 0
	{ printf 'layer\texpert\n'; for l in 1 2 3 4; do seq 0 31 | awk -v l=$l '$1 % 4 { print l "\t" $1 }'; done; } >keep
	moe-convert -q --keep-experts keep v3 kept
	diff -r dropped kept
	moe-convert -q --drop-experts <(rows 1 2 1 0 1 2) "$GOLDEN/models/mixtral" few
	logits want "$GOLDEN/models/mixtral" --disable 0:1,0:2,1:1,1:2,2:1,2:2
	logits have few
	near want have 2e-6
	# block scales travel with their experts
	fp8=$GOLDEN/models/deepseek_v3_fp8
	moe-convert -q --drop-experts <(rows 0 7 4 1) "$fp8" fp8
	[ "$(moe-convert --list fp8 | grep -c 'experts.[0-9]*.up_proj.weight_scale_inv')" = 6 ]
	logits want "$fp8" --disable 1:0,1:4
	logits have fp8
	near want have 0
	run_split moe-convert --drop-experts <(rows 1 11 1 1 2) "$GOLDEN/models/deepseek_v2" v2
	expect_status 2
	expect_message 'the router has 4 groups of experts, and each must keep as many'
	run_split moe-convert --drop-experts <(rows 0 15 4 1 2) "$GOLDEN/models/deepseek_v2" v2
	expect_status 0
	expect_message 'softmax now runs over fewer experts'
}

@test "experts in another order: the same outputs" {
	rows 31 0 -1 1 3 5 >order
	moe-convert -q --order order "$MODEL_V3" v3
	logits want "$MODEL_V3"
	logits have v3
	near want have 2e-6
	moe-convert -q --order order v3 back
	diff <(moe-convert --hash "$MODEL_V3") <(moe-convert --hash back)
	! cmp -s v3/model.safetensors back/model.safetensors
	moe-convert -q --order <(rows 7 0 -1 0 2) "$GOLDEN/models/mixtral" mixtral
	logits want "$GOLDEN/models/mixtral"
	logits have mixtral
	near want have 2e-6
	moe-convert -q --order <(rows 15 0 -1 1 2) "$GOLDEN/models/deepseek_v2" v2
	logits want "$GOLDEN/models/deepseek_v2"
	logits have v2
	near want have 2e-6
}

@test "wrong tables and wrong use" {
	fails 2 moe-convert -q --order <(rows 0 30 1 1) "$MODEL_V3" no
	expect_message 'layer 1: 31 of its 32 experts are listed'
	fails 2 moe-convert -q --order <({ rows 1 31 1 1; printf '1\t0\n'; }) "$MODEL_V3" no
	expect_message 'ranks groups of 8 experts, and the new group 0 would mix two of them'
	fails 2 moe-convert -q --keep-experts <(rows 0 7 1 0) "$MODEL_V3" no
	expect_message ':2: layer 0 has no experts'
	fails 2 moe-convert -q --keep-experts <({ rows 0 7 1 1; printf '1\t3\n'; }) "$MODEL_V3" no
	expect_message ':10: layer 1: expert 3 is named twice'
	fails 2 moe-convert -q --drop-experts <(rows 0 31 4 1 2 3 4) "$MODEL_V3" no
	expect_message 'layer 1 keeps 24 experts and layer 5 keeps 32: .*--drop-mtp leaves that one out'
	fails 2 moe-convert -q --keep-experts <(rows 0 31 8 1 2 3 4 5) "$MODEL_V3" no
	expect_message 'with these experts: n_group: expected groups of at least 2 experts, found 4 of 1'
	run_split moe-convert -q --keep-experts <(rows 0 32 1 1) "$MODEL_V3" no
	[ "$status" != 0 ]
	printf 'layer\texpert\n' >none
	fails 2 moe-convert -q --keep-experts none "$MODEL_V3" no
	expect_message 'layer 1 keeps no expert'
	fails 2 moe-convert -q --segment 2 --order none "$MODEL_V3" no
	expect_message 'one of them at a time'
	fails 2 moe-convert --info --segment 2 "$MODEL_V3"
	fails 2 moe-convert -q --force --to gguf --keep-experts none "$MODEL_V3" none
	expect_message "the output 'none' is the same file as 'none'"
	[ ! -e no ]
}
