#!/usr/bin/env bats
# moe-route: models, stored logits and logs to traces.

load lib

short_text()
{
	head -c 2000 "$TEXT/de.txt" >de.txt
	head -c 2000 "$TEXT/zh.txt" >zh.txt
}

@test "a trace of a model holds what moe-run chose" {
	short_text
	moe-route -o a.trace tiny-v3 de.txt zh.txt
	moe-run tiny-v3 -n 0 --trace b.trace de.txt zh.txt
	moe-route --print a.trace >a
	moe-route --print b.trace >b
	expect_same a b
	[ "$(head -n 1 a)" = "$(printf 'source\tseq\tpos\ttoken\tlayer\tchoice\texpert\tweight')" ]
	moe-route --print tiny-v3 de.txt zh.txt >c
	expect_same a c
}

@test "experts and weights are those of the reference, ids as they are" {
	# the golden ids of the first sequences are in the unit test; here: BOS recorded at position 0, four choices, sum 2.5
	run_split moe-route --print tiny-v3 --ids -p '0 1358 290'
	expect_status 0
	awk -F'\t' 'NR > 1 { n[$3, $5]++; s[$3, $5] += $8 }
		END { for (k in n) if (n[k] != 4 || s[k] < 2.49999 || s[k] > 2.50001) exit 1 }' .out
	awk -F'\t' 'NR == 2 && ($3 != 0 || $4 != 0 || $5 != 1) { exit 1 }' .out
}

@test "the load of the held-out texts equals the reference" {
	moe-route -o all.trace tiny-v3 "$TEXT"/prose.txt "$TEXT"/zh.txt
	moe-stats --by source --load all.trace | grep -v '^#' | sort >got
	grep -E '^(prose|zh)	' "$MODEL_V3/load.tsv" | sort >want
	[ "$(cut -f1-4 got | grep -E '^(prose|zh)	' | cksum)" = "$(cut -f1-4 want | cksum)" ]
	join -t'	' <(grep -E '^(prose|zh)	' got | awk -F'\t' '{ print $1"/"$2"/"$3"\t"$5 }' | sort) \
		<(awk -F'\t' '{ print $1"/"$2"/"$3"\t"$5 }' want | sort) |
		awk -F'\t' '{ d = $2 - $3; if (d > 0.01 || d < -0.01) exit 1; n++ } END { exit n != 256 }'
}

@test "stored logits under the model's own policy give the model's own choices" {
	short_text
	moe-route --logits --margin -o a.trace tiny-v3 de.txt zh.txt
	moe-route --print --margin a.trace >a
	moe-route --policy noaux_tc --bias tiny-v3 --print --margin a.trace >b
	expect_same a b
	moe-route -j1 --policy noaux_tc --bias "$MODEL_V3" --margin -o c.trace a.trace
	moe-route --print --margin c.trace >c
	expect_same a c
	# without the bias other experts win
	moe-route -q --policy noaux_tc --print a.trace >d
	never cmp -s <(cut -f1-7 a) <(cut -f1-7 d)
}

@test "parameters that one policy alone has travel in the trace" {
	echo 1 5 9 33 77 12 64 100 3 >ids
	for name in dbrx phimoe; do
		moe-route --ids --logits -o "$name.trace" "$GOLDEN/models/$name" ids
		moe-route --print "$name.trace" >a
		policy=$(zcat "$name.trace" | sed -n 's/^"policy":"\(.*\)",$/\1/p')
		moe-route --policy "$policy" --print "$name.trace" >b
		expect_same a b
	done
	moe-route --policy sparsemixer --eps 0.01 --print phimoe.trace >b
	never cmp -s a b
	zcat phimoe.trace | grep -aqx '"eps":0.15,'
	zcat dbrx.trace | grep -aqx '"p_norm":1,'
	zcat dbrx.trace | never grep -aq '"eps"'
	zcat phimoe.trace | LC_ALL=C sed 's/^"eps":0.15,$/"eps":-0.1,/' | gzip >bad.trace
	fails 1 moe-route --print bad.trace
	expect_message 'expected eps and p_norm of at least 0 .*, found -0.1 and 0'
	# one that is re-routed says so too
	moe-route --policy sparsemixer --eps 0.5 --logits -o other.trace phimoe.trace
	moe-route --policy sparsemixer --print other.trace >a
	moe-route --policy sparsemixer --eps 0.5 --print phimoe.trace >b
	expect_same a b
}

