#!/bin/bash
# Balancing without a loss against other policies: how even is the load of the same router's outputs under each? The
# biases are found again from the stored outputs, batch by batch (Wang et al. 2024, Auxiliary-Loss-Free Load Balancing;
# DeepSeek-V3, section 2.1.2). MaxVio is how far the busiest expert lies above the mean, in means.
#
#   balancing.sh [-m MODEL] [-n BYTES] [-o DIR] [TEXT...]
#
#   -m MODEL   a model that routes by noaux_tc [tiny-v3]
#   -n BYTES   of each text, from its start [6000]
#   -o DIR     where the results go [moe-balancing]:
#              balancing.tsv      layer, and MaxVio of every policy
#              balancing.svg      the same as a picture
#              adaptation.tsv     epoch, and MaxVio of its batches while the biases are being found, on average
#              adaptation.svg     the same as a picture
#   TEXT       [those of share/text]; BIN names the folder of the programs, if they are not in PATH

set -eu -o pipefail

# shellcheck source-path=SCRIPTDIR source=study.bash
. "$(dirname "$0")/study.bash"
study_begin balancing "$@"

moe-route -q --force --logits --window 128 -o logits.trace "$model" "${texts[@]}"
tokens=$(moe-stats --load logits.trace | sed -n 's/^#tokens=//p')

# Large steps first, then small ones; each batch is a quarter of the text.
batch=$(((tokens + 3) / 4))
moe-route -q --force --policy noaux_tc --adapt-bias 0.01 --epochs 40 --batch-tokens "$batch" --batches first.tsv \
	-o first.bias logits.trace
moe-route -q --force --policy noaux_tc --bias first.bias --adapt-bias 0.001 --epochs 40 --batch-tokens "$batch" \
	--batches second.tsv -o second.bias logits.trace

# maxvio OPTION...: layer and MaxVio of the outputs routed with these options.
maxvio()
{
	moe-route -q "$@" logits.trace | moe-stats --metric maxvio - | awk '$1 != "layer" && $1 != "all" { print $2 }'
}

moe-stats --metric maxvio_noise logits.trace | awk '$1 != "layer" && $1 != "all"' >noise
{
	printf 'layer\tsoftmax, no balance\tsigmoid, no balance\tbiases as trained\tbiases found here\tBASE\teven, by chance\n'
	paste <(cut -f 1 noise) <(maxvio --policy softmax_topk) <(maxvio --policy noaux_tc) \
		<(maxvio --policy noaux_tc --bias "$model") <(maxvio --policy noaux_tc --bias second.bias) \
		<(maxvio --policy base) <(cut -f 2 noise)
} >balancing.tsv
moe-stats --force --plot table --title "$(basename "$model"): MaxVio of the layers under several policies" \
	-o balancing.svg balancing.tsv

awk -F '\t' '
	FNR == 1 { before = ""; for (i = 1; i <= NF; i++) at[$i] = i; next }
	$at["epoch"] != before { before = $at["epoch"]; last++ }
	{ n[last]++; sum[last] += $at["maxvio"] }
	END {
		print "epoch\tMaxVio of batches, mean of the layers"
		for (i = 1; i <= last; i++) printf "%d\t%.6f\n", i, sum[i] / n[i]
	}' first.tsv second.tsv >adaptation.tsv
moe-stats --force --plot table --title "$(basename "$model"): MaxVio while biases are found" -o adaptation.svg \
	adaptation.tsv
rm noise first.tsv second.tsv
study_end balancing.tsv balancing.svg adaptation.tsv adaptation.svg
