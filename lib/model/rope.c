/* Frequencies of the rotary embedding that its scaling changes one by one. */
#include <math.h>

#include "model/model.h"

static const double pi = 3.14159265358979323846;

/* Llama 3's scaling: wave length w = 2 pi / inv against the original positions o. Short waves stay, long ones slow by
 * factor, and s = (o / w - low) / (high - low) blends what lies between; low = high leaves nothing between. */
float moe_rope_slowed(const struct moe_rope *rope, float inv)
{
	const double low = rope->low_freq_factor, high = rope->high_freq_factor;
	const double waves = rope->original_positions * (double)inv / (2 * pi);

	if (waves < low)
		return (float)(inv / rope->factor);
	if (waves > high || low == high)
		return inv;
	const double s = (waves - low) / (high - low);
	return (float)((1 - s) * inv / rope->factor + s * inv);
}

float moe_rope_divisor(const struct moe_rope *rope, int32_t i)
{
	const float inv = (float)(1.0 / pow(rope->theta, 2.0 * i / rope->n_dims));

	return inv / moe_rope_slowed(rope, inv);
}
