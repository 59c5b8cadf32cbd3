/* The search of kquant.c with weights: what is made small is the sum of weight times squared error. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "tensor/half.h"
#include "tensor/lanes.h"
#include "tensor/weighted.h"

enum { ROUNDS = 3 };

struct block {
	const float *x, *w;   /* [MOE_KQUANT_BLOCK] */
	int n_sub, n;         /* sub-blocks, of so many */
	float lo, hi;         /* codes */
};

static struct moe_weighted sub(const struct block *b, int i)
{
	return (struct moe_weighted){b->x + i * b->n, b->w + i * b->n, b->n};
}

static bool refused(const float *x, struct moe_kquant *out)
{
	bool finite = true;

	for (int i = 0; i < MOE_KQUANT_BLOCK; i++)
		finite &= fabsf(x[i]) <= FLT_MAX;
	memset(out, 0, sizeof *out);
	if (!finite)
		out->d = moe_f16_from_f32(NAN);
	return !finite;
}

static float rounded_f16(float x, uint16_t *stored)
{
	/* 65504 is the largest: what is beyond would become infinite. */
	*stored = moe_f16_from_f32(x < 65504 ? (x > -65504 ? x : -65504) : 65504);
	return moe_f32_from_f16(*stored);
}

/* Levels of sub-block i near its line, in the units d and d_min: of a few scales and minima those of least error. */
static void choose_levels(const struct block *b, int i, const struct moe_weighted_line *line, float d, float d_min,
                          float level_max, struct moe_kquant *out)
{
	const struct moe_weighted v = sub(b, i);
	const float centre = d > 0 ? moe_whole(line->scale / d, 0, level_max) : 0;
	float least = INFINITY;

	for (float level = centre - 1; level <= centre + 1; level++) {
		if (level < 0 || level > level_max)
			continue;
		/* With another scale another minimum is best: the one for which the codes' middle stays. */
		const float middle = 0.5f * b->hi * (d * level - line->scale);
		const float tried[] = {d_min > 0 ? moe_whole((line->min + middle) / d_min, 0, level_max) : 0,
		                       d_min > 0 ? moe_whole(line->min / d_min, 0, level_max) : 0};

		for (int t = 0; t < (tried[0] == tried[1] ? 1 : 2); t++) {
			const float error = moe_weighted_coded(&v, d * level, d_min * tried[t], 0, b->hi, NULL);

			if (error < least) {
				least = error;
				out->scale[i] = (int8_t)level;
				out->min[i] = (uint8_t)tried[t];
			}
		}
	}
}

