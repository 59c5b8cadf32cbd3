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
	! grep -q 'moe\.file\.' bare.gguf
	moe-run bare.gguf -p 'And the LORD' -n 12 >have
	moe-run "$MODEL_V3" -p 'And the LORD' -n 12 >want
	expect_same want have
	LC_ALL=C sed 's/deepseek-v3/deepseek-v9/' bare.gguf >odd.gguf
	fails 1 moe-run odd.gguf -p x -n 1
	expect_message "tokenizer.ggml.pre: 'deepseek-v9' is not known here, only deepseek-v3, deepseek-llm, qwen2"
}
