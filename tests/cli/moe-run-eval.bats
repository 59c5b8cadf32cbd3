#!/usr/bin/env bats
# moe-run: choices, exact answers, samples, stop texts, results that tell what made them and can be resumed.

load lib

EVAL=$TOP/share/eval

# A table of items from lines of fields separated by '|'.
table()
{
	tr '|' '\t'
}

# The rows of the first N items of a set.
first_items()
{
	awk -F'\t' -v n="$2" 'NR == 1 || ($1 != last && ++k <= n) || ($1 == last && k <= n) { print } { last = $1 }' "$1"
}

# A table of choices against that of the reference: log-probabilities to 0.0005, all else to the letter.
expect_choices()
{
	rows "$1" >got
	awk -F'\t' '
		NR == FNR { want[FNR] = $0; n = FNR; next }
		{
			split(want[FNR], w, "\t")
			for (i = 1; i <= 12; i++)
				if ($i != w[i]) {
					m = split($i, a, ","); split(w[i], b, ",")
					for (j = 1; j <= m; j++)
						if (i != 10 || (a[j] - b[j]) ^ 2 > 0.0005 ^ 2) {
							print FNR ": " $i " " w[i]
							bad = 1
						}
				}
		}
		END { exit bad || FNR != n || n < 60 }' "$2" got
}

@test "choices: the set that is shipped, as the reference scores it" {
	for model in tiny-v3 tiny-v2; do
		moe-run --choices "$EVAL/cloze.tsv" $model >$model.tsv
		expect_choices $model.tsv "$GOLDEN/evals/$model.cloze.tsv"
	done
	# accuracies above a quarter
	rows tiny-v3.tsv | awk -F'\t' '$1 == "total" { exit !($7 > 0.3 && $8 > 0.3 && $9 > 0.3) }'
}

@test "exact answers: the set that is shipped, as the reference answers it" {
	for model in tiny-v3 tiny-v2; do
		moe-run --exact "$EVAL/lines.tsv" -n 12 --stop $'\n' $model | rows >got
		expect_same got "$GOLDEN/evals/$model.lines.tsv"
	done
	awk -F'\t' '$1 == "total" { exit !($3 > 0 && $4 >= $3) }' got
}

@test "the sets of items are those that their script makes" {
	command -v python3 >/dev/null || skip 'no python3'
	python3 "$GOLDEN/make_evals.py" items "$TEXT" made
	expect_same made/cloze.tsv "$EVAL/cloze.tsv"
	expect_same made/lines.tsv "$EVAL/lines.tsv"
}

@test "the same bits whatever the threads, the chunk, the neighbours, and what is computed once" {
	first_items "$EVAL/cloze.tsv" 6 >six.tsv
	first_items "$EVAL/lines.tsv" 6 >lines.tsv
	moe-run --choices six.tsv tiny-v3 | rows >a
	moe-run --exact lines.tsv -n 6 tiny-v3 | rows >b
	for how in -j1 -j2 '--chunk 1' '--chunk 7 -j1' '--trace t.trace --force'; do
		# shellcheck disable=SC2086
		moe-run $how --choices six.tsv tiny-v3 | rows >c
		expect_same a c
		# shellcheck disable=SC2086
		moe-run $how --exact lines.tsv -n 6 tiny-v3 | rows >c
		expect_same b c
	done
	# the last item alone, with nothing before it
	{ head -n 1 six.tsv; grep '^prose-6' six.tsv; } >one.tsv
	moe-run --choices one.tsv tiny-v3 | grep '^prose-6' >alone
	grep '^prose-6' a | diff - alone
	# a limit of experts rules out what a session cannot take back
	moe-run --capacity 1 --choices six.tsv tiny-v3 | grep '^prose-6' >a
	moe-run --capacity 1 --choices one.tsv tiny-v3 | grep '^prose-6' >b
	expect_same a b
}