/* Units of least error for the levels and codes in `out`. */
static void solve_units(const struct block *b, const struct moe_kquant *out, float *d, float *d_min)
{
	double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;

	for (int i = 0; i < b->n_sub; i++) {
		float q = 0, qq = 0, qx = 0, sum_w = 0, sum_x = 0;

		for (int k = i * b->n; k < (i + 1) * b->n; k++) {
			const float c = (float)out->code[k], w = b->w[k];
			q += w * c;
			qq += w * c * c;
			qx += w * c * b->x[k];
			sum_w += w;
			sum_x += w * b->x[k];
		}
		const double s = out->scale[i], m = out->min[i];
		aa += s * s * (double)qq;
		ab -= s * m * (double)q;
		bb += m * m * (double)sum_w;
		ax += s * (double)qx;
		bx -= m * (double)sum_x;
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

/* Codes for the levels in `out` with these units; the error. */
static float recode(const struct block *b, float d, float d_min, struct moe_kquant *out)
{
	float error = 0;

	for (int i = 0; i < b->n_sub; i++) {
		const struct moe_weighted v = sub(b, i);

		error += moe_weighted_coded(&v, d * (float)out->scale[i], d_min * (float)out->min[i], b->lo, b->hi,
		                            out->code + i * b->n);
	}
	return error;
}

/* Levels anew for units that changed: the neighbours of each. */
static void shift_levels(const struct block *b, float d, float d_min, float level_min, float level_max,
                         struct moe_kquant *out)
{
	for (int i = 0; i < b->n_sub; i++) {
		const struct moe_weighted v = sub(b, i);
		const int scale = out->scale[i], min = out->min[i];
		float least = INFINITY;

		for (int s = scale - 1; s <= scale + 1; s++)
			for (int m = d_min > 0 ? min - 1 : min; m <= (d_min > 0 ? min + 1 : min); m++) {
				if ((float)s < level_min || (float)s > level_max || m < 0 || (float)m > level_max)
					continue;
				const float error =
				    moe_weighted_coded(&v, d * (float)s, d_min * (float)m, b->lo, b->hi, NULL);
				if (error < least) {
					least = error;
					out->scale[i] = (int8_t)s;
					out->min[i] = (uint8_t)m;
				}
			}
	}
}

/* Better units for the levels chosen, and levels for these, as long as they are better once rounded. */
static void polish(const struct block *b, float d, float d_min, float level_min, float level_max,
                   struct moe_kquant *out)
{
	float error = recode(b, d, d_min, out);

	for (int round = 0; round < ROUNDS; round++) {
		struct moe_kquant next = *out;
		float next_d = d, next_min = d_min;

		solve_units(b, out, &next_d, &next_min);
		if (next_min < 0)
			break;
		next_d = rounded_f16(next_d, &next.d);
		next_min = rounded_f16(next_min, &next.d_min);
		shift_levels(b, next_d, next_min, level_min, level_max, &next);
		const float next_error = recode(b, next_d, next_min, &next);
		if (!(next_error < error))
			break;
		*out = next;
		error = next_error;
		d = next_d;
		d_min = next_min;
	}
}

void moe_kquant_affine_weighted(const float *x, const float *w, int n_sub, int code_max, int level_max,
                                struct moe_kquant *out)
{
	const struct block b = {x, w, n_sub, MOE_KQUANT_BLOCK / n_sub, 0, (float)code_max};
	const float levels = (float)level_max;
	struct moe_weighted_line lines[MOE_KQUANT_SUBS];
	float most_scale = 0, most_min = 0;

	if (refused(x, out))
		return;
	for (int i = 0; i < n_sub; i++) {
		const struct moe_weighted v = sub(&b, i);

		lines[i] = moe_weighted_fit_line(&v, b.hi, false);
		most_scale = lines[i].scale > most_scale ? lines[i].scale : most_scale;
		most_min = lines[i].min > most_min ? lines[i].min : most_min;
	}
	const float d = rounded_f16(most_scale / levels, &out->d), d_min = rounded_f16(most_min / levels, &out->d_min);
	for (int i = 0; i < n_sub; i++)
		choose_levels(&b, i, &lines[i], d, d_min, levels, out);
	polish(&b, d, d_min, 0, levels, out);
}

void moe_kquant_symmetric_weighted(const float *x, const float *w, int n_sub, int code_half, int level_half,
                                   struct moe_kquant *out)
{
	const struct block b = {x, w, n_sub, MOE_KQUANT_BLOCK / n_sub, (float)-code_half, (float)(code_half - 1)};
	const float least_level = (float)-level_half, most_level = (float)(level_half - 1);
	float scales[MOE_KQUANT_SUBS], most = 0;

	if (refused(x, out))
		return;
	for (int i = 0; i < n_sub; i++) {
		const struct moe_weighted v = sub(&b, i);

		scales[i] = moe_weighted_fit_scale(&v, (float)code_half);
		most = fabsf(scales[i]) > fabsf(most) ? scales[i] : most;
	}
	const float d = rounded_f16(most / least_level, &out->d);
	for (int i = 0; i < n_sub; i++)
		out->scale[i] = (int8_t)(d != 0 ? moe_whole(scales[i] / d, least_level, most_level) : 0);
	shift_levels(&b, d, 0, least_level, most_level, out);
	polish(&b, d, 0, least_level, most_level, out);
}
