#!/bin/bash
# No shared expert, but one routed expert more: do routed experts know what the shared one knows? If they did, perplexity
# would stay (Dai et al. 2024, DeepSeekMoE, section 4.5: it does not). The row K + 1 without the shared expert costs as
# much to compute as the row K with it.
#
#   no-shared.sh [-m MODEL] [-n BYTES] [-o DIR] [TEXT...]
#
#   -m MODEL   a model with routed and shared experts [tiny-v3]
#   -n BYTES   of each text, from its start [6000]
#   -o DIR     where no-shared.tsv and no-shared.svg go [moe-no-shared]
#   TEXT       [those of share/text]; BIN names the folder of the programs, if they are not in PATH

set -eu -o pipefail

# shellcheck source-path=SCRIPTDIR source=study.bash
. "$(dirname "$0")/study.bash"
study_begin no-shared "$@"

printf 'routed experts of a token\twith the shared expert\twithout it\n' >no-shared.tsv
for k in "$K" $((K + 1)) $((K + 2)); do
	[ "$k" -le "$E" ] || continue
	printf '%d\t%s\t%s\n' "$k" "$(perplexity -k "$k")" "$(perplexity --no-shared -k "$k")" >>no-shared.tsv
done
moe-stats --force --plot table --title "$(basename "$model"): perplexity without the shared expert" -o no-shared.svg \
	no-shared.tsv
study_end no-shared.tsv no-shared.svg
