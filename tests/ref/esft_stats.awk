# Loads and metrics of ESFT routing text, computed again without any of our code.
#
#	awk -v E=64 -v K=6 -f esft_stats.awk DIR/expert_weights_*.txt              layer expert count
#	awk -v E=64 -v K=6 -v what=metrics -f esft_stats.awk DIR/expert_weights_*.txt
#	                               layer maxvio cv gini entropy_norm top8_share, last row `all`: the means
#
# A file is a layer, its number is in the name; a line is a sequence: expert ids, K for each token, then an empty field,
# then as many gates; all separated by tabs.

BEGIN { FS = "\t" }

FNR == 1 {
	layer = FILENAME
	sub(/\.txt$/, "", layer)
	sub(/.*_/, "", layer)
	layers[++n_layers] = layer + 0
}

{
	for (i = 1; i <= NF && $i != ""; i++)
		count[layer + 0, $i + 0]++
	if ((i - 1) % K || NF != 2 * (i - 1) + 1) {
		print FILENAME ": line " FNR ": not ids, an empty field, and as many gates" > "/dev/stderr"
		exit failed = 1
	}
}

function log2(x) { return log(x) / log(2) }

function measure(l,    e, f, c, d, total, mean, max, squares, pairs, h, n, best, taken, top)
{
	total = max = squares = pairs = h = 0
	for (e = 0; e < E; e++) {
		c = count[l, e] + 0
		total += c
		if (c > max)
			max = c
	}
	mean = total / E
	for (e = 0; e < E; e++) {
		c = count[l, e] + 0
		squares += (c - mean) * (c - mean)
		if (c > 0)
			h -= c / total * log2(c / total)
		for (f = 0; f < E; f++) {
			d = c - count[l, f]
			pairs += d < 0 ? -d : d
		}
	}
	value[1] = (max - mean) / mean
	value[2] = sqrt(squares / E) / mean
	value[3] = pairs / (2 * E * E * mean)
	value[4] = h / log2(E)
	top = 0
	for (n = 0; n < 8; n++) {
		best = -1
		for (e = 0; e < E; e++)
			if (!(e in taken) && (best < 0 || count[l, e] + 0 > count[l, best] + 0))
				best = e
		taken[best]
		top += count[l, best]
	}
	value[5] = top / total
}

END {
	if (failed)
		exit 1
	for (i = 2; i <= n_layers; i++)      # insertion sort: the shell sorts 10 before 2
		for (j = i; j > 1 && layers[j - 1] > layers[j]; j--) {
			t = layers[j]; layers[j] = layers[j - 1]; layers[j - 1] = t
		}
	if (what == "metrics")
		print "layer\tmaxvio\tcv\tgini\tentropy_norm\ttop8_share"
	else
		print "layer\texpert\tcount"
	for (i = 1; i <= n_layers; i++) {
		if (what != "metrics") {
			for (e = 0; e < E; e++)
				printf "%d\t%d\t%d\n", layers[i], e, count[layers[i], e]
			continue
		}
		measure(layers[i])
		printf "%d", layers[i]
		for (j = 1; j <= 5; j++) {
			printf "\t%.9f", value[j]
			sum[j] += value[j]
		}
		printf "\n"
	}
	if (what == "metrics") {
		printf "all"
		for (j = 1; j <= 5; j++)
			printf "\t%.9f", sum[j] / n_layers
		printf "\n"
	}
}
