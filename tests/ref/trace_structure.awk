# What choices have to do with each other, from a trace as moe-route --print shows it, by direct counting, without any of
# our code.
#
#	moe-route --print x.trace | awk -v what=WHAT [-v plan=PLAN -v H=.. -v B=..] -f trace_structure.awk
#
# WHAT: coactivation conditional affinity bits persistence working specialisation gain vocabulary fanout traffic
# combinations.
# Rows are in no order; numbers have 9 decimals. The trace is one part, and a token chooses in every layer.

BEGIN { FS = OFS = "\t"; E = 0 }

NR == 1 {
	for (i = 1; i <= NF; i++)
		col[$i] = i
	next
}

{
	at = $col["seq"] SUBSEP $col["pos"]
	if (!(at in number)) {
		number[at] = ++T
		seq[T] = $col["seq"]
		pos[T] = $col["pos"]
		token[T] = $col["token"]
		source[T] = $col["source"]
	}
	t = number[at]
	l = $col["layer"]
	if (!(l in is_layer)) {
		is_layer[l]
		layers[++L] = l
	}
	e = $col["expert"]
	has[l, t, e]
	list[l, t] = list[l, t] " " e
	n[l, e]++
	C[l]++
	if (e >= E)
		E = e + 1
}

function log2(x) { return log(x) / log(2) }
function f(x) { return sprintf("%.9f", x) }

# Sets as lists in rising order.
function combinations(    i, l, t, k, m, a, j, id, key, seen, n_used, n_once, possible, x) {
	for (i = 1; i <= L; i++) {
		l = layers[i]
		delete seen
		n_used = n_once = 0
		for (t = 1; t <= T; t++) {
			m = split(list[l, t], id, " ")
			for (k = 2; k <= m; k++)
				for (j = k; j > 1 && id[j - 1] + 0 > id[j] + 0; j--) {
					a = id[j]; id[j] = id[j - 1]; id[j - 1] = a
				}
			key = id[1]
			for (k = 2; k <= m; k++)
				key = key " " id[k]
			seen[key]++
		}
		for (key in seen) {
			n_used++
			n_once += seen[key] == 1
		}
		possible = 1
		for (k = 1; k <= m; k++)
			possible = possible * (experts - m + k) / k
		print l, T, n_used, sprintf("%d", possible), f(log2(possible)), f(n_used / possible), f(n_once / T)
	}
}

function coactivation(    i, l, a, b, t, both) {
	for (i = 1; i <= L; i++) {
		l = layers[i]
		for (a = 0; a < E; a++)
			for (b = 0; b < E; b++) {
				if (a == b || (what == "coactivation" && a > b))
					continue
				both = 0
				for (t = 1; t <= T; t++)
					both += ((l, t, a) in has) && ((l, t, b) in has)
				if (what == "coactivation")
					print l, a, b, both, n[l, a] * n[l, b] ? f(both * T / n[l, a] / n[l, b]) : "nan"
				else
					print l, a, b, n[l, a] ? f(both / n[l, a]) : "nan", f(n[l, b] / T)
			}
	}
}

function affinity(    i, l, next_l, t, a, b, x, y, nx, ny, k, m, pairs, total, bits, pa, pb) {
	for (i = 1; i < L; i++) {
		l = layers[i]
		next_l = layers[i + 1]
		delete pairs
		delete pa
		delete pb
		total = bits = 0
		for (t = 1; t <= T; t++) {
			nx = split(list[l, t], x, " ")
			ny = split(list[next_l, t], y, " ")
			for (k = 1; k <= nx; k++)
				for (m = 1; m <= ny; m++) {
					pairs[x[k], y[m]]++
					pa[x[k]]++
					pb[y[m]]++
					total++
				}
		}
		for (a = 0; a < E; a++)
			for (b = 0; b < E; b++) {
				k = pairs[a, b] + 0
				if (what == "affinity")
					print l, a, next_l, b, k, n[l, a] ? f(k / n[l, a]) : "nan",
						n[l, a] * n[next_l, b] ? f(k * T / n[l, a] / n[next_l, b]) : "nan"
				if (k)
					bits += k / total * log2(k * total / pa[a] / pb[b])
			}
		if (what == "bits")
			print l, f(bits)
	}
}

function persistence(    i, l, e, t, followed, again) {
	for (i = 1; i <= L; i++) {
		l = layers[i]
		for (e = 0; e < E; e++) {
			followed = again = 0
			for (t = 1; t < T; t++)
				if (seq[t] == seq[t + 1] && ((l, t, e) in has)) {
					followed++
					again += ((l, t + 1, e) in has)
				}
			print l, e, followed ? f(again / followed) : "nan"
		}
	}
}

