/* Which choices find room with their experts: one stage behind any policy, for models that run and for traces. */
#include <math.h>
#include <string.h>

#include "base/str.h"
#include "route/route.h"

bool moe_capacity_is_set(const struct moe_capacity *capacity)
{
	return capacity->factor > 0 || capacity->choices > 0;
}

static double per_place(const struct moe_capacity *capacity, int32_t n_experts)
{
	return capacity->n_devices ? capacity->n_devices : n_experts;
}

int64_t moe_capacity_choices(const struct moe_capacity *capacity, int32_t top_k, int32_t n_experts, int64_t n_tokens)
{
	if (capacity->choices > 0)
		return capacity->choices;
	const double choices = ceil(capacity->factor * top_k * (double)n_tokens / per_place(capacity, n_experts));
	return choices < 0x1p62 ? (int64_t)choices : INT64_MAX;
}

enum moe_status moe_capacity_group_parse(const char *text, int64_t *out, struct moe_err *err)
{
	struct moe_str rest = moe_str_of(text), word;
	*out = 0;
	if (moe_str_eq(rest, "sequence"))
		return MOE_OK;
	if (moe_str_next(&rest, '=', &word) && moe_str_eq(word, "tokens") && moe_parse_i64(rest, out) && *out > 0)
		return MOE_OK;
	return moe_err_set(err, MOE_EUSAGE, "--capacity-group: expected sequence or tokens=N, found '%.60s'", text);
}

void moe_queue_begin(struct moe_queue *queue, int32_t n_experts)
{
	memset(queue->taken, 0, (size_t)n_experts * sizeof *queue->taken);
	queue->n_in_group = 0;
}

void moe_queue_take(struct moe_queue *queue, int64_t choices, int64_t group, int32_t n_experts, int32_t top_k,
                    int64_t n_tokens, const int32_t *ids, float *weights)
{
	for (int64_t t = 0; t < n_tokens; t++, ids += top_k, weights += top_k) {
		if (ids[0] < 0)
			continue;
		if (group > 0 && queue->n_in_group == group)
			moe_queue_begin(queue, n_experts);
		queue->n_in_group++;
		for (int32_t c = 0; c < top_k; c++)
			if (ids[c] >= 0 && queue->taken[ids[c]]++ >= choices)
				weights[c] = 0;
	}
}