@test "where context and choice meet: blanks move to the choice, the last token always counts" {
	table >a.tsv <<-'EOF'
		item|context|choice|correct
		x|In the beginning|  God|1
		x|In the beginning|  man|0
		y|In the beginning |God|1
		y|In the beginning |man|0
		z|In the beginning\n\t |God|1
		z|In the beginning|\n\t God|0
	EOF
	sed -i 's/  God/ God/; s/  man/ man/' a.tsv
	moe-run --choices a.tsv tiny-v3 | rows >r
	# moved or not: the same tokens, hence the same numbers, but not the same bytes
	[ "$(awk -F'\t' '$1 == "x" { print $10, $11 }' r)" = "$(awk -F'\t' '$1 == "y" { print $10, $11 }' r)" ]
	[ "$(awk -F'\t' '$1 == "x" { print $12 }' r)" = 4,4 ]
	[ "$(awk -F'\t' '$1 == "y" { print $12 }' r)" = 3,3 ]
	[ "$(awk -F'\t' '$1 == "z" { split($10, p, ","); print p[1] == p[2] }' r)" = 1 ]
	# of equals the first
	[ "$(awk -F'\t' '$1 == "z" { print $4 }' r)" = 1 ]
	# the sum is that of the whole less that of the context: as --score has them
	printf 'In the beginning God' >whole
	printf 'In the beginning' >context
	moe-run --score tiny-v3 whole context |
		awk -F'\t' '$1 == "whole" { a = $4 } $1 == "context" { b = $4 } END { printf "%.4f\n", a - b }' >want
	awk -F'\t' '$1 == "x" { split($10, p, ","); printf "%.4f\n", p[1] }' r >got
	expect_same want got
	# "stat" and "static" are one token each: the choice melts into the context
	[ "$(moe-run --tokenize -p stat tiny-v3 | wc -w)" -eq 1 ]
	[ "$(moe-run --tokenize -p static tiny-v3 | wc -w)" -eq 1 ]
	printf 'item\tcontext\tchoice\tcorrect\nm\tstat\tic\t1\nm\tstat\tion\t0\n' >m.tsv
	moe-run --choices m.tsv tiny-v3 | rows >r
	[ "$(awk -F'\t' '$1 == "m" { split($11, t, ","); print t[1] }' r)" = 1 ]
	printf 'static' >static
	moe-run --score tiny-v3 static | awk -F'\t' '$1 == "static" { print $4 }' >want
	awk -F'\t' '$1 == "m" { split($10, p, ","); print p[1] }' r >got
	expect_same want got
	# behind the beginning of text alone
	printf 'item\tcontext\tchoice\tcorrect\ne\t\tstatic\t1\ne\t\tamen\t0\n' >e.tsv
	moe-run --choices e.tsv tiny-v3 | awk -F'\t' '$1 == "e" { split($10, p, ","); print p[1] }' >got
	expect_same want got
}

@test "--prefix stands before every context and prompt" {
	first_items "$EVAL/cloze.tsv" 3 >three.tsv
	printf 'Question: 1 + 1?\nAnswer: 2\n\n' >prefix
	awk -F'\t' -v OFS='\t' 'NR > 1 { $2 = "Question: 1 + 1?\\nAnswer: 2\\n\\n" $2 } { print }' three.tsv >long.tsv
	moe-run --choices three.tsv --prefix prefix tiny-v3 | rows >a
	moe-run --choices long.tsv tiny-v3 | rows >b
	expect_same a b
	moe-run --choices three.tsv tiny-v3 | rows >b
	never cmp -s a b
	first_items "$EVAL/lines.tsv" 3 >three.tsv
	awk -F'\t' -v OFS='\t' 'NR > 1 { $2 = "Question: 1 + 1?\\nAnswer: 2\\n\\n" $2 } { print }' three.tsv >long.tsv
	moe-run --exact three.tsv -n 4 --prefix prefix tiny-v3 | rows >a
	moe-run --exact long.tsv -n 4 tiny-v3 | rows >b
	expect_same a b
	: >empty
	moe-run --exact three.tsv -n 4 --prefix empty tiny-v3 | rows >a
	moe-run --exact three.tsv -n 4 tiny-v3 | rows >b
	expect_same a b
	printf 'ok\n\xff' >bad
	fails 1 moe-run --exact three.tsv --prefix bad tiny-v3
	expect_message 'bad: line 2: expected UTF-8, found the byte 0xff'
	printf 'ok\n\n\0' >bad
	fails 1 moe-run --exact three.tsv --prefix bad tiny-v3
	expect_message 'bad: line 3: .*NUL'
}

