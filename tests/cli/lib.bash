# What every bats file shares: `load lib` (from tests/pipe and tests/lint: `load ../cli/lib`).
#
#   TOP, BUILD, BIN      source tree, build folder, folder of the programs; BIN comes first in PATH
#   T                    scratch directory of this test, which is also the working directory
#   MODEL_V3, MODEL_V2   sample models; TEXT: folder of held-out texts; GOLDEN: tests/golden; DATA: tests/data
#
#   run_split CMD...     runs it; $status, $T/.out (stdout), $T/.err (stderr), $output and $errput (their text)
#   expect_status N      the last run ended with N
#   expect_stdout FILE   its stdout was exactly FILE ("-": what follows on this helper's stdin)
#   expect_line TEXT     its stdout has exactly this line somewhere
#   expect_message RE    its stderr matches the extended regular expression
#   expect_no_output     its stdout was empty
#   expect_same A B      two files hold the same bytes
#   never CMD...         runs it: it must fail (`! CMD' ends no test but as its last command)
#   rows [FILE...]       the header and the rows of a table, without the lines that say what made it
#   fails N CMD...       runs it: status N, nothing on stdout, one sentence on stderr that starts with the tool's name

TOP=${TOP:-$(cd "${BATS_TEST_DIRNAME}/../.." && pwd)}
BUILD=${BUILD:-$TOP/build}
BIN=${BIN:-$BUILD/bin}
PATH=$BIN:$PATH
MODEL_V3=$TOP/share/models/tiny-v3
MODEL_V2=$TOP/share/models/tiny-v2
TEXT=$TOP/share/text
GOLDEN=$TOP/tests/golden
DATA=$TOP/tests/data
export TOP BUILD BIN PATH MODEL_V3 MODEL_V2 TEXT GOLDEN DATA
export LC_ALL=C.UTF-8

setup_scratch()
{
	T=$BATS_TEST_TMPDIR
	export T
	cd "$T" || return 1
}

setup()
{
	setup_scratch
}

# shellcheck disable=SC2034  # output and errput are for the tests
run_split()
{
	status=0
	"$@" >"$T/.out" 2>"$T/.err" || status=$?
	output=$(tr -d '\000' <"$T/.out")
	errput=$(tr -d '\000' <"$T/.err")
}

# Says what happened, for a failed expectation, and fails.
complain()
{
	echo "$1"
	echo "status: ${status-}"
	echo "stdout: $(head -c 2000 "$T/.out" 2>/dev/null | tr -d '\000')"
	echo "stderr: $(head -c 2000 "$T/.err" 2>/dev/null | tr -d '\000')"
	return 1
}

expect_status()
{
	[ "$status" = "$1" ] || complain "expected status $1"
}

never()
{
	if "$@"; then
		echo "expected to fail: $*"
		return 1
	fi
}

expect_stdout()
{
	if [ "$1" = - ]; then
		cat >"$T/.want"
		set -- "$T/.want"
	fi
	cmp -s "$1" "$T/.out" && return 0
	diff -u "$1" "$T/.out" | head -n 40
	complain "stdout is not $1"
}

expect_line()
{
	grep -qxF -- "$1" "$T/.out" || complain "no line '$1' on stdout"
}

expect_message()
{
	grep -qE -- "$1" "$T/.err" || complain "stderr does not match '$1'"
}

expect_no_output()
{
	[ ! -s "$T/.out" ] || complain "expected nothing on stdout"
}

# The rows of a table of results: header and what follows, without the lines that say what made it.
rows()
{
	grep -v '^#' "$@"
}

expect_same()
{
	cmp "$1" "$2"
}

fails()
{
	local want=$1 tool=$2
	shift
	run_split "$@"
	expect_status "$want" || return 1
	expect_no_output || return 1
	grep -qE "^$(basename "$tool"): ." "$T/.err" || complain "no sentence that starts with '$(basename "$tool"): '"
}
