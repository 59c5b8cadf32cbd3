# Plug-in folders: a member is one file, reached only through the generated table, and adding it is adding a file.

load ../cli/lib

kinds()
{
	make -s -C "$TOP" -f Makefile -f - print-kinds <<<'print-kinds: ; @echo $(KINDS)'
}

@test "a member exports one symbol, named after its file" {
	for k in $(kinds); do
		for f in "$TOP/lib/$k"/*.c; do
			name=$(basename "$f" .c)
			nm -g --defined-only "$BUILD/lib/$k/$name.o" | awk '{ print $3 }' >symbols
			if [ "$(wc -l <symbols)" != 1 ] || ! grep -qE "^moe_[a-z0-9_]+_$name$" symbols; then
				echo "lib/$k/$name.c exports: $(tr '\n' ' ' <symbols)"
			fi
		done
	done >bad
	cat bad
	[ ! -s bad ]
}

@test "nobody names a member's symbol: the tables are made from the listing" {
	for k in $(kinds); do
		for f in "$TOP/lib/$k"/*.c; do
			name=$(basename "$f" .c)
			symbol=$(nm -g --defined-only "$BUILD/lib/$k/$name.o" | awk '{ print $3; exit }')
			(cd "$TOP" && grep -rnw -- "$symbol" lib cmd --include='*.[ch]') | grep -v "^lib/$k/$name\.c:" || :
		done
	done >bad
	cat bad
	[ ! -s bad ]
}

@test "a header beside a member declares no member" {
	for k in $(kinds); do
		for f in "$TOP/lib/$k"/*.h; do
			[ -e "$f" ] || continue
			grep -nE 'extern[[:space:]]' "$f" || :
		done
	done >bad
	cat bad
	[ ! -s bad ]
}

# A copy of the tree and of what was built, so that only what changes is compiled.
copy_tree()
{
	mkdir tree
	(cd "$TOP" && tar -cf - Makefile lib cmd man) | tar -xf - -C tree
	mkdir -p tree/build
	cp -a "$BUILD/." tree/build/
	rm -rf tree/build/tests
}

# dup FOLDER MEMBER: a new member `probe` in the copy, made from an existing one.
dup()
{
	sed "s/\\(moe_[a-z0-9]*\\)_$2\\b/\\1_probe/g; s/\\(\\.name = \\)\"[^\"]*\"/\\1\"probe\"/" \
		"$TOP/lib/$1/$2.c" >"tree/lib/$1/probe.c"
	grep -q '"probe"' "tree/lib/$1/probe.c"
}

# A family `probe` in the copy: mixtral under other names, with words that roff would take for its own.
dup_family()
{
	sed 's/moe_family_mixtral/moe_family_probe/; s/"mixtral"/"probe"/; s/MixtralForCausalLM/ProbeForCausalLM/
		s/\(\.traits = \)"[^"]*"/\1".traits of the probe\\\\ its own"/' \
		"$TOP/lib/model/family/mixtral.c" >tree/lib/model/family/probe.c
}

@test "dropping in one file is enough: the tools list it, a family runs, and the page describes that" {
	case $BUILD in
	*asan* | *cov* | *fuzz*) skip "an instrumented build" ;;
	esac
	copy_tree
	list()
	{
		tree/build/bin/moe-stats --list && tree/build/bin/moe-split --list-planners &&
			tree/build/bin/moe-route --list-policies && tree/build/bin/moe-convert --list-families
	}
	list >list.before
	never grep -qw probe list.before
	never grep -qw probe tree/build/man/moe.7
	dup route/policy softmax_topk
	dup stats/metric gini
	dup placement/planner contiguous
	dup_family
	make -s -C tree BUILD=build CC="${CC:-cc}" all >make.log 2>&1 || { cat make.log; return 1; }
	list >list.after
	diff list.before list.after >new || :
	cat new
	[ "$(grep -c '^> probe' new)" = 4 ]
	grep -x '> probe	ProbeForCausalLM	.*	\.traits of .*' new

	mandoc -T utf8 tree/build/man/moe.7 | sed 's/.\x08//g' | tr -s ' \n' ' ' >page
	grep -q ' phimoe .* probe Mixtral 8x7B, 8x22B: \.traits of the probe\\ its own qwen2 ' page
	mandoc -T lint -W style tree/build/man/moe.7 2>&1 | grep -v 'referenced manual not found\|mandoc.db' >bad || :
	cat bad
	[ ! -s bad ]

	cp -r "$GOLDEN/models/mixtral" model
	sed 's/MixtralForCausalLM/ProbeForCausalLM/; s/"mixtral"/"probe"/' "$GOLDEN/models/mixtral/config.json" \
		>model/config.json
	echo 1 2 3 >ids
	tree/build/bin/moe-run --ids -n 4 model ids >got
	moe-run --ids -n 4 "$GOLDEN/models/mixtral" ids | diff - got
	fails 1 moe-run --ids -n 4 model ids
}
