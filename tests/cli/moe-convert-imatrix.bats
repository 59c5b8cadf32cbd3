#!/usr/bin/env bats
# moe-convert --imatrix: what a table of importance does to a conversion. That it makes errors less:
# tests/unit/test_convert_importance.c.

load lib

# The first N lines of a text and the table that they give.
table() { head -n "$1" "$TEXT/code.txt" | moe-run -q -n 0 --imatrix "$2" "$MODEL_V2"; }

@test "the same bytes from safetensors and GGUF, with other threads, and not those without" {
	table 40 i.gguf
	moe-convert -q --imatrix i.gguf --type 'exps=q3_k,attn=q4_0' -j 1 "$MODEL_V2" a.gguf
	moe-convert -q --imatrix i.gguf --type 'exps=q3_k,attn=q4_0' -j 3 "$MODEL_V2" b.gguf
	cmp a.gguf b.gguf
	moe-convert -q "$MODEL_V2" plain.gguf
	moe-convert -q --imatrix i.gguf --type 'exps=q3_k,attn=q4_0' plain.gguf c.gguf
	moe-convert --hash a.gguf >a && moe-convert --hash c.gguf >c
	expect_same c a
	moe-convert -q --type 'exps=q3_k,attn=q4_0' "$MODEL_V2" d.gguf
	moe-convert --hash d.gguf >d
	[ "$(diff a d | grep -c '^>.*mlp.experts')" -eq "$(grep -c mlp.experts d)" ]
	diff <(grep -v 'experts\|self_attn' a) <(grep -v 'experts\|self_attn' d)
	grep -aq quantize.imatrix.file a.gguf
	never grep -aq quantize.imatrix.file d.gguf
}

@test "experts that saw few tokens are named, in one sentence a layer, and with -v each" {
	table 2 i.gguf
	run_split moe-convert -v --imatrix i.gguf --type exps=q4_0 "$MODEL_V2" a.gguf
	expect_status 0
	moe-stats --load i.gguf | grep -v '^#' | awk -F'\t' 'NR > 1 && $3 < 32 { n[$1]++; all++ }
		END { for (l in n) print l, n[l]; print "all", all }' | sort >want
	[ "$(wc -l <want)" -gt 1 ]
	{
		sed -n 's/.*layer \([0-9]*\): \([0-9]*\) of [0-9]* experts saw fewer than 32 tokens.*/\1 \2/p' .err
		echo all $(grep -c 'layer [0-9]*, expert [0-9]* saw' .err)
	} | sort >got
	expect_same got want
	run_split moe-convert --imatrix i.gguf --imatrix-tokens 0 --type exps=q4_0 "$MODEL_V2" b.gguf
	expect_status 0
	never grep 'saw fewer' .err
	never cmp -s a.gguf b.gguf
}

@test "what is without an entry is counted; another one of the same input will do" {
	table 40 i.gguf
	sed 's/ffn_gate_exps/ffn_gate_expX/g; s/attn_output/attn_outpuX/g' i.gguf >cut.gguf
	run_split moe-convert -v --imatrix cut.gguf --type 'exps=q4_0,attn=q4_0' "$MODEL_V2" a.gguf
	expect_status 0
	layers=$(grep -c . <<<"$(moe-convert --list a.gguf | cut -f1 | grep attn_output)")
	expect_message "no entry for $layers of "
	[ "$(grep -c 'attn_output.weight: no entry' .err)" -eq "$layers" ]
	expect_message 'entries go with no tensor of the model'
	# gate meets what up meets
	moe-convert -q --imatrix i.gguf --type exps=q4_0 "$MODEL_V2" b.gguf
	diff <(moe-convert --hash a.gguf | grep gate_proj) <(moe-convert --hash b.gguf | grep gate_proj)
}

