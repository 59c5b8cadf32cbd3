#!/usr/bin/env bats
# moe-run --imatrix: the table of importance. Its numbers: tests/unit/test_eval_importance.c.

load lib

# Names of the entries of a table; of the matrices of a GGUF file beside its embedding.
entries() { grep -aoE '[a-z0-9_.]+[.]in_sum2' "$1" | sed 's/[.]in_sum2$//' | sort; }
matrices()
{
	moe-convert --list "$1" | awk -F'\t' 'NR > 1 && $3 ~ /,/ && $1 !~ /token_embd|bias|norm|rel_b|rope_/ { print $1 }' |
		sort
}

@test "every matrix of every family has an entry, whatever the container" {
	n=0
	for m in "$GOLDEN"/models/*/; do
		name=$(basename "$m")
		[ -e "$m/config.json" ] || continue
		mkdir $name
		if grep -q '"is_encoder_decoder": true\|num_decoder_layers' "$m/config.json"; then
			printf '1 2 3\t0 4\n'
		else
			printf '1 2 3 4 5\n'
		fi >ids
		moe-convert -q --drop-mtp "$m" $name/m.gguf
		moe-run -q --ids --imatrix $name/i.gguf "$m" ids -n 0
		matrices $name/m.gguf >want
		if grep -q '"tie_word_embeddings": true' "$m/config.json"; then
			echo token_embd.weight | sort -m - want >tied && mv tied want
		fi
		entries $name/i.gguf >got
		diff got want || { echo "# $name"; false; }
		# the last bits of a product may depend on how its matrix is stored, counts do not
		moe-run -q --ids --imatrix $name/g.gguf $name/m.gguf ids -n 0
		entries $name/g.gguf >again
		expect_same again got
		n=$((n + 1))
	done
	[ $n -ge 30 ]
}

@test "the same bytes with --score, other threads and passes; the layer of MTP only with --mtp" {
	moe-run -q --score --imatrix a.gguf -o scores "$MODEL_V3" "$TEXT/zh.txt"
	moe-run -q -n 0 --imatrix b.gguf -j 3 --chunk 7 "$MODEL_V3" "$TEXT/zh.txt"
	cmp a.gguf b.gguf
	entries a.gguf | never grep -q nextn
	moe-run -q -n 0 --mtp --imatrix c.gguf "$MODEL_V3" "$TEXT/zh.txt"
	entries c.gguf | grep -q nextn.eh_proj
	moe-run -q --score -o plain "$MODEL_V3" "$TEXT/zh.txt"
	diff <(grep -v '^#' plain) <(grep -v '^#' scores)
}

@test "counts are those of the trace" {
	moe-run -q -n 0 --imatrix a.gguf --trace a.trace "$MODEL_V3" "$TEXT/code.txt"
	moe-stats --load a.gguf | grep -v '^#' | cut -f1-3 >got
	moe-stats --load a.trace | grep -v '^#' | cut -f1-3 >want
	expect_same got want
}

@test "what --imatrix does not go with, and what is there already" {
	echo text >t
	fails 2 moe-run --imatrix a.gguf -n 4 "$MODEL_V3" t
	fails 2 moe-run --imatrix - "$MODEL_V3" t
	expect_message "'-' will not do"
	fails 2 moe-run --imatrix a.gguf --score --resume -o s.tsv "$MODEL_V3" t
	expect_message '--resume excludes'
	fails 2 moe-run --imatrix a.gguf --tokenize "$MODEL_V3" t
	fails 2 moe-run --imatrix a.gguf --choices t "$MODEL_V3"
	fails 2 moe-run --imatrix t -n 0 "$MODEL_V3" t
	echo old >a.gguf
	fails 2 moe-run --imatrix a.gguf -n 0 "$MODEL_V3" t
	expect_message '--force'
	[ "$(cat a.gguf)" = old ]
	moe-run --imatrix b.gguf --dry-run "$MODEL_V3" t >dry
	grep -q 'b.gguf' dry
	[ ! -e b.gguf ]
	: >empty
	fails 1 moe-run --imatrix b.gguf --ids "$MODEL_V3" empty
	expect_message 'no token was fed'
	[ ! -e b.gguf ]
}