function working(    i, l, w, t, u, e, seen, sum) {
	for (i = 1; i <= L; i++)
		for (w = 1; w <= 64; w *= 2) {
			sum = 0
			for (t = 1; t <= T; t++) {
				delete seen
				for (u = t; u > 0 && u > t - w; u--)
					for (e = 0; e < E; e++)
						if ((layers[i], u, e) in has)
							seen[e]
				for (e in seen)
					sum++
			}
			print layers[i], w, f(sum / T)
		}
}

function specialisation(    i, l, e, t, s, count, of, gain) {
	for (i = 1; i <= L; i++) {
		l = layers[i]
		delete count
		delete of
		for (t = 1; t <= T; t++)
			for (e = 0; e < E; e++)
				if ((l, t, e) in has) {
					count[e, source[t]]++
					of[source[t]]++
				}
		for (e = 0; e < E; e++) {
			gain = 0
			for (s in of) {
				if (what == "specialisation")
					print l, e, s, count[e, s] + 0, n[l, e] ? f(count[e, s] / n[l, e]) : "nan",
						n[l, e] ? f(count[e, s] / n[l, e] * C[l] / of[s]) : "nan"
				if (count[e, s])
					gain += count[e, s] / n[l, e] * log2(count[e, s] / n[l, e] * C[l] / of[s])
			}
			if (what == "gain")
				print l, e, n[l, e] ? f(gain) : "nan"
		}
	}
}

# Every pair of token id and expert; the program shows those that add most.
function vocabulary(    i, l, t, e, k, count, of, p) {
	for (i = 1; i <= L; i++) {
		l = layers[i]
		delete count
		delete of
		for (t = 1; t <= T; t++) {
			of[token[t]]++
			for (e = 0; e < E; e++)
				if ((l, t, e) in has)
					count[e SUBSEP token[t]]++
		}
		for (k in count) {
			split(k, p, SUBSEP)
			print l, p[1], p[2], count[k], f(count[k] / of[p[2]]), f(count[k] / of[p[2]] * T / n[l, p[1]])
		}
	}
}

# A plan without replicas: rank of (layer, expert), nodes of equally many ranks in order.
function read_plan(    line, x, h, i) {
	while ((getline line < plan) > 0) {
		if (line ~ /^#/) {
			if (match(line, /nodes=[0-9]+/))
				nodes = substr(line, RSTART + 6, RLENGTH - 6)
			continue
		}
		split(line, x, "\t")
		if (!("rank" in h)) {
			for (i in x)
				h[x[i]] = i
			continue
		}
		home[x[h["layer"]], x[h["expert"]]] = x[h["rank"]]
		if (x[h["rank"]] >= R)
			R = x[h["rank"]] + 1
	}
}

function node(r) { return int(r / (R / nodes)) }

function fanout(    i, l, t, e, r, o, s, ranks, nds, at_rank, at_node, db, cb) {
	read_plan()
	for (i = 1; i <= L; i++) {
		l = layers[i]
		ranks = nds = 0
		delete db
		delete cb
		for (t = 1; t <= T; t++) {
			o = seq[t] % R
			delete at_rank
			delete at_node
			for (e = 0; e < E; e++)
				if ((l, t, e) in has) {
					at_rank[home[l, e]]++
					at_node[node(home[l, e])]
				}
			for (r in at_rank) {
				ranks++
				if (what == "traffic") {
					db[o, r] += H * B
					cb[r, o] += 4 * H * at_rank[r]
				} else if (r != o) {
					db[node(r) != node(o)] += H * B
					cb[node(r) != node(o)] += 4 * H * at_rank[r]
				}
			}
			for (r in at_node)
				nds++
		}
		if (what == "fanout")
			print l, T, f(ranks / T), f(nds / T), db[0] + 0, cb[0] + 0, db[1] + 0, cb[1] + 0
		for (r = 0; r < R && what == "traffic"; r++)
			for (s = 0; s < R; s++)
				if (r != s)
					print l, r, s, db[r, s] + 0, cb[r, s] + 0, db[r, s] + cb[r, s]
	}
}

END {
	if (what == "coactivation" || what == "conditional") coactivation()
	else if (what == "affinity" || what == "bits") affinity()
	else if (what == "persistence") persistence()
	else if (what == "working") working()
	else if (what == "specialisation" || what == "gain") specialisation()
	else if (what == "vocabulary") vocabulary()
	else if (what == "combinations") combinations()
	else if (what == "fanout" || what == "traffic") fanout()
}