@test "re-routing by softmax_topk equals a computation in awk" {
	moe-route --logits -o a.trace tiny-v3 --ids -p '0 1358 290 428'
	moe-run tiny-v3 --ids -p '0 1358 290 428' --hidden h.st
	moe-route --policy softmax_topk -k 1 --scale 1 --no-normalize --print a.trace >one
	moe-route --policy softmax_topk -k 32 --scale 1 --no-normalize --print a.trace >all
	# all 32 probabilities of a token sum to 1, fall in order, and the first is the single choice
	awk -F'\t' 'NR > 1 { k = $3"/"$5; s[k] += $8; if ($6 > 0 && $8 > last[k]) exit 1; last[k] = $8 }
		END { for (k in s) if (s[k] < 0.99999 || s[k] > 1.00001) exit 1 }' all
	awk -F'\t' 'NR > 1 && $6 == 0' all >first
	tail -n +2 one >single
	expect_same first single
}

@test "--dry-run writes nothing, whatever the input, and names what would be written" {
	moe-route -q --logits -o a.trace tiny-v3 -p 'static int x;'
	for from in 'tiny-v3 -p x' a.trace '--policy noaux_tc a.trace' "--from esft $DATA/esft-excerpt/intent"; do
		run_split moe-route --dry-run -o b.trace $from
		expect_status 0
		expect_line "writes	b.trace	unknown"
		[ ! -e b.trace ]
	done
}

@test "bias tables: read, incomplete, doubled, of another size" {
	moe-route --logits -o a.trace tiny-v3 --ids -p '0 1358 290 428'
	awk 'BEGIN { print "layer\texpert\tbias"; for (l = 1; l <= 4; l++) for (e = 0; e < 32; e++) print l"\t"e"\t"(e == 31 ? 100 : 0) }' >bias.tsv
	moe-route --policy noaux_tc --bias bias.tsv --print a.trace >b
	[ "$(awk -F'\t' 'NR > 1 && $6 == 0 && $7 != 31' b | wc -l)" -eq 0 ]
	head -n -1 bias.tsv >short.tsv
	fails 1 moe-route --policy noaux_tc --bias short.tsv --print a.trace
	sed 's/^4\t31\t/4\t30\t/' bias.tsv >twice.tsv
	fails 1 moe-route --policy noaux_tc --bias twice.tsv --print a.trace
	expect_message 'twice.tsv: line'
	sed '$s/[^\t]*$/1e300/' bias.tsv >far.tsv
	fails 1 moe-route --policy noaux_tc --bias far.tsv --print a.trace
	expect_message 'far.tsv: layer 4, expert 31: expected a finite correction bias, found inf'
	sed '/^4\t/d' bias.tsv >three.tsv
	fails 2 moe-route --policy noaux_tc --bias three.tsv --print a.trace
	expect_message 'layer 4'
}

@test "traces: pipes, cat of two, another gate type, several files" {
	short_text
	moe-route -o a.trace tiny-v3 de.txt
	moe-route -o b.trace tiny-v3 zh.txt
	cat a.trace b.trace >c.trace
	moe-route --print c.trace >c
	[ "$(wc -l <c)" -eq $(($(moe-route --print a.trace | wc -l) + $(moe-route --print b.trace | wc -l) - 1)) ]
	moe-route -o d.trace a.trace b.trace
	moe-route --print d.trace >d
	[ "$(cut -f1,3- c | cksum)" = "$(cut -f1,3- d | cksum)" ]
	# sequences of the second file follow those of the first
	[ "$(cut -f2 d | tail -n 1)" -gt "$(moe-route --print a.trace | cut -f2 | tail -n 1)" ]
	moe-route --print - <a.trace >p
	moe-route --print a.trace >q
	expect_same p q
	moe-route --gates none -o n.trace a.trace
	[ "$(moe-route --print n.trace | awk -F'\t' 'NR == 2 { print $8 }')" = "" ]
	moe-route --gates 8bit -o e.trace a.trace
	[ "$(stat -c %s e.trace)" -lt "$(stat -c %s a.trace)" ]
}

@test "traces do not depend on threads or chunk" {
	short_text
	moe-route -j1 --logits --margin -o a.trace tiny-v3 de.txt
	moe-route -j2 --logits --margin --chunk 512 -o b.trace tiny-v3 de.txt
	moe-route --print --margin a.trace >a
	moe-route --print --margin b.trace >b
	expect_same a b
	moe-route -j2 --logits --margin --chunk 7 -o c.trace tiny-v3 de.txt
	moe-route --print --margin c.trace >c
	expect_same a c
}

@test "--json prints the columns as objects" {
	run_split moe-route --print --json --margin tiny-v3 --ids -p '0 5'
	expect_status 0
	jq -es 'length == 32 and (.[0] | .source == "prompt" and .layer == 1 and .choice == 0 and .margin >= 0)' .out
}

