#!/bin/bash
# Every planner on the same traffic, judged on it and on traffic that its plan was not made on.
#
#   planners.sh A.trace [B.trace]      SHAPES lists machines as RANKS:SLOTS [8:64 8:72 16:64 16:80 32:64 32:96]
#
# A table on stdout, a row for every traffic (A, B, and both pooled), machine and planner; means over the layers:
#   peak_to_average  of the plan on the traffic it was made on
#   bound            what no plan can be below, on that traffic
#   closed           the part of the way from eplb, the published balancer, to the bound that the planner goes
#   ms               planning took, all layers, without reading
#   other_half       of a plan made on sequences of even number, judged on those of odd number
#   other_task       of the plan, judged on the other trace

set -eu -o pipefail

[ -z "${BIN-}" ] || PATH=$BIN:$PATH
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
	sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi
words=$(mktemp)
trap 'rm -f "$words"' EXIT

# plan OPTION...: what moe-split says of a plan goes to $words; false where the planner is not for such a machine.
plan()
{
	local status=0
	moe-split -v --dry-run "$@" 2>"$words" || status=$?
	if [ $status -ne 0 ] && [ $status -ne 2 ]; then
		cat "$words" >&2
		exit $status
	fi
	[ $status = 0 ]
}

# figure SENTENCE: the peak-to-average that stands behind it, or "-".
figure()
{
	awk -v s="$1" 'index($0, s) && match($0, /peak-to-average [0-9.]*/) { found = substr($0, RSTART + 16, RLENGTH - 16) }
		END { print found == "" ? "-" : found }' "$words"
}

# rows NAME OTHER TRACE...: the rows of the traffic in TRACE..., OTHER ("" for none) being what it is judged on.
rows()
{
	local name=$1 other=$2 shape ranks slots planner peak bound ms half task eplb
	shift 2
	for shape in ${SHAPES:-8:64 8:72 16:64 16:80 32:64 32:96}; do
		ranks=${shape%:*}
		slots=${shape#*:}
		plan -n "$ranks" --slots "$slots" --planner eplb "$@" || { cat "$words" >&2; exit 2; }
		eplb=$(figure 'this traffic')
		for planner in $(moe-split --list-planners | sed 1d | cut -f 1); do
			plan -n "$ranks" --slots "$slots" --planner "$planner" "$@" || continue
			peak=$(figure 'this traffic')
			half=$(figure 'made on even')
			bound=$(sed -n 's/.*for any plan \([0-9.]*\)$/\1/p' "$words")
			ms=$(sed -n 's/.*: planned in \([0-9.]*\) ms$/\1/p' "$words")
			task=-
			if [ -n "$other" ]; then
				plan -n "$ranks" --slots "$slots" --planner "$planner" --test "$other" "$@"
				task=$(figure 'judged on --test')
			fi
			awk -v OFS='\t' -v e="$eplb" -v p="$peak" -v b="$bound" \
				-v before="$name"$'\t'"$ranks"$'\t'"$slots"$'\t'"$planner" -v behind="$ms"$'\t'"$half"$'\t'"$task" \
				'BEGIN { print before, p, b, (e > b ? sprintf("%.2f", (e - p) / (e - b)) : "-"), behind }'
		done
	done
}

printf 'traffic\tranks\tslots\tplanner\tpeak_to_average\tbound\tclosed\tms\tother_half\tother_task\n'
rows "$(basename "$1" .trace)" "${2-}" "$1"
if [ $# -eq 2 ]; then
	rows "$(basename "$2" .trace)" "$1" "$2"
	rows pooled '' "$1" "$2"
fi
