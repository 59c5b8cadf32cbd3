#!/usr/bin/env bats
# moe-run: text in; text, scores, logits, hidden states and traces out.

load lib

@test "a sample model is found by name and continues a prompt" {
	run_split moe-run tiny-v3 -p 'static int ' -n 8
	expect_status 0
	[ -n "$output" ]
	run_split moe-run "$MODEL_V3" -p 'static int ' -n 8
	expect_status 0
}

@test "greedy ids equal those of the reference, 13 prompts of 200 tokens" {
	perl -MJSON::PP -e 'local $/; my $all = decode_json(<STDIN>);
		open my $p, ">", "prompts"; open my $w, ">", "want";
		for (@$all) { print $p "@{$_->{prompt_ids}}\n"; print $w "@{$_->{ids}}\n" }' <"$MODEL_V3/greedy.json"
	[ "$(wc -l <prompts)" -ge 13 ]
	run_split moe-run tiny-v3 --ids prompts -n 200 --ignore-eos
	expect_status 0
	expect_stdout want
}

@test "tiny-v2: greedy ids equal those of the reference" {
	perl -MJSON::PP -e 'local $/; my $all = decode_json(<STDIN>);
		open my $p, ">", "prompts"; open my $w, ">", "want";
		for (@$all[0 .. 3]) { print $p "@{$_->{prompt_ids}}\n"; print $w "@{$_->{ids}}\n" }' <"$MODEL_V2/greedy.json"
	run_split moe-run tiny-v2 --ids prompts -n 200 --ignore-eos
	expect_status 0
	expect_stdout want
}

@test "tiny-v2: the score of one text equals the reference" {
	run_split moe-run tiny-v2 --score "$TEXT/zh.txt"
	expect_status 0
	awk -F'\t' '$1 == "zh" { printf "%d %d %.3f %.5f\n", $2, $3, $4, $6 }' .out >got
	awk -F'\t' '$1 == "zh" { printf "%d %d %.3f %.5f\n", $2, $3, $4, $6 }' "$MODEL_V2/scores.tsv" >want
	expect_same got want
}

@test "scores do not depend on threads, chunk or run; overlap scores every token once" {
	head -c 6000 "$TEXT/code.txt" >code.txt
	moe-run -j1 tiny-v3 --score code.txt | rows >a
	for how in "-j2" "--chunk 1" "--chunk 7" "-j2 --chunk 512" "-j1"; do
		# shellcheck disable=SC2086
		moe-run $how tiny-v3 --score code.txt | rows >b
		expect_same a b
	done
	moe-run tiny-v3 --score --window 100 --overlap 60 code.txt | rows >c
	[ "$(awk -F'\t' '$1 == "total" { print $2, $3 }' a)" = "$(awk -F'\t' '$1 == "total" { print $2, $3 }' c)" ]
	# context helps
	awk -F'\t' '$1 == "total" { print $6 }' <(moe-run tiny-v3 --score --window 100 code.txt) c | awk 'NR == 1 { a = $1 } NR == 2 { exit !($1 < a) }'
}

@test "logits, hidden states, MTP logits and traces are the same bytes however they are computed" {
	head -c 1500 "$TEXT/de.txt" >de.txt
	for how in "-j1 --chunk 512" "-j2 --chunk 512" "-j2 --chunk 7" "-j1 --chunk 1"; do
		# shellcheck disable=SC2086
		run_split moe-run $how --force tiny-v3 --logits l.st --mtp --hidden h.st --trace t.trace de.txt
		expect_status 0
		moe-route --print t.trace >t.txt
		cat l.st h.st t.txt | cksum >sum
		[ -e first ] || cp sum first
		expect_same first sum
	done
}

@test "avx2 and plain C give the same bits" {
	head -c 1500 "$TEXT/zh.txt" >zh.txt
	MOE_CPU=generic moe-run tiny-v3 --score zh.txt | rows >a
	moe-run tiny-v3 --score zh.txt | rows >b
	expect_same a b
	MOE_CPU=nonsense fails 2 moe-run tiny-v3 --score zh.txt
	expect_message 'MOE_CPU=nonsense: expected one of .*generic'
}

