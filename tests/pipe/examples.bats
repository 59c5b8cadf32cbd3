# Every example of the manual and of the README runs: lines that begin with "$ " in a literal display, and the lines of
# the README's blocks of sh. The lines of one page run in order, in one shell, from a folder that looks like the source
# tree: share/ and build/bin/ are there. Pages about files that a reader has already start with such files (see
# `fixture`); all others start with nothing.

load ../cli/lib
SHARE=$TOP/share

# Lines of a page's displays, as a terminal would show them.
displays()
{
	case $1 in
	*.md) awk '/^```/ { inside = $0 == "```sh"; next } inside { print "$ " $0 }' "$1" ;;
	*) awk '/^\.Bd -literal/ { inside = 1; next } /^\.Ed/ { inside = 0; print "" } inside
		/^\.Dl \$ / { print substr($0, 5); print "" }' "$1" |
		sed 's/\\&//g; s/\\-/-/g; s/\\(aq/'"'"'/g; s/\\(dq/"/g; s/\\(ti/~/g; s/\\(ha/^/g; s/\\e/\\/g' ;;
	esac
}

# The commands of a page, each behind a NUL: from "$ " on, and following lines for as long as the shell wants more.
examples()
{
	local line command='' lines i
	mapfile -t lines < <(displays "$1")
	for ((i = 0; i < ${#lines[@]}; i++)); do
		[[ ${lines[i]} == '$ '* ]] || continue
		command=${lines[i]#'$ '}
		while [[ $command == *\\ ]] || ! bash -n <<<"$command" 2>/dev/null; do
			line=${lines[++i]-}
			[ -n "$line" ] || break
			command+=$'\n'${line#'> '}
		done
		[[ $command =~ ^(sudo|apt-get|git|make|mpirun|srun)( |$) ]] || printf '%s\0' "$command"
	done
}

# Files that an example may start from, made once.
setup_file()
{
	mkdir -p "$BATS_FILE_TMPDIR/fixture"
	cd "$BATS_FILE_TMPDIR/fixture" || return 1
	moe-route -o run.trace "$MODEL_V3" "$TEXT"/code.txt "$TEXT"/zh.txt
	moe-route --logits --margin -o logits.trace -p 'int main(void)' "$MODEL_V3"
	moe-stats --load run.trace >load.tsv
	moe-split -n 4 --nodes 2 --slots 40 --planner greedy load.tsv >plan.tsv
	moe-convert "$MODEL_V3" tiny-v3.gguf
	local f
	for f in eval mon tue; do cp run.trace $f.trace; done
	for f in wed monday tuesday; do cp load.tsv $f.tsv; done
	cp "$MODEL_V3/config.json" config.json
	cp "$TOP/tests/golden/traces/sglang-stat.pt" expert_distribution_recorder_1.pt
	cp "$TOP/share/topologies/2x2-16g.tsv" topology.tsv
}

# Lays out the fixtures, but for those that the page's own examples make.
fixture()
{
	local f first
	for f in "$BATS_FILE_TMPDIR"/fixture/*; do
		first=$(tr '\n\0' ' \n' <commands | grep -m1 -wF -- "$(basename "$f")" || :)
		if ! grep -qE "(>|-o|--output|moe-convert .* ) *$(basename "$f")( |\$)" <<<"$first"; then
			cp "$f" .
		fi
	done
}

# Runs the commands on stdin, separated by NULs, in this shell, until one fails.
run_commands()
{
	local command rc here=$T
	while IFS= read -r -d '' command <&3; do
		echo "\$ $command"
		rc=0
		eval "$command" </dev/null >"$here/..out" 2>"$here/..err" 3<&- || rc=$?
		# 141: `head` and the like left early, which is no failure.
		[ $rc = 0 ] || [ $rc = 141 ] || {
			echo "status $rc"
			head -c 1000 "$here/..out"
			head -c 1000 "$here/..err"
			return 1
		}
	done 3<&0
}

# run_page FILE [fixture]
run_page()
{
	examples "$TOP/$1" >commands
	if [ ! -s commands ]; then
		# Only formats may do without.
		[[ $1 == *.5 ]] && return 0
		echo "$1 has no example"
		return 1
	fi
	[ $# = 1 ] || fixture
	mv commands ..commands
	mkdir build
	ln -s "$BIN" build/bin
	[ -e share ] || ln -s "$SHARE" share
	# Who reads a page has installed the programs; who reads the README has just built them.
	[[ $1 != *.md ]] || PATH=${PATH//"$BIN:"/}
	export -f run_commands
	unset TEXT
	timeout 300 bash -o pipefail -c run_commands <..commands
}

@test "README.md" { run_page README.md; }
@test "moe(7)" { run_page man/moe.7; }
@test "moe-convert(1)" { run_page man/moe-convert.1 fixture; }
@test "moe-route(1)" { run_page man/moe-route.1; }
@test "moe-run(1)" { run_page man/moe-run.1; }
@test "moe-stats(1)" { run_page man/moe-stats.1 fixture; }
@test "moe-split(1)" { run_page man/moe-split.1 fixture; }
@test "moe-trace(5)" { run_page man/moe-trace.5 fixture; }
@test "moe-load(5)" { run_page man/moe-load.5 fixture; }
@test "moe-plan(5)" { run_page man/moe-plan.5 fixture; }
@test "moe-topology(5)" { run_page man/moe-topology.5 fixture; }

@test "no page with examples is forgotten here" {
	for p in "$TOP"/man/*.[157]; do
		n=$(basename "$p")
		[ "$(examples "$p" | wc -c)" = 0 ] || grep -qE "run_page man/$n[; ]" "$BATS_TEST_FILENAME" || { echo "$n"; return 1; }
	done
}

@test "an example that fails would be noticed" {
	mkdir -p fake
	printf '.Bd -literal\n$ true\n$ moe-stats --no-such-option\n.Ed\n' >fake.1
	TOP=$PWD
	run run_page fake.1
	[ "$status" = 1 ]
	[[ $output == *"unknown option '--no-such-option'"* ]]
}

@test "an example that needs a folder it does not go to would be noticed" {
	printf '.Bd -literal\n$ TEXT=share\n$ cat "$TEXT"/text/code.txt\n$ cat code.txt\n.Ed\n' >fake.1
	TOP=$PWD
	run run_page fake.1
	[ "$status" = 1 ]
	[[ $output == *'$ cat code.txt'* ]]
}
