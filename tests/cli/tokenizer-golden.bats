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
