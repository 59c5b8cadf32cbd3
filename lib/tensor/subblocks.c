/* The search for scales of blocks of 256 numbers, a sub-block to a lane. Every function here does in each lane what its
 * namesake in kquant.c does for one sub-block, sums in the same order; a branch there is a choice by lanes here. */
#include "tensor/subblocks.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "tensor/half.h"
#include "tensor/lanes8.h"

enum { LANES = 8, MAX_LENGTH = 32 };

/* Sub-blocks 8 g .. 8 g + 7: vector k holds number k of each. */
struct group {
	moe_v8 x[MAX_LENGTH];
	moe_v8 code[MAX_LENGTH];      /* whole numbers */
	moe_v8 scale, min;            /* levels, whole numbers */
};

/* A block under way. */
struct block {
	int n_groups, n;              /* n: numbers in a sub-block, 16 or 32 */
	struct group group[MOE_KQUANT_SUBS / LANES];
};

static bool all_finite(const float *x)
{
	uint32_t infinite = 0;

	for (int i = 0; i < MOE_KQUANT_BLOCK; i++)
		infinite |= !(fabsf(x[i]) <= FLT_MAX);
	return !infinite;
}

static void give_up(struct moe_kquant *out)
{
	memset(out, 0, sizeof *out);
	out->d = moe_f16_from_f32(NAN);
}

static void take_apart(const float *x, int n_sub, struct block *b)
{
	b->n_groups = n_sub / LANES;
	b->n = MOE_KQUANT_BLOCK / n_sub;
	for (int g = 0; g < b->n_groups; g++)
		for (int k = 0; k < b->n; k += LANES) {
			moe_v8 *rows = b->group[g].x + k;

			for (int l = 0; l < LANES; l++)
				rows[l] = moe_v8_load(x + (g * LANES + l) * b->n + k);
			moe_v8_transpose(rows);
		}
}

static void put_together(const struct block *b, struct moe_kquant *out)
{
	for (int g = 0; g < b->n_groups; g++) {
		for (int l = 0; l < LANES; l++) {
			out->scale[g * LANES + l] = (int8_t)b->group[g].scale[l];
			out->min[g * LANES + l] = (uint8_t)b->group[g].min[l];
		}
		for (int k = 0; k < b->n; k += LANES) {
			float row[LANES];
			moe_v8 rows[LANES];

			memcpy(rows, b->group[g].code + k, sizeof rows);
			moe_v8_transpose(rows);
			for (int l = 0; l < LANES; l++) {
				moe_v8_store(row, rows[l]);
				for (int i = 0; i < LANES; i++)
					out->code[(g * LANES + l) * b->n + k + i] = (int8_t)row[i];
			}
		}
	}
}

struct sums {
	moe_v8 q, qq, qx;
};

/* How numbers become codes: x inverse + offset, rounded, within [lo, hi]. */
struct coding {
	moe_v8 inverse, offset, lo, hi;
};

/* Adds every eighth number from k on. */
MOE_LANES8 void add_eighth(struct sums *s, const moe_v8 *x, int k, int n, const struct coding *to)
{
	for (; k < n; k += 8) {
		const moe_v8 c = moe_v8_whole(x[k] * to->inverse + to->offset, to->lo, to->hi);

		s->q += c;
		s->qq += c * c;
		s->qx += c * x[k];
	}
}

MOE_LANES8 void add_sums(struct sums *to, const struct sums *s)
{
	to->q += s->q;
	to->qq += s->qq;
	to->qx += s->qx;
}

MOE_LANES8 void code_sums(struct sums *out, const moe_v8 *x, int n, const struct coding *to)
{
	struct sums part[4];

	for (int k = 0; k < 4; k++) {
		struct sums other = {moe_v8_all(0), moe_v8_all(0), moe_v8_all(0)};

		part[k] = other;
		add_eighth(&part[k], x, k, n, to);
		add_eighth(&other, x, k + 4, n, to);
		add_sums(&part[k], &other);
	}
	add_sums(&part[0], &part[2]);
	add_sums(&part[1], &part[3]);
	add_sums(&part[0], &part[1]);
	*out = part[0];
}

