# moe-route --from and --to: the same choices through every format, and what is refused.

load lib

TRACES=$GOLDEN/traces

# same WANT ARGS...: what --print shows of an import is exactly the table WANT.
same()
{
	local want=$TRACES/$1.tsv
	shift
	run_split moe-route --print "$@"
	expect_status 0 && expect_stdout "$want"
}

@test "arrays of every type and order are the same choices" {
	for type in uint8 uint16 int32 int64; do
		same one-$type --from npy --n-experts 64 --layer 1 "$TRACES/one-$type.npy"
	done
	same fortran --from npy --n-experts 64 --layer 1 "$TRACES/fortran.npy"
	same flat --from npy --n-experts 64 --layer 1 "$TRACES/flat.npy"
	same plain --from pt --n-experts 64 --layer 1 "$TRACES/plain.pt"
}

@test "two sequences with weights and tokens are the same in every container" {
	for format in npz safetensors pt; do
		same two --from $format --n-experts 64 --layer 1 "$TRACES/two.$format"
	done
	same two --from npz --n-experts 64 --layer 1 "$TRACES/deflated/two.npz"
	for file in two.csv two.tsv; do
		same two --from csv --n-experts 64 "$TRACES/$file"
	done
	same two --from jsonl --n-experts 64 "$TRACES/two.jsonl"
	same two --from csv --n-experts 64 - <"$TRACES/two.csv"
}

@test "the trace that is written holds what --print shows" {
	for format in npz safetensors pt; do
		moe-route --from $format --n-experts 64 --layer 1 -o $format.trace "$TRACES/two.$format"
		moe-route --print $format.trace >table
		expect_same table "$TRACES/two.tsv"
	done
	moe-route --from npz --n-experts 64 --layer 1 --gates none -o bare.trace "$TRACES/two.npz"
	run_split moe-stats --load bare.trace
	expect_status 0
	awk -F'\t' '!/^#/ && $3 ~ /^[0-9]/ { n += $3 } END { exit n != 8 * 2 * 3 }' .out
}

@test "router traces of Megatron are imported, MTP behind the last layer" {
	same router_trace_rank0 --from megatron --n-experts 64 "$TRACES/router_trace_rank0.jsonl"
}

@test "more experts than one byte, and than two, can tell apart" {
	for n in 300 70000; do
		same e$n --from npz --n-experts $n --layer 1 "$TRACES/e$n.npz"
		moe-route --from npz --n-experts $n --layer 1 -o e.trace --force "$TRACES/e$n.npz"
		moe-route --print e.trace >table
		expect_same table "$TRACES/e$n.tsv"
		for to in csv jsonl; do
			moe-route --to $to e.trace >"e$n.$to"
			same e$n --from $to --n-experts $n "e$n.$to"
		done
		[ "$(moe-stats --load e.trace | grep -vc '^#\|^layer')" -eq $((2 * n)) ]
	done
}

@test "scores: the largest are chosen, and the trace can be routed again" {
	for type in float32 float16; do
		moe-route --from logits -k 3 --layer 3 -o l.trace --force "$TRACES/logits-$type.npy"
		moe-route --print l.trace >got
		paste got "$TRACES/logits-$type.tsv" | awk -F'\t' 'NR > 1 { n++
			for (i = 1; i < 8; i++) if ($i != $(i + 8)) exit 1
			if (($8 - $16) ^ 2 > 1e-12) exit 1
		} END { exit n != 18 }'
		moe-route --policy softmax_topk -k 3 --scale 1 --no-normalize --print l.trace >again
		expect_same got again
	done
	run_split moe-route --from logits --print "$TRACES/logits-float32.npy"
	expect_status 0
	expect_message 'best expert alone'
	[ "$(wc -l <.out)" -eq 7 ]
	fails 2 moe-route --from logits -k 17 --print "$TRACES/logits-float32.npy"
	fails 1 moe-route --from logits --n-experts 8 --print "$TRACES/logits-float32.npy"
	fails 1 moe-route --from logits --print "$TRACES/one-int32.npy"
	fails 1 moe-route --from npy --n-experts 64 --print "$TRACES/logits-float32.npy"
}