@test "a real log of DeepSeek-V2-Lite is imported" {
	run_split moe-route --from esft --model-config "$DATA/configs/deepseek-v2-lite.json" "$DATA/esft-excerpt/intent" -o x.trace
	expect_status 0
	moe-route --print x.trace >x
	[ "$(cut -f5 x | tail -n +2 | sort -un | wc -l)" -eq 26 ]
	moe-stats --load x.trace >load.tsv
	[ "$(grep -vc '^#\|^layer' load.tsv)" -eq $((26 * 64)) ]
}

@test "--list-policies tells what each reads, and that alone is taken" {
	echo 1 5 9 33 >ids
	moe-route --ids --logits -o l.trace "$GOLDEN/models/mixtral" ids
	printf 'token\texpert\n1\t0\n1\t1\n5\t0\n5\t1\n9\t2\n9\t1\n33\t2\n33\t1\n' >table
	printf 'token\tcount\n1\t4\n5\t3\n9\t2\n33\t1\n' >counts
	moe-route --list-policies >list
	[ "$(head -n 1 list)" = 'policy	help	reads	source' ]
	printf 'layer\texpert\tbias\n' >bias
	for l in 0 1 2; do for e in 0 1 2 3 4 5 6 7; do printf '%s\t%s\t0\n' $l $e; done; done >>bias
	for policy in $(sed 1d list | cut -f1); do
		reads=" $(awk -F'\t' -v p="$policy" '$1 == p { print $3 }' list) "
		for option in '-k 1' '--groups 2' '--top-groups 1' '--group-score max' '--scale 2' --normalize \
			'--bias bias' '--eps 0.1' '--p-norm 2' '--table table' '--counts counts' '--second all'; do
			# shellcheck disable=SC2086
			if [[ $reads == *" ${option%% *} "* ]]; then
				moe-route -q --policy "$policy" $option --print l.trace >/dev/null
			else
				fails 2 moe-route --policy "$policy" $option --print l.trace
				expect_message "policy $policy does not read ${option% *}"
			fi
		done
	done
	moe-route --list-policies --json | jq -e -s 'length > 5 and (.[0] | keys) == ["help","policy","reads","source"]'
	moe-route --list-policies -o kept
	expect_same list kept
	fails 2 moe-route --list-policies -o kept
	fails 2 moe-route --list-policies l.trace
}

@test "misuse is 2" {
	moe-route -o a.trace tiny-v3 --ids -p '0 1 2'
	fails 2 moe-route
	fails 2 moe-route --policy noaux_tc --print a.trace
	expect_message 'logits'
	fails 2 moe-route --policy nonsense a.trace
	fails 2 moe-route -k 3 a.trace
	fails 2 moe-route --from nonsense a.trace
	fails 2 moe-route --print a.trace -p x
	fails 2 moe-route --json a.trace
	moe-route --logits -o l.trace tiny-v3 --ids -p '0 1 2'
	fails 2 moe-route --policy softmax_topk --groups 4 --print l.trace
	expect_message 'does not read --groups'
	fails 2 moe-route --policy noaux_tc -k 33 --print l.trace
	fails 2 moe-route --policy noaux_tc --groups 5 --print l.trace
	# weights that are no weights
	for scale in 0 -1 1e308 1e-300; do
		fails 2 moe-route --policy noaux_tc --scale "$scale" -o s.trace l.trace
		expect_message 'option --scale: .* is out of range'
	done
	fails 2 moe-route --policy noaux_tc -o a.trace l.trace
	expect_message '--force'
}

@test "no output takes the place of what is read, but for a trace's own" {
	echo words >text
	cp -r "$MODEL_V3" src
	fails 2 moe-route --force -o text src text
	expect_message "the output 'text' is the same file as 'text'"
	for f in config.json model.safetensors tokenizer.json; do
		fails 2 moe-route --force -o src/$f src text
		expect_message "the output 'src/$f' is the same file as 'src/$f'"
	done
	diff -r "$MODEL_V3" src
	[ "$(cat text)" = words ]
	moe-route --logits -o a.trace src text
	moe-route --print a.trace >before
	moe-route --force -o a.trace a.trace
	moe-route --print a.trace | diff before -
	fails 2 moe-route -o a.trace no-such-model text
	expect_message "'a.trace' exists"
}

