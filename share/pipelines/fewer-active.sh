#!/bin/bash
# Fewer active experts: how many of the K experts that a token was trained with does it need? (Dai et al. 2024,
# DeepSeekMoE, figures 5 and 6: about half of them for the loss of a model with plain experts.)
#
#   fewer-active.sh [-m MODEL] [-n BYTES] [-o DIR] [TEXT...]
#
#   -m MODEL   a model with experts [tiny-v3]
#   -n BYTES   of each text, from its start [6000]
#   -o DIR     where fewer-active.tsv and fewer-active.svg go [moe-fewer-active]
#   TEXT       [those of share/text]; BIN names the folder of the programs, if they are not in PATH

set -eu -o pipefail

# shellcheck source-path=SCRIPTDIR source=study.bash
. "$(dirname "$0")/study.bash"
study_begin fewer-active "$@"

printf 'routed experts of a token\tperplexity\n' >fewer-active.tsv
for ((k = 1; k <= K; k++)); do
	printf '%d\t%s\n' "$k" "$(perplexity -k "$k")" >>fewer-active.tsv
done
moe-stats --force --plot table --title "$(basename "$model"): perplexity with fewer experts" -o fewer-active.svg \
	fewer-active.tsv
study_end fewer-active.tsv fewer-active.svg
