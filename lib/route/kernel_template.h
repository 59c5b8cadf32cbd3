/* The body of every member of route/kernel, included once by each with its own vectors:
 *
 *   K(name)        the name of a function or type of this member
 *   K_TARGET       the attribute of its functions
 *   K_LANES        floats in a vector, a multiple of 4
 *   K_GREATER(a, b), K_NOT_LESS(a, b)    masks of type K(mask): a > b, a >= b
 *   K_SELECT(m, a, b), K_SELECT_I(m, a, b)   a where m, else b: of floats, of integers
 *   K_LARGER(a, b), K_SMALLER(a, b)      of numbers
 *   K_SQRT(x)      of each
 *   K_WHOLE(x)     the nearest whole number, of floats below 2^22
 *   K_SCALE(x, n)  x 2^n, rounded once, of whole n from -151 to 129
 *   K_ROWS(p, n)   a vector of p[0..3], p[4n..4n+3], p[8n..8n+3], ...
 *   K_MIX(a, b, i, j, k, l)   of every four floats of a (0-3) and b (4-7) those four
 *
 * and the types K(floats), K(ints), K(mask). */

#include "route/exp.h"
#include "route/kernel.h"

#define K_INLINE K_TARGET static inline __attribute__((always_inline))

K_INLINE K(floats) K(load)(const float *p)
{
	K(floats) v;
	memcpy(&v, p, sizeof v);
	return v;
}

K_INLINE void K(store)(float *p, K(floats) v) { memcpy(p, &v, sizeof v); }

K_INLINE K(floats) K(all)(float x) { return (K(floats)){ 0 } + x; }

/* moe_exp, lane by lane, of what is a number. */
K_INLINE K(floats) K(exp)(K(floats) x)
{
	x = K_LARGER(x, K(all)(MOE_EXP_LEAST));
	x = K_SMALLER(x, K(all)(MOE_EXP_MOST));
	const K(floats) whole = K_WHOLE(x * MOE_EXP_LOG2E);
	const K(floats) r = (x - whole * MOE_EXP_LN2_HIGH) - whole * MOE_EXP_LN2_LOW;
	K(floats) sum = r * (1.0f / 5040) + 1.0f / 720;
	sum = sum * r + 1.0f / 120;
	sum = sum * r + 1.0f / 24;
	sum = sum * r + 1.0f / 6;
	sum = sum * r + 0.5f;
	sum = sum * r + 1.0f;
	sum = sum * r + 1.0f;
	return K_SCALE(sum, whole);
}

/* moe_sqrtsoftplus, lane by lane, of what is a number. */
K_INLINE K(floats) K(sqrtsoftplus)(K(floats) x)
{
	const K(floats) y = K(exp)(K_SMALLER(x, -x)), z = y / (2.0f + y), square = z * z;
	K(floats) sum = square * (1.0f / 15) + 1.0f / 13;
	sum = sum * square + 1.0f / 11;
	sum = sum * square + 1.0f / 9;
	sum = sum * square + 1.0f / 7;
	sum = sum * square + 1.0f / 5;
	sum = sum * square + 1.0f / 3;
	sum = sum * square + 1.0f;
	return K_SQRT(K_LARGER(x, K(all)(0)) + 2.0f * z * sum);
}

/* Tokens become lanes: to[e][lane] of from[lane][n], and the largest of each lane. */
K_INLINE K(floats) K(turn)(const float *from, int32_t n, float *to, K(floats) *bad)
{
	K(floats) max = K(all)(-INFINITY);
	int32_t e = 0;
	for (; e + 4 <= n; e += 4) {
		/* row r: tokens r, r + 4, r + 8, ... in its quarters; columns gathers them by tokens 0-3, 4-7, ... */
		const K(floats) a = K_ROWS(from + e, n), b = K_ROWS(from + n + e, n), c = K_ROWS(from + 2 * n + e, n),
		                d = K_ROWS(from + 3 * n + e, n);
		const K(floats) ab = K_MIX(a, b, 0, 4, 1, 5), ab2 = K_MIX(a, b, 2, 6, 3, 7);
		const K(floats) cd = K_MIX(c, d, 0, 4, 1, 5), cd2 = K_MIX(c, d, 2, 6, 3, 7);
		const K(floats) column[4] = { K_MIX(ab, cd, 0, 1, 4, 5), K_MIX(ab, cd, 2, 3, 6, 7),
			                      K_MIX(ab2, cd2, 0, 1, 4, 5), K_MIX(ab2, cd2, 2, 3, 6, 7) };
		for (int i = 0; i < 4; i++) {
			K(store)(to + (e + i) * K_LANES, column[i]);
			max = K_LARGER(column[i], max);
			*bad += column[i] - column[i];
		}
	}
	for (; e < n; e++) {
		for (int lane = 0; lane < K_LANES; lane++)
			to[e * K_LANES + lane] = from[(int64_t)lane * n + e];
		const K(floats) x = K(load)(to + e * K_LANES);
		max = K_LARGER(x, max);
		*bad += x - x;
	}
	return max;
}

