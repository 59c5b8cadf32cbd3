#!/bin/bash
# Domains: do experts specialise in kinds of text? (Muennighoff et al. 2024, OLMoE, section 5.3.) Every text is a domain.
#
#   domains.sh [-m MODEL] [-n BYTES] [-o DIR] [TEXT...]
#
#   -m MODEL   a model with experts [tiny-v3]
#   -n BYTES   of each text, from its start [6000]
#   -o DIR     where the results go [moe-domains]:
#              domains.tsv        for every layer: bits that an expert tells of its domain, and the experts that give
#                                 more than half of their choices to one domain
#              experts.tsv        for every layer and domain: the three experts that like it most, by lift
#              distances.tsv      between any two domains, in bits
#              layer-L.svg        a picture of every layer
#   TEXT       [those of share/text]; BIN names the folder of the programs, if they are not in PATH

set -eu -o pipefail

# shellcheck source-path=SCRIPTDIR source=study.bash
. "$(dirname "$0")/study.bash"
study_begin domains "$@"

moe-route -q --force -o domains.trace "$model" "${texts[@]}"
moe-stats --force --metric specialisation -o specialisation.tsv domains.trace
moe-stats --force --metric source_distance -o distances.tsv domains.trace
moe-stats --metric specialisation_bits domains.trace >bits.tsv

# Of experts with few choices chance makes any share: those below a quarter of the mean do not count.
awk -F '\t' -v OFS='\t' '
	FNR == 1 { file++; for (i = 1; i <= NF; i++) at[file, $i] = i }
	FNR == 1 { next }
	file == 1 { bits[$1] = $at[1, "specialisation_bits"]; next }
	file == 2 { of_layer[$1] += $at[2, "count"]; of_expert[$1, $2] += $at[2, "count"]; n[$1, $2]; next }
	$at[3, "share"] > 0.5 && of_expert[$1, $2] >= of_layer[$1] / experts / 4 { special[$1]++ }
	END {
		print "layer", "bits", "specialised"
		for (layer in of_layer) print layer, bits[layer], special[layer] + 0 | "sort -n"
	}' experts="$E" bits.tsv specialisation.tsv specialisation.tsv >domains.tsv

awk -F '\t' -v OFS='\t' 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
	$at["lift"] != "nan" { print $1, $at["source"], $at["expert"], $at["count"], $at["share"], $at["lift"] }' specialisation.tsv |
	sort -t "$(printf '\t')" -k 1,1n -k 2,2 -k 6,6gr -k 3,3n |
	awk -F '\t' 'BEGIN { print "layer\tsource\texpert\tcount\tshare\tlift" } ++n[$1, $2] <= 3' >experts.tsv

pictures=()
while read -r layer _; do
	[ "$layer" != layer ] || continue
	moe-stats --force --plot specialisation --layer "$layer" -o "layer-$layer.svg" domains.trace
	pictures+=("layer-$layer.svg")
done <domains.tsv
rm bits.tsv specialisation.tsv
study_end domains.tsv experts.tsv distances.tsv "${pictures[@]}"