/* Squared error; codes are kept in `code` unless it is NULL. */
MOE_LANES8 moe_v8 coded(const moe_v8 *x, int n, moe_v8 scale, moe_v8 min, moe_v8 lo, moe_v8 hi, moe_v8 *code)
{
	const moe_v8 none = moe_v8_all(0);
	const moe_v8 inverse = moe_v8_choose(scale != none, 1 / scale, none), offset = min * inverse;
	moe_v8 e[8];

	for (int j = 0; j < 8; j++) {
		e[j] = none;
		for (int k = j; k < n; k += 8) {
			const moe_v8 c = moe_v8_whole(x[k] * inverse + offset, lo, hi);
			const moe_v8 miss = scale * c - min - x[k];

			e[j] += miss * miss;
			if (code)
				code[k] = c;
		}
	}
	return ((e[0] + e[4]) + (e[2] + e[6])) + ((e[1] + e[5]) + (e[3] + e[7]));
}

struct line {
	moe_v8 scale, min;
};

MOE_LANES8 void solve(const struct sums *s, float n, moe_v8 sum_x, struct line *line, moe_v8 *gain)
{
	const moe_v8 none = moe_v8_all(0), det = n * s->qq - s->q * s->q;
	const moe_v8 scale = (n * s->qx - s->q * sum_x) / det, min = (s->q * s->qx - s->qq * sum_x) / det;
	const moe_v8_mask good = (det > none) & ~((min < none) | (scale < none));
	const moe_v8 alone = moe_v8_choose((s->qq > none) & (s->qx > none), s->qx / s->qq, none);

	line->scale = moe_v8_choose(good, scale, alone);
	line->min = moe_v8_choose(good, min, none);
	*gain = 2 * (line->scale * s->qx - line->min * sum_x) -
	        (line->scale * line->scale * s->qq - 2 * line->scale * line->min * s->q + n * line->min * line->min);
}

static void fit_line(const moe_v8 *x, int n, float code_max, struct line *out)
{
	static const float spreads[] = {-0.2f, -0.9f, 0.3f};
	const moe_v8 none = moe_v8_all(0), top = moe_v8_all(code_max);
	moe_v8 min = none, max = none, sum_x = none, best_gain = none;
	struct line best = {none, none};

	for (int k = 0; k < n; k++) {
		min = moe_v8_choose(x[k] < min, x[k], min);
		max = moe_v8_choose(x[k] > max, x[k], max);
		sum_x += x[k];
	}
	const moe_v8_mask wide = max > min;
	for (size_t t = 0; t < sizeof spreads / sizeof *spreads; t++) {
		moe_v8 inverse = (code_max + spreads[t]) / (max - min), offset = -min * inverse, gain;
		moe_v8_mask going = wide;

		for (int round = 0; round < 2; round++) {
			const struct coding coding = {inverse, offset, none, top};
			struct sums s;
			struct line line;

			code_sums(&s, x, n, &coding);
			solve(&s, (float)n, sum_x, &line, &gain);
			const moe_v8_mask better = going & (gain > best_gain);

			best_gain = moe_v8_choose(better, gain, best_gain);
			best.scale = moe_v8_choose(better, line.scale, best.scale);
			best.min = moe_v8_choose(better, line.min, best.min);
			going &= line.scale > none;
			inverse = 1 / line.scale;
			offset = line.min * inverse;
		}
	}
	*out = best;
}

static float rounded_f16(float x, uint16_t *stored)
{
	*stored = moe_f16_from_f32(x < 65504 ? (x > -65504 ? x : -65504) : 65504);
	return moe_f32_from_f16(*stored);
}