@test "every text comes back from its tokens byte for byte" {
	for text in "$TEXT"/*.txt; do
		moe-run tiny-v3 --tokenize "$text" >ids
		[ "$(wc -l <ids)" -eq 1 ]
		moe-run tiny-v3 --detokenize ids >back
		expect_same "$text" back
	done
}

@test "ids without a tokenizer are scored, and their bytes are not known" {
	echo 1 2 3 4 >ids
	run_split moe-run "$GOLDEN/models/mixtral" --ids --score ids
	expect_status 0
	awk -F'\t' '$1 == "ids" { exit !($2 == 3 && $3 == 0 && $4 < 0 && $6 == "nan") }' .out
	moe-run "$GOLDEN/models/mixtral" --ids --score --json ids | jq -e -s '.[1:] | length > 0 and all(.bytes == 0 and .bpb == null)'
}

@test "generation: --json, --echo, --ids, several prompts, -o" {
	run_split moe-run tiny-v3 -p 'And the LORD said' -n 4 --json
	expect_status 0
	jq -e '.prompt_tokens == 6 and .tokens == 4 and (.ids | length) == 4 and .stop == "length"' .out
	for key in $(jq -r 'keys[]' .out); do grep -qx "\.Li $key\( ,\)\?" "$TOP/man/moe-run.1"; done
	run_split moe-run tiny-v3 -p 'And the LORD said' -n 4 --echo
	[[ $output == 'And the LORD said'* ]]
	run_split moe-run tiny-v3 -p one -p two -n 3 --ids
	expect_status 1
	expect_message 'expected decimal token ids'
	run_split moe-run tiny-v3 --ids -p '0 1358' -n 3 -o out.ids
	expect_status 0
	expect_no_output
	[ "$(wc -w <out.ids)" -eq 3 ]
}

@test "sampling is a function of the seed alone" {
	moe-run tiny-v3 -p 'The ' -n 30 --temp 1 --seed 7 >a
	moe-run -j1 --chunk 2 tiny-v3 -p 'The ' -n 30 --temp 1 --seed 7 >b
	moe-run tiny-v3 -p 'The ' -n 30 --temp 1 --seed 8 >c
	expect_same a b
	never cmp -s a c
	moe-run tiny-v3 -p 'The ' -n 30 --temp 1 --top-k 1 >greedy
	moe-run tiny-v3 -p 'The ' -n 30 >want
	expect_same greedy want
	moe-run tiny-v3 -p 'The ' -n 30 --temp 2 --top-p 0.000001 >greedy
	expect_same greedy want
	moe-run tiny-v3 -p 'The ' -n 30 --temp 2 --min-p 1 >greedy
	expect_same greedy want
}

@test "the end of the context ends the text and says so" {
	run_split moe-run tiny-v3 --ids -p '0 5 6' -n 50 --ctx 10 --ignore-eos
	expect_status 0
	expect_message 'end of 10 positions'
	[ "$(wc -w <.out)" -eq 8 ]
	fails 2 moe-run tiny-v3 --ids -p '0 5 6' -n 5 --ctx 2
}

@test "an empty text and an empty prompt" {
	: >empty.txt
	run_split moe-run tiny-v3 --score empty.txt
	expect_status 0
	expect_line "$(printf 'total\t0\t0\t0.000000\tnan\tnan')"
	run_split moe-run tiny-v3 -p '' -n 2
	expect_status 0
	run_split moe-run tiny-v3 --score --json empty.txt
	expect_status 0
	jq -es 'length == 3 and .[2].ppl == null' .out
}

@test "text that is not UTF-8, and names with spaces" {
	printf 'abc\377\376def \300\200' >'a b.txt'
	run_split moe-run tiny-v3 --score 'a b.txt'
	expect_status 0
	[[ $output == *'a b'* ]]
}

@test "misuse is 2 and says what is wrong" {
	fails 2 moe-run
	fails 2 moe-run tiny-v3 -p x --top-p 0.5
	fails 2 moe-run tiny-v3 -p x --score -n 5
	fails 2 moe-run tiny-v3 -p x --mtp
	fails 2 moe-run tiny-v3 -p x --gates f16
	fails 2 moe-run tiny-v3 -p x --echo --score
	fails 2 moe-run tiny-v3 -p x --echo -n 0
	fails 2 moe-run tiny-v3 -p x --tokenize --json
	fails 2 moe-run tiny-v3 --ids -p 5 --detokenize --json
	fails 2 moe-run tiny-v3 -p x --temp 1 --top-p 0
	expect_message '0 is not above 0'
	fails 2 moe-run tiny-v3 -p x -n 2147483648
	expect_message 'out of range 0..2147483647'
	fails 2 moe-run tiny-v3 -p x --score --window 0
	expect_message ' 0 is less than 1'
	fails 2 moe-run tiny-v3 -p x --seed 9223372036854775808
	expect_message 'out of range 0..9223372036854775807'
	fails 2 moe-run tiny-v3 --tokenize --detokenize -p x
	fails 2 moe-run tiny-v3 --nonsense
	fails 2 moe-run tiny-v3 -n many
	fails 2 moe-run tiny-v3 -p x --device cuda
	expect_message "cuda"
	touch there.st
	fails 2 moe-run tiny-v3 -p x --logits there.st
	expect_message '--force'
	[ ! -s there.st ]
}

@test "outputs are refused before the model is read: existing ones, inputs, one name twice" {
	echo words >text
	touch there
	for option in --logits --hidden --trace -o; do
		fails 2 moe-run no-such-model -n 0 $option there text
		expect_message "'there' exists"
		fails 2 moe-run no-such-model -n 0 --force $option ./text text
		expect_message "the output './text' is the same file as 'text'"
	done
	fails 2 moe-run no-such-model text -n 0 --logits z --trace ./z
	expect_message "two outputs are the same file: 'z' and './z'"
	fails 2 moe-run no-such-model text -n 0 --logits z --hidden z
	fails 2 moe-run no-such-model text -o z --hidden z
	cp -r "$MODEL_V3" src
	for f in config.json model.safetensors tokenizer.json; do
		for option in --logits --hidden --trace -o; do
			fails 2 moe-run --force src text -n 0 $option src/$f
			expect_message "the output 'src/$f' is the same file as 'src/$f'"
		done
	done
	diff -r "$MODEL_V3" src
	[ "$(cat text)" = words ]
	[ ! -e z ]
	[ "$(find . -name '.*tmp*' | wc -l)" = 0 ]
}

@test "every signal that ends a program removes its temporaries first" {
	mkfifo words
	for sig in HUP INT QUIT TERM XCPU; do
		(ulimit -c 0; exec env --default-signal moe-run tiny-v3 --tokenize -o out words) 2>err &
		pid=$!
		exec 9>words
		for ((i = 0; i < 1000; i++)); do
			[ "$(find . -name '.out.tmp*' | wc -l)" = 0 ] || break
			read -rt 0.01 <> <(:) || true
		done
		[ "$(find . -name '.out.tmp*' | wc -l)" = 1 ]
		kill -s "$sig" $pid
		status=0
		wait $pid || status=$?
		exec 9>&-
		[ "$status" = $((128 + $(kill -l "$sig"))) ]
		[ "$(find . -name '.out.tmp*' | wc -l)" = 0 ]
		[ ! -e out ]
	done
}

@test "bad input is 1 and names file, place, expected, found" {
	fails 1 moe-run no-such-model -p x
	fails 1 moe-run tiny-v3 no-such-file.txt
	fails 1 moe-run tiny-v3 --ids -p '0 4096'
	expect_message 'prompt: line 1: token id 4096 is outside the vocabulary of 4096'
	printf '0 1\n\n5 4096\n' >ids.txt
	fails 1 moe-run tiny-v3 --ids ids.txt -n 1 --trace t
	expect_message 'ids.txt: line 3: token id 4096 '
	[ ! -e t ]
	fails 1 moe-run tiny-v3 --ids -n 1 - <ids.txt
	expect_message 'stdin: line 3: '
	fails 1 moe-route tiny-v3 --ids ids.txt
	expect_message 'ids.txt: line 3: token id 4096 '
	mkfifo pipe
	fails 1 moe-run ./pipe -p x
	expect_message './pipe: expected a checkpoint, found a FIFO'
	fails 1 moe-run tiny-v3 --ids -p '0 -1'
	fails 1 moe-run tiny-v3 --detokenize -p '5 99999'
	mkdir broken
	cp "$MODEL_V3"/*.json broken
	head -c 1000000 "$MODEL_V3/model.safetensors" >broken/model.safetensors
	fails 1 moe-run broken -p x
	expect_message 'broken/model.safetensors'
	mkdir notok
	cp "$MODEL_V3"/config.json "$MODEL_V3"/model.safetensors notok
	fails 1 moe-run notok -p x
	expect_message 'tokenizer.json'
	run_split moe-run notok --ids -p '0 1 2' -n 1
	expect_status 0
}

@test "a tokenizer without merges, and one with ids beyond the vocabulary, are refused" {
	mkdir m
	cp "$MODEL_V3"/* m
	jq 'del(.model.merges)' "$MODEL_V3/tokenizer.json" >m/tokenizer.json
	fails 1 moe-run m -p x
	expect_message 'merges'
	jq '.added_tokens += [{"id": 5000, "content": "<x>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}]' \
		"$MODEL_V3/tokenizer.json" >m/tokenizer.json
	fails 1 moe-run m -p x
	expect_message '5000'
}

@test "a config that promises what the weights do not hold" {
	mkdir m
	cp "$MODEL_V3"/* m
	jq '.n_routed_experts = 1000000000' "$MODEL_V3/config.json" >m/config.json
	fails 1 moe-run m -p x
	jq '.architectures = ["NobodyForCausalLM"] | .model_type = "nobody"' "$MODEL_V3/config.json" >m/config.json
	fails 1 moe-run m -p x
	expect_message 'NobodyForCausalLM|nobody'
	jq '.n_routed_experts = 64' "$MODEL_V3/config.json" >m/config.json
	fails 1 moe-run m -p x
	expect_message 'expert'
}

@test "outputs that are not numbers name model, source and sequence" {
	mkdir m
	cp "$MODEL_V3"/* m
	chmod u+w m/*
	read -r offset bytes < <(moe-convert --list m | awk '$1 == "model.layers.1.mlp.gate.weight"' | cut -f 5,6)
	[ "$bytes" -gt 0 ]
	# NaN in bf16.
	perl -e 'print "\xc0\x7f" x ($ARGV[0] / 2)' "$bytes" |
		dd of=m/model.safetensors bs=1 seek="$offset" conv=notrunc 2>dd.err
	printf '0 1 2\n0 3\n' >some.txt
	fails 1 moe-run m --ids some.txt -n 2
	expect_message 'm: some, sequence 0: layer 1, position 0: the router'
	fails 1 moe-run m -p 'a b' --score --window 1
	expect_message 'm: prompt, sequence 0: layer 1, position 0: the router'
	fails 1 moe-route m --ids some.txt
	expect_message 'm: some, sequence 0: layer 1, position 0: the router'
}

@test "a correction bias that is no number is refused: it would bar its expert silently" {
	mkdir m
	cp "$MODEL_V3"/* m
	chmod u+w m/*
	moe-route -q --logits -o t.trace tiny-v3 --ids -p '0 1 2'
	read -r offset bytes < <(moe-convert --list m | awk '$1 == "model.layers.2.mlp.gate.e_score_correction_bias"' | cut -f 5,6)
	[ "$bytes" -eq 128 ]
	# NaN in f32, of expert 3; then infinity
	for value in '\xc0\x7f' '\x80\x7f'; do
		printf '%b' "\\x00\\x00$value" | dd of=m/model.safetensors bs=1 seek=$((offset + 12)) conv=notrunc 2>dd.err
		fails 1 moe-run m --ids -p '0 1 2' -n 2
		expect_message 'm: layer 2, expert 3: expected a finite correction bias, found (nan|inf)'
		fails 1 moe-route --policy noaux_tc --bias m --print t.trace
		expect_message 'm: layer 2, expert 3: expected a finite correction bias'
	done
}

@test "empty files of a model are called empty" {
	mkdir m
	cp "$MODEL_V3"/* m
	: >none
	cp -f none m/tokenizer.json
	fails 1 moe-run m -p x
	expect_message 'm/tokenizer.json: is empty'
	cp -f none m/config.json
	fails 1 moe-run m -p x
	expect_message 'm/config.json: is empty'
	fails 1 moe-convert --list none
	expect_message 'none: .*the file is empty'
}

@test "a full disk is said, and nothing half-written stays" {
	[ -w /dev/full ] || skip "no /dev/full"
	run_split bash -c 'moe-run tiny-v3 -p x -n 3 >/dev/full'
	expect_status 1
	expect_message 'No space left'
	fails 2 moe-run tiny-v3 -p x --logits /dev/full
	expect_message 'regular file'
	run_split moe-run tiny-v3 --score -p x -o /dev/full
	expect_status 1
	expect_message 'No space left'
	run_split moe-run tiny-v3 -p x -n 2 -o nowhere/file
	expect_status 1
	expect_message 'nowhere'
	[ -z "$(ls -A | grep -v '^\.out$\|^\.err$')" ]
}

@test "SIGINT while writing leaves nothing behind" {
	cat "$TEXT"/*.txt >all.txt
	# a shell starts background jobs with SIGINT ignored
	perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' moe-run tiny-v3 --logits l.st --trace t.trace all.txt 2>err &
	pid=$!
	for _ in $(seq 100); do
		[ -z "$(find . -name '.l.st.tmp*' -size +0)" ] || break
		sleep 0.05
	done
	kill -INT $pid
	wait $pid && rc=0 || rc=$?
	[ $rc -eq 130 ]
	[ ! -e l.st ] && [ ! -e t.trace ]
	[ -z "$(find . -name '*tmp*')" ]
}

@test "a closed pipe ends the run quietly" {
	run_split bash -c 'moe-run tiny-v3 -p x -n 200 --ignore-eos | head -c 1; exit ${PIPESTATUS[0]}'
	[ "$status" -eq 141 ] || [ "$status" -eq 0 ]
	[ ! -s .err ]
}

@test "--dry-run writes nothing" {
	run_split moe-run tiny-v3 --score --dry-run "$TEXT/zh.txt" --logits l.st --hidden h.st --trace t.trace -o scores
	expect_status 0
	[ "$(ls)" = '' ]
	expect_line "writes	scores	unknown"
	expect_line "writes	t.trace	unknown"
	grep -q '^writes	h\.st	[0-9.]* [KMG]iB$' .out
	grep -q '^tokens' .out
	run_split moe-run tiny-v3 --dry-run -p 'static int' -n 5 -o text
	expect_status 0
	[ "$(ls)" = '' ]
	expect_line "writes	text	unknown"
	fails 2 moe-run tiny-v3 --dry-run --tokenize -p x -o ids
}

@test "--dry-run knows how large logits and hidden states get" {
	printf '1 2 3 4\n5 6 7\n\n9\n' >ids
	run_split moe-run tiny-v3 --ids ids -n 0 --logits l.st --mtp --hidden h.st --dry-run
	expect_status 0
	moe-run -q tiny-v3 --ids ids -n 0 --logits l.st --mtp --hidden h.st
	# Without the header, which is 8 bytes and what they count.
	for f in l h; do
		n=$(($(stat -c %s $f.st) - 8 - $(od -An -tu8 -N8 $f.st)))
		expect_line "writes	$f.st	$(awk "BEGIN { printf \"%.1f KiB\", $n / 1024 }")"
	done
}

@test "a folder with nothing but a tokenizer is enough for --tokenize" {
	mkdir t
	cp "$MODEL_V3"/tokenizer.json "$MODEL_V3"/tokenizer_config.json t
	run_split moe-run t --tokenize -p 'static int'
	expect_status 0
	moe-run tiny-v3 --tokenize -p 'static int' >want
	expect_stdout want
}

@test "a text called total keeps its row apart from the sum" {
	head -c 300 "$TEXT/zh.txt" >total.txt
	run_split moe-run tiny-v3 --score total.txt
	expect_status 0
	[ "$(cut -f1 .out | grep -cx total)" -eq 1 ]
	expect_line "$(grep '^total.txt' .out)"
}

@test "ids beyond the model's positions are refused with the model's number" {
	seq -s ' ' 1 2049 >ids
	fails 2 moe-run tiny-v3 --ids ids -n 0
	expect_message '2049 tokens .* 2048 positions'
	seq -s ' ' 1 2048 >ids
	run_split moe-run tiny-v3 --ids ids --score
	expect_status 0
}

@test "an empty line of ids is an empty sequence; scored ids count the bytes they stand for" {
	printf '0 5 6\n\n0 17\n' >ids
	moe-run tiny-v3 --ids ids -n 0 --logits l.st --mtp
	head -c 2000 l.st | grep -a -o '"logits.1":{"dtype":"F32","shape":\[0,4096\]'
	head -c 2000 l.st | grep -a -o '"mtp_logits.1":{"dtype":"F32","shape":\[0,4096\]'
	head -c 2000 l.st | grep -a -o '"logits.2":{"dtype":"F32","shape":\[2,4096\]'
	run_split moe-run tiny-v3 --ids ids -n 2
	expect_status 2
	expect_message 'sequence 1 is empty'
	moe-run tiny-v3 --tokenize -p 'static int' >t
	run_split moe-run tiny-v3 --ids --score <(echo "0 $(cat t)")
	expect_status 0
	[ "$(awk -F'\t' '$1 == "total" { print $3 }' .out)" -eq 10 ]
}

@test "a sequence is rotated by its own length, not by that of its neighbours" {
	mkdir m
	cp "$GOLDEN"/models/phimoe/model.safetensors m
	sed 's/"original_max_position_embeddings": [0-9]*/"original_max_position_embeddings": 12/' \
		"$GOLDEN/models/phimoe/config.json" >m/config.json
	echo '1 2 3 4 5 6 7 8' >short
	seq -s ' ' 1 30 >long
	alone=$(moe-run m --ids --score short | grep '^short')
	[ "$alone" = "$(moe-run m --ids --score short long | grep '^short')" ]
	long=$(moe-run m --ids --score long | grep '^long')
	[ "$long" = "$(moe-run m --ids --score short long | grep '^long')" ]
	[ "$long" != "$(moe-run "$GOLDEN/models/phimoe" --ids --score long | grep '^long')" ]
}

