/* Angles of the rotary embedding, with YaRN as DeepSeek uses it (Peng et al. 2023; DeepSeek-V2 report, section 3.1.4).
 *
 *   inv_i = theta^(-2i/D);   c(r) = D ln(o / (2 pi r)) / (2 ln theta)
 *   lo = max(floor(c(beta_fast)), 0), hi = min(ceil(c(beta_slow)), D - 1)
 *   ramp_i = clamp((i - lo) / (hi - lo), 0, 1);   inv'_i = inv_i (1 - ramp_i) + inv_i / factor ramp_i
 *   g(s, m) = 1 for s <= 1, else 0.1 m ln s + 1
 *   cos and sin times g(factor, mscale) / g(factor, mscale_all_dim);
 *   the softmax scale times g(factor, mscale_all_dim)^2
 *
 * Elsewhere an attention factor multiplies cos and sin alone, and lo and hi may stay between two dimensions.
 * LongRoPE (Ding et al. 2024): inv_i / factor_i, cos and sin times a magnitude; one set for sequences within the
 * original length, one beyond it. Which one is a matter of the whole sequence, as long as it is: moe_session_feed.
 */
#include <math.h>

#include "forward/session.h"

static const double pi = 3.14159265358979323846;

static double magnitude(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1; }

static double correction(const struct moe_rope *rope, double rotations)
{
	return rope->n_dims * log(rope->original_positions / (2 * pi * rotations)) / (2 * log(rope->theta));
}

static float frequency(const struct moe_rope *rope, bool lengthened, int32_t i)
{
	const float inv = (float)(1.0 / pow(rope->theta, 2.0 * i / rope->n_dims));
	if (rope->factors)
		return (float)(inv / rope->factors[(lengthened ? rope->n_dims / 2 : 0) + i]);
	if (rope->linear > 0)
		return (float)(inv / rope->linear);
	if (rope->llama3)
		return moe_rope_slowed(rope, inv);
	if (!rope->yarn)
		return inv;
	const double fast = correction(rope, rope->beta_fast), slow = correction(rope, rope->beta_slow);
	const double lo = fmax(rope->untruncated ? fast : floor(fast), 0);
	double hi = fmin(rope->untruncated ? slow : ceil(slow), rope->n_dims - 1);
	if (lo == hi)
		hi += 0.001;
	const double ramp = fmin(fmax((i - lo) / (hi - lo), 0), 1);
	return (float)(inv * (1 - ramp) + inv / rope->factor * ramp);
}

void moe_rope_tables(const struct moe_rope *rope, int64_t n_ctx, bool lengthened, float *cos, float *sin)
{
	const int32_t half = rope->n_dims / 2;
	double scale = 1;
	if (rope->factors)
		scale = rope->magnitudes[lengthened];
	else if (rope->attention_factor > 0)
		scale = rope->attention_factor;
	else if (rope->yarn)
		scale = magnitude(rope->factor, rope->mscale) / magnitude(rope->factor, rope->mscale_all_dim);
	for (int32_t i = 0; i < half; i++) {
		const float inv = frequency(rope, lengthened, i);
		for (int64_t pos = 0; pos < n_ctx; pos++) {
			const float angle = (float)pos * inv;
			cos[pos * half + i] = (float)(cosf(angle) * scale);
			sin[pos * half + i] = (float)(sinf(angle) * scale);
		}
	}
}

double moe_rope_softmax_factor(const struct moe_rope *rope)
{
	if (!rope->yarn || rope->mscale_all_dim == 0)
		return 1;
	const double g = magnitude(rope->factor, rope->mscale_all_dim);
	return g * g;
}