/* Logits [n][lanes] become scores. */
K_INLINE void K(score)(enum moe_rule_score kind, float *x, int32_t n, K(floats) max)
{
	K(floats) sum = K(all)(0);
	for (int32_t from = 0; kind == MOE_RULE_SOFTMAX && from < n; from += MOE_SUM_RUN) {
		K(floats) run = K(all)(0);
		for (int32_t i = from; i < n && i < from + MOE_SUM_RUN; i++) {
			const K(floats) y = K(exp)(K(load)(x + i * K_LANES) - max);
			run += y;
			K(store)(x + i * K_LANES, y);
		}
		sum += run;
	}
	const K(floats) part = 1.0f / sum;
	for (int32_t i = 0; kind == MOE_RULE_SOFTMAX && i < n; i++)
		K(store)(x + i * K_LANES, K(load)(x + i * K_LANES) * part);
	for (int32_t i = 0; kind == MOE_RULE_SIGMOID && i < n; i++)
		K(store)(x + i * K_LANES, 1.0f / (1.0f + K(exp)(-K(load)(x + i * K_LANES))));
	for (int32_t i = 0; kind == MOE_RULE_SQRTSOFTPLUS && i < n; i++)
		K(store)(x + i * K_LANES, K(sqrtsoftplus)(K(load)(x + i * K_LANES)));
}

/* Scores outside the best groups become -infinity, as moe_groups_limit has it. room: [2 n_groups][lanes]. */
K_INLINE K(floats) K(limit)(const struct moe_policy_params *p, float *x, float *room)
{
	const int32_t n_groups = p->n_groups, group = p->n_experts / n_groups;
	const K(floats) least = K(all)(-INFINITY);
	K(floats) last = -least, next = least;
	if (p->top_groups >= n_groups)
		return -least;
	for (int32_t g = 0; g < n_groups; g++) {
		K(floats) best = least, second = least;
		for (int32_t i = 0; i < group; i++) {
			const K(floats) v = K(load)(x + (g * group + i) * K_LANES);
			const K(mask) first = K_GREATER(v, best);
			second = K_SELECT(first, best, K_SELECT(K_GREATER(v, second), v, second));
			best = K_SELECT(first, v, best);
		}
		K(store)(room + g * K_LANES, p->group_score == MOE_GROUP_TOP2 ? best + second : best);
	}
	for (int32_t g = 0; g < n_groups; g++) {
		/* kept where fewer than top_groups others come before it */
		const K(floats) mine = K(load)(room + g * K_LANES), one = K(all)(1), none = K(all)(0);
		K(floats) n_before = none;
		for (int32_t h = 0; h < n_groups; h++) {
			const K(floats) other = K(load)(room + h * K_LANES);
			if (h < g)
				n_before += K_SELECT(K_NOT_LESS(other, mine), one, none);
			else
				n_before += K_SELECT(K_GREATER(other, mine), one, none);
		}
		const K(mask) kept = K_GREATER(K(all)((float)p->top_groups), n_before);
		last = K_SELECT(kept, K_SELECT(K_GREATER(last, mine), mine, last), last);
		next = K_SELECT(kept, next, K_SELECT(K_GREATER(mine, next), mine, next));
		for (int32_t i = 0; i < group; i++) {
			float *v = x + (g * group + i) * K_LANES;
			K(store)(v, K_SELECT(kept, K(load)(v), least));
		}
	}
	return last - next;
}

/* The k largest of x [n][lanes], of equal ones the first, in top and ids [k]. Called with constants as k they stay in
 * registers. */
