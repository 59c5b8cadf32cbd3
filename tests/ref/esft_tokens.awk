# Metrics of ESFT routing text that need the order of tokens or their gates, computed without any of our code.
#
#	awk -v E=64 -v K=6 -v N=2048 -f esft_tokens.awk DIR/expert_weights_*.txt
#	                                  layer overlap maxvio_batch loss_importance, last row `all`: the means
#
# A file is a layer, its number is in the name; a line is a sequence: expert ids, K for each token, then an empty field,
# then as many gates; all separated by tabs. Batches of N tokens go across lines.

BEGIN { FS = "\t" }

function end_batch(    e, max) {
	max = 0
	for (e in batch)
		if (batch[e] > max)
			max = batch[e]
	if (n_batch > 0)
		peaks += (E * max / (K * n_batch) - 1) * n_batch
	batched += n_batch
	n_batch = 0
	delete batch
}

function end_layer(    e, mean, var) {
	if (layer == "")
		return
	end_batch()
	mean = var = 0
	for (e = 0; e < E; e++)
		mean += gate[e] / E
	for (e = 0; e < E; e++)
		var += (gate[e] - mean) ^ 2 / E
	row[layer] = sprintf("%d\t%.9f\t%.9f\t%.9f", layer, shared / choices, peaks / batched, var / mean ^ 2)
	sum[1] += shared / choices
	sum[2] += peaks / batched
	sum[3] += var / mean ^ 2
	n_layers++
	peaks = batched = shared = choices = 0
	delete gate
}

FNR == 1 {
	end_layer()
	layer = FILENAME
	sub(/\.txt$/, "", layer)
	sub(/.*_/, "", layer)
	layer += 0
	if (layer > last)
		last = layer
}

{
	n = (NF - 1) / 2
	delete before
	for (i = 1; i <= n; i += K) {
		for (j = i; j < i + K; j++) {
			batch[$j]++
			gate[$j] += $(j + n + 1)
			if (i > 1) {
				choices++
				shared += ($j in before)
			}
		}
		delete before
		for (j = i; j < i + K; j++)
			before[$j]
		if (++n_batch == N)
			end_batch()
	}
}

END {
	end_layer()
	print "layer\toverlap\tmaxvio_batch\tloss_importance"
	for (layer = 0; layer <= last; layer++)
		if (layer in row)
			print row[layer]
	printf "all\t%.9f\t%.9f\t%.9f\n", sum[1] / n_layers, sum[2] / n_layers, sum[3] / n_layers
}