@test "of several answers the best one counts" {
	moe-run --exact <(printf 'item\tprompt\tanswer\nq\tAnd the LORD said\tx\n') -n 3 tiny-v3 >r
	text=$(awk -F'\t' '$1 == "q" { print $7 }' r)
	[ -n "$text" ]
	printf 'item\tprompt\tanswer\nq\tAnd the LORD said\tx\nq\tAnd the LORD said\t The %s!\n' "${text^^}" >two.tsv
	moe-run --exact two.tsv -n 3 tiny-v3 | awk -F'\t' '$1 == "q" { print $2, $3, $4 }' >got
	echo '0 1 1.000000' | diff - got
	printf 'item\tprompt\tanswer\nq\tAnd the LORD said\t%s \n' "$text" >one.tsv
	moe-run --exact one.tsv -n 3 tiny-v3 | awk -F'\t' '$1 == "total" { print $2, $3, $4 }' >got
	echo '1.000000 1.000000 1.000000' | diff - got
}

@test "samples: JSON lines that depend on seed, item and number alone" {
	first_items "$EVAL/lines.tsv" 2 | cut -f1,2 >two.tsv
	moe-run --exact two.tsv --samples 4 --temp 1 --seed 3 -n 8 tiny-v3 >a
	[ "$(jq -s length a)" -eq 9 ]
	jq -es '.[0].meta.mode == "samples" and .[0].meta.items == "2"' a
	jq -es '[.[1:][] | "\(.item) \(.sample)"] == ["prose-1 0", "prose-1 1", "prose-1 2", "prose-1 3",
		"prose-2 0", "prose-2 1", "prose-2 2", "prose-2 3"]' a
	[ "$(jq -r 'select(.item) | .text' a | sort -u | wc -l)" -ge 7 ]
	# fewer samples, other items: the same texts
	{ head -n 1 two.tsv; sed -n '$p' two.tsv; } >one.tsv
	moe-run -j1 --chunk 3 --exact one.tsv --samples 2 --temp 1 --seed 3 -n 8 tiny-v3 | jq -c 'select(.item)' >b
	jq -c 'select(.item == "prose-2" and .sample < 2)' a | diff - b
	moe-run --exact one.tsv --samples 2 --temp 1 --seed 4 -n 8 tiny-v3 | jq -c 'select(.item)' >c
	never cmp -s b c
	# without a table: prompts
	moe-run -p 'static int' -p 'In the' --samples 2 --temp 1 -n 3 tiny-v3 | jq -r 'select(.item) | .item' >got
	printf 'prompt-%s\n' 1 1 2 2 | diff - got
	# sample 0 of the greedy kind is what generation gives
	moe-run -p 'static int' --samples 1 -n 6 tiny-v3 | jq -j 'select(.item) | .text' >a
	moe-run -p 'static int' -n 6 -o text tiny-v3
	expect_same a text
}

