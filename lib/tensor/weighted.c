/* Lines and scales of least weighted error for a few numbers: steps of several widths are tried, the best line of the
 * codes that each gives follows by least squares, and gives new codes. Sums are kept in lanes, so that the bits are the
 * same on every machine. */
#include "tensor/weighted.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "tensor/half.h"
#include "tensor/lanes.h"
#include "tensor/nibbles.h"

enum { ROUNDS = 3 };

/* Codes of numbers and what least squares needs of them: sums of w q, w q^2, w q x. */
struct sums {
	float q, qq, qx;
};

static struct sums code_sums(const struct moe_weighted *v, float inverse, float offset, float lo, float hi)
{
	const moe_lanes inverses = moe_lanes_all(inverse), offsets = moe_lanes_all(offset);
	const moe_lanes los = moe_lanes_all(lo), his = moe_lanes_all(hi);
	moe_lanes q0 = moe_lanes_all(0), q1 = q0, qq0 = q0, qq1 = q0, qx0 = q0, qx1 = q0;

	for (int i = 0; i < v->n; i += 2 * MOE_LANES) {
		const moe_lanes x0 = moe_lanes_load(v->x + i), x1 = moe_lanes_load(v->x + i + MOE_LANES);
		const moe_lanes c0 = moe_lanes_whole(x0 * inverses + offsets, los, his);
		const moe_lanes c1 = moe_lanes_whole(x1 * inverses + offsets, los, his);
		const moe_lanes wc0 = moe_lanes_load(v->w + i) * c0, wc1 = moe_lanes_load(v->w + i + MOE_LANES) * c1;

		q0 += wc0;
		q1 += wc1;
		qq0 += wc0 * c0;
		qq1 += wc1 * c1;
		qx0 += wc0 * x0;
		qx1 += wc1 * x1;
	}
	return (struct sums){moe_lane_sum(q0, q1), moe_lane_sum(qq0, qq1), moe_lane_sum(qx0, qx1)};
}

float moe_weighted_coded(const struct moe_weighted *v, float scale, float min, float lo, float hi, int8_t *code)
{
	const float inverse = scale != 0 ? 1 / scale : 0;
	const moe_lanes scales = moe_lanes_all(scale), mins = moe_lanes_all(min);
	const moe_lanes inverses = moe_lanes_all(inverse), offsets = moe_lanes_all(min * inverse);
	const moe_lanes los = moe_lanes_all(lo), his = moe_lanes_all(hi);
	moe_lanes e0 = moe_lanes_all(0), e1 = e0;

	for (int i = 0; i < v->n; i += 2 * MOE_LANES) {
		const moe_lanes x0 = moe_lanes_load(v->x + i), x1 = moe_lanes_load(v->x + i + MOE_LANES);
		const moe_lanes c0 = moe_lanes_whole(x0 * inverses + offsets, los, his);
		const moe_lanes c1 = moe_lanes_whole(x1 * inverses + offsets, los, his);
		const moe_lanes miss0 = scales * c0 - mins - x0, miss1 = scales * c1 - mins - x1;

		e0 += moe_lanes_load(v->w + i) * (miss0 * miss0);
		e1 += moe_lanes_load(v->w + i + MOE_LANES) * (miss1 * miss1);
		for (int l = 0; code && l < MOE_LANES; l++) {
			code[i + l] = (int8_t)c0[l];
			code[i + MOE_LANES + l] = (int8_t)c1[l];
		}
	}
	return moe_lane_sum(e0, e1);
}

/* Sums of w and of w x. */
struct whole {
	float w, x;
};

/* Least squares for codes with these sums; *gain: by how much the error is less than that of zeros. */
static struct moe_weighted_line solve(const struct sums *s, const struct whole *all, bool free_min, float *gain)
{
	const float det = all->w * s->qq - s->q * s->q;
	struct moe_weighted_line line = {0, 0};

	if (det > 0) {
		line.scale = (all->w * s->qx - s->q * all->x) / det;
		line.min = (s->q * s->qx - s->qq * all->x) / det;
	}
	if (!(det > 0) || (line.min < 0 && !free_min) || line.scale < 0)
		line = (struct moe_weighted_line){s->qq > 0 && s->qx > 0 ? s->qx / s->qq : 0, 0};
	*gain = 2 * (line.scale * s->qx - line.min * all->x) -
	        (line.scale * line.scale * s->qq - 2 * line.scale * line.min * s->q +
	         all->w * line.min * line.min);
	return line;
}

struct moe_weighted_line moe_weighted_fit_line(const struct moe_weighted *v, float code_max, bool free_min)
{
	static const float spreads[] = {-0.9f, -0.5f, -0.2f, 0.1f, 0.4f, 0.8f};
	float min = free_min ? v->x[0] : 0, max = min, best_gain = 0;
	struct whole all = {0, 0};
	struct moe_weighted_line best = {0, 0};

