#!/bin/bash
# Pairs of experts for moe-convert --merge-experts, from what a trace says of them.
#
#   merge.sh TRACE [GROUPS] >merge.tsv     then: moe-convert --merge-experts merge.tsv MODEL SMALLER
#
# In each layer the two experts that are chosen together most often, measured against chance, become one, then the next
# two of those that are left, until every expert has a partner: half as many are left. Each weighs as often as it was
# chosen (plus 1: an expert that never was is not nothing). GROUPS (1) is the router's number of groups of experts:
# partners are then of one group, and new experts keep its order.

set -eu -o pipefail

[ -z "${BIN-}" ] || PATH=$BIN:$PATH
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
	sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

moe-stats -q -m count "$1" | grep '^[0-9]' >"$work/count"
# layer, expert, other, tokens, lift: the pairs of each layer by falling lift
moe-stats -q -m coactivation "$1" | grep '^[0-9]' |
	sort -t $'\t' -k 1,1n -k 5,5gr -k 4,4nr -k 2,2n -k 3,3n >"$work/pairs"

awk -F '\t' -v OFS='\t' -v groups="${2:-1}" -v counts="$work/count" '
	function pair(l, a, b) { partner[l, a] = b; partner[l, b] = a }
	BEGIN {
		while ((getline <counts) > 0) {
			weight[$1, $2] = $3 + 1
			if (!($1 in seen)) { seen[$1] = 1; layers[++n_layers] = $1 }
			if ($2 >= n) n = $2 + 1
		}
		if (n == 0 || n % (2 * groups)) {
			print "merge.sh: " n + 0 " experts are not pairs in " groups " groups" >"/dev/stderr"
			failed = 2
			exit
		}
		size = n / groups
	}
	int($2 / size) == int($3 / size) && !(($1, $2) in partner) && !(($1, $3) in partner) { pair($1, $2, $3) }
	END {
		if (failed) exit failed
		print "layer", "new", "old", "weight"
		for (i = 1; i <= n_layers; i++) {
			l = layers[i]
			fresh = 0
			for (e = 0; e < n; e++) {
				if ((l, e) in done) continue
				# those that were never chosen together are paired as they come
				for (other = e + 1; !((l, e) in partner); other++)
					if (!((l, other) in partner)) pair(l, e, other)
				print l, fresh, e, weight[l, e]
				print l, fresh++, partner[l, e], weight[l, partner[l, e]]
				done[l, partner[l, e]] = 1
			}
		}
	}' "$work/pairs"
