/* The arrays that hold a run. */
#include <stdlib.h>

#include "trace/record.h"

static bool holds(const struct moe_run_space *space, const struct moe_trace_header *h, enum moe_trace_field field)
{
	bool kept = field == MOE_TRACE_GATES    ? h->gates != MOE_GATES_NONE
	            : field == MOE_TRACE_LOGITS ? h->logits
	                                        : h->margins;
	return kept && !(space->skip & field);
}

void moe_run_space_free(struct moe_run_space *space)
{
	unsigned skip = space->skip;
	free(space->tokens);
	free(space->ids);
	free(space->weights);
	free(space->logits);
	free(space->margins);
	free(space->layers);
	*space = (struct moe_run_space) {.skip = skip};
}

enum moe_status moe_run_space_fit(struct moe_run_space *space, const struct moe_trace_header *header, int64_t n_tokens,
                                  struct moe_err *err)
{
	const struct moe_trace_header *h = header;
	const bool gates = holds(space, h, MOE_TRACE_GATES), logits = holds(space, h, MOE_TRACE_LOGITS),
		   margins = holds(space, h, MOE_TRACE_MARGINS);
	if (space->header != h || space->n_tokens < n_tokens) {
		int64_t room = space->header == h && n_tokens < 2 * space->n_tokens ? 2 * space->n_tokens : n_tokens;
		if (room * h->top_k * h->n_layers > MOE_TRACE_CHOICES_MAX)
			room = n_tokens;
		moe_run_space_free(space);
		size_t n = (size_t)room, n_ids = n * (size_t)h->n_layers * (size_t)h->top_k;
		size_t n_logits = logits ? n * (size_t)h->n_layers * (size_t)h->n_experts : 0;
		space->tokens = malloc(n * sizeof *space->tokens);
		space->ids = malloc(n_ids * sizeof *space->ids);
		space->weights = gates ? malloc(n_ids * sizeof *space->weights) : NULL;
		space->logits = logits ? malloc(n_logits * sizeof *space->logits) : NULL;
		space->margins = margins ? malloc(n * (size_t)h->n_layers * sizeof *space->margins) : NULL;
		space->layers = malloc((size_t)h->n_layers * sizeof *space->layers);
		if (!space->tokens || !space->ids || !space->layers || (gates && !space->weights) ||
		    (logits && !space->logits) || (margins && !space->margins)) {
			moe_run_space_free(space);
			return moe_err_nomem(err, 8 * n_ids + 4 * n_logits, "a run of a trace");
		}
		space->n_tokens = room;
		space->header = h;
	}
	for (int32_t l = 0; l < h->n_layers; l++) {
		space->layers[l] = (struct moe_routing) {
			.layer = h->layers[l], .n_experts = h->n_experts, .top_k = h->top_k, .n_tokens = n_tokens,
			.ids = space->ids + l * n_tokens * h->top_k,
			.weights = space->weights ? space->weights + l * n_tokens * h->top_k : NULL,
			.logits = space->logits ? space->logits + l * n_tokens * h->n_experts : NULL,
			.margins = space->margins ? space->margins + l * n_tokens : NULL,
		};
	}
	return MOE_OK;
}