	for (int i = 0; i < v->n; i++) {
		min = v->x[i] < min ? v->x[i] : min;
		max = v->x[i] > max ? v->x[i] : max;
		all.w += v->w[i];
		all.x += v->w[i] * v->x[i];
	}
	if (!(max > min))
		return (struct moe_weighted_line){0, -min};
	if (free_min) {
		best.min = -all.x / all.w;
		best_gain = all.x * all.x / all.w;
	}
	for (size_t t = 0; t < sizeof spreads / sizeof *spreads; t++) {
		float inverse = (code_max + spreads[t]) / (max - min), offset = -min * inverse, gain;

		for (int round = 0; round < ROUNDS; round++) {
			const struct sums s = code_sums(v, inverse, offset, 0, code_max);
			const struct moe_weighted_line line = solve(&s, &all, free_min, &gain);

			if (gain > best_gain) {
				best_gain = gain;
				best = line;
			}
			if (!(line.scale > 0))
				break;
			inverse = 1 / line.scale;
			offset = line.min * inverse;
		}
	}
	return best;
}

float moe_weighted_fit_scale(const struct moe_weighted *v, float half)
{
	static const float spreads[] = {0, -1.1f, -0.7f, -0.35f, 0.35f, 0.7f};
	float peak = 0, best = 0, best_gain = 0;

	for (int i = 0; i < v->n; i++)
		peak = fabsf(v->x[i]) > fabsf(peak) ? v->x[i] : peak;
	if (peak == 0)
		return 0;
	for (size_t t = 0; t < 2 * sizeof spreads / sizeof *spreads; t++) {
		const float end = t % 2 ? half - 1 : -half;
		float inverse = (end + (end < 0 ? -1 : 1) * spreads[t / 2]) / peak;

		for (int round = 0; round < ROUNDS; round++) {
			const struct sums s = code_sums(v, inverse, 0, -half, half - 1);

			if (!(s.qq > 0) || s.qx == 0)
				break;
			if (s.qx * s.qx > best_gain * s.qq) {
				best_gain = s.qx * s.qx / s.qq;
				best = s.qx / s.qq;
			}
			inverse = s.qq / s.qx;
		}
	}
	return best;
}

/* ---- blocks of 32 ---- */

static uint16_t as_f16(float x)
{
	/* 65504 is the largest: what is beyond would become infinite. */
	return moe_f16_from_f32(x < 65504 ? (x > -65504 ? x : -65504) : 65504);
}

/* Where f16 has no such line, the next one; codes for it, then the line that these ask for, as long as that is
 * better. */
static void settle(const struct moe_weighted *v, struct moe_weighted_line line, bool has_min, float lo, float hi,
                   uint16_t *d, uint16_t *m, uint8_t *q)
{
	struct whole all = {0, 0};
	float least = INFINITY;

	for (int i = 0; i < v->n; i++) {
		all.w += v->w[i];
		all.x += v->w[i] * v->x[i];
	}
	for (int round = 0; round < ROUNDS; round++) {
		const uint16_t new_d = as_f16(line.scale), new_m = as_f16(-line.min);
		const float scale = moe_f32_from_f16(new_d), min = -moe_f32_from_f16(new_m);
		int8_t codes[MOE_NIBBLE_BLOCK];
		const float error = moe_weighted_coded(v, scale, min, lo, hi, codes);
		float gain;

		if (!(error < least))
			return;
		least = error;
		*d = new_d;
		*m = new_m;
		for (int i = 0; i < v->n; i++)
			q[i] = (uint8_t)(codes[i] - (int)lo);
		if (scale == 0)
			return;
		const struct sums s = code_sums(v, 1 / scale, min / scale, lo, hi);
		if (has_min)
			line = solve(&s, &all, true, &gain);
		else
			line.scale = s.qq > 0 ? s.qx / s.qq : 0;
	}
}

/* What both begin with: nothing, and NaN where there is no more to say. */
static bool begin(const float *x, uint16_t *d, uint16_t *m, uint8_t *q)
{
	const bool finite = fabsf(moe_block_peak(x, MOE_NIBBLE_BLOCK)) <= FLT_MAX;

	memset(q, 0, MOE_NIBBLE_BLOCK);
	*d = *m = moe_f16_from_f32(finite ? 0 : NAN);
	return finite;
}

uint16_t moe_weighted_block_scale(const float *x, const float *w, int half, uint8_t q[32])
{
	const struct moe_weighted v = {x, w, MOE_NIBBLE_BLOCK};
	uint16_t d, m;

	if (begin(x, &d, &m, q)) {
		const struct moe_weighted_line line = {moe_weighted_fit_scale(&v, (float)half), 0};
		settle(&v, line, false, (float)-half, (float)(half - 1), &d, &m, q);
	}
	return d;
}

uint16_t moe_weighted_block_line(const float *x, const float *w, int code_max, uint16_t *m, uint8_t q[32])
{
	const struct moe_weighted v = {x, w, MOE_NIBBLE_BLOCK};
	uint16_t d;

	if (begin(x, &d, m, q))
		settle(&v, moe_weighted_fit_line(&v, (float)code_max, true), true, 0, (float)code_max, &d, m, q);
	return d;
}