@test "bad traces are 1, with a sentence, and nothing is written" {
	moe-route -o a.trace tiny-v3 --ids -p '0 1 2'
	head -c $(($(stat -c %s a.trace) - 40)) a.trace >cut.trace
	fails 1 moe-route -o x.trace cut.trace
	[ ! -e x.trace ]
	# cut or damaged where nothing came before: that is said as well
	for n in 1 20 100; do
		fails 1 moe-route --print <(head -c $n a.trace)
		fails 1 moe-stats --diff a.trace - < <(head -c $n a.trace)
		expect_message 'stdin: cut short: the gzip block at byte 0 is not complete, the file ends at byte [0-9]*; 0 complete runs, 0 tokens before it'
	done
	fails 1 moe-stats --diff a.trace - < <(head -c 60 a.trace; tail -c +61 a.trace | tr '\0-\377' '\1-\377\0')
	expect_message 'gzip block at byte 0 is damaged.*; 0 complete runs, 0 tokens before it'
	fails 1 moe-stats --diff a.trace "$TEXT/code.txt"
	expect_message 'expected a gzip block at byte 0, found other bytes'
	[[ $stderr != *'complete runs'* ]]
	moe-route -o other.trace tiny-v2 --ids -p '0 1 2'
	fails 1 moe-route -o x.trace a.trace other.trace
	expect_message 'other.trace'
	[ ! -e x.trace ]
	[ -z "$(find . -name '*tmp*')" ]
}

# logits_of TEXT...: a trace of one layer with 8 experts, a token for each argument, which is its logits.
logits_of()
{
	perl -e '
		my $inf = 9 ** 9 ** 9;
		my %words = (inf => $inf, "-inf" => -$inf, nan => -sin($inf));
		my $data = join "", map { pack "f<8", map { $words{$_} // $_ } split } @ARGV;
		my $header = sprintf q({"logits":{"dtype":"F32","shape":[%d,8],"data_offsets":[0,%d]}}), scalar @ARGV, length $data;
		print pack("Q<", length $header), $header, $data' -- "$@" >logits.safetensors
	perl "$TOP/tests/ref/write_trace.pl" -k 2 logits.safetensors | gzip -c
}

@test "logits that are not numbers are refused by every policy that reads them, with their place" {
	logits_of '1 2 3 4 5 6 7 8' '1 2 3 nan 5 6 7 8' >nan.trace
	logits_of '1 2 3 4 5 6 7 8' '1 2 3 4 5 6 inf 8' >inf.trace
	logits_of '1 2 3 4 5 6 7 8' '1 2 3 -inf 5 -inf 7 8' >barred.trace
	for policy in $(moe-route --list-policies | tail -n +2 | cut -f 1); do
		case $policy in
		hash) continue ;;   # reads ids, which such a trace does not have
		random | round_robin)
			moe-route -q --policy $policy --print nan.trace >table
			continue
			;;
		esac
		fails 1 moe-route -q --policy $policy --print nan.trace
		expect_message '^moe-route: nan.trace: sequence 0, position 1, layer 0: the logits are not numbers: expert 3 has -?nan'
		fails 1 moe-route -q --policy $policy --print - <inf.trace
		expect_message '^moe-route: stdin: sequence 0, position 1, layer 0: the logits are not numbers: expert 6 has inf'
		case $policy in base | expert_choice) continue ;; esac   # sums over all experts
		moe-route -q --policy $policy --print barred.trace >table
		never grep -q nan table
	done
	fails 1 moe-route --policy noaux_tc --adapt-bias 0.1 --batch-tokens 1 nan.trace
	expect_message 'layer 0: there are logits that are not numbers'
}

@test "models without experts run, and have nothing to route" {
	echo '3 5 7 9' >ids
	for model in llama qwen2 qwen3; do
		fails 2 moe-route --ids "$GOLDEN/models/$model" ids -o t.trace
		expect_message 'has no layer with a router'
		run_split moe-run --ids -n 3 "$GOLDEN/models/$model" ids
		expect_status 0
		[ "$(wc -w <.out)" -ge 1 ]
	done
	fails 2 moe-run --ids --trace t.trace "$GOLDEN/models/llama" ids
	run_split moe-convert --info "$GOLDEN/models/llama"
	expect_line 'experts              none'
}

