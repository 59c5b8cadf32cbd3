#!/bin/sh
# The forward pass against checkpoints of other shapes and other numbers than those in the tree. Not a part of the
# tests: it needs what make.py, make_2026.py and make_dense.py need.
#
# usage: tests/golden/second_seed.sh DIR [SEED...]     from the top of the tree, after `make tests`
#
# DIR/SEED gets fresh checkpoints of every model of tests/golden/models that these make (seeds 77 and 4242 unless
# given). Prints a line for each model, shipped and fresh: errors relative to the largest number, expert ids compared
# and different. Exits 1 where one is outside the tolerances of test_forward_golden, or of test_forward_switch for a
# model with an encoder. PYTHON and BUILD are heeded.
set -eu

test $# -ge 1 || { echo 'usage: second_seed.sh DIR [SEED...]' >&2; exit 2; }
here=$(dirname "$0")
out=$1
shift
test $# -gt 0 || set -- 77 4242
unit=${BUILD:-build}/tests/unit
for program in "$unit/test_forward_golden" "$unit/test_forward_switch"; do
	test -x "$program" || { echo "second_seed.sh: $program is not there: make tests" >&2; exit 1; }
done
mkdir -p "$out"
failed=0

# table LABEL DIR...: what the test says about these models
table()
{
	label=$1
	shift
	set -- "$@" --
	while test "$1" != --; do
		case $1 in
		*/switch) "$unit/test_forward_switch" "$1" ;;
		*) "$unit/test_forward_golden" "$1" ;;
		esac || failed=1
		shift
	done >"$out/$label.tap"
	awk -v label="$label" '
		$1 == "Bail" || /^not ok .*: opens/ { print label "\t" $0 }
		$1 == "not" || $1 == "ok" {
			text = $0
			sub(/^(not )?ok [0-9]+ - /, "", text)
			bad = $1 == "not"
			if (text ~ / seq [0-9]+: same bits/) {
				n_bits++
				n_unlike += bad
				next
			}
			name = text; sub(/:.*/, "", name)
			if (!(name in seen)) { seen[name] = 1; order[++n] = name }
			if (text ~ /: opens/) { failed[name] += bad; next }
			value = text; sub(/.*\(/, "", value); sub(/\).*/, "", value)
			if (text ~ /: logits/) logits[name] = value
			if (text ~ /: hidden states within/) hidden[name] = value
			if (text ~ /: weights/) weights[name] = value
			if (text ~ /: MTP/) mtp[name] = value
			if (text ~ /expert ids/) { split(text, w, / /); ids[name] = w[2]; wrong[name] = w[5] }
			failed[name] += bad
		}
		END {
			for (i = 1; i <= n; i++) {
				m = order[i]
				printf "%s\t%s\t%s\t%s\t%s\t", label, m, logits[m], hidden[m], weights[m]
				printf "%s\t%s\t%s\t%s\n", mtp[m] == "" ? "-" : mtp[m], ids[m], wrong[m],
				       failed[m] ? "FAIL" : "pass"
			}
			printf "%s\t%d repetitions in other chunks and threads, %d with other bits\n", label, n_bits,
			       n_unlike
		}' "$out/$label.tap"
}

# models DIR: those with weights
models()
{
	for config in "$1"/*/config.json; do
		printf '%s\n' "${config%/config.json}"
	done
}

printf 'seed\tmodel\tlogits\thidden\tweights\tmtp\tids\tdifferent\tresult\n'
table shipped $(models "$here/models")
for seed; do
	for maker in make make_2026; do
		known=$(sed -n '/^MODELS = {/,/^}/s/^ *"\([a-z0-9_]*\)":.*/\1/p' "$here/$maker.py")
		names=
		for name in $known; do
			test ! -e "$here/models/$name/config.json" || names=$names${names:+,}$name
		done
		"${PYTHON:-python3}" "$here/$maker.py" --only models --variant b --seed "$seed" --out "$out/$seed" \
			--name "$names" >"$out/$seed-$maker.log" 2>&1 || {
			tail -n 3 "$out/$seed-$maker.log" >&2
			failed=1
		}
	done
	"${PYTHON:-python3}" "$here/make_dense.py" --variant b --seed "$seed" "$out/$seed/models" || failed=1
	table "$seed" $(models "$out/$seed/models")
done
exit $failed