@test "--stop ends a text before the first of its texts" {
	moe-run tiny-v3 -p 'And the LORD said' -n 30 -o whole
	grep -q , whole
	moe-run tiny-v3 -p 'And the LORD said' -n 30 --stop , -o cut
	cut -d, -f1 whole | head -n 1 | tr -d '\n' >want
	expect_same cut want
	# a text of several tokens, found across them; the earliest of several
	word=$(tr -d '\n' <whole | cut -c 12-19)
	moe-run tiny-v3 -p 'And the LORD said' -n 30 --stop "$word" --stop nowhere --json >j
	head -c 11 whole >want
	jq -j .text j | diff - want
	[ "$(jq -r .stop j)" = text ]
	moe-run tiny-v3 -p 'And the LORD said' -n 30 --stop "$word" -o cut --force
	expect_same cut want
	# one that could begin but does not come is printed in the end
	moe-run tiny-v3 -p 'And the LORD said' -n 30 --stop "$(tail -c 3 whole)zzz" -o cut --force
	expect_same cut whole
	# the prompt is not looked at, echoed or not
	moe-run tiny-v3 -p 'And the LORD said' -n 30 --stop LORD --echo -o cut --force
	[[ $(cat cut) == 'And the LORD said'* ]]
	[ "$(jq -r .text <(moe-run tiny-v3 -p 'And the LORD said' -n 3 --stop LORD --echo --json))" != 'And the ' ]
}

