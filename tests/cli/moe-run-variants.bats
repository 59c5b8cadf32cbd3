#!/usr/bin/env bats
# moe-run on checkpoints that say the same in another way: other writers' configs and tensors.
load lib

# logits MODEL [LINE]: the logits of a few ids
logits()
{
	echo "${2:-5 6 7 8 9 10 11 12}" | moe-run "$1" --ids -n 0 --force --logits "$T/logits.st" &&
	  sha256sum <"$T/logits.st"
}

# repeat FILE NAME OF [CHANGED]
repeat()
{
	perl "$TOP/tests/ref/repeat_tensor.pl" "$@"
}

copy()
{
	cp -r "$GOLDEN/models/$1" "$2" && chmod -R u+w "$2"
}

@test "a second copy of tied embeddings, as a head, changes nothing; another matrix is refused" {
	for model in llama_bias granitemoe; do
		copy $model m
		want=$(logits m)
		repeat m/model.safetensors lm_head.weight model.embed_tokens.weight
		[ "$want" = "$(logits m)" ]
		run_split moe-convert m c
		expect_status 0
		expect_message '1 tensors that are copies or not of the text model are left out'
		[ "$want" = "$(logits c)" ]
		rm -r m c && copy $model m
		repeat m/model.safetensors lm_head.weight model.embed_tokens.weight changed
		fails 1 moe-run m --ids -n 0 --logits l.st </dev/null
		expect_message "'lm_head.weight': expected a copy of 'model.embed_tokens.weight' .*found other numbers"
		rm -r m
	done
	copy mixtral m
	repeat m/model.safetensors head.weight model.embed_tokens.weight
	fails 1 moe-run m --ids -n 0 --logits l.st </dev/null
	expect_message "'head.weight' is none of the"
}

@test "the embeddings of Switch's stacks are those of both, or refused" {
	copy switch m
	want=$(logits m $'5 6 7\t0 8 9')
	for side in encoder decoder; do
		repeat m/model.safetensors $side.embed_tokens.weight shared.weight
	done
	[ "$want" = "$(logits m $'5 6 7\t0 8 9')" ]
	for tied in true false; do
		rm -r m && copy switch m
		jq ".tie_word_embeddings = $tied" m/config.json >c && mv c m/config.json
		[ $tied = true ] || repeat m/model.safetensors lm_head.weight shared.weight
		repeat m/model.safetensors decoder.embed_tokens.weight shared.weight changed
		fails 1 moe-run m --ids -n 0 --logits l.st </dev/null
		expect_message "'decoder.embed_tokens.weight': expected a copy of 'shared.weight' .*$tied"
		expect_message 'found other numbers'
	done
}

@test "experts in stacks, as transformers 5 may save them, are those of the published form" {
	for model in qwen3_moe deepseek_v3 ernie4_5_moe; do
		copy $model m
		want=$(logits m)
		perl "$TOP/tests/ref/stack_experts.pl" m/model.safetensors
		[ "$want" = "$(logits m)" ]
		diff <(moe-convert --hash "$GOLDEN/models/$model" | sort) <(moe-convert --hash m | sort)
		run_split moe-convert --verify "$GOLDEN/models/$model" m
		expect_status 0
		moe-convert -q m c
		[ "$want" = "$(logits c)" ]
		rm -r m c
	done
	# placed and put together again, the files are those there were
	copy qwen3_moe m
	perl "$TOP/tests/ref/stack_experts.pl" m/model.safetensors
	echo 5 6 7 8 | moe-route -q m --ids -o t.trace
	moe-split -q -n 2 t.trace -o p.tsv
	moe-split -q --plan p.tsv -o shards m
	moe-split -q --merge shards -o whole
	cmp m/model.safetensors whole/model.safetensors
	# gpt-oss publishes stacks under these names, by inputs first
	moe-convert --list "$GOLDEN/models/gpt_oss" >list
	grep -q 'experts.gate_up_proj	' list
	# half of a stack is none
	copy qwen3_moe half
	perl "$TOP/tests/ref/stack_experts.pl" half/model.safetensors
	LC_ALL=C sed -i 's/"model.layers.1.mlp.experts.down_proj"/"model.layers.1.mlp.experts.Down_proj"/' \
	  half/model.safetensors
	fails 1 moe-run half --ids -n 0 --logits l.st </dev/null
	expect_message "'model.layers.1.mlp.experts.0.gate_proj.weight' is missing"
}
