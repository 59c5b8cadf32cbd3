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
	(cd "$TOP" && tar -cf - Makefile lib cmd) | tar -xf - -C tree
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

@test "dropping in one file makes the tools list a policy, a metric and a planner" {
	case $BUILD in
	*asan* | *cov* | *fuzz*) skip "an instrumented build" ;;
	esac
	copy_tree
	list()
	{
		tree/build/bin/moe-stats --list && tree/build/bin/moe-split --list-planners &&
			tree/build/bin/moe-route --list-policies
	}
	list >list.before
	! grep -qw probe list.before
	dup route/policy softmax_topk
	dup stats/metric gini
	dup placement/planner contiguous
	make -s -C tree BUILD=build CC="${CC:-cc}" all >make.log 2>&1 || { cat make.log; return 1; }
	list >list.after
	diff list.before list.after >new || :
	cat new
	[ "$(grep -c '^> probe' new)" = 3 ]
}
