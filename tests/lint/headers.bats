# Every header stands alone, in C and, where kernels see it, in C++.

load ../cli/lib

FLAGS='-Wall -Wextra -Wpedantic -Werror -D_GNU_SOURCE'

@test "every header compiles alone as C17" {
	cd "$TOP"
	find lib cmd -name '*.h' ! -name '*_template.h' -type f | sort >"$T/headers"
	[ "$(wc -l <"$T/headers")" -gt 20 ]
	while read -r h; do
		inc=${h#lib/}
		inc=${inc#cmd/}
		# -Wno-unused: what a header defines for others is not used by the header itself.
		printf '#include "%s"\n#include "%s"\ntypedef int moe_nothing;\n' "$inc" "$inc" |
			${CC:-cc} -std=c17 $FLAGS -Wno-unused -Ilib -Icmd -I. -I"$BUILD/gen" -fsyntax-only -x c - || echo "$h" >>"$T/bad"
	done <"$T/headers"
	[ ! -e "$T/bad" ] || { cat "$T/bad"; return 1; }
}

@test "headers of base, tensor and device compile as C++" {
	cxx=
	for c in "${CXX:-c++}" g++ clang++-14 clang++; do
		if echo 'int main(){}' | "$c" -x c++ -fsyntax-only - 2>/dev/null; then
			cxx=$c
			break
		fi
	done
	[ -n "$cxx" ] || skip "no C++ compiler"
	cd "$TOP"
	for h in lib/base/*.h lib/tensor/*.h lib/device/*.h; do
		printf '#include "%s"\n' "${h#lib/}" |
			"$cxx" -std=c++17 -Wall -Wextra -Werror -Wno-unused -D_GNU_SOURCE -Ilib -I"$BUILD/gen" -fsyntax-only -x c++ - ||
			echo "$h" >>"$T/bad"
	done
	[ ! -e "$T/bad" ] || { cat "$T/bad"; return 1; }
}

# Symbols in writable sections of the objects on stdin. Constant tables with pointers lie in .data.rel.ro, which is
# read-only once loaded.
writable()
{
	xargs objdump -t | awk -F '\t' '
		/file format/ { file = $1; sub(/:.*/, "", file); next }
		NF == 2 {
			n = split($1, left, " ")
			section = left[n]
			split($2, right, " ")
			if (right[2] ~ /^\./ || section ~ /^\.data\.rel\.ro/) next
			if (section ~ /^\.(data|bss|tdata|tbss)/ || section == "*COM*") print file ": " right[2] " in " section
		}'
}

@test "no object of the library holds a writable global or static" {
	case $BUILD in
	*asan* | *cov* | *fuzz*) skip "an instrumented build" ;;
	esac
	find "$BUILD/lib" -name '*.o' | sort >objects
	[ -s objects ]
	writable <objects >bad
	cat bad
	[ ! -s bad ]
}

@test "the search for writable globals finds every kind of them" {
	cat >x.c <<-'END'
		static int bss;
		int data = 3;
		static _Thread_local int tls;
		const int *const table[2] = { &data, 0 };
		const char *pointer = "x";
		int *use(void) { tls++; return &bss; }
	END
	${CC:-cc} -c -o x.o x.c
	[ "$(echo x.o | writable | wc -l)" = 4 ]
}

@test "no two objects of the library define the same symbol" {
	find "$BUILD/lib" -name '*.o' | sort | xargs nm -g --defined-only | awk 'NF == 3 { print $3 }' | sort | uniq -d >bad
	cat bad
	[ ! -s bad ]
}
