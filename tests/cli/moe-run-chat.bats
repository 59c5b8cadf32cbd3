# moe-run --chat: prompts in the form of a family, and where their answers end.

load lib

# model DIR NAME=ID...: tiny-v3 whose token ID is an added one of that name; merges that made it are gone.
model()
{
	local dir=$1 pair
	mkdir "$dir"
	cp "$MODEL_V3/config.json" "$MODEL_V3/model.safetensors" "$MODEL_V3/tokenizer_config.json" "$dir"
	cp "$MODEL_V3/tokenizer.json" "$dir/tokenizer.json"
	shift
	for pair; do
		jq --arg name "${pair%=*}" --argjson id "${pair##*=}" '
			(.model.vocab | to_entries[] | select(.value == $id) | .key) as $old |
			.model.merges |= map(select((if type == "string" then split(" ") else . end) as $m |
				$m[0] != $old and $m[1] != $old and $m[0] + $m[1] != $old)) |
			.model.vocab |= with_entries(if .value == $id then .key = $name else . end) |
			.added_tokens |= map(select(.id != $id)) + [{id: $id, content: $name, special: true, normalized: false}]
		' "$dir/tokenizer.json" >t.json
		mv t.json "$dir/tokenizer.json"
	done
}

@test "a form by name: the golden texts, whose names are ids" {
	model m '<|im_start|>=2' '<|im_end|>=4000'
	jq -c 'select(.form == "chatml" and .system == "Be brief." and .user == "Hello")' "$GOLDEN/chat/cases.jsonl" >case
	jq -j .text case >want
	moe-run m --tokenize --chat=chatml --system 'Be brief.' -p Hello >ids
	moe-run --detokenize m ids >have
	expect_same want have
	[ "$(tr ' ' '\n' <ids | grep -cx 2)" = 3 ]
	[ "$(tr ' ' '\n' <ids | grep -cx 4000)" = 2 ]
	# A template that names the same form.
	cp "$GOLDEN/chat/chatml.jinja" m/chat_template.jinja
	moe-run m --tokenize --chat --system 'Be brief.' -p Hello >again
	expect_same ids again
	# The same in tokenizer_config.json, and in the GGUF file made of it, with the directory's files and without.
	jq --rawfile t m/chat_template.jinja '.chat_template = $t' "$MODEL_V3/tokenizer_config.json" >m/tokenizer_config.json
	rm m/chat_template.jinja
	moe-run m --tokenize --chat --system 'Be brief.' -p Hello >again
	expect_same ids again
	moe-convert -q m m.gguf
	moe-run m.gguf --tokenize --chat --system 'Be brief.' -p Hello >again
	expect_same ids again
	LC_ALL=C sed 's/moe\.file\./moe.gone./g' m.gguf >bare.gguf
	moe-run bare.gguf --tokenize --chat --system 'Be brief.' -p Hello >again
	expect_same ids again
}

@test "an answer ends with the form's token, and BOS is there once" {
	model a '</s>=2'
	moe-run a --tokenize --chat=mixtral -p 'Who is the LORD' >prompt
	moe-run a --chat=mixtral -p 'Who is the LORD' -n 12 --ignore-eos --json >free
	[ "$(jq .prompt_tokens free)" = "$(wc -w <prompt)" ]
	[ "$(tr ' ' '\n' <prompt | grep -cx 0)" = 1 ]
	# What comes fifth, and not before, is made the end of a turn.
	end=$(jq '.ids[4]' free)
	[ "$(jq --argjson e "$end" '[.ids[] == $e] | index(true)' free)" = 4 ]
	model b "</s>=$end"
	moe-run b --tokenize --chat=mixtral -p 'Who is the LORD' | expect_same - prompt
	moe-run b --chat=mixtral -p 'Who is the LORD' -n 12 --json >stopped
	[ "$(jq -c '[.tokens, .stop]' stopped)" = '[4,"eos"]' ]
	[ "$(jq -c .ids stopped)" = "$(jq -c '.ids[:4]' free)" ]
	moe-run b --chat=mixtral -p 'Who is the LORD' -n 12 --json --ignore-eos | jq -c .ids >whole
	jq -c .ids free | expect_same - whole
}

@test "what --chat cannot do is said" {
	fails 1 moe-run tiny-v3 --chat -p x
	expect_message 'no chat template is beside it: --chat=NAME chooses a form, one of chatml, deepseek_r1'
	fails 1 moe-run tiny-v3 --chat=chatml -p x
	expect_message "the chat form chatml needs the token '<\|im_end\|>', which is not there"
	model m '</s>=2'
	echo '{{ messages }}' >m/chat_template.jinja
	fails 1 moe-run m --chat -p x
	expect_message 'its chat template \(15 bytes, xxh3 [0-9a-f]{32}\) is none of those known'
	fails 2 moe-run m --chat=tea -p x
	expect_message "'tea' is not one of chatml"
	fails 2 moe-run m --chat=mixtral --system y -p x
	expect_message 'mixtral has no turn of a system'
	fails 2 moe-run m --system y -p x
	fails 2 moe-run m --chat --system '' -p x
	fails 2 moe-run m --chat --ids -p 1
	fails 2 moe-run m --chat --score -p x
	fails 2 moe-run m --chat -n 0 --window 4 -p x
	fails 2 moe-run m --chat --exact items.tsv
}

@test "every chat form is a word that the program lists" {
	moe-run --complete-words chat | sort >have
	(cd "$TOP/lib/text/chat" && printf '%s\n' *.c | sed 's/\.c$//' | sort) >want
	diff want have
	moe-run --help | grep -qF -- '--chat[=NAME] '
}