static void choose_levels(struct group *g, int n, const struct line *line, float d, float d_min, float code_max,
                          float level_max)
{
	const moe_v8 none = moe_v8_all(0), top = moe_v8_all(code_max), levels = moe_v8_all(level_max);
	const moe_v8 centre = d > 0 ? moe_v8_whole(line->scale / d, none, levels) : none;
	const moe_v8 second = d_min > 0 ? moe_v8_whole(line->min / d_min, none, levels) : none;
	moe_v8 least = moe_v8_all(INFINITY), level = centre - 1;

	g->scale = g->min = none;
	for (int i = 0; i < 3; i++, level += 1) {
		const moe_v8_mask there = ~((level < none) | (level > levels));
		const moe_v8 middle = 0.5f * code_max * (d * level - line->scale);
		const moe_v8 first = d_min > 0 ? moe_v8_whole((line->min + middle) / d_min, none, levels) : none;

		for (int t = 0; t < 2; t++) {
			const moe_v8 m = t ? second : first;
			const moe_v8 error = coded(g->x, n, d * level, d_min * m, none, top, NULL);
			const moe_v8_mask better = there & (error < least);

			least = moe_v8_choose(better, error, least);
			g->scale = moe_v8_choose(better, level, g->scale);
			g->min = moe_v8_choose(better, m, g->min);
			if (!moe_v8_any(first != second))
				break;
		}
	}
}

/* Units of least error for the levels and codes of the block. */
static void solve_units(const struct block *b, float *d, float *d_min)
{
	double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;

	for (int g = 0; g < b->n_groups; g++) {
		const struct group *group = &b->group[g];
		moe_v8 q = moe_v8_all(0), qq = q, qx = q, sum = q;

		for (int k = 0; k < b->n; k++) {
			const moe_v8 c = group->code[k];
			q += c;
			qq += c * c;
			qx += c * group->x[k];
			sum += group->x[k];
		}
		for (int l = 0; l < LANES; l++) {
			const double s = group->scale[l], m = group->min[l];
			aa += s * s * (double)qq[l];
			ab -= s * m * (double)q[l];
			bb += m * m * b->n;
			ax += s * (double)qx[l];
			bx -= m * (double)sum[l];
		}
	}
	const double det = aa * bb - ab * ab;
	if (det > 1e-9 * aa * bb) {
		*d = (float)((ax * bb - ab * bx) / det);
		*d_min = (float)((aa * bx - ab * ax) / det);
	} else if (aa > 0) {
		*d = (float)(ax / aa);
		*d_min = 0;
	}
}

/* Codes for the levels of the block with these units, into code[]; the squared error. */
static float recode(const struct block *b, float d, float d_min, float lo, float hi, moe_v8 code[][MAX_LENGTH])
{
	float error = 0;

	for (int g = 0; g < b->n_groups; g++) {
		const struct group *group = &b->group[g];
		const moe_v8 errors = coded(group->x, b->n, d * group->scale, d_min * group->min, moe_v8_all(lo),
		                            moe_v8_all(hi), code[g]);

		for (int l = 0; l < LANES; l++)
			error += errors[l];
	}
	return error;
}

static void keep_codes(struct block *b, moe_v8 code[][MAX_LENGTH])
{
	for (int g = 0; g < b->n_groups; g++)
		memcpy(b->group[g].code, code[g], (size_t)b->n * sizeof *code[g]);
}

static void polish(struct block *b, float d, float d_min, float lo, float hi, struct moe_kquant *out)
{
	moe_v8 code[MOE_KQUANT_SUBS / LANES][MAX_LENGTH];
	float error = recode(b, d, d_min, lo, hi, code);

	keep_codes(b, code);
	for (int round = 0; round < 2; round++) {
		uint16_t stored_d, stored_min;
		float next_d = d, next_min = d_min;

		solve_units(b, &next_d, &next_min);
		if (next_min < 0)
			break;
		next_d = rounded_f16(next_d, &stored_d);
		next_min = rounded_f16(next_min, &stored_min);
		const float next_error = recode(b, next_d, next_min, lo, hi, code);
		if (!(next_error < error))
			break;
		keep_codes(b, code);
		out->d = stored_d;
		out->d_min = stored_min;
		error = next_error;
		d = next_d;
		d_min = next_min;
	}
}

