/* Relative position bias (Raffel et al. 2020, section 2.1): what a score begins with depends on the head and on how far
 * the key lies from the query, in buckets that widen with the distance.
 *
 * Of n buckets, near = n / 2 stand for one distance each; beyond it distance a falls into bucket
 * near + floor(ln(a / near) / ln(farthest / near) (n - near)), at most the last. A decoder only looks back; an encoder
 * spends the second half of its buckets on keys behind the query. */
#include <math.h>
#include <stdlib.h>

#include "forward/session.h"

static int32_t bucket_of(int64_t relative, bool bidirectional, int32_t n_buckets, int32_t farthest)
{
	const int32_t n = bidirectional ? n_buckets / 2 : n_buckets, near = n / 2;
	const int32_t first = bidirectional && relative > 0 ? n : 0;
	const int64_t back = relative < 0 ? -relative : 0, apart = bidirectional && relative > 0 ? relative : back;

	if (apart < near)
		return first + (int32_t)apart;
	/* in single precision, as the released models were trained */
	const float steps = logf((float)apart / (float)near) / (float)log((double)farthest / near) * (float)(n - near);
	return first + (steps < (float)(n - near - 1) ? near + (int32_t)steps : n - 1);
}

enum moe_status moe_relative_table(const struct moe_config *config, const struct moe_weight *w, bool bidirectional,
                                   int64_t span, float *table, struct moe_err *err)
{
	const int32_t n_heads = config->n_heads;
	const size_t n = (size_t)config->relative_buckets * (size_t)n_heads;
	float *values = calloc(n, sizeof *values);

	if (!values)
		return moe_err_nomem(err, n * sizeof *values, "the biases on scores");
	moe_weight_decode(w, 0, n, values);
	for (int64_t relative = 1 - span; relative < span; relative++) {
		const int32_t bucket = bucket_of(relative, bidirectional, config->relative_buckets,
		                                 config->relative_distance);
		for (int32_t h = 0; h < n_heads; h++)
			table[h * (2 * span - 1) + span - 1 + relative] = values[(int64_t)bucket * n_heads + h];
	}
	free(values);
	return MOE_OK;
}