@test "an interrupted conversion goes on with the same table, not with another" {
	table 40 i.gguf
	moe-convert -q --imatrix i.gguf --type exps=q4_0 "$MODEL_V2" want.gguf
	moe-convert -q --resume --imatrix i.gguf --type exps=q4_0 "$MODEL_V2" a.gguf
	cmp a.gguf want.gguf
	run_split moe-convert --resume --imatrix i.gguf --type exps=q4_0 "$MODEL_V2" a.gguf
	expect_status 0
	expect_message 'complete'
	cp i.gguf j.gguf
	touch -d '2001-01-01' j.gguf
	run_split moe-convert --resume --imatrix j.gguf --type exps=q4_0 "$MODEL_V2" a.gguf
	[ "$status" -ne 0 ] || ! grep 'is complete' .err
}

@test "the older format is read, and says less" {
	number() { sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$MODEL_V2/config.json"; }
	old() {
		perl -e 'binmode STDOUT; my @e = map { ["blk.1.ffn_${_}_exps.weight", $ARGV[0]] } qw(gate up);
			print pack "l<", scalar @e;
			for (@e) { print pack "l< a* l< l<", length $_->[0], $_->[0], 2, $_->[1];
				print pack "f<", 1 + $_ % 7 for 1 .. $_->[1] }
			print pack "l< l< a*", 2, 5, "a.txt"' "$1"
	}
	old $(($(number hidden_size) * $(number n_routed_experts))) >i.dat
	run_split moe-convert --imatrix i.dat --type exps=q4_0 "$MODEL_V2" a.gguf
	expect_status 0
	expect_message 'does not say how many tokens each expert saw'
	old $(($(number hidden_size) * 3)) >three.dat
	fails 1 moe-convert --imatrix three.dat --type exps=q4_0 "$MODEL_V2" b.gguf
	expect_message 'is it the table of another model'
	for k in 0 3 11 40 1000; do
		head -c $k i.dat >cut.dat
		fails 1 moe-convert --imatrix cut.dat --type exps=q4_0 "$MODEL_V2" b.gguf
		expect_message 'cut.dat'
	done
	[ ! -e b.gguf ]
}

@test "tables of other models, and options that make no sense, are refused" {
	table 2 i.gguf
	moe-run -q -n 0 --imatrix other.gguf -p text tiny-v3
	fails 1 moe-convert --imatrix other.gguf --type exps=q4_0 "$MODEL_V2" a.gguf
	expect_message 'other.gguf: blk.*is it the table of another model'
	fails 1 moe-convert --imatrix "$MODEL_V2/config.json" --type exps=q4_0 "$MODEL_V2" a.gguf
	expect_message 'table of importance'
	fails 1 moe-convert --imatrix none.gguf --type exps=q4_0 "$MODEL_V2" a.gguf
	fails 2 moe-convert --imatrix i.gguf --type q8_0 "$MODEL_V2" a.gguf
	expect_message 'it would change nothing'
	fails 2 moe-convert --imatrix i.gguf --type exps=q4_0 --segment 2 "$MODEL_V2" a.gguf
	expect_message 'the table is of those before'
	fails 2 moe-convert --imatrix-tokens 3 --type exps=q4_0 "$MODEL_V2" a.gguf
	expect_message '--imatrix-tokens goes with --imatrix'
	fails 2 moe-convert --imatrix i.gguf --list "$MODEL_V2"
	fails 2 moe-convert --imatrix i.gguf --type exps=q4_0 --force "$MODEL_V2" i.gguf
	[ ! -e a.gguf ]
	# a sum that is no number is found when it is needed
	perl -e 'local $/; open my $f, "<", "i.gguf"; my $b = <$f>; substr($b, -6000, 4000) = pack("f<", "nan") x 1000;
		print $b' >nan.gguf
	fails 1 moe-convert --imatrix nan.gguf --type '*=q4_0' "$MODEL_V2" a.gguf
	expect_message 'nan.gguf'
	[ ! -e a.gguf ]
	moe-convert --imatrix i.gguf --type exps=q4_0 --dry-run "$MODEL_V2" a.gguf
	[ ! -e a.gguf ]
}
