# Hit shares of caches over ESFT routing text, by direct simulation of one size at a time, without any of our code.
#
#	awk -v E=64 -v K=6 -v sizes='8 16 32' -f esft_caches.awk DIR/expert_weights_*.txt
#	                                  layer resident lru lfu static belady, last rows `all`: of all choices
#
# A file is a layer, its number is in the name; a line is a sequence: expert ids, K for each token, then an empty field.
# The cache stays as it is from line to line. The choices of a token are looked up, then taken in as they are listed:
#
#	lru      evicts the expert taken in the longest ago
#	lfu      holds the experts chosen most often so far; of equals those chosen last
#	static   holds those chosen most often in the first half of the tokens, of equals the lower id; second half only
#	belady   holds those of the cache and of the token that are used again soonest

BEGIN { FS = "\t"; n_sizes = split(sizes, size, " "); T = 0 }

# The best R experts into `in_cache`: highest first[], then highest second[].
function choose(r,    e, n, best) {
	delete in_cache
	for (n = 0; n < r; n++) {
		best = -1
		for (e = 0; e < E; e++)
			if (!(e in in_cache) && (best < 0 || first[e] > first[best] ||
			    (first[e] == first[best] && second[e] > second[best])))
				best = e
		in_cache[best]
	}
}

function lru(r,    t, k, e, hits, n, cache, oldest, stamp) {
	for (t = 0; t < T; t++) {
		for (k = 0; k < K; k++)
			hits += (id[t, k] in cache)
		for (k = 0; k < K; k++) {
			if (!(id[t, k] in cache) && ++n > r) {
				oldest = -1
				for (e in cache)
					if (oldest < 0 || cache[e] < cache[oldest])
						oldest = e
				delete cache[oldest]
				n--
			}
			cache[id[t, k]] = ++stamp
		}
	}
	return hits
}

# Not kept as a set: an expert is held by r places if fewer than r others come before it. Hits of all sizes at once.
function lfu(    t, k, e, f, i, stamp, before) {
	delete first
	delete second
	delete often
	for (t = 0; t < T; t++) {
		for (k = 0; k < K; k++) {
			e = id[t, k]
			if (!(e in first))
				continue
			before = 0
			for (f in first)
				before += first[f] > first[e] || (first[f] == first[e] && second[f] > second[e])
			for (i = 1; i <= n_sizes; i++)
				often[i] += before < size[i]
		}
		for (k = 0; k < K; k++) {
			first[id[t, k]]++
			second[id[t, k]] = ++stamp
		}
	}
}

function fixed(r,    t, k, e, hits) {
	delete first
	delete second
	half = int(T / 2)
	for (e = 0; e < E; e++) {
		first[e] = 0
		second[e] = -e
	}
	for (t = 0; t < half; t++)
		for (k = 0; k < K; k++)
			first[id[t, k]]++
	choose(r)
	for (t = half; t < T; t++)
		for (k = 0; k < K; k++)
			hits += (id[t, k] in in_cache)
	return hits
}

function belady(r,    t, k, e, hits, n, cache, worst) {
	n = 0
	for (t = 0; t < T; t++) {
		for (k = 0; k < K; k++)
			hits += (id[t, k] in cache)
		for (k = 0; k < K; k++) {
			n += !(id[t, k] in cache)
			cache[id[t, k]] = next_use[t, k]
		}
		while (n > r) {
			worst = -1
			for (e in cache)
				if (worst < 0 || cache[e] > cache[worst])
					worst = e
			delete cache[worst]
			n--
		}
	}
	return hits
}

function end_layer(    i, t, k, soon) {
	if (layer == "")
		return
	delete soon
	for (t = T - 1; t >= 0; t--)
		for (k = 0; k < K; k++) {
			next_use[t, k] = (id[t, k] in soon) ? soon[id[t, k]] : 1e15
			soon[id[t, k]] = t
		}
	lfu()
	for (i = 1; i <= n_sizes; i++) {
		hit[1] = lru(size[i])
		hit[2] = often[i]
		hit[3] = fixed(size[i])
		hit[4] = belady(size[i])
		n[1] = n[2] = n[4] = K * T
		n[3] = K * (T - int(T / 2))
		printf "%d\t%d", layer, size[i]
		for (k = 1; k <= 4; k++) {
			printf "\t%.9f", hit[k] / n[k]
			hits[i, k] += hit[k]
			total[k] += i == 1 ? n[k] : 0
		}
		printf "\n"
	}
	T = 0
}

FNR == 1 {
	end_layer()
	layer = FILENAME
	sub(/\.txt$/, "", layer)
	sub(/.*_/, "", layer)
	layer += 0
}

{
	n_ids = (NF - 1) / 2
	for (i = 1; i <= n_ids; i += K) {
		for (k = 0; k < K; k++)
			id[T, k] = $(i + k)
		T++
	}
}

END {
	end_layer()
	for (i = 1; i <= n_sizes; i++) {
		printf "all\t%d", size[i]
		for (k = 1; k <= 4; k++)
			printf "\t%.9f", hits[i, k] / total[k]
		printf "\n"
	}
}