@test "an expert that cannot be is refused with its place, or dropped and counted" {
	fails 1 moe-route --from npy --n-experts 64 --layer 1 --print "$TRACES/impossible.npy"
	expect_message 'impossible.npy: token 3, layer 2, choice 2: expected an expert from 0 to 63, found 255' ||
		expect_message 'impossible.npy: token 3, layer [12], choice [0-2]: expected an expert from 0 to 63, found 255'
	run_split moe-route --from npy --n-experts 64 --layer 1 --lenient --print "$TRACES/impossible.npy"
	expect_status 0
	expect_message 'choices dropped, of experts that cannot be: [1-9]'
	n=$(grep -o '[0-9]*$' .err | head -n 1)
	[ "$(sed 1d .out | wc -l)" -eq $((5 * 2 * 3 - n)) ]
	printf 'token,layer,expert,weight\n0,1,3,0.5\n0,1,64,0.5\n0,1,-1,0.5\n0,1,3,0.25\n' >bad.csv
	fails 1 moe-route --from csv --n-experts 64 --print bad.csv
	expect_message 'bad.csv: line 3, token 0, layer 1: expected an expert from 0 to 63, found 64'
	run_split moe-route --from csv --n-experts 64 --lenient --print bad.csv
	expect_status 0
	expect_message ': 3$'
	expect_line "bad	0	0	-1	1	0	3	0.5"
	[ "$(wc -l <.out)" -eq 2 ]
	echo '{"token":0,"layer":1,"experts":[1,1]}' >twice.jsonl
	fails 1 moe-route --from jsonl --n-experts 64 --print twice.jsonl
	expect_message 'line 1, .*expert 1 is there twice'
	mkdir log
	for l in $(seq 1 26); do printf '1\t2\t3\t4\t5\t255\t\t.3\t.2\t.1\t.1\t.1\t.9\n' >log/expert_weights_$l.txt; done
	config=$DATA/configs/deepseek-v2-lite.json
	fails 1 moe-route --from esft --model-config "$config" --print log
	expect_message 'line 1, field 6: expected an expert from 0 to 63, found .255'
	run_split moe-route --from esft --model-config "$config" --lenient --print log
	expect_status 0
	expect_message ': 26$'
	expect_line "log	0	0	-1	1	0	1	0.300000012"
	[ "$(wc -l <.out)" -eq $((26 * 5 + 1)) ]
}

@test "weights that are none are refused" {
	for weight in nan -0.5 inf 1e999 x ''; do
		printf 'token,layer,expert,weight\n0,1,3,1\n0,1,4,%s\n' "$weight" >w.csv
		fails 1 moe-route --from csv --n-experts 64 --print w.csv
		expect_message 'line 3'
	done
	for weight in NaN -1 '"a"' null; do
		echo '{"token":0,"layer":1,"experts":[1],"weights":['"$weight"']}' >w.jsonl
		fails 1 moe-route --from jsonl --n-experts 64 --print w.jsonl
	done
}

@test "the configuration tells experts and layers" {
	config=$MODEL_V3/config.json
	moe-route --to npy -o one.npy tiny-v3 --ids -p '0 5 9 11'
	moe-route --to csv -o one.csv tiny-v3 --ids -p '0 5 9 11'
	moe-route --from npy --model-config "$config" -o npy.trace one.npy
	moe-route --from csv --model-config "$config" -o csv.trace one.csv
	moe-route --print npy.trace | cut -f2,3,5-7 >npy.table
	moe-route --print csv.trace | cut -f2,3,5-7 >csv.table
	moe-route --print tiny-v3 --ids -p '0 5 9 11' | cut -f2,3,5-7 >table
	expect_same table npy.table
	expect_same table csv.table
	fails 2 moe-route --from npy --model-config "$config" --n-experts 64 --print one.npy
	expect_message 'has 32 experts a layer, --n-experts says 64'
	fails 2 moe-route --from npy --print one.npy
	expect_message -- '--n-experts'
	printf 'token,layer,expert\n0,0,1\n' >dense.csv
	fails 1 moe-route --from csv --model-config "$config" --print dense.csv
	expect_message 'layer 0 has no experts'
	fails 1 moe-route --from npy --model-config "$config" --layer 100 --print one.npy
	fails 1 moe-route --from npy --model-config "$config" --print "$TRACES/one-int32.npy"
}