void moe_subblocks_affine(const float *x, int n_sub, int code_max, int level_max, struct moe_kquant *out)
{
	const float top = (float)code_max, levels = (float)level_max;
	struct line lines[MOE_KQUANT_SUBS / LANES];
	struct block b;
	float most_scale = 0, most_min = 0;

	if (!all_finite(x)) {
		give_up(out);
		return;
	}
	memset(out, 0, sizeof *out);
	take_apart(x, n_sub, &b);
	for (int g = 0; g < b.n_groups; g++) {
		fit_line(b.group[g].x, b.n, top, &lines[g]);
		for (int l = 0; l < LANES; l++) {
			most_scale = lines[g].scale[l] > most_scale ? lines[g].scale[l] : most_scale;
			most_min = lines[g].min[l] > most_min ? lines[g].min[l] : most_min;
		}
	}
	const float d = rounded_f16(most_scale / levels, &out->d), d_min = rounded_f16(most_min / levels, &out->d_min);
	for (int g = 0; g < b.n_groups; g++)
		choose_levels(&b.group[g], b.n, &lines[g], d, d_min, top, levels);
	polish(&b, d, d_min, 0, top, out);
	put_together(&b, out);
}

MOE_LANES8 moe_v8 size_of(moe_v8 x) { return (moe_v8)((moe_v8_mask)x & 0x7fffffff); }

MOE_LANES8 moe_v8 fit_scale(const moe_v8 *x, int n, float half)
{
	static const float spreads[] = {0, -0.7f, -0.35f, 0.35f, 0.7f};
	const moe_v8 none = moe_v8_all(0), lo = moe_v8_all(-half), hi = moe_v8_all(half - 1);
	moe_v8 peak = none, best = none, best_gain = none;

	for (int k = 0; k < n; k++)
		peak = moe_v8_choose(size_of(x[k]) > size_of(peak), x[k], peak);
	for (size_t t = 0; t < 2 * sizeof spreads / sizeof *spreads; t++) {
		const float end = t % 2 ? half - 1 : -half;
		moe_v8 inverse = (end + (float)(end < 0 ? -1 : 1) * spreads[t / 2]) / peak;
		moe_v8_mask going = peak != none;

		for (int round = 0; round < 2; round++) {
			const struct coding coding = {inverse, none, lo, hi};
			struct sums s;

			code_sums(&s, x, n, &coding);

			going &= (s.qq > none) & (s.qx != none);
			const moe_v8_mask better = going & (s.qx * s.qx > best_gain * s.qq);
			best_gain = moe_v8_choose(better, s.qx * s.qx / s.qq, best_gain);
			best = moe_v8_choose(better, s.qx / s.qq, best);
			inverse = s.qq / s.qx;
		}
	}
	return best;
}

/* The level of least error near the scale. */
static void choose_scale(struct group *g, int n, const moe_v8 *scale, float d, float half, float level_half)
{
	const moe_v8 none = moe_v8_all(0), lo = moe_v8_all(-half), hi = moe_v8_all(half - 1);
	const moe_v8 low = moe_v8_all(-level_half), high = moe_v8_all(level_half - 1);
	const moe_v8 centre = d != 0 ? moe_v8_whole(*scale / d, low, high) : none;
	moe_v8 least = moe_v8_all(INFINITY), level = centre - 1;

	g->scale = g->min = none;
	for (int i = 0; i < 3; i++, level += 1) {
		const moe_v8 error = coded(g->x, n, d * level, none, lo, hi, NULL);
		const moe_v8_mask better = ~((level < low) | (level > high)) & (error < least);

		least = moe_v8_choose(better, error, least);
		g->scale = moe_v8_choose(better, level, g->scale);
	}
}

void moe_subblocks_symmetric(const float *x, int n_sub, int code_half, int level_half, struct moe_kquant *out)
{
	const float half = (float)code_half;
	moe_v8 scales[MOE_KQUANT_SUBS / LANES];
	struct block b;
	float most = 0;

	if (!all_finite(x)) {
		give_up(out);
		return;
	}
	memset(out, 0, sizeof *out);
	take_apart(x, n_sub, &b);
	for (int g = 0; g < b.n_groups; g++) {
		scales[g] = fit_scale(b.group[g].x, b.n, half);
		for (int l = 0; l < LANES; l++)
			most = fabsf(scales[g][l]) > fabsf(most) ? scales[g][l] : most;
	}
	const float d = rounded_f16(most / (float)-level_half, &out->d);
	for (int g = 0; g < b.n_groups; g++)
		choose_scale(&b.group[g], b.n, &scales[g], d, half, (float)level_half);
	polish(&b, d, 0, -half, half - 1, out);
	put_together(&b, out);
}
