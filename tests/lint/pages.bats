# Manual pages and completions against the programs: whole, correct, and not out of date.

load ../cli/lib

TOOLS='moe-convert moe-route moe-run moe-stats moe-split'

# Options of a tool as "letter name" rows.
options()
{
	"$BIN/$1" --complete | awk -F '\t' '{ print $1, $2 }'
}

# Does a page document an option? Its long name as `Fl -name`, its letter as `Fl x`.
documented()
{
	grep -qE "(^|[[:space:]])Fl (([A-Za-z0-9],?) )*-$2( |\$)|Fl [A-Za-z0-9] , Fl -$2( |\$)" "$1"
}

@test "the programs are the five of the README" {
	(cd "$BIN" && printf '%s\n' moe-*) | sort >have
	printf '%s\n' $TOOLS | sort | diff - have
}

@test "pages are there for every program and format" {
	for p in moe-convert.1 moe-route.1 moe-run.1 moe-stats.1 moe-split.1 moe-trace.5 moe-load.5 moe-plan.5 \
		moe-topology.5 moe.7; do
		[ -s "$TOP/man/$p" ] || { echo "no $p"; return 1; }
	done
}

@test "mandoc finds nothing to say about any page" {
	command -v mandoc >/dev/null
	mandoc -T lint -W style "$TOP"/man/*.[157] >lint.out 2>lint.err || :
	[ ! -s lint.err ] || grep -v mandoc.db lint.err >>lint.out || :
	# The pages refer to each other before they are installed.
	grep -vE 'referenced manual not found|outdated mandoc.db' lint.out >bad || :
	cat bad
	[ ! -s bad ]
}

@test "cross references between the pages lead somewhere" {
	for p in "$TOP"/man/*.[157]; do
		awk '$1 == ".Xr" && $2 ~ /^moe/ { print $2 "." $3 }' "$p" | while read -r ref; do
			[ -e "$TOP/man/$ref" ] || echo "$(basename "$p"): $ref"
		done
	done >bad
	cat bad
	[ ! -s bad ]
}

# Options that every program has are described once, in moe(7), under this heading.
common_page()
{
	sed -n '/^\.Sh COMMON OPTIONS/,/^\.Sh STREAMS/p' "$TOP/man/moe.7" >common
	[ -s common ]
	for t in $TOOLS; do options "$t"; done | sort | uniq -c | awk '$1 == 5 { print $2, $3 }' >common_options
	[ "$(wc -l <common_options)" -gt 5 ]
}

@test "the options of all programs are in moe(7), and every program's page points there" {
	common_page
	while read -r letter name; do
		documented common "$name" || echo "--$name"
		[ "$letter" = - ] || grep -qE "Fl $letter( |\$)" common || echo "-$letter"
	done <common_options >bad
	for t in $TOOLS; do
		grep -q '^\.Xr moe 7' "$TOP/man/$t.1" || echo "$t.1 does not point to moe(7)"
	done >>bad
	cat bad
	[ ! -s bad ]
}

@test "every option of its own is in its program's page" {
	common_page
	for t in $TOOLS; do
		options "$t" >opts
		[ "$(wc -l <opts)" -gt 5 ]
		while read -r letter name; do
			! grep -qx -- "$letter $name" common_options || continue
			documented "$TOP/man/$t.1" "$name" || echo "$t: --$name"
			[ "$letter" = - ] || grep -qE "Fl $letter( |\$)" "$TOP/man/$t.1" || echo "$t: -$letter"
		done <opts
	done >bad
	cat bad
	[ ! -s bad ]
}

@test "a page documents no option that its program does not have" {
	for t in $TOOLS; do
		options "$t" | cut -d' ' -f2 | sort -u >have
		sed -n '/^\.It Fl/p' "$TOP/man/$t.1" | grep -oE 'Fl -[a-z][a-z0-9-]*' | sed 's/^Fl -//' | sort -u |
			comm -23 - have | sed "s/^/$t: --/"
	done >bad
	cat bad
	[ ! -s bad ]
}

@test "--help shows every option" {
	for t in $TOOLS; do
		"$BIN/$t" --help >help
		options "$t" | while read -r _ name; do
			grep -qE -- "--($name|(\[no-\])?${name#no-})\b" help || echo "$t: --$name"
		done
	done >bad
	cat bad
	[ ! -s bad ]
}

@test "every member of a plug-in folder is named in a page" {
	kinds=$(make -s -C "$TOP" -f Makefile -f - print-kinds <<<'print-kinds: ; @echo $(KINDS)')
	for k in $kinds; do
		for f in "$TOP/lib/$k"/*.c; do
			n=$(basename "$f" .c)
			grep -qwE -- "$n" "$BUILD"/man/*.[157] || echo "$k: $n"
		done
	done >bad
	cat bad
	[ ! -s bad ]
}

@test "the pages of the source tree are those that are installed" {
	for p in "$TOP"/man/*.[157]; do
		diff -u "$p" "$BUILD/man/$(basename "$p")" || { echo "make completions"; return 1; }
	done
}

@test "the completions are those that the option tables give" {
	mkdir made
	"$TOP/completions/generate" made
	for f in moe.bash _moe moe.fish; do
		diff -u "$TOP/completions/$f" "made/$f" || { echo "make completions"; return 1; }
	done
}

@test "every option is in every shell's completion" {
	for t in $TOOLS; do
		sed -n "/^$t)\$/,/^\\t;;\$/p" "$TOP/completions/_moe" >zsh
		options "$t" | while read -r _ name; do
			grep -qE "^	$t\) options='.*--$name[ ']" "$TOP/completions/moe.bash" || echo "bash: $t --$name"
			grep -qE -- "^		'\*--$name(=|\[)" zsh || echo "zsh: $t --$name"
			grep -qE "^complete -c $t (.* )?-l $name( |\$)" "$TOP/completions/moe.fish" || echo "fish: $t --$name"
		done
	done >bad
	cat bad
	[ ! -s bad ]
}

@test "bash completes options, words and files" {
	. "$TOP/completions/moe.bash"
	compopt() { :; }
	complete_line()
	{
		read -ra COMP_WORDS <<<"$1"
		[[ $1 != *' ' ]] || COMP_WORDS+=('')
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		_moe
		printf '%s\n' "${COMPREPLY[@]}"
	}
	complete_line 'moe-convert --hel' | grep -qx -- --help
	: >some-model.gguf
	complete_line 'moe-run some' | grep -qx some-model.gguf
	complete_line 'moe-convert --output some' | grep -qx some-model.gguf
	complete_line 'moe-split --evaluate some' | grep -qx some-model.gguf
	complete_line 'moe-run tiny' >models
	printf '%s\n' tiny-v2 tiny-v3 | diff - models
	complete_line 'moe-stats --metric max' | grep -qx maxvio
	complete_line 'moe-stats -m maxvio,gi' | grep -qx maxvio,gini
	complete_line 'moe-stats --plot ' | sort | diff - <(printf '%s\n' coactivation curve heatmap load lorenz maxvio specialisation table)
	complete_line 'moe-split --planner ' | sort | diff - <(moe-split --list-planners | sed 1d | cut -f 1 | sort)
	complete_line 'moe-route --policy ' | sort | diff - <(ls "$TOP/lib/route/policy" | sed 's/\.c$//')
	complete_line 'moe-route --from es' | grep -qx esft
	complete_line 'moe-run --device ' | grep -qx cpu
	complete_line 'moe-convert --to ' | sort | diff - <(ls "$TOP/lib/checkpoint/format" | sed 's/\.c$//')
	complete_line 'moe-convert --type q8' | grep -qx q8_0
	[ -z "$(complete_line 'moe-route --policy no-such')" ]
}

@test "every option that takes a NAME or a FORMAT has its words completed" {
	for t in $TOOLS; do
		"$BIN/$t" --complete | awk -F '\t' '$3 == "NAME" || $3 == "NAME,..." || $3 == "FORMAT" { print $2 }' >named
		while read -r name; do
			# Sources are named by the traces, not by the program.
			[ "$t $name" != 'moe-stats source' ] || continue
			[ "$("$BIN/$t" --complete-words "$name" | wc -l)" -gt 0 ] || echo "$t --$name"
		done <named
	done >bad
	cat bad
	[ ! -s bad ]
}

@test "fish completes words, also in lists, and models" {
	command -v fish >/dev/null || skip "no fish"
	completed() { HOME=$T fish --no-config -c 'source $argv[1]; complete -C $argv[2]' "$TOP/completions/moe.fish" "$1"; }
	completed 'moe-split --planner gr' | grep -q '^greedy'
	completed 'moe-stats --metric gini,max' | grep -q '^gini,maxvio'
	completed 'moe-run tiny' | grep -q '^tiny-v3'
	: >some.plan
	completed 'moe-split --evaluate some' | grep -q '^some\.plan'
}

@test "zsh completes words, also in lists, and models" {
	command -v zsh >/dev/null || skip "no zsh"
	cat >inner <<-EOF
	PS1=; fpath=($TOP/completions \$fpath); autoload -Uz compinit; compinit -u -D
	bindkey '^I' complete-word; zstyle ':completion:*' menu no; unsetopt list_beep
	EOF
	cat >outer <<-'EOF'
	zmodload zsh/zpty
	zpty shell 'PATH=$PATH zsh -f -i'
	zpty -w shell "source inner; echo read''y"
	zpty -r -m shell said '*ready*'
	for line in 'moe-split --planner gr' 'moe-stats --metric gini,max' 'moe-run tiny-v2'; do
		# What stands on the line after the tab is typed becomes the words of an echo.
		zpty -w -n shell "$line"$'\t'$'\C-A'"echo got "$'\n'
		zpty -r -m shell said '*got moe*' && print -r -- "$said"
	done
	zpty -d shell
	EOF
	HOME=$T timeout 20 zsh -f outer </dev/null >said 2>&1 || :
	cat said
	grep -q 'planner greedy' said
	grep -q 'gini,maxvio' said
}

@test "zsh and fish read their completions" {
	ran=
	if command -v zsh >/dev/null; then
		zsh -n "$TOP/completions/_moe"
		ran=1
	fi
	if command -v fish >/dev/null; then
		fish --no-execute "$TOP/completions/moe.fish"
		ran=1
	fi
	[ -n "$ran" ] || skip "neither zsh nor fish"
}