@test "--capacity: choices that find no room keep their place and weigh nothing, as in a run of the model" {
	printf '5 6 7 8 9 10 11 12 13 14 15 5 5 5 5 5 5\t0 3 4 5\n9 8 7 9 9 9 9 9 9\t0\n' >ids
	moe-route --ids --logits -o t.trace "$GOLDEN/models/switch" ids
	moe-route --print t.trace >own
	# the model's own is 5
	moe-route --policy switch --capacity-tokens 5 --drop position --print t.trace >same
	expect_same own same
	[ "$(awk -F'\t' '$8 == 0' own | wc -l)" -gt 10 ]
	moe-route --policy switch --print t.trace >free
	[ "$(awk -F'\t' '$8 == 0' free | wc -l)" -eq 0 ]
	moe-stats --load t.trace | cut -f1-3 >a
	moe-route --policy switch --capacity-tokens 5 t.trace | moe-stats --load - | cut -f1-3 >b
	expect_same a b
	# up to the first router the capacity changes nothing: there a run and its logits agree on any
	for how in '--capacity 1.3' '--capacity 1.3 --capacity-group tokens=4' '--capacity-tokens 2' \
	           '--capacity-tokens 2 --capacity-group tokens=6'; do
		moe-run --ids -n 0 --force $how --trace run.trace "$GOLDEN/models/switch" ids
		moe-route --print run.trace | awk -F'\t' '$5 == 1' >a
		moe-route --policy switch $how --print t.trace | awk -F'\t' '$5 == 1' >b
		expect_same a b
		[ "$(awk -F'\t' '$8 == 0' a | wc -l)" -gt 0 ]
	done
	# the trace on stdin, logits and all, can be limited again
	moe-route --policy switch --capacity 2 --logits --margin - <t.trace |
		moe-route --policy switch --capacity-tokens 5 --print - >c
	expect_same own c
	fails 2 moe-route --policy switch --capacity 1 --capacity-tokens 2 t.trace
	expect_message 'say the same in two ways'
	fails 2 moe-route --policy switch --drop position t.trace
	expect_message 'go with --capacity'
	fails 2 moe-route --capacity 1 t.trace
	expect_message 'parameters of --policy'
	fails 2 moe-route --policy switch --capacity 1 --capacity-group tokens=0 t.trace
	expect_message 'expected sequence or tokens=N'
}

@test "a full disk under printed decisions is said" {
	[ -w /dev/full ] || skip "no /dev/full"
	run_split bash -c 'moe-route --print tiny-v3 --ids -p "1 2 3" >/dev/full'
	expect_status 1
	expect_message 'stdout: cannot write: No space left'
	run_split bash -c 'moe-route --print tiny-v3 --ids -p "1 2 3" >&-'
	expect_status 1
	expect_message 'stdout: cannot write'
}

@test "--hidden: one router alone, on inputs from a file, decides as the plain formula does" {
	model=$GOLDEN/models/mixtral
	perl "$TOP/tests/ref/route_rows.pl" "$model/model.safetensors" model.layers.1.block_sparse_moe.gate.weight h.st >want
	for chunk in 512 3; do
		moe-route --hidden h.st --layer 1 --chunk $chunk --print "$model" >got
		awk -F'\t' 'NR > 1 && ($5 != 1 || $4 != -1) { exit 1 } NR > 1 { printf "%s\t%d\t%d\t%.6f\n", $1, $3, $7, $8 }' \
			got >have
		paste want have | awk -F'\t' '$1 != $5 || $2 != $6 || $3 != $7 || $4 - $8 > 2e-6 || $8 - $4 > 2e-6 { exit 1 }
			END { exit NR != 32 }'
	done
	# what it writes can be routed again
	moe-route --hidden h.st --layer 1 --logits -o h.trace "$model"
	policy=$(zcat h.trace | sed -n 's/^"policy":"\(.*\)",$/\1/p')
	moe-route --policy "$policy" --print h.trace >again
	expect_same got again
	fails 2 moe-route --hidden h.st --layer 9 --print "$model"
	expect_message 'has no router there'
	fails 2 moe-route --hidden h.st --print "$model"
	expect_message 'go together'
	fails 1 moe-route --hidden h.st --layer 1 --print tiny-v3
	expect_message 'first has 2 dimensions'
	fails 2 moe-route --hidden h.st --layer 1 --print "$model" text
	fails 2 moe-route --hidden h.st --layer 1 --force -o h.st "$model"
}

@test "traces of both versions of the format are read as their page says, and may be joined" {
	cd "$TOP/tests/fuzz/corpus/trace"
	for trace in {,v2-}{f32,f16,8bit,none}.trace; do
		moe-route --print "$trace" >"$BATS_TEST_TMPDIR/ours"
		perl "$TOP/tests/ref/read_trace.pl" "$trace" | cmp - "$BATS_TEST_TMPDIR/ours"
	done
	for gates in f32 f16 8bit none; do
		moe-route --print $gates.trace | cmp - <(moe-route --print v2-$gates.trace)
	done
	moe-route --print v1-v2.trace | wc -l | grep -qx $((2 * ($(moe-route --print f32.trace | wc -l) - 1) + 1))
}
