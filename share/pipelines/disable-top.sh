#!/bin/bash
# Disabling the best experts: how much worse does a model get when every token is barred from the experts that it wants
# most? The more it loses, the less do other experts know of the same (Dai et al. 2024, DeepSeekMoE, figure 4).
# Beside it as many experts drawn by chance, the same for all tokens.
#
#   disable-top.sh [-m MODEL] [-n BYTES] [-o DIR] [TEXT...]
#
#   -m MODEL   a model with experts [tiny-v3]
#   -n BYTES   of each text, from its start [6000]
#   -o DIR     where disable-top.tsv and disable-top.svg go [moe-disable-top]
#   TEXT       [those of share/text]; BIN names the folder of the programs, if they are not in PATH

set -eu -o pipefail

# shellcheck source-path=SCRIPTDIR source=study.bash
. "$(dirname "$0")/study.bash"
study_begin disable-top "$@"

# N experts drawn by chance, as --disable has them.
drawn()
{
	awk -v n="$1" -v e="$E" 'BEGIN {
		srand(7)
		for (i = 0; i < e; i++) id[i] = i
		for (i = 0; i < n; i++) {
			j = i + int(rand() * (e - i))
			t = id[i]; id[i] = id[j]; id[j] = t
			printf "%s*:%d", i ? "," : "", id[i]
		}
	}'
}

all=$(perplexity)
printf 'share of experts barred\tthe best of each token\tdrawn by chance\n' >disable-top.tsv
printf '0\t%s\t%s\n' "$all" "$all" >>disable-top.tsv
for sixteenths in 1 2 3 4; do
	n=$((E * sixteenths / 16))
	if [ "$n" -eq 0 ] || [ $((E - n)) -lt "$K" ]; then
		continue
	fi
	share=$(awk -v n="$n" -v e="$E" 'BEGIN { printf "%.9g", n / e }')
	[ "$share" != "${last-}" ] || continue
	last=$share
	# A little more than the share, so that rounding bars no expert less.
	barred=$(awk -v n="$n" -v e="$E" 'BEGIN { printf "%.9f", (n + 0.001) / e }')
	printf '%s\t%s\t%s\n' "$share" "$(perplexity --mask-top "$barred")" "$(perplexity --disable "$(drawn "$n")")" \
		>>disable-top.tsv
done
moe-stats --force --plot table --title "$(basename "$model"): perplexity without some experts" -o disable-top.svg \
	disable-top.tsv
study_end disable-top.tsv disable-top.svg
