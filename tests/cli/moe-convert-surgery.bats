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
	for model in "$MODEL_V3" "$MODEL_V2" "$g"/{mixtral,deepseek_v2,deepseek_v3,deepseek_v1,ernie4_5_moe,gpt_oss} \
		"$g/granitemoe"; do
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

@test "experts of DBRX: weights divided by any norm or by none, and keys in ffn_config" {
	local norm dir
	for norm in 1 2 0.5 null; do
		dir=dbrx-$norm
		mkdir "$dir"
		ln -s "$GOLDEN"/models/dbrx/*.safetensors "$dir"
		jq ".ffn_config.moe_normalize_expert_weights = $norm" "$GOLDEN/models/dbrx/config.json" >"$dir/config.json"
		moe-convert -q --force --segment 2 "$dir" cut
		jq -e '.ffn_config | .moe_num_experts == 16 and .ffn_hidden_size == 7 and .moe_top_k == 6' cut/config.json
		logits want "$dir"
		logits have cut
		near want have 2e-6
	done
	moe-convert -q --drop-experts <(rows 1 2 1 0 1 2) dbrx-1 few
	jq -e '.ffn_config.moe_num_experts == 6' few/config.json
	logits want dbrx-1 --disable 0:1,0:2,1:1,1:2,2:1,2:2
	logits have few
	near want have 2e-6
	run_split moe-convert --drop-experts <(rows 1 2 1 0 1 2) dbrx-1 again
	never grep -q softmax .err
	run_split moe-convert --drop-experts <(rows 1 2 1 0 1 2) dbrx-null unnormalised
	expect_message "the router's softmax now runs over fewer experts"
}

@test "--segment refuses what it cannot keep, and says why" {
	fails 2 moe-convert -q --segment 3 "$GOLDEN/models/mixtral" no
	expect_message "the experts' width 20 is no multiple of it"
	fails 2 moe-convert -q --segment 2 "$GOLDEN/models/phimoe" no
	expect_message 'router of phimoe, sparsemixer, is not cut: what its weights become'
	fails 2 moe-convert -q --segment 2 "$GOLDEN/models/gpt_oss_mxfp4" no
	expect_message 'part of an MXFP4 matrix, which is not cut: --dequantize it first'
	fails 2 moe-convert -q --segment 2 "$GOLDEN/models/llama" no
	expect_message 'has no experts'
	fails 2 moe-convert -q --segment 2 "$GOLDEN/models/deepseek_v3_fp8" no
	expect_message 'is f8_e4m3, which is not cut: --dequantize it first'
	moe-convert -q --type q8_0 "$MODEL_V2" m.gguf
	fails 2 moe-convert -q --segment 2 m.gguf no
	expect_message 'is q8_0, which is not cut: --dequantize it first'
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
	never cmp -s v3/model.safetensors back/model.safetensors
	moe-convert -q --order <(rows 7 0 -1 0 2) "$GOLDEN/models/mixtral" mixtral
	logits want "$GOLDEN/models/mixtral"
	logits have mixtral
	near want have 2e-6
	moe-convert -q --order <(rows 15 0 -1 1 2) "$GOLDEN/models/deepseek_v2" v2
	logits want "$GOLDEN/models/deepseek_v2"
	logits have v2
	near want have 2e-6
}

@test "experts in stacks, in GGUF, with biases, in MXFP4: in another order and back" {
	local model from order n=0 g=$GOLDEN/models
	for model in gpt_oss gpt_oss_mxfp4 dbrx granitemoe llama4; do
		n=$(moe-convert --info --json "$g/$model" | jq .experts)
		order=$(moe-convert --list "$g/$model" | awk -F'\t' '$7 == "router" { print $8 }' | sort -un | xargs)
		# shellcheck disable=SC2086
		rows $((n - 1)) 0 -1 $order >order
		moe-convert -q --force "$g/$model" m.gguf
		for from in "$g/$model" m.gguf; do
			logits want "$from"
			moe-convert -q --force --order order "$from" turned
			logits have turned
			near want have 3e-6
			moe-convert -q --force --order order turned back
			diff <(moe-convert --hash "$from" | cut -f 1,3) <(moe-convert --hash back | cut -f 1,3)
			never diff <(moe-convert --hash turned | cut -f 1,3) <(moe-convert --hash back | cut -f 1,3) >/dev/null
		done
	done
	# straight from GGUF to GGUF
	moe-convert -q --force --order order m.gguf turned.gguf
	diff <(moe-convert --hash turned.gguf | cut -f 1,3) <(moe-convert --hash turned | cut -f 1,3)
}

# merged N_NEW SIZE LAYERS...: a table of new experts, each of SIZE neighbours with different weights.
merged()
{
	local n=$1 size=$2 l
	shift 2
	printf 'layer\tnew\told\tweight\n'
	for l; do
		seq 0 $((n * size - 1)) | awk -v l="$l" -v s="$size" '{ print l, int($1 / s), $1, 1 + $1 / 4 }' OFS='\t'
	done
}

@test "--merge-experts: averages by hand, one of one is itself, groups and biases" {
	local g=$GOLDEN/models
	moe-convert -q --merge-experts <(merged 8 1 0 1 2) "$g/mixtral" same
	diff <(moe-convert --hash "$g/mixtral") <(moe-convert --hash same)
	moe-convert -q --merge-experts <(merged 4 2 0 1 2) "$g/mixtral" four
	moe-convert -q --verify four
	[ "$(jq .num_local_experts four/config.json)" = 4 ]
	# layer 1, new expert 3 of 6 and 7, weights 2.5 and 2.75; and its row of the router
	cat >average.py <<'END'
import json, struct, sys, array
def tensor(path, name):
    data = open(path + "/model.safetensors", "rb").read()
    n, = struct.unpack("<Q", data[:8])
    t = json.loads(data[8:8 + n])[name]
    assert t["dtype"] == "F32"
    b, e = t["data_offsets"]
    return array.array("f", data[8 + n + b:8 + n + e]), t["shape"]
p = "model.layers.1.block_sparse_moe."
old, new = sys.argv[1:]
for m in "w1", "w2", "w3":
    a, b, c = (tensor(d, p + "experts.%d.%s.weight" % (e, m))[0] for d, e in ((old, 6), (old, 7), (new, 3)))
    assert all(abs((2.5 * x + 2.75 * y) / 5.25 - z) < 1e-7 for x, y, z in zip(a, b, c))
rows, (n, width) = tensor(old, p + "gate.weight")
got = tensor(new, p + "gate.weight")[0][3 * width:]
want = [(2.5 * rows[6 * width + i] + 2.75 * rows[7 * width + i]) / 5.25 for i in range(width)]
assert len(got) == width and all(abs(x - y) < 1e-7 for x, y in zip(want, got))
END
	python3 average.py "$g/mixtral" four
	moe-convert -q -j1 --merge-experts <(merged 4 2 0 1 2) "$g/mixtral" again
	diff -r four again
	moe-convert -q --merge-experts <(merged 4 2 0 1 2) "$g/mixtral" four.gguf
	moe-convert -q --verify four.gguf four >/dev/null
	# equal experts, however they are averaged, are that expert
	moe-convert -q --upcycle 8 "$g/llama" up
	moe-convert -q --merge-experts <(merged 4 2 0 1 2) up down
	logits want "$g/llama"
	logits have down
	near want have 3e-6
	# groups of 8, a bias that joins the choice, layers that stand behind
	moe-convert -q --merge-experts <(merged 16 2 1 2 3 4 5) "$MODEL_V3" v3
	moe-convert -q --verify v3
	[ "$(jq .n_routed_experts v3/config.json)" = 16 ]
	moe-convert -q --force --merge-experts <(merged 4 2 0 1 2 3) "$g/gpt_oss" oss
	moe-convert -q --verify oss
	run_split moe-convert --drop-mtp --merge-experts <(merged 16 1 1 2 3 4 | sed 's/\t1[0-5]\t/&/') "$MODEL_V3" no
	expect_status 2
	expect_message 'router ranks 4 groups of experts: each must get as many new ones'
	run_split moe-convert --merge-experts <(merged 4 1 0 1 2) "$g/mixtral" lost
	expect_status 0
	expect_message '12 experts go into no new one'
}

@test "--upcycle: a dense model as experts, the same outputs" {
	local model g=$GOLDEN/models
	for model in llama qwen2 qwen3; do
		logits want "$g/$model"
		moe-convert -q --force --upcycle 4 "$g/$model" up
		moe-convert -q --verify up
		logits have up
		near want have 3e-6
		moe-convert -q --force --upcycle 3 --upcycle-top-k 1 --type f32 "$g/$model" one.gguf
		logits have one.gguf
		near want have 3e-6
		[ "$model" != qwen3 ] || continue
		moe-convert -q --force --upcycle 4 --upcycle-shared --upcycle-noise 0.5 "$g/$model" shared
		moe-convert -q --verify shared
		logits have shared
		near want have 0
	done
	jq -e '.model_type == "qwen3_moe" and .num_experts == 4 and .num_experts_per_tok == 2 and .norm_topk_prob and
		.moe_intermediate_size == .intermediate_size' up/config.json
	# from GGUF, whatever -j is, and by the seed
	moe-convert -q --force "$g/llama" dense.gguf
	moe-convert -q --upcycle 5 --upcycle-noise 0.1 --seed 3 "$g/llama" a
	moe-convert -q -j1 --upcycle 5 --upcycle-noise 0.1 --seed 3 dense.gguf b
	diff <(moe-convert --hash a | cut -f 1,3) <(moe-convert --hash b | cut -f 1,3)
	moe-convert -q --upcycle 5 --upcycle-noise 0.1 --seed 3 dense.gguf c.gguf
	diff <(moe-convert --hash a | cut -f 1,3) <(moe-convert --hash c.gguf | cut -f 1,3)
	moe-convert -q --upcycle 5 --upcycle-noise 0.1 --seed 4 "$g/llama" d
	[ "$(diff <(moe-convert --hash a) <(moe-convert --hash d) | grep -c '^>')" = 48 ]
	# no key of the dense architecture stays
	moe-convert -q --force "$g/qwen2" dense.gguf
	moe-convert -q --upcycle 2 dense.gguf sparse.gguf
	grep -qa 'qwen2\.block_count' dense.gguf
	grep -qaE 'qwen2_?moe\.block_count' sparse.gguf
	never grep -qa 'qwen2\.block_count' sparse.gguf
	# noise and routers are of the deviation that was asked for
	moe-convert -q --upcycle 5 --seed 3 "$g/llama" plain
	moe-convert --verify a plain --tolerance 9 >rows
	awk -F'\t' '/experts/ { s += $3 ^ 2; n++ } /gate.weight/ && $2 != 0 { bad = 1 }
		END { s = sqrt(s / n); print s; exit bad || s < 0.098 || s > 0.102 }' rows
}

@test "--upcycle refuses what has no counterpart" {
	local g=$GOLDEN/models
	fails 2 moe-convert -q --upcycle 4 "$g/mixtral" no
	expect_message 'mixtral has experts already'
	fails 2 moe-convert -q --upcycle 4 "$g/llama_bias" no
	expect_message 'a config of family mixtral does not take the attention of this llama'
	fails 2 moe-convert -q --upcycle 4 --upcycle-shared "$g/qwen3" no
	expect_message 'what qwen3 becomes, qwen3_moe, has no shared expert'
	fails 2 moe-convert -q --upcycle 4 --upcycle-top-k 5 "$g/qwen3" no
	expect_message 'expected at most the 4 experts, found 5'
	fails 2 moe-convert -q --upcycle-shared "$g/qwen3" no
	expect_message '--upcycle-shared goes with --upcycle'
	fails 2 moe-convert -q --upcycle-noise 1 "$g/qwen3" no
	expect_message '--upcycle-noise goes with --upcycle'
	fails 2 moe-convert -q --upcycle 4 --upcycle-noise -1 "$g/qwen3" no
	jq '.initializer_range = 0' "$g/llama/config.json" >config
	mkdir zero
	cp "$g/llama"/* zero
	cp config zero/config.json
	fails 2 moe-convert -q --upcycle 4 zero no
	expect_message 'initializer_range of zero: expected a number above 0'
	[ ! -e no ]
}

@test "--dequantize: blocks, block scales and MXFP4 as plain numbers" {
	local model type g=$GOLDEN/models
	for model in deepseek_v3_fp8 gpt_oss_mxfp4; do
		logits want "$g/$model"
		moe-convert -q --force --dequantize --type f32 "$g/$model" whole
		moe-convert -q --verify whole
		[ "$(jq .quantization_config whole/config.json)" = null ]
		logits have whole
		near want have 0
		moe-convert -q --force --dequantize "$g/$model" half
		moe-convert -q --force --type bf16 whole again
		[ "$(jq .quantization_config half/config.json)" = null ]
		diff <(moe-convert --hash half | cut -f 1,3 | grep experts) <(moe-convert --hash again | cut -f 1,3 | grep experts)
	done
	# now it can be cut
	moe-convert -q --segment 2 half cut
	logits want half
	logits have cut
	near want have 3e-6
	moe-convert -q --type exps=mxfp4,attn=iq4_nl,head=q2_k,*=q4_k "$MODEL_V3" q.gguf
	moe-convert -q --dequantize q.gguf whole.gguf
	moe-convert -q --dequantize q.gguf v3
	for type in whole.gguf v3; do
		[ "$(moe-convert --list "$type" | sed 1d | cut -f 2 | sort -u | xargs)" = 'bf16 f32' ]
	done
	moe-convert -q --verify whole.gguf v3 >/dev/null
	fails 2 moe-convert -q --dequantize --type exps=q8_0 q.gguf no.gguf
	expect_message '--dequantize and --type q8_0: one or the other'
	fails 2 moe-convert --hash --dequantize q.gguf
	expect_message '--dequantize is for conversions, --hash reports'
}

@test "one after the other: cut, averaged, in order and back" {
	rows 63 0 -1 1 2 3 4 5 >order
	moe-convert -q --segment 2 "$MODEL_V3" cut
	moe-convert -q --order order cut turned
	logits want "$MODEL_V3"
	logits have turned
	near want have 2e-6
	moe-convert -q --order order turned back
	diff <(moe-convert --hash cut) <(moe-convert --hash back)
	moe-convert -q --drop-mtp turned last
	moe-convert -q --drop-mtp cut first
	moe-convert -q --order <(rows 63 0 -1 1 2 3 4) last back2
	diff <(moe-convert --hash first) <(moe-convert --hash back2)
	# from upcycled to fine-grained
	moe-convert -q --upcycle 4 "$GOLDEN/models/qwen2" up
	moe-convert -q --segment 2 up fine
	logits want "$GOLDEN/models/qwen2"
	logits have fine
	near want have 3e-6
	jq -e '.num_experts == 8 and .num_experts_per_tok == 4' fine/config.json
}

@test "more experts than fit in a byte, routers of more than a page" {
	moe-convert -q --upcycle 600 "$GOLDEN/models/llama" up
	moe-convert -q -j1 --upcycle 600 "$GOLDEN/models/llama" up.gguf
	diff <(moe-convert --hash up | cut -f 1,3) <(moe-convert --hash up.gguf | cut -f 1,3)
	moe-convert --hash up | awk -F'\t' '/gate.weight/ { print $3 }' | sort | uniq -d >same
	[ ! -s same ]
	moe-convert -q --order <(rows 599 0 -1 0 1 2) up turned
	moe-convert -q --order <(rows 599 0 -1 0 1 2) turned back
	diff <(moe-convert --hash up) <(moe-convert --hash back)
	moe-convert -q --keep-experts <(rows 300 599 1 0 1 2) up half
	[ "$(jq .num_local_experts half/config.json)" = 300 ]
	moe-convert -q --merge-experts <(merged 300 2 0 1 2) up.gguf merged
	logits want "$GOLDEN/models/llama"
	for m in half merged; do
		logits have $m
		near want have 3e-6
	done
}

@test "wrong tables of averages" {
	local m=$GOLDEN/models/mixtral
	table() { printf 'layer\tnew\told\tweight\n'; printf '%b\n' "$@"; }
	fails 2 moe-convert -q --merge-experts <(table '0\t0\t0\t0') "$m" no
	expect_message ': line 2: weight: expected a number above 0, found 0'
	fails 2 moe-convert -q --merge-experts <(table '0\t0\t0\t-1') "$m" no
	expect_message 'found -1'
	run_split moe-convert -q --merge-experts <(table '0\t0\t0\tnan') "$m" no
	[ "$status" != 0 ]
	expect_message "nan"
	run_split moe-convert -q --merge-experts <(table '3\t0\t0\t1') "$m" no
	[ "$status" != 0 ]
	expect_message "column 'layer': '3' is out of range 0..2"
	run_split moe-convert -q --merge-experts <(table '0\t0\t8\t1') "$m" no
	[ "$status" != 0 ]
	expect_message "column 'old': '8' is out of range 0..7"
	fails 2 moe-convert -q --merge-experts <(table '0\t0\t1\t1' '0\t0\t1\t2' '1\t0\t0\t1' '2\t0\t0\t1') "$m" no
	expect_message ': line 3: layer 0: expert 1 is named twice for new expert 0'
	fails 2 moe-convert -q --merge-experts <(table '0\t1\t1\t1') "$m" no
	expect_message 'layer 0: nothing is said of new expert 0 of 2'
	fails 2 moe-convert -q --merge-experts <(merged 4 2 0 1) "$m" no
	expect_message 'layer 2 is not named and keeps 8 experts, others get 4'
	fails 2 moe-convert -q --merge-experts <(table '0\t0\t0\t1e308' '0\t0\t1\t1e308' '1\t0\t0\t1' '2\t0\t0\t1') "$m" no
	expect_message 'layer 0: the weights of new expert 0 are too large to add'
	fails 2 moe-convert -q --merge-experts <(printf 'layer\tnew\told\tweight\n') "$m" no
	expect_message 'no expert is named'
	run_split moe-convert -q --merge-experts <(printf 'layer\tnew\told\tweight\n0\t0\t0') "$m" no
	[ "$status" != 0 ]
	run_split moe-convert -q --merge-experts <(printf 'layer\tnew\told\tweight\n\377\t0\t0\t1\n') "$m" no
	[ "$status" != 0 ]
	run_split moe-convert -q --merge-experts <(printf 'layer\tnew\told\n0\t0\t0\n') "$m" no
	[ "$status" != 0 ]
	expect_message "weight"
	fails 2 moe-convert -q --merge-experts <(merged 4 2 0 1 2) --order none "$m" no
	expect_message '--order and --merge-experts: one of them at a time'
	fails 2 moe-convert -q --merge-experts <(merged 4 2 0 1 2 3) "$GOLDEN/models/gpt_oss_mxfp4" no
	expect_message 'part of an MXFP4 matrix, whose numbers are not changed: --dequantize first'
	[ ! -e no ]
}

@test "wrong tables and wrong use" {
	fails 2 moe-convert -q --order <(rows 0 30 1 1) "$MODEL_V3" no
	expect_message 'layer 1: 31 of its 32 experts are listed'
	fails 2 moe-convert -q --order <({ rows 1 31 1 1; printf '1\t0\n'; }) "$MODEL_V3" no
	expect_message 'ranks groups of 8 experts, and the new group 0 would mix two of them'
	fails 2 moe-convert -q --keep-experts <(rows 0 7 1 0) "$MODEL_V3" no
	expect_message ': line 2: layer 0 has no experts'
	fails 2 moe-convert -q --keep-experts <({ rows 0 7 1 1; printf '1\t3\n'; }) "$MODEL_V3" no
	expect_message ': line 10: layer 1: expert 3 is named twice'
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
