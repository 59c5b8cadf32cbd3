/* The search for scales of blocks of 256 numbers. Sums are kept in eight lanes, so that they are vector
 * code with the same bits on every machine. */
#include "tensor/kquant.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "tensor/half.h"
#include "tensor/lanes.h"

/* Codes of n numbers and what least squares needs of them. */
struct sums {
	float q, qq, qx;
};

static struct sums code_sums(const float *x, int n, float inverse, float offset, float lo, float hi)
{
	const moe_lanes inverses = moe_lanes_all(inverse), offsets = moe_lanes_all(offset);
	const moe_lanes los = moe_lanes_all(lo), his = moe_lanes_all(hi);
	moe_lanes q0 = moe_lanes_all(0), q1 = q0, qq0 = q0, qq1 = q0, qx0 = q0, qx1 = q0;

	for (int i = 0; i < n; i += 2 * MOE_LANES) {
		const moe_lanes x0 = moe_lanes_load(x + i), x1 = moe_lanes_load(x + i + MOE_LANES);
		const moe_lanes c0 = moe_lanes_whole(x0 * inverses + offsets, los, his);
		const moe_lanes c1 = moe_lanes_whole(x1 * inverses + offsets, los, his);

		q0 += c0;
		q1 += c1;
		qq0 += c0 * c0;
		qq1 += c1 * c1;
		qx0 += c0 * x0;
		qx1 += c1 * x1;
	}
	return (struct sums){moe_lane_sum(q0, q1), moe_lane_sum(qq0, qq1), moe_lane_sum(qx0, qx1)};
}

/* Squared error of n numbers stored as scale q - min with the nearest codes; code NULL: the error alone. */
static float coded(const float *x, int n, float scale, float min, float lo, float hi, int8_t *code)
{
	const float inverse = scale != 0 ? 1 / scale : 0;
	const moe_lanes scales = moe_lanes_all(scale), mins = moe_lanes_all(min);
	const moe_lanes inverses = moe_lanes_all(inverse), offsets = moe_lanes_all(min * inverse);
	const moe_lanes los = moe_lanes_all(lo), his = moe_lanes_all(hi);
	moe_lanes e0 = moe_lanes_all(0), e1 = e0;

	for (int i = 0; i < n; i += 2 * MOE_LANES) {
		const moe_lanes x0 = moe_lanes_load(x + i), x1 = moe_lanes_load(x + i + MOE_LANES);
		const moe_lanes c0 = moe_lanes_whole(x0 * inverses + offsets, los, his);
		const moe_lanes c1 = moe_lanes_whole(x1 * inverses + offsets, los, his);
		const moe_lanes miss0 = scales * c0 - mins - x0, miss1 = scales * c1 - mins - x1;

		e0 += miss0 * miss0;
		e1 += miss1 * miss1;
		for (int l = 0; code && l < MOE_LANES; l++) {
			code[i + l] = (int8_t)c0[l];
			code[i + MOE_LANES + l] = (int8_t)c1[l];
		}
	}
	return moe_lane_sum(e0, e1);
}

static bool all_finite(const float *x, int n)
{
	bool finite = true;

	for (int i = 0; i < n; i++)
		finite &= fabsf(x[i]) <= FLT_MAX;
	return finite;
}

static void give_up(struct moe_kquant *out)
{
	memset(out, 0, sizeof *out);
	out->d = moe_f16_from_f32(NAN);
}

/* x is about scale q - min, min >= 0. */
struct line {
	float scale, min;
};

/* Least squares for codes with these sums over n numbers that sum to sum_x; *gain: by how much the squared error is
 * less than that of zeros. */
static struct line solve(const struct sums *s, float n, float sum_x, float *gain)
{
	const float det = n * s->qq - s->q * s->q;
	struct line line = {0, 0};

