/* A flow of least cost, token by token: each place a token needs is found by a shortest path from it over the experts
 * to one that has room, along which others move on. Costs and prices are integers. Ahuja, Magnanti, Orlin 1993,
 * chapters 9 and 12.
 *
 * Nodes are the experts and one more, `spare`: an expert that is full may lead there while fewer than
 * n_tokens top_k mod n_experts have taken one token more than the rest, and from there to an expert that has. */
#include "route/assign.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

#define FAR (INT64_MAX / 4)

struct assign {
	int64_t n_tokens;
	int32_t n, k;
	int64_t full;         /* floor of the mean */
	int64_t n_spare;      /* experts that may have one more, */
	int64_t n_over;       /* and those that do */
	int64_t *cost;        /* [n_tokens][n] minus the affinities */
	uint8_t *held;        /* [n_tokens][n] */
	int64_t **members;    /* [n] tokens of the expert */
	int64_t *n_members;   /* [n] */
	int64_t *move;        /* [n][n] least cost of moving a token of e on to f; FAR: none */
	int64_t *mover;       /* [n][n] which */
	int64_t *price;       /* [n + 1] */
	int64_t *dist;        /* [n + 1] of the path at work, reduced by prices */
	int32_t *from;        /* [n + 1] -1: the token itself */
	uint8_t *done;        /* [n + 1] */
};

static void offer_move(struct assign *a, int32_t e, int32_t f, int64_t t)
{
	const int64_t cost = a->cost[t * a->n + f] - a->cost[t * a->n + e];
	if (!a->held[t * a->n + f] && cost < a->move[(int64_t)e * a->n + f]) {
		a->move[(int64_t)e * a->n + f] = cost;
		a->mover[(int64_t)e * a->n + f] = t;
	}
}

static void find_move(struct assign *a, int32_t e, int32_t f)
{
	a->move[(int64_t)e * a->n + f] = FAR;
	a->mover[(int64_t)e * a->n + f] = -1;
	for (int64_t i = 0; i < a->n_members[e]; i++)
		offer_move(a, e, f, a->members[e][i]);
}

/* Token t enters expert f. */
static void enter(struct assign *a, int64_t t, int32_t f)
{
	a->held[t * a->n + f] = 1;
	a->members[f][a->n_members[f]++] = t;
	a->n_over += a->n_members[f] == a->full + 1;
	for (int32_t g = 0; g < a->n; g++) {
		offer_move(a, f, g, t);
		if (a->held[t * a->n + g] && a->mover[(int64_t)g * a->n + f] == t)
			find_move(a, g, f);
	}
}

/* Token t leaves expert e. */
static void leave(struct assign *a, int64_t t, int32_t e)
{
	int64_t i = 0;
	while (a->members[e][i] != t)
		i++;
	a->n_over -= a->n_members[e] == a->full + 1;
	a->members[e][i] = a->members[e][--a->n_members[e]];
	a->held[t * a->n + e] = 0;
	for (int32_t g = 0; g < a->n; g++) {
		if (a->mover[(int64_t)e * a->n + g] == t)
			find_move(a, e, g);
		if (a->held[t * a->n + g])
			offer_move(a, g, e, t);
	}
}

/* Cost of going from node e to node f, FAR where there is no way. */
static int64_t way(const struct assign *a, int32_t e, int32_t f)
{
	if (e < a->n && f < a->n)
		return a->move[(int64_t)e * a->n + f];
	if (e < a->n)
		return a->n_members[e] == a->full ? 0 : FAR;
	return a->n_members[f] > a->full ? 0 : FAR;
}

static bool has_room(const struct assign *a, int32_t e)
{
	return e < a->n ? a->n_members[e] < a->full : a->n_over < a->n_spare;
}

/* Least costs from token t (Dijkstra, reduced costs are not negative) up to the first node with room. */
static int32_t find_path(struct assign *a, int64_t t)
{
	const int32_t n = a->n;
	int64_t least = INT64_MAX;
	for (int32_t e = 0; e < n; e++)
		if (!a->held[t * n + e] && a->cost[t * n + e] - a->price[e] < least)
			least = a->cost[t * n + e] - a->price[e];
	for (int32_t e = 0; e <= n; e++) {
		a->done[e] = 0;
		a->from[e] = -1;
		a->dist[e] = e < n && !a->held[t * n + e] ? a->cost[t * n + e] - a->price[e] - least : FAR;
	}
	for (;;) {
		int32_t e = -1;
		for (int32_t i = 0; i <= n; i++)
			if (!a->done[i] && a->dist[i] < FAR && (e < 0 || a->dist[i] < a->dist[e]))
				e = i;
		if (e < 0)
			return -1;
		a->done[e] = 1;
		if (has_room(a, e))
			return e;
		for (int32_t f = 0; f <= n; f++) {
			const int64_t cost = a->done[f] || f == e ? FAR : way(a, e, f);
			if (cost < FAR && a->dist[e] + cost + a->price[e] - a->price[f] < a->dist[f]) {
				a->dist[f] = a->dist[e] + cost + a->price[e] - a->price[f];
				a->from[f] = e;
			}
		}
	}
}