K_INLINE void K(pick_some)(const float *x, int32_t n, const int32_t k, K(floats) *top, K(ints) *ids)
{
	for (int32_t j = 0; j < k; j++) {
		top[j] = K(all)(-INFINITY);
		ids[j] = (K(ints)){ 0 } - 1;
	}
	for (int32_t i = 0; i < n; i++) {
		const K(floats) v = K(load)(x + i * K_LANES);
		const K(ints) id = (K(ints)){ 0 } + i;
		K(mask) above = K_GREATER(v, top[k - 1]);
		for (int32_t j = k - 1; j > 0; j--) {
			const K(mask) next = K_GREATER(v, top[j - 1]);
			top[j] = K_SELECT(next, top[j - 1], K_SELECT(above, v, top[j]));
			ids[j] = K_SELECT_I(next, ids[j - 1], K_SELECT_I(above, id, ids[j]));
			above = next;
		}
		top[0] = K_SELECT(above, v, top[0]);
		ids[0] = K_SELECT_I(above, id, ids[0]);
	}
}

#define K_PICK(k) \
	K_TARGET static void K(pick_##k)(const float *x, int32_t n, float *scores, int32_t *chosen) \
	{ \
		K(floats) top[k]; \
		K(ints) ids[k]; \
		K(pick_some)(x, n, k, top, ids); \
		memcpy(scores, top, sizeof top); \
		memcpy(chosen, ids, sizeof ids); \
	}
K_PICK(1)
K_PICK(2)
K_PICK(3)
K_PICK(4)
K_PICK(5)
K_PICK(6)
K_PICK(7)
K_PICK(8)
K_PICK(9)

K_TARGET static void K(pick_any)(const float *x, int32_t n, int32_t k, float *scores, int32_t *chosen)
{
	K(floats) top[MOE_KERNEL_TOP_K + 1];
	K(ints) ids[MOE_KERNEL_TOP_K + 1];
	K(pick_some)(x, n, k, top, ids);
	memcpy(scores, top, (size_t)k * sizeof *top);
	memcpy(chosen, ids, (size_t)k * sizeof *ids);
}

/* The same into scores and chosen [k][lanes]. */
K_TARGET static void K(pick)(const float *x, int32_t n, int32_t k, float *scores, int32_t *chosen)
{
	switch (k) {
	case 1: K(pick_1)(x, n, scores, chosen); break;
	case 2: K(pick_2)(x, n, scores, chosen); break;
	case 3: K(pick_3)(x, n, scores, chosen); break;
	case 4: K(pick_4)(x, n, scores, chosen); break;
	case 5: K(pick_5)(x, n, scores, chosen); break;
	case 6: K(pick_6)(x, n, scores, chosen); break;
	case 7: K(pick_7)(x, n, scores, chosen); break;
	case 8: K(pick_8)(x, n, scores, chosen); break;
	case 9: K(pick_9)(x, n, scores, chosen); break;
	default: K(pick_any)(x, n, k, scores, chosen); break;
	}
}

/* Weights [k][lanes] of chosen scores, as moe_softmax and moe_sigmoid of a token's k have it. */
K_INLINE void K(weigh)(enum moe_rule_score kind, float *w, int32_t k)
{
	K(floats) max = K(load)(w);
	for (int32_t j = 1; kind == MOE_RULE_SOFTMAX && j < k; j++)
		max = K_LARGER(K(load)(w + j * K_LANES), max);
	K(score)(kind, w, k, max);
}

/* The least gap between scores [k][lanes] that follow each other. */
K_INLINE K(floats) K(least_gap)(const float *top, int32_t k)
{
	K(floats) least = K(all)(INFINITY);
	for (int32_t j = 0; j + 1 < k; j++)
		least = K_SMALLER(K(load)(top + j * K_LANES) - K(load)(top + (j + 1) * K_LANES), least);
	return least;
}

/* Sparsemixer's weights [k][lanes] of the chosen scores that w holds, all of them x [n][lanes]. left: [n][lanes]. */
K_INLINE void K(weigh_near)(const float *x, int32_t n, float eps, const int32_t *chosen, int32_t k, float *left,
                            float *w)
{
	const float far_from = 2 * eps;
	memcpy(left, x, sizeof *x * (size_t)n * K_LANES);
	for (int32_t j = 0; j < k; j++) {
		const K(floats) max = K(load)(w + j * K_LANES);
		K(floats) sum = K(all)(0);
		for (int32_t from = 0; from < n; from += MOE_SUM_RUN) {
			K(floats) run = K(all)(0);
			for (int32_t i = from; i < n && i < from + MOE_SUM_RUN; i++) {
				const K(floats) s = K(load)(x + i * K_LANES), size = K_LARGER(s, -s);
				const K(mask) is_far = K_GREATER((max - s) / K_LARGER(size, max), K(all)(far_from));
				const K(floats) part = K(exp)(K(load)(left + i * K_LANES) - max);
				run += K_SELECT(is_far, K(all)(0), part);
			}
			sum += run;
		}
		K(store)(w + j * K_LANES, 1.0f / sum);
		for (int lane = 0; lane < K_LANES; lane++)
			left[chosen[j * K_LANES + lane] * K_LANES + lane] = -INFINITY;
	}
}

/* Lanes become rows again: out [lanes][k] of in [k][lanes]. */
K_INLINE void K(turn_back)(const void *in, int32_t k, void *out)
{
	for (int32_t j = 0; j < k; j++)
		for (int lane = 0; lane < K_LANES; lane++)
			memcpy((char *)out + 4 * (lane * k + j), (const char *)in + 4 * (j * K_LANES + lane), 4);
}

/* Scores [n][lanes] of what was chosen, 0 where nothing was. */
K_INLINE void K(look_up)(const float *scores, const int32_t *chosen, int32_t k, float *w)
{
	for (int32_t j = 0; j < k; j++)
		for (int lane = 0; lane < K_LANES; lane++) {
			const int32_t id = chosen[j * K_LANES + lane];
			w[j * K_LANES + lane] = id < 0 ? 0 : scores[id * K_LANES + lane];
		}
}

K_TARGET static bool K(choose)(const struct moe_policy_params *p, const struct moe_rule *rule, const float *logits,
                               int32_t *ids, float *weights, float *sums, float *margins, float *room)
{
	const int32_t n = p->n_experts, k = p->top_k, n_picked = margins && k < n ? k + 1 : k;
	float top[(MOE_KERNEL_TOP_K + 1) * K_LANES];
	int32_t chosen[(MOE_KERNEL_TOP_K + 1) * K_LANES];
	float *scores = room, *choice = room;
	const bool apart = rule->biased && p->bias;   /* do choice and weight differ? */
	K(floats) bad = K(all)(0), group_margin = K(all)(INFINITY), sum = K(all)(0);
	const K(floats) max = K(turn)(logits, n, scores, &bad);
	K(score)(rule->score, scores, n, max);
	if (apart) {
		choice = scores + n * K_LANES;
		for (int32_t i = 0; i < n; i++) {
			const K(floats) x = K(load)(scores + i * K_LANES);
			const K(floats) y = x + p->bias[i];
			bad += y - y;
			K(store)(choice + i * K_LANES, y);
		}
	}
	for (int lane = 0; lane < K_LANES; lane++)
		if (!(bad[lane] == 0))
			return false;
	if (rule->grouped)
		group_margin = K(limit)(p, choice, room + 2 * n * K_LANES);
	K(pick)(choice, n, n_picked, top, chosen);
	if (margins) {
		const K(floats) last = K(load)(top + (k - 1) * K_LANES), infinity = K(all)(INFINITY);
		const K(floats) next = k < n ? K(load)(top + k * K_LANES) : -infinity;
		const K(floats) margin = K_SELECT(K_GREATER(next, -infinity), last - next, infinity);
		K(floats) least = K_SELECT(K_GREATER(margin, group_margin), group_margin, margin);
		if (rule->weigh == MOE_RULE_NEAR)
			least = K_SMALLER(K(least_gap)(top, k), least);
		K(store)(margins, least);
	}
	if (apart)
		K(look_up)(scores, chosen, k, top);
	for (int32_t j = 0; j < k; j++)
		sum += K(load)(top + j * K_LANES);
	K(store)(sums, sum);
	if (rule->weigh == MOE_RULE_NEAR)
		K(weigh_near)(scores, n, (float)p->eps, chosen, k, scores + n * K_LANES, top);
	else
		K(weigh)(rule->weigh, top, k);
	K(turn_back)(top, k, weights);
	K(turn_back)(chosen, k, ids);
	return true;
}