@test "csv and jsonl bring a trace back as it was, npy its choices" {
	printf 'some text\n' >'a, "b".txt'
	printf 'other\n' >c.txt
	moe-route -o x.trace tiny-v3 'a, "b".txt' c.txt
	moe-route --print x.trace >want
	for format in csv jsonl; do
		moe-route --to $format -o x.$format x.trace
		moe-route --from $format --n-experts 32 -o $format.trace x.$format
		moe-route --print $format.trace >got
		expect_same want got
		moe-route --to $format tiny-v3 'a, "b".txt' c.txt >direct
		expect_same x.$format direct
	done
	[ "$(head -n 1 x.csv)" = token,layer,expert,weight,seq,token_id,source ]
	jq -es 'all(.[]; (.experts | length) == (.weights | length) and .token >= 0 and .layer >= 0)' x.jsonl
	moe-route --from csv --n-experts 32 --print want >got
	expect_same want got
	moe-route --to npy -o x.npy x.trace
	moe-route --to npy x.trace >x2.npy
	expect_same x.npy x2.npy
	moe-route --from npy --n-experts 32 --layer 1 --print x.npy | cut -f5-7 >got
	cut -f5-7 want >want.ids
	expect_same want.ids got
	moe-route --gates none -o bare.trace x.trace
	moe-route --print bare.trace >want
	for format in csv jsonl; do
		moe-route --to $format bare.trace | moe-route --from $format --n-experts 32 --print - | cut -f2- >got
		cut -f2- want >want.rest
		expect_same want.rest got
	done
}

@test "several files are one trace, sequences numbered on" {
	moe-route --from npy --n-experts 64 --layer 1 --print "$TRACES/one-uint8.npy" "$TRACES/one-int64.npy" >table
	[ "$(cut -f1,2 table | sed 1d | uniq | tr '\t\n' '  ')" = "one-uint8 0 one-int64 1 " ]
	fails 1 moe-route --from npy --n-experts 64 --print "$TRACES/one-uint8.npy" "$TRACES/flat.npy"
	expect_message 'came before'
	cp "$TRACES/two.csv" b.csv
	moe-route --from csv --n-experts 64 --print "$TRACES/two.csv" b.csv | sed 1d | cut -f2 | uniq >seqs
	[ "$(tr '\n' ' ' <seqs)" = "0 1 2 3 " ]
}

@test "lines of csv in other columns, orders, quotes and comments" {
	printf '# made by hand\nphase,layer,token,expert\r\nx,2,1,7\r\n"a,b",1,0,5\n\n"c ""d""\nx",2,0,6\n"",1,1,4' >odd.csv
	run_split moe-route --from csv --n-experts 8 --print odd.csv
	expect_status 0
	printf 'source\tseq\tpos\ttoken\tlayer\tchoice\texpert\tweight\n' >want
	printf 'odd\t0\t%s\t-1\t%s\t0\t%s\t\n' 0 1 5 0 2 6 1 1 4 1 2 7 >>want
	expect_stdout want
	printf 'token\texpert\n0\t1\n' >one.tsv
	fails 1 moe-route --from csv --n-experts 8 --print one.tsv
	expect_message 'found no layer'
	moe-route --from csv --n-experts 8 --layer 5 --print one.tsv | cut -f5 | sed 1d >layer
	[ "$(cat layer)" = 5 ]
	for bad in 'token,layer,expert\n' 'token,layer,expert\n0,1\n' 'token,layer,expert\n0,1,"2\n' 'a\n1\n' '' \
		'token,layer,token,expert\n' 'token,layer,expert\n-1,1,2\n' 'token,layer,expert\n0,1,1e0\n' \
		'token,layer,expert,seq\n0,1,2,-1\n' 'token,layer,expert,token_id\n0,1,2,5\n0,1,3,6\n'; do
		# shellcheck disable=SC2059
		printf "$bad" >bad.csv
		fails 1 moe-route --from csv --n-experts 8 --print bad.csv
	done
}

@test "few lines cannot ask for a box of any size" {
	{ echo token,layer,expert; for i in $(seq 3000); do echo "0,0,$i"; echo "0,$i,0"; echo "$i,0,0"; done; } >box.csv
	fails 1 moe-route --from csv --n-experts 4000 --print box.csv
	expect_message 'places would be empty'
}

@test "a pickle is never executed" {
	fails 1 moe-route --from pt --n-experts 64 --print "$TRACES/evil.pt"
	expect_message "found 'posix.system'; nothing is executed"
	never grep -q executed .out
	fails 1 moe-route --from pt --n-experts 64 --print "$TRACES/two.npz"
	fails 1 moe-route --from npz --n-experts 64 --print "$TRACES/two.pt"
	fails 1 moe-route --from npz --n-experts 64 --print "$TRACES/one-int32.npy"
	fails 1 moe-route --from npy --n-experts 64 --print "$TRACES/big-endian.npy"
	expect_message 'little-endian'
	fails 1 moe-route --from safetensors --n-experts 64 --print "$TRACES/two.npz"
	fails 2 moe-route --from safetensors --n-experts 64 --print "$MODEL_V3"
	fails 1 moe-route --from safetensors --n-experts 64 --print "$MODEL_V3/model.safetensors"
}