	if (det > 0) {
		line.scale = (n * s->qx - s->q * sum_x) / det;
		line.min = (s->q * s->qx - s->qq * sum_x) / det;
	}
	if (!(det > 0) || line.min < 0 || line.scale < 0)
		line = (struct line){s->qq > 0 && s->qx > 0 ? s->qx / s->qq : 0, 0};
	*gain = 2 * (line.scale * s->qx - line.min * sum_x) -
	        (line.scale * line.scale * s->qq - 2 * line.scale * line.min * s->q + n * line.min * line.min);
	return line;
}

static struct line fit_line(const float *x, int n, float code_max)
{
	static const float spreads[] = {-0.2f, -0.9f, 0.3f};
	float min = 0, max = 0, sum_x = 0, best_gain = 0;
	struct line best = {0, 0};

	for (int i = 0; i < n; i++) {
		min = x[i] < min ? x[i] : min;
		max = x[i] > max ? x[i] : max;
		sum_x += x[i];
	}
	if (!(max > min))
		return best;
	for (size_t t = 0; t < sizeof spreads / sizeof *spreads; t++) {
		float inverse = (code_max + spreads[t]) / (max - min), offset = -min * inverse, gain;

		for (int round = 0; round < 2; round++) {
			const struct sums s = code_sums(x, n, inverse, offset, 0, code_max);
			const struct line line = solve(&s, (float)n, sum_x, &gain);

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

static float rounded_f16(float x, uint16_t *stored)
{
	/* 65504 is the largest: what is beyond would become infinite. */
	*stored = moe_f16_from_f32(x < 65504 ? (x > -65504 ? x : -65504) : 65504);
	return moe_f32_from_f16(*stored);
}

/* Levels of one sub-block near its line, in the units d and d_min: of a few scales the one of least error. */
static void choose_levels(const float *x, int n, const struct line *line, float d, float d_min, float code_max,
                          float level_max, int8_t *scale, uint8_t *min)
{
	const float centre = d > 0 ? moe_whole(line->scale / d, 0, level_max) : 0;
	float least = INFINITY;

	for (float level = centre - 1; level <= centre + 1; level++) {
		if (level < 0 || level > level_max)
			continue;
		/* With another scale another minimum is best: the one for which the codes' middle stays. */
		const float middle = 0.5f * code_max * (d * level - line->scale);
		const float first = d_min > 0 ? moe_whole((line->min + middle) / d_min, 0, level_max) : 0;
		const float second = d_min > 0 ? moe_whole(line->min / d_min, 0, level_max) : 0;

		for (int t = 0; t < (first == second ? 1 : 2); t++) {
			const float m = t ? second : first;
			const float error = coded(x, n, d * level, d_min * m, 0, code_max, NULL);

			if (error < least) {
				least = error;
				*scale = (int8_t)level;
				*min = (uint8_t)m;
			}
		}
	}
}

/* Units of least error for the levels and codes in `out`. */
static void solve_units(const float *x, int n_sub, const struct moe_kquant *out, float *d, float *d_min)
{
	const int n = MOE_KQUANT_BLOCK / n_sub;
	double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;

	for (int i = 0; i < n_sub; i++) {
		float q = 0, qq = 0, qx = 0, sum = 0;

		for (int k = i * n; k < (i + 1) * n; k++) {
			const float c = (float)out->code[k];
			q += c;
			qq += c * c;
			qx += c * x[k];
			sum += x[k];
		}
		const double s = out->scale[i], m = out->min[i];
		aa += s * s * (double)qq;
		ab -= s * m * (double)q;
		bb += m * m * n;
		ax += s * (double)qx;
		bx -= m * (double)sum;
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

/* Codes for the levels in `out` with these units; the squared error. */
static float recode(const float *x, int n_sub, float d, float d_min, float lo, float hi, struct moe_kquant *out)
{
	const int n = MOE_KQUANT_BLOCK / n_sub;
	float error = 0;

	for (int i = 0; i < n_sub; i++)
		error += coded(x + i * n, n, d * (float)out->scale[i], d_min * (float)out->min[i], lo, hi,
		               out->code + i * n);
	return error;
}

/* Better units for the levels chosen, as long as they are better once rounded. */
static void polish(const float *x, int n_sub, float d, float d_min, float lo, float hi, struct moe_kquant *out)
{
	float error = recode(x, n_sub, d, d_min, lo, hi, out);

	for (int round = 0; round < 2; round++) {
		struct moe_kquant next = *out;
		float next_d = d, next_min = d_min;

		solve_units(x, n_sub, out, &next_d, &next_min);
		if (next_min < 0)
			break;
		next_d = rounded_f16(next_d, &next.d);
		next_min = rounded_f16(next_min, &next.d_min);
		const float next_error = recode(x, n_sub, next_d, next_min, lo, hi, &next);
		if (!(next_error < error))
			break;
		*out = next;
		error = next_error;
		d = next_d;
		d_min = next_min;
	}
}

void moe_kquant_affine(const float *x, int n_sub, int code_max, int level_max, struct moe_kquant *out)
{
	const int n = MOE_KQUANT_BLOCK / n_sub;
	const float top = (float)code_max, levels = (float)level_max;
	struct line lines[MOE_KQUANT_SUBS];
	float most_scale = 0, most_min = 0;

	if (!all_finite(x, MOE_KQUANT_BLOCK)) {
		give_up(out);
		return;
	}
	memset(out, 0, sizeof *out);
	for (int i = 0; i < n_sub; i++) {
		lines[i] = fit_line(x + i * n, n, top);
		most_scale = lines[i].scale > most_scale ? lines[i].scale : most_scale;
		most_min = lines[i].min > most_min ? lines[i].min : most_min;
	}
	const float d = rounded_f16(most_scale / levels, &out->d), d_min = rounded_f16(most_min / levels, &out->d_min);
	for (int i = 0; i < n_sub; i++)
		choose_levels(x + i * n, n, &lines[i], d, d_min, top, levels, &out->scale[i], &out->min[i]);
	polish(x, n_sub, d, d_min, 0, top, out);
}

/* x is about scale q, with q from -half to half - 1: either sign of the scale may be better. */
static float fit_scale(const float *x, int n, float half)
{
	static const float spreads[] = {0, -0.7f, -0.35f, 0.35f, 0.7f};
	float peak = 0, best = 0, best_gain = 0;

	for (int i = 0; i < n; i++)
		peak = fabsf(x[i]) > fabsf(peak) ? x[i] : peak;
	if (peak == 0)
		return 0;
	for (size_t t = 0; t < 2 * sizeof spreads / sizeof *spreads; t++) {
		const float end = t % 2 ? half - 1 : -half;
		float inverse = (end + (end < 0 ? -1 : 1) * spreads[t / 2]) / peak;

		for (int round = 0; round < 2; round++) {
			const struct sums s = code_sums(x, n, inverse, 0, -half, half - 1);

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

void moe_kquant_symmetric(const float *x, int n_sub, int code_half, int level_half, struct moe_kquant *out)
{
	const int n = MOE_KQUANT_BLOCK / n_sub;
	const float lo = (float)-code_half, hi = (float)(code_half - 1);
	float scales[MOE_KQUANT_SUBS], most = 0;

	if (!all_finite(x, MOE_KQUANT_BLOCK)) {
		give_up(out);
		return;
	}
	memset(out, 0, sizeof *out);
	for (int i = 0; i < n_sub; i++) {
		scales[i] = fit_scale(x + i * n, n, (float)code_half);
		most = fabsf(scales[i]) > fabsf(most) ? scales[i] : most;
	}
	const float d = rounded_f16(most / (float)-level_half, &out->d);
	for (int i = 0; i < n_sub; i++) {
		const float centre = d != 0 ? moe_whole(scales[i] / d, (float)-level_half, (float)(level_half - 1)) : 0;
		float least = INFINITY;

		for (float level = centre - 1; level <= centre + 1; level++) {
			if (level < (float)-level_half || level > (float)(level_half - 1))
				continue;
			const float error = coded(x + i * n, n, d * level, 0, lo, hi, NULL);

			if (error < least) {
				least = error;
				out->scale[i] = (int8_t)level;
			}
		}
	}
	polish(x, n_sub, d, 0, lo, hi, out);
}
