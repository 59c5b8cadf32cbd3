# The shape of the tree: what lies at the top, who includes whom, sizes of files, width of lines.

load ../cli/lib

# Files of the project: those git knows, or all where there is no repository.
project_files()
{
	if git -C "$TOP" rev-parse --git-dir >/dev/null 2>&1; then
		git -C "$TOP" ls-files --cached --others --exclude-standard
	else
		(cd "$TOP" && find . -type f -not -path './build*' | sed 's|^\./||')
	fi
}

c_files()
{
	(cd "$TOP" && find lib cmd tests -name '*.[ch]' -type f)
}

# The headers through which other folders may enter; every header of base/ is one.
FRONT_DOORS='
tensor/blocks.h tensor/half.h tensor/tensor.h device/device.h checkpoint/checkpoint.h checkpoint/write.h checkpoint/imatrix.h
text/tokenizer.h text/pre.h
text/chat.h model/model.h model/names.h model/inputs.h model/stored.h model/account.h model/gguf_keys.h route/route.h plan/plan.h
plan/topology.h
forward/forward.h forward/sample.h trace/trace.h trace/npy.h trace/arrays.h trace/torch.h trace/text.h trace/reroute.h trace/limit.h trace/adapt.h
eval/setup.h eval/sequences.h eval/score.h eval/tokens.h eval/record.h eval/ablate.h eval/dump.h eval/generate.h
eval/result.h eval/importance.h eval/items.h eval/choices.h eval/answer.h
stats/stats.h stats/layers.h stats/load.h stats/gather.h stats/report.h stats/rows.h stats/picture.h
stats/fan.h stats/pairs.h stats/bootstrap.h
placement/planner.h placement/pin.h placement/stages.h placement/form.h placement/cost.h placement/batches.h placement/traffic.h placement/shard.h placement/moves.h
convert/convert.h convert/fits.h convert/info.h convert/manifest.h convert/report.h convert/rows.h convert/view.h plot/plot.h'

@test "the top level holds what the README says and nothing else" {
	project_files | cut -d/ -f1 | sort -u >top
	printf '%s\n' .ci .gitignore LICENSE Makefile README.md cmd completions lib man share tests | sort >want
	diff want top
}

@test "a folder of lib includes itself, folders before it, and others only by their front doors" {
	order=$(sed -n 's/^LIB_ORDER := *//p' "$TOP/Makefile")
	[ -n "$order" ]
	(cd "$TOP" && grep -n '^#[[:space:]]*include[[:space:]]*"' -r lib cmd --include='*.[ch]') >includes
	[ "$(wc -l <includes)" -gt 100 ]
	awk -v order="$order" -v doors="$FRONT_DOORS" '
		BEGIN {
			n = split(order, o, " ")
			for (i = 1; i <= n; i++) rank[o[i]] = i
			n = split(doors, d, /[ \n]+/)
			for (i = 1; i <= n; i++) door[d[i]] = 1
		}
		{
			split($0, at, ":")
			split(at[1], from, "/")
			match($0, /"[^"]*"/)
			what = substr($0, RSTART + 1, RLENGTH - 2)
			split(what, to, "/")
			if (to[1] == "gen") next
			if (from[1] == "cmd" && what == "tool.h") next
			# A program may have a folder of its own, and nobody else looks into it.
			if (from[1] == "cmd" && to[1] ~ /^moe-/ && (from[2] == to[1] || from[2] ~ "^" to[1] "\\.c")) next
			if (!(to[1] in rank)) { print $0 ": no such folder in LIB_ORDER"; next }
			if (from[1] == "lib" && rank[to[1]] > rank[from[2]]) print $0 ": a later folder"
			if (from[1] == "lib" && from[2] == to[1]) next
			if (to[1] != "base" && !(what in door)) print $0 ": not a front door"
		}' includes >bad
	cat bad
	[ ! -s bad ]
}

@test "every folder of lib is in LIB_ORDER, every plug-in folder in KINDS exists and has a member" {
	order=" $(sed -n 's/^LIB_ORDER := *//p' "$TOP/Makefile") "
	for d in "$TOP"/lib/*/; do
		[[ $order == *" $(basename "$d") "* ]] || { echo "$d"; return 1; }
	done
	make -s -C "$TOP" -f Makefile -f - print-kinds <<<'print-kinds: ; @echo $(KINDS)' >kinds
	for k in $(cat kinds); do
		ls "$TOP/lib/$k"/*.c >/dev/null || return 1
	done
}

@test "no file of lib or cmd has more than 600 lines" {
	(cd "$TOP" && find lib cmd -name '*.[ch]' -type f -exec wc -l {} +) | awk '$2 != "total" && $1 > 600' >bad
	cat bad
	[ ! -s bad ]
}

@test "no line is wider than 120 columns (tabs are 8), none ends in a blank" {
	for f in $(c_files); do
		F=$f perl -CSD -ne 'chomp; my $l = $_; 1 while $l =~ s/\t/" " x (8 - $-[0] % 8)/e;
			print "$ENV{F}:$.: ", length $l, " columns\n" if length $l > 120;
			print "$ENV{F}:$.: ends in a blank\n" if /[ \t]$/' "$TOP/$f"
	done >bad
	head -n 20 bad
	[ ! -s bad ]
}

@test "nothing is left to do: no TODO, FIXME, XXX, HACK" {
	cd "$TOP"
	never grep -rnwE 'TODO|FIXME|XXX|HACK' Makefile README.md lib cmd man share/pipelines tests/unit tests/cli tests/pipe \
		completions .ci
}

@test "no test turns a command around in a way that cannot fail: never CMD" {
	cd "$TOP"
	grep -rnE '^[[:space:]]*! ' tests --include='*.bats' | never grep -v '||'
}

@test "every C file opens with a comment that says what it is for" {
	for f in $(cd "$TOP" && find lib cmd -name '*.[ch]' -type f); do
		head -n 1 "$TOP/$f" | grep -q '^/\*' || echo "$f"
	done >bad
	cat bad
	[ ! -s bad ]
}

@test "library code does not print and does not exit" {
	cd "$TOP"
	grep -rnE '\b(printf|puts|putchar|perror|exit|_exit|abort|err|errx|warn|warnx)[[:space:]]*\(|\bstderr\b' lib \
		--include='*.c' | never grep -vE '^[^:]*:[0-9]+:[[:space:]]*(/?\*|//)'
}

@test "shell scripts pass shellcheck" {
	command -v shellcheck >/dev/null || skip "no shellcheck"
	cd "$TOP"
	shellcheck -x .ci/run .ci/deps tests/run completions/generate man/generate completions/moe.bash share/pipelines/*.sh
	[ ! -e tests/bench ] || shellcheck -x tests/bench/*.sh
	shellcheck -s bash tests/cli/lib.bash
}
