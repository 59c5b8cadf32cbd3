/* Ablations as the user spells them. */
#ifndef MOE_EVAL_ABLATE_H
#define MOE_EVAL_ABLATE_H

#include "eval/replay.h"

/* "3:7,4:0-5,*:2": experts of layers, ranges allowed on both sides, * for every layer with a router. *out is a table
 * [n_layers][n_experts] of 0 and 1, malloc'd. A layer without a router, an expert that is not there, and a layer left
 * with fewer than top_k experts are errors that quote the item. */
MOE_MUST_USE enum moe_status moe_ablate_parse(const char *text, const struct moe_config *config, int32_t top_k,
                                              uint8_t **out, struct moe_err *err);

/* What the user asked for; zero-initialise. */
struct moe_ablate_opts {
	int32_t top_k;              /* 0: the model's */
	const char *policy;         /* NULL: the model's */
	const char *disable;        /* as moe_ablate_parse reads it; NULL: none */
	double mask_top;
	bool no_shared;
	double capacity;            /* 0 or less: no limit */
	int64_t capacity_tokens;
	const char *capacity_group; /* "sequence", "tokens=N"; NULL: sequence */
	const char *replay;         /* a trace; NULL: none */
	bool replay_gates;
};

/* The same, ready for a session. Zero-initialise; moe_ablate_close. */
struct moe_ablate {
	struct moe_ablation ablation;
	uint8_t *disabled;
	struct moe_replay *replay;
};
MOE_MUST_USE enum moe_status moe_ablate_open(struct moe_ablate *out, const struct moe_ablate_opts *opts,
                                             const struct moe_config *config, struct moe_pool *pool,
                                             struct moe_watch *watch, struct moe_err *err);
/* What the trace of such a run says of its routing. */
void moe_ablate_describe(const struct moe_ablate *ablate, struct moe_trace_header *header);
void moe_ablate_close(struct moe_ablate *ablate);

#endif