@test "misuse is 2" {
	fails 2 moe-route --from npy --n-experts 64 -k 2 --print "$TRACES/one-int32.npy"
	expect_message 'hold choices, not scores'
	moe-route -o a.trace tiny-v3 --ids -p '0 1 2'
	for option in '--n-experts 5' '--layer 1' --lenient; do
		# shellcheck disable=SC2086
		fails 2 moe-route $option --print a.trace
	done
	fails 2 moe-route --to esft a.trace
	expect_message '--to esft: expected one of: csv, jsonl, npy$'
	fails 2 moe-route --to csv --print a.trace
	fails 2 moe-route --to csv --json a.trace
	fails 2 moe-route --from csv --policy mixtral --n-experts 64 "$TRACES/two.csv"
	fails 2 moe-route --from csv --n-experts 0 "$TRACES/two.csv"
	moe-route --to csv -o a.csv a.trace
	fails 2 moe-route --to csv -o a.csv a.trace
}

@test "counts of llama-imatrix are a load table" {
	moe-stats --load "$TRACES/imatrix.gguf" >load.tsv
	grep -v '^#' load.tsv >got
	expect_same got "$TRACES/imatrix.tsv"
	moe-stats --metric cv,maxvio "$TRACES/imatrix.gguf" >of.gguf
	moe-stats --metric cv,maxvio "$TRACES/imatrix.tsv" >of.tsv
	expect_same of.gguf of.tsv
	moe-split -n 2 --planner greedy "$TRACES/imatrix.gguf" >plan
	[ "$(grep -vc '^#\|^layer' plan)" -eq 8 ]
	moe-convert --to gguf "$MODEL_V3" m.gguf
	fails 1 moe-stats --load m.gguf
	expect_message 'm.gguf: expected a table of importance'
	for n in 0 4 100 2000; do
		head -c $n "$TRACES/imatrix.gguf" >cut.gguf
		fails 1 moe-stats --load cut.gguf
	done
}

@test "what SGLang's recorder of expert distributions dumps is a load table" {
	for f in stat token; do
		moe-stats --load "$TRACES/sglang-$f.pt" >load.tsv
		expect_same load.tsv "$TRACES/sglang-$f.tsv"
	done
	# A file for each rank.
	moe-stats --load "$TRACES"/sglang-pass-[01].pt >load.tsv
	expect_same load.tsv "$TRACES/sglang-pass.tsv"
	moe-stats --metric cv,maxvio,dead "$TRACES/sglang-stat.pt" >of.pt
	moe-stats --metric cv,maxvio,dead "$TRACES/sglang-stat.tsv" >of.tsv
	expect_same of.pt of.tsv
	moe-split -n 2 --planner greedy "$TRACES/sglang-stat.pt" >plan
	[ "$(grep -vc '^#\|^layer' plan)" -eq 18 ]
	moe-split --evaluate plan "$TRACES/sglang-stat.pt" >evaluated
	fails 1 moe-stats --load "$TRACES/two.pt"
	expect_message 'two.pt: expected logical_count, or records and last_physical_to_logical_map, found neither'
	fails 1 moe-stats --load "$TRACES/evil.pt"
	expect_message 'nothing is executed here'
	fails 2 moe-stats --metric overlap "$TRACES/sglang-stat.pt"
	fails 1 moe-stats --load "$TRACES/sglang-stat.pt" "$TRACES/imatrix.tsv"
	for n in 4 100 1000 1900; do
		head -c $n "$TRACES/sglang-stat.pt" >cut.pt
		fails 1 moe-stats --load cut.pt
	done
}

@test "a trace of a published log is smaller than its text under gzip by as much as the page says" {
	for task in intent summary; do
		tar -xf "$DATA/esft/$task.tar.xz"
		text=$(cat $task/expert_weights_*.txt | gzip -6 | wc -c)
		for part in f32:105 f16:85 8bit:60 none:60; do
			moe-route -q --force --from esft --model-config "$DATA/configs/deepseek-v2-lite.json" \
				--gates "${part%:*}" -o x.trace $task
			size=$(stat -c %s x.trace)
			echo "$task ${part%:*} $size of $text"
			((100 * size <= text * ${part#*:}))
		done
	done
}