@test "generation past the length of the short rotation goes on as a prompt of that length would" {
	mkdir m
	cp "$GOLDEN"/models/phimoe/model.safetensors m
	sed 's/"original_max_position_embeddings": [0-9]*/"original_max_position_embeddings": 12/' \
		"$GOLDEN/models/phimoe/config.json" >m/config.json
	prompt='7 3 99 41 5 60 2 18'
	moe-run m --ids -p "$prompt" -n 10 --ignore-eos --trace a.trace >made
	[ "$(wc -w <made)" -eq 10 ]
	text=$prompt
	for next in $(cat made); do
		[ "$(moe-run m --ids -p "$text" -n 1 --ignore-eos)" = "$next" ]
		text="$text $next"
	done
	moe-run m --ids -p "$prompt" -n 10 --ignore-eos --chunk 3 -j 1 --trace b.trace | cmp made -
	# every token is in the trace once, and replaying it gives the same text
	moe-route --print a.trace >a
	moe-route --print b.trace >b
	expect_same a b
	[ "$(awk -F'\t' 'NR > 1 { print $3, $5, $6 }' a | sort -u | wc -l)" -eq "$(($(wc -l <a) - 1))" ]
	moe-run m --ids -p "$prompt" -n 10 --ignore-eos --replay a.trace | cmp made -
}

