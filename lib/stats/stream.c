/* What streams have in common: sentences about tokens, scores from logits. */
#include "stats/stream.h"

#include <math.h>
#include <string.h>

enum moe_status moe_stream_bad(const struct moe_stream_tokens *tokens, int64_t token, const char *what,
                               struct moe_err *err)
{
	return moe_err_set(err, MOE_EFORMAT, "sequence %jd, position %jd, layer %d: %s", tokens->run->seq,
	                   tokens->run->pos + token, tokens->routing->layer, what);
}

enum moe_scoring moe_stream_scoring(const struct moe_stream_setup *setup)
{
	if (strcmp(setup->scoring, "sigmoid") == 0)
		return MOE_SCORING_SIGMOID;
	return strcmp(setup->scoring, "sqrtsoftplus") == 0 ? MOE_SCORING_SQRTSOFTPLUS : MOE_SCORING_SOFTMAX;
}

/* sqrt(ln(1 + e^x)) without overflow. */
static double sqrtsoftplus(double x) { return sqrt(fmax(x, 0) + log1p(exp(-fabs(x)))); }

bool moe_stream_scores(enum moe_scoring scoring, const float *logits, int32_t n, double *scores)
{
	float max = logits[0];
	double sum = 0;

	for (int32_t i = 1; i < n; i++)
		max = logits[i] > max ? logits[i] : max;
	for (int32_t i = 0; i < n; i++) {
		double x = (double)logits[i];

		scores[i] = scoring == MOE_SCORING_SOFTMAX   ? exp(x - (double)max)
		            : scoring == MOE_SCORING_SIGMOID ? 1 / (1 + exp(-x))
		                                             : sqrtsoftplus(x);
		sum += scores[i];
	}
	if (!(sum > 0 && sum <= 0x1p1000))
		return false;
	for (int32_t i = 0; i < n; i++)
		scores[i] /= sum;
	return true;
}

enum moe_token moe_stream_token(const struct moe_routing *routing, int64_t token)
{
	const float *logits = routing->logits + token * routing->n_experts;
	const int32_t *ids = routing->ids + token * routing->top_k;

	if (!isnan(logits[0]))
		return MOE_TOKEN_GOOD;
	for (int32_t i = 0; i < routing->top_k; i++)
		if (ids[i] >= 0)
			return MOE_TOKEN_BAD;
	return MOE_TOKEN_ELSEWHERE;
}
