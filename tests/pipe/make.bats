# What `make` does beside compiling: installing anywhere and taking it away again, tarballs, hints.

load ../cli/lib

# make in the source tree, of what was built by whoever runs the tests: nothing is compiled here.
make_built()
{
	env -u MAKEFLAGS -u MAKELEVEL -u BUILD make -s -C "$TOP" -o all "BUILD=${BUILD#"$TOP/"}" "$@"
}

@test "make install goes below DESTDIR and PREFIX, whatever their names; make uninstall takes it away" {
	to="$T/de st's"
	make_built install DESTDIR="$to" PREFIX='/o p/moe'
	[ "$(ls)" = "de st's" ]
	[ "$(ls "$to")" = 'o p' ]
	cd "$to/o p/moe"
	[ "$(find bin -type f | wc -l)" = 5 ]
	[ "$(find share/man -type f | wc -l)" = "$(ls "$TOP"/man/*.[157] | wc -l)" ]
	diff -r "$TOP/share/models" share/moe-tools/models
	diff -r "$TOP/share/text" share/moe-tools/text
	[ -x share/moe-tools/pipelines/demo.sh ]
	[ -x share/moe-tools/pipelines/balancing.sh ]
	[ -f share/moe-tools/pipelines/study.bash ]
	# Programs find what was installed beside them, and nothing of the source tree.
	env -u MOE_SHARE PATH="$PWD/bin:/usr/bin:/bin" moe-run -q tiny-v3 -p 'static int' -n 3 --echo >"$T/text"
	grep -q '^static int' "$T/text"
	make_built uninstall DESTDIR="$to" PREFIX='/o p/moe'
	find . -type f >"$T/left"
	[ ! -s "$T/left" ] || { cat "$T/left"; return 1; }
}

# The tree without what is large: enough for `make dist` to pack.
small_tree()
{
	mkdir "$1"
	cp -r "$TOP"/{Makefile,README.md,LICENSE,.ci,cmd,lib,man,completions} "$1"
	mkdir -p "$1/build/bin" "$1/build-x"
	: >"$1/build/bin/built"
	: >"$1/build-x/built"
}

@test "make dist packs an unpacked tarball again" {
	small_tree 'a tree'
	env -u MAKEFLAGS -u MAKELEVEL -u BUILD make -s -C 'a tree' dist
	tar -xJf 'a tree'/build/moe-tools-*.tar.xz
	rm -r 'a tree'/build 'a tree'/build-x
	diff -r 'a tree' moe-tools-*
}

@test "make dist packs the commit, and only when there is nothing else" {
	command -v git >/dev/null || skip "no git"
	small_tree tree
	printf '/build/\n/build-*/\n' >tree/.gitignore
	git init -q tree
	git -C tree add -A
	git -C tree -c user.name=a -c user.email=a@b commit -q -m all
	env -u MAKEFLAGS -u MAKELEVEL -u BUILD make -s -C tree dist
	tar -tJf tree/build/moe-tools-*.tar.xz | grep -q '/cmd/moe-run\.c$'
	: >tree/more
	never env -u MAKEFLAGS -u MAKELEVEL -u BUILD make -s -C tree dist 2>said
	grep -q uncommitted said
}

@test "a missing header is said in a sentence that names make deps" {
	run_split env -u MAKEFLAGS -u MAKELEVEL make -s -C "$TOP" BUILD="$T/b" CC='cc -nostdinc' "$T/b/stamp/headers"
	[ "$status" != 0 ]
	expect_message "does not find.* jansson\.h.*'make deps'"
}