@test "text is what an encoder is given, ended as its tokenizer says; the decoder begins with its start" {
	mkdir switch
	cp "$GOLDEN"/models/switch/{config.json,model.safetensors} switch
	cat >switch/tokenizer.json <<-'END'
	{"added_tokens": [{"id": 1, "content": "</s>", "special": true}],
	 "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always"},
	 "decoder": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always"},
	 "post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}],
	  "special_tokens": {"</s>": {"ids": [1]}}},
	 "model": {"type": "Unigram", "unk_id": 2, "vocab": [["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["_", -2], ["a", -4],
	  ["c", -4.5], ["t", -5], ["_the", -3], ["_cat", -9], ["ca", -5.5]]}}
	END
	run_split moe-run --tokenize switch -p "the cat?"
	expect_status 0
	[ "$output" = "7 8 2" ]
	printf '7 8 2 1\t0\n' >ids
	moe-run -n 0 --logits by-text switch -p "the cat?"
	moe-run -n 0 --logits by-ids --ids switch ids
	cmp by-text by-ids
	moe-route -o by-text.trace switch -p "the cat?"
	moe-route -o by-ids.trace --ids switch ids
	[ "$(moe-route --print by-text.trace | cut -f2-)" = "$(moe-route --print by-ids.trace | cut -f2-)" ]
	run_split moe-run --score switch -p "the cat?"
	expect_status 2
	expect_message "--score: a text is what the encoder is given"
	jq '.decoder_start_token_id = 128' "$GOLDEN"/models/switch/config.json >switch/config.json
	run_split moe-run switch -p "the cat?"
	expect_status 1
	expect_message "decoder_start_token_id: expected less than the vocab_size of 128, found 128"
}

@test "long forms of options are the short ones" {
	moe-run -q -j 1 -k 2 -p 'static int' -n 4 tiny-v3 >short
	moe-run --quiet --threads 1 --experts-per-token 2 --prompt 'static int' --n-tokens 4 tiny-v3 >long
	[ -s short ]
	expect_same short long
	moe-split -q -n 4 "$MODEL_V3/load.tsv" >short
	moe-split --quiet --ranks 4 "$MODEL_V3/load.tsv" >long
	[ -s short ]
	expect_same short long
	moe-convert -v --dry-run --type q8_0 "$MODEL_V3" a.gguf 2>short
	moe-convert --verbose --dry-run --type q8_0 "$MODEL_V3" a.gguf 2>long
	grep -q 'rows of 48 are not whole blocks of q8_0' short
	expect_same short long
}