@test "results tell what made them, in TSV and in JSON" {
	printf 'A text.\n' >t.txt
	moe-run --score --window 64 --overlap 16 tiny-v3 t.txt >r
	for line in '#tool=moe-run' '#math=exact' '#mode=score' '#window=64' '#overlap=16' \
		'#command=moe-run --score --window 64 --overlap 16 tiny-v3 t.txt'; do
		grep -qxF -- "$line" r
	done
	grep -qxF "#version=$(moe-run --version | cut -d' ' -f2)" r
	hash=$(moe-route tiny-v3 t.txt | zcat | tr -d '\0' | grep -aoE 'xxh3:[0-9a-f]{32}' | head -n 1)
	grep -qxF "#model=$hash" r || grep -qxF "#tokenizer=$hash" r
	moe-run --score --window 64 --overlap 16 --json tiny-v3 t.txt >j
	jq -es --arg m "$(sed -n 's/^#model=//p' r)" \
		'.[0].meta.window == "64" and .[0].meta.model == $m and .[1].source == "t" and length == 3' j
	# the command has blanks, and readers of tables take them
	[ "$(awk -F'\t' '$1 == "total" { print $3 }' r)" = "$(jq -s '.[2].bytes' j)" ]
	# another model has other weights under the same shapes
	cp -r "$MODEL_V3" m
	truncate -s -4096 m/model.safetensors
	head -c 4096 /dev/zero >>m/model.safetensors
	moe-run --score --window 64 --overlap 16 m t.txt >s
	[ "$(grep '^#model=' r)" = "$(grep '^#model=' s)" ]
	[ "$(grep '^#weights=' r)" != "$(grep '^#weights=' s)" ]
	# rows in JSON are those of the table
	first_items "$EVAL/cloze.tsv" 2 >two.tsv
	moe-run --choices two.tsv --json tiny-v3 >j
	jq -r 'select(.item) | [.item, .choices, .correct // "-", .best // "-", .plain * 1000,
		(.tokens // ["-"] | map(tostring) | join(","))] | @tsv' j >a
	moe-run --choices two.tsv tiny-v3 | rows |
		awk -F'\t' -v OFS='\t' 'NR > 1 { print $1, $2, $3, $4, $7 * 1000, $11 }' | diff a -
}

@test "a run that is killed goes on, and scores as the reference does" {
	moe-run --score -o s.tsv tiny-v3 "$TEXT"/{prose,tech,code,zh,de}.txt 2>err &
	pid=$!
	for _ in $(seq 1500); do
		! grep -q ^prose s.tsv.partial 2>/dev/null || break
		sleep 0.02
	done
	kill -KILL $pid
	wait $pid || :
	[ ! -e s.tsv ]
	grep -q ^prose s.tsv.partial
	# nothing but --resume touches it
	fails 2 moe-run --score -o s.tsv tiny-v3 "$TEXT"/{prose,tech,code,zh,de}.txt
	expect_message '--resume goes on'
	run_split moe-run --score -o s.tsv --resume -j1 --chunk 100 tiny-v3 "$TEXT"/{prose,tech,code,zh,de}.txt
	expect_status 0
	expect_message 'of 5 rows are there'
	[ ! -e s.tsv.partial ]
	run_split moe-run --score -o s.tsv --resume tiny-v3 "$TEXT"/{prose,tech,code,zh,de}.txt
	expect_status 0
	expect_message 's.tsv: complete'
	# one near-tie of a router may fall the other way: bits per byte and counts are exact, logprob within 0.1
	rows s.tsv | awk -F'\t' '{ printf "%s %s %s %.4f\n", $1, $2, $3, $6 }' >got
	awk -F'\t' '{ printf "%s %s %s %.4f\n", $1, $2, $3, $6 }' "$MODEL_V3/scores.tsv" | diff - got
	rows s.tsv | paste - "$MODEL_V3/scores.tsv" | awk 'NR > 1 && ($4 - $10) ^ 2 > 0.11 ^ 2 { exit 1 }'
}

@test "a signal leaves what is done, and says how to go on" {
	perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' \
		moe-run --exact "$EVAL/lines.tsv" --samples 1000 --temp 1 -o s.jsonl tiny-v3 2>err &
	pid=$!
	for _ in $(seq 400); do
		! grep -q prose-1 s.jsonl.partial 2>/dev/null || break
		sleep 0.01
	done
	kill -INT $pid
	wait $pid && rc=0 || rc=$?
	[ $rc -eq 130 ]
	grep -q "interrupted: 's.jsonl.partial' keeps what is done: the same command with --resume goes on" err
	[ ! -e s.jsonl ]
	jq -es '.[0].meta.mode == "samples" and .[1].sample == 0' s.jsonl.partial
}

@test "wherever a result is cut, it goes on from there" {
	first_items "$EVAL/cloze.tsv" 3 >three.tsv
	first_items "$EVAL/lines.tsv" 3 >lines.tsv
	head -c 300 "$TEXT/de.txt" >de.txt
	head -c 300 "$TEXT/zh.txt" >zh.txt
	for kind in '--choices three.tsv' '--choices three.tsv --json' '--exact lines.tsv -n 4' \
		'--exact lines.tsv --json -n 4' '--samples 2 --exact lines.tsv -n 4 --temp 1' '--score de.txt zh.txt' \
		'--score --mtp --json de.txt zh.txt'; do
		# shellcheck disable=SC2086
		moe-run tiny-v3 $kind -o out
		mv out want
		n=$(wc -c <want)
		for cut in 0 1 40 $((n / 2)) $((n * 2 / 3)) $((n - 30)) $((n - 1)) $n; do
			head -c $cut want >out.partial
			# shellcheck disable=SC2086
			moe-run tiny-v3 --resume $kind -o out
			cmp out want || { echo "$kind, $cut bytes"; return 1; }
			rm out
		done
		# a row that is not whole is made again, and so are those behind it
		sed '$d' want | sed '$s/\(\t\|,"\)[^\t]*$//' >out.partial
		# shellcheck disable=SC2086
		moe-run -q tiny-v3 $kind -o out --resume
		expect_same out want
		# and so is one with something else in the place of a number
		rm out
		sed '$d' want | sed -E '$s/(\t|:)-?[0-9][0-9.]*(\t|,"[a-z])/\1"x"\2/' >out.partial
		grep -q '"x"' out.partial
		# shellcheck disable=SC2086
		moe-run -q tiny-v3 $kind -o out --resume
		expect_same out want
		# the result itself is complete only as a whole
		for lines in 1 2; do
			head -n -$lines want >out
			cp out cut
			# shellcheck disable=SC2086
			fails 2 moe-run tiny-v3 $kind -o out --resume
			expect_message "'out' is cut, .* rows are there: under the name 'out.partial' --resume goes on"
			expect_same out cut
		done
		head -c -1 want >out
		# shellcheck disable=SC2086
		fails 2 moe-run tiny-v3 $kind -o out --resume
		expect_message "'out' is cut"
		rm out
	done
}

@test "--resume refuses what was begun otherwise" {
	first_items "$EVAL/lines.tsv" 2 >two.tsv
	moe-run --exact two.tsv -n 4 -o r tiny-v3
	head -n 13 r >partial
	again()
	{
		cp partial p.partial
		fails "$@"
		expect_same partial p.partial
	}
	again 2 moe-run --exact two.tsv -n 5 -o p --resume tiny-v3
	expect_message "p.partial' is the result of another run: it has options=.*--force begins anew"
	again 2 moe-run --exact two.tsv -n 4 --seed 1 -o p --resume tiny-v3
	again 2 moe-run --exact two.tsv -n 4 --stop x -o p --resume tiny-v3
	again 2 moe-run --exact two.tsv -n 4 --json -o p --resume tiny-v3
	again 2 moe-run --exact two.tsv -n 4 -o p --resume tiny-v2
	expect_message 'it has model='
	sed 's/\t[^\t]*$/\tother/' two.tsv | sed '1s/other/answer/' >other.tsv
	again 2 moe-run --exact other.tsv -n 4 -o p --resume tiny-v3
	expect_message 'it has input='
	# what changes no number does not matter, nor where the same items lie
	cp two.tsv elsewhere.tsv
	cp partial p.partial
	moe-run -q --exact elsewhere.tsv -n 4 -o p --resume -j1 --chunk 3 --progress=none tiny-v3
	expect_same p r
	fails 2 moe-run --exact two.tsv -n 5 -o p --resume tiny-v3
	expect_message "'p' is the result of another run"
	cp "$TEXT/de.txt" text
	fails 2 moe-run --exact two.tsv -n 4 -o text --resume tiny-v3
	expect_message "'text' is not a result of such a run"
	expect_same text "$TEXT/de.txt"
	# two at once
	head -c 100 r >q.partial
	flock q.partial sh -c '! moe-run --exact two.tsv -n 4 -o q --resume tiny-v3' 2>err
	grep 'written by another run' err
	flock q.partial sh -c '! moe-run --exact two.tsv -n 4 -o q tiny-v3' 2>err
	grep 'written by another run' err
	fails 2 moe-run --exact two.tsv -n 4 -o q tiny-v3
	expect_message "'q.partial' is there, what an interrupted run did"
	[ "$(wc -c <q.partial)" -eq 100 ]
	# --force begins anew, and a link leads to the file behind it
	moe-run --exact two.tsv -n 4 -o q --force tiny-v3
	[ ! -e q.partial ]
	expect_same <(rows q) <(rows r)
	mkdir d
	ln -s d/real link
	: >d/real
	moe-run --exact two.tsv -n 4 -o link --force tiny-v3
	[ -L link ] && expect_same <(rows d/real) <(rows r)
	ln -s "$TEXT/de.txt" l.partial
	fails 1 moe-run --exact two.tsv -n 4 -o l --resume tiny-v3
}

@test "a failure in the middle keeps what is done; before the first row nothing stays" {
	cp -r "$MODEL_V3" m
	printf 'item\tprompt\tanswer\na\tx\ty\nb\tz\ty\n' >two.tsv
	run_split bash -c 'ulimit -f 1; exec moe-run --exact '"$EVAL/lines.tsv"' -n 12 -o big tiny-v3'
	expect_status 1
	expect_message 'keeps what is done: the same command with --resume'
	[ -s big.partial ] && [ ! -e big ]
	fails 1 moe-run --exact two.tsv -o none/r tiny-v3
	perl -e 'open F, "+<", "m/model.safetensors"; seek F, -400000, 2; print F "\xff" x 400000' 
	run_split moe-run --exact two.tsv -n 2 -o r m
	if [ "$status" -ne 0 ]; then
		[ ! -e r.partial ]
	fi
	run_split moe-run --exact two.tsv -n 2 -o /dev/full tiny-v3
	expect_status 1
}

@test "tables of items that cannot be judged are refused by file and line" {
	bad()
	{
		table >bad.tsv
		fails 1 moe-run "$1" bad.tsv tiny-v3
		expect_message "$2"
	}
	bad --choices "bad.tsv: line 1: has no column 'correct', only: item context choice" <<<'item|context|choice'
	bad --choices "bad.tsv: line 1: has no column 'context'" <<<'item|prompt|choice|correct'
	bad --exact "bad.tsv: line 1: has no column 'answer'" <<<'item|prompt|text'
	bad --exact 'bad.tsv: has no items' <<<'item|prompt|answer'
	bad --exact 'bad.tsv: has no header line' </dev/null
	bad --choices "bad.tsv: line 2: item 'a': none of its 2 choices is correct" <<-'EOF'
		item|context|choice|correct
		a|x|y|0
		a|x|z|0
	EOF
	bad --choices "bad.tsv: line 4: item 'a': a second correct choice, the first is in line 2" <<-'EOF'
		item|context|choice|correct
		a|x|y|1
		a|x|z|0
		a|x|w|1
	EOF
	bad --choices "bad.tsv: line 3: item 'a': the choice is empty" <<-'EOF'
		item|context|choice|correct
		a|x|y|1
		a|x||0
	EOF
	bad --choices "bad.tsv: line 2: item 'a' has one choice" <<-'EOF'
		item|context|choice|correct
		a|x|y|1
	EOF
	bad --choices "bad.tsv: line 3, column 'correct': 'yes' is not an integer" <<-'EOF'
		item|context|choice|correct
		a|x|y|1
		a|x|z|yes
	EOF
	bad --choices "bad.tsv: line 3, column 'correct': '2' is out of range 0..1" <<-'EOF'
		item|context|choice|correct
		a|x|y|1
		a|x|z|2
	EOF
	bad --choices 'bad.tsv: line 3: expected 4 fields, found 3' <<-'EOF'
		item|context|choice|correct
		a|x|y|1
		a|x|z
	EOF
	bad --choices "bad.tsv: line 6: item 'a' begins again after line 2" <<-'EOF'
		item|context|choice|correct
		a|x|y|1
		a|x|z|0
		b|x|y|1
		b|x|z|0
		a|x|v|0
		a|x|w|1
	EOF
	bad --exact "bad.tsv: line 3: item 'a': its prompt is not that of line 2" <<-'EOF'
		item|prompt|answer
		a|x|y
		a|z|y
	EOF
	bad --exact 'bad.tsv: line 2: the item has no name' <<-'EOF'
		item|prompt|answer
		|x|y
	EOF
	bad --exact "bad.tsv: line 3: an item is called 'total'" <<-'EOF'
		item|prompt|answer
		a|x|y
		total|x|y
	EOF
	bad --exact 'bad.tsv: line 2, field 2: a backslash' <<-'EOF'
		item|prompt|answer
		a|\x|y
	EOF
	printf 'item\tprompt\tanswer\na\tx\ty\nb\tx\xff\ty\n' >bad.tsv
	fails 1 moe-run --exact bad.tsv tiny-v3
	expect_message "bad.tsv: line 3, column 'prompt': expected UTF-8, found the byte 0xff at byte 1"
	printf 'item\tprompt\tanswer\na\tx\ty\nb\t\0\ty\n' >bad.tsv
	fails 1 moe-run --exact bad.tsv tiny-v3
	expect_message 'bad.tsv: line 3: .*NUL byte'
	{ printf 'item\tprompt\tanswer\na\t'; head -c 16777217 /dev/zero | tr '\0' x; printf '\ty\n'; } >bad.tsv
	fails 1 moe-run --exact bad.tsv tiny-v3
	expect_message "bad.tsv: line 2, column 'prompt': a field of 16777217 bytes"
	{ printf 'item\tprompt\tanswer\na\tx\ty\nb\t'; tr '\n\t\\' '   ' <"$TEXT/code.txt"; printf '\ty\n'; } >bad.tsv
	fails 2 moe-run --exact bad.tsv tiny-v3
	expect_message 'bad.tsv: line 3: [0-9]+ tokens do not fit 2048 positions'
	fails 1 moe-run --exact none.tsv tiny-v3
	expect_message 'none.tsv'
	# a model whose texts have no beginning needs a context
	cp -r "$MODEL_V3" m
	sed -i 's/"add_bos_token": true/"add_bos_token": false/' m/tokenizer_config.json
	printf 'item\tcontext\tchoice\tcorrect\na\tx\ty\t1\na\t \ty\t0\n' >bad.tsv
	fails 1 moe-run --choices bad.tsv m
	expect_message 'bad.tsv: line 3: the context has no tokens'
	printf 'item\tprompt\tanswer\na\t\ty\n' >bad.tsv
	fails 1 moe-run --exact bad.tsv m
	expect_message 'bad.tsv: line 2: the prompt has no tokens'
	cp -r "$GOLDEN/models/switch" s
	echo '{"added_tokens": [], "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
		"decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}' >s/tokenizer.json
	fails 2 moe-run --exact "$EVAL/lines.tsv" s
	expect_message 'has an encoder'
}

@test "options of evaluations that contradict each other are misuse" {
	e=$EVAL/lines.tsv
	c=$EVAL/cloze.tsv
	misuse()
	{
		fails 2 moe-run tiny-v3 "$@"
		expect_message --help
	}
	misuse --choices "$c" --exact "$e"
	misuse --choices "$c" --samples 2
	misuse --choices "$c" -n 5
	misuse --choices "$c" --score
	misuse --choices "$c" "$TEXT/de.txt"
	misuse --choices "$c" --stop x
	misuse --exact "$e" -p x
	misuse --exact "$e" -n 0
	misuse --exact "$e" --ids
	misuse --exact "$e" --echo
	misuse --exact "$e" --logits l.st
	misuse --exact "$e" --stop ''
	misuse --samples 2 -p x
	misuse --samples 0 -p x
	misuse --prefix "$e" -p x
	misuse --stop x --score "$TEXT/de.txt"
	misuse --resume -p x -o out
	misuse --resume --exact "$e"
	misuse --resume --exact "$e" -o -
	misuse --resume --exact "$e" -o out --force
	misuse --resume --exact "$e" -o out --trace t.trace
	misuse --resume --score "$TEXT/de.txt" -o out --capacity 1 --capacity-group tokens=64
	# a table of items is an input: no output may replace it
	cp "$e" items.tsv
	fails 2 moe-run tiny-v3 --exact items.tsv -o items.tsv --force
	expect_same items.tsv "$e"
	fails 2 moe-run tiny-v3 --exact "$e" --prefix items.tsv -o items.tsv --force
	expect_same items.tsv "$e"
}

@test "progress of a score and of items is shown and ends at 100%" {
	run_split moe-run --progress=plain --score tiny-v3 <(head -c 3000 "$TEXT/de.txt")
	expect_status 0
	expect_message 'moe-run: tokens 100%, .* tokens, .*/s'
	first_items "$EVAL/lines.tsv" 3 >three.tsv
	run_split moe-run --progress=plain --exact three.tsv -n 3 tiny-v3
	expect_message 'moe-run: items 100%, 3 of 3'
}
