# The two large tokenizers, unpacked here, give the reference's ids and texts; a wrong id is noticed.

load lib

check()
{
	xz -dc "$GOLDEN/tokenizers/$1.json.xz" >"$T/$1.json"
	"$BUILD/tests/unit/test_text_golden" "$T/$1.json" "${2:-$GOLDEN/tokenizers/$1.jsonl}" \
		"$GOLDEN/tokenizers/$1.decode.jsonl"
}

@test "tokenizer: ids and texts of DeepSeek V3" {
	check deepseek_v3
}

@test "tokenizer: ids and texts of Qwen3" {
	check qwen3
}

@test "tokenizer: one wrong id fails the comparison" {
	sed '40s/"ids": \[/"ids": [7, /' "$GOLDEN/tokenizers/qwen3.jsonl" >"$T/wrong.jsonl"
	run_split check qwen3 "$T/wrong.jsonl"
	expect_status 1
	expect_line "# $T/wrong.jsonl:40: encode"
}

@test "a tiktoken.model gives the ids of the tiktoken package, with nothing but its config beside it" {
	dir=$TOP/tests/golden/tokenizers/tiktoken
	line=$(sed -n 7p "$dir/encode.jsonl")
	jq -j .text <<<"$line" >text
	jq -r '.ids | map(tostring) | join(" ")' <<<"$line" >want
	moe-run --tokenize "$dir" text >have
	diff want have
	moe-run --detokenize "$dir" have | cmp - text
	mkdir t
	cp "$dir/tiktoken.model" t
	fails 1 moe-run --tokenize t text
	expect_message 'tokenizer_config.json beside t/tiktoken.model: is not there'
}

@test "the keys of a GGUF file give the ids of the directory it was made of" {
	moe-convert -q "$MODEL_V3" m.gguf
	"$BUILD/tests/unit/test_text_gguf" "$MODEL_V3" m.gguf "$TEXT"/*.txt
	# The same file as another program would have written it, without the files of the directory.
	LC_ALL=C sed 's/moe\.file\./moe.gone./g' m.gguf >bare.gguf
	never grep -q 'moe\.file\.' bare.gguf
	moe-run bare.gguf -p 'And the LORD' -n 12 >have
	moe-run "$MODEL_V3" -p 'And the LORD' -n 12 >want
	expect_same want have
	LC_ALL=C sed 's/deepseek-v3/deepseek-v9/' bare.gguf >odd.gguf
	fails 1 moe-run odd.gguf -p x -n 1
	expect_message "tokenizer.ggml.pre: 'deepseek-v9' is not known here, only deepseek-v3, deepseek-llm, qwen2"
}

@test "a Unigram tokenizer.json, of either form, becomes keys of GGUF that give the goldens' ids" {
	command -v xz >/dev/null || skip "no xz"
	local golden=$GOLDEN/tokenizers/t5 form n=0
	cp -rL "$MODEL_V2" src
	chmod -R u+w src
	rm -f src/tokenizer_config.json
	xz -dc "$golden.json.xz" >new.json
	jq '.normalizer = .normalizer.normalizers[0] | .decoder = {type: "Metaspace", replacement: "▁"} |
		.pre_tokenizer = {type: "Sequence", pretokenizers: [{type: "WhitespaceSplit"},
			{type: "Metaspace", replacement: "▁", add_prefix_space: true}]}' new.json >old.json
	for form in new old; do
		cp $form.json src/tokenizer.json
		moe-convert -q --force src m.gguf
		"$BUILD/tests/unit/test_text_gguf" src m.gguf "$TEXT"/*.txt
		LC_ALL=C sed -i 's/moe\.file\.tokenizer\.json/moe.fold.tokenizer.json/' m.gguf
		"$BUILD/tests/unit/test_text_golden" m.gguf "$golden.jsonl" "$golden.decode.jsonl"
		for key in scores token_type precompiled_charsmap add_space_prefix remove_extra_whitespaces \
			unknown_token_id add_eos_token; do
			grep -qaF tokenizer.ggml.$key m.gguf
			n=$((n + 1))
		done
		[ "$(moe-run --tokenize m.gguf -p 'Hello  world')" = "$(moe-run --tokenize src -p 'Hello  world')" ]
	done
	[ $n = 14 ]
	# steps that the keys cannot say
	for form in unigram_whole unigram_bytes; do
		cp "$GOLDEN/tokenizers/small/$form.json" src/tokenizer.json
		run_split moe-convert --force src m.gguf
		expect_message 'of type Unigram, but its other steps are not those of T5: the GGUF file gets no vocabulary'
		grep -qaF no_vocab m.gguf
	done
	jq '.normalizer.normalizers[0].precompiled_charsmap = "A*"' new.json >src/tokenizer.json
	run_split moe-convert --force src m.gguf
	expect_status 1
	expect_message 'tokenizer.json: normalizer: its precompiled_charsmap is not base64'
	jq '.model.vocab[7] = ["x"]' new.json >src/tokenizer.json
	run_split moe-convert --force src m.gguf
	expect_status 1
	expect_message 'tokenizer.json: model.vocab\[7\]: expected a piece and its score'
}