/* One more expert for token t: everyone on the path moves on, prices follow. */
static void place(struct assign *a, int64_t t)
{
	const int32_t end = find_path(a, t);
	const int64_t reach = a->dist[end];
	for (int32_t e = 0; e <= a->n; e++)
		if (a->done[e] && a->dist[e] < reach)
			a->price[e] += a->dist[e] - reach;
	int32_t node = end;
	while (node >= 0) {
		const int32_t before = a->from[node];
		if (before < 0)
			enter(a, t, node);
		else if (node < a->n && before < a->n) {
			const int64_t who = a->mover[(int64_t)before * a->n + node];
			leave(a, who, before);
			enter(a, who, node);
		}
		node = before;
	}
}

/* How much more the prices allow than was reached: nothing, if all is well. In units of the costs. */
static int64_t gap(const struct assign *a, int64_t *best)
{
	int64_t sum = 0;
	for (int64_t t = 0; t < a->n_tokens; t++) {
		int32_t n_best = 0;
		for (int32_t e = 0; e < a->n; e++) {
			const int64_t value = a->price[e] - a->cost[t * a->n + e];
			if (a->held[t * a->n + e])
				sum -= value;
			if (n_best == a->k && value <= best[n_best - 1])
				continue;
			int32_t at = n_best < a->k ? n_best++ : a->k - 1;
			for (; at > 0 && value > best[at - 1]; at--)
				best[at] = best[at - 1];
			best[at] = value;
		}
		for (int32_t i = 0; i < n_best; i++)
			sum += best[i];
	}
	/* the places beyond `full` go to the dearest experts */
	for (int32_t e = 0; e < a->n; e++) {
		int32_t at = e;
		sum += (a->n_members[e] - a->full) * a->price[e];
		for (; at > 0 && best[at - 1] < -a->price[e]; at--)
			best[at] = best[at - 1];
		best[at] = -a->price[e];
	}
	for (int64_t i = 0; i < a->n_spare; i++)
		sum += best[i];
	return sum;
}

/* Those it holds, dearest first; the sum of their affinities. */
static double list(const struct assign *a, const float *affinities, int64_t t, int32_t *ids)
{
	double sum = 0;
	int32_t found = 0;
	for (int32_t e = 0; e < a->n; e++) {
		if (!a->held[t * a->n + e])
			continue;
		int32_t at = found++;
		for (; at > 0 && affinities[e] > affinities[ids[at - 1]]; at--)
			ids[at] = ids[at - 1];
		ids[at] = e;
		sum += (double)affinities[e];
	}
	return sum;
}

static bool allocate(struct assign *a, struct moe_arena *arena)
{
	const size_t n = (size_t)a->n, cells = (size_t)a->n_tokens * n;
	a->cost = MOE_NEW(arena, int64_t, cells);
	a->held = MOE_NEW(arena, uint8_t, cells);
	a->members = MOE_NEW(arena, int64_t *, n);
	a->n_members = MOE_NEW(arena, int64_t, n);
	a->move = MOE_NEW(arena, int64_t, n * n);
	a->mover = MOE_NEW(arena, int64_t, n * n);
	a->price = MOE_NEW(arena, int64_t, n + 1);
	a->dist = MOE_NEW(arena, int64_t, n + 1);
	a->from = MOE_NEW(arena, int32_t, n + 1);
	a->done = MOE_NEW(arena, uint8_t, n + 1);
	int64_t *members = MOE_NEW(arena, int64_t, n * ((size_t)a->full + 3));
	if (!a->cost || !a->held || !a->members || !a->n_members || !a->move || !a->mover || !a->price || !a->dist ||
	    !a->from || !a->done || !members)
		return false;
	for (size_t e = 0; e < n; e++)
		a->members[e] = members + e * ((size_t)a->full + 3);
	for (size_t i = 0; i < n * n; i++) {
		a->move[i] = FAR;
		a->mover[i] = -1;
	}
	return true;
}

enum moe_status moe_assign(const float *affinities, int64_t n_tokens, int32_t n_experts, int32_t top_k, int32_t *ids,
                           struct moe_certificate *certificate, struct moe_err *err)
{
	struct moe_arena arena = { 0 };
	struct assign a = { .n_tokens = n_tokens, .n = n_experts, .k = top_k };
	double sum = 0;
	float largest = 0;
	int exponent;
	a.full = n_tokens * top_k / n_experts;
	a.n_spare = n_tokens * top_k % n_experts;
	const bool fits = allocate(&a, &arena);
	int64_t *best = MOE_NEW(&arena, int64_t, (size_t)n_experts + 1);
	if (!fits || !best) {
		const size_t n_bytes = arena.n_bytes;
		moe_arena_free(&arena);
		return moe_err_nomem(err, n_bytes, "a balanced assignment");
	}
	for (int64_t i = 0; i < n_tokens * n_experts; i++)
		largest = fmaxf(largest, fabsf(affinities[i]));
	frexp((double)largest, &exponent);
	for (int64_t i = 0; i < n_tokens * n_experts; i++)
		a.cost[i] = -llrint(ldexp((double)affinities[i], 40 - exponent));
	for (int64_t t = 0; t < n_tokens; t++)
		for (int32_t c = 0; c < top_k; c++)
			place(&a, t);
	for (int64_t t = 0; t < n_tokens; t++)
		sum += list(&a, affinities + t * n_experts, t, ids + t * top_k);
	certificate->value += sum;
	certificate->bound += sum + ldexp((double)gap(&a, best), exponent - 40);
	moe_arena_free(&arena);
	return MOE_OK;
}
