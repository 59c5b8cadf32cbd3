# Every example of the manual and of the README runs: lines that begin with "$ " in a literal display or a fenced block.
# The lines of one page run in order, in one directory that has the files examples start from (see `fixture`).

load ../cli/lib

# Lines of a page's displays, as a terminal would show them.
displays()
{
	case $1 in
	*.md) awk '/^```/ { inside = !inside; next } inside' "$1" ;;
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
		[[ $command =~ ^(sudo|apt-get|git|make|cd|mpirun|srun)( |$) ]] || printf '%s\0' "$command"
	done
}

# Files that an example may start from, made once.
setup_file()
{
	mkdir -p "$BATS_FILE_TMPDIR/fixture"
	cd "$BATS_FILE_TMPDIR/fixture" || return 1
	local t
	for t in "$TEXT"/*.txt; do
		head -n 60 "$t" >"$(basename "$t")"
	done
	moe-route -o run.trace "$MODEL_V3" code.txt zh.txt
	moe-stats --load run.trace >load.tsv
	moe-split -n 4 --nodes 2 --slots 40 --planner greedy load.tsv >plan.tsv
	moe-convert "$MODEL_V3" tiny-v3.gguf
	local f
	for f in eval mon tue; do cp run.trace $f.trace; done
	for f in wed monday tuesday; do cp load.tsv $f.tsv; done
	cp "$MODEL_V3/config.json" config.json
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

run_page()
{
	examples "$TOP/$1" >commands
	if [ ! -s commands ]; then
		# Only formats may do without.
		[[ $1 == *.5 ]] && return 0
		echo "$1 has no example"
		return 1
	fi
	fixture
	mv commands ..commands
	while IFS= read -r -d '' command; do
		echo "\$ $command"
		local rc=0
		timeout 120 bash -o pipefail -c "$command" </dev/null >..out 2>..err || rc=$?
		# 141: `head` and the like left early, which is no failure.
		[ $rc = 0 ] || [ $rc = 141 ] || {
			echo "status $rc"
			head -c 1000 ..out
			head -c 1000 ..err
			return 1
		}
	done <..commands
}

@test "README.md" { run_page README.md; }
@test "moe(7)" { run_page man/moe.7; }
@test "moe-convert(1)" { run_page man/moe-convert.1; }
@test "moe-route(1)" { run_page man/moe-route.1; }
@test "moe-run(1)" { run_page man/moe-run.1; }
@test "moe-stats(1)" { run_page man/moe-stats.1; }
@test "moe-split(1)" { run_page man/moe-split.1; }
@test "moe-trace(5)" { run_page man/moe-trace.5; }
@test "moe-load(5)" { run_page man/moe-load.5; }
@test "moe-plan(5)" { run_page man/moe-plan.5; }
@test "moe-topology(5)" { run_page man/moe-topology.5; }

@test "no page with examples is forgotten here" {
	for p in "$TOP"/man/*.[157]; do
		n=$(basename "$p")
		[ "$(examples "$p" | wc -c)" = 0 ] || grep -qF "run_page man/$n;" "$BATS_TEST_FILENAME" || { echo "$n"; return 1; }
	done
}

@test "an example that fails would be noticed" {
	mkdir -p fake
	printf '.Bd -literal\n$ true\n$ moe-stats --no-such-option\n.Ed\n' >fake.1
	TOP=$PWD
	! run_page fake.1
}
