/* Routing: from router logits to chosen experts and their weights, and the type in which that travels. */
#ifndef MOE_ROUTE_ROUTE_H
#define MOE_ROUTE_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Decisions of one layer for a run of tokens. A view: the giver says how long it lives.
 * ids are in order of choice score, best first; -1 where fewer than top_k experts were chosen (their weight is 0). */
struct moe_routing {
	int32_t layer; /* the model's own layer index */
	int32_t n_experts, top_k;
	int64_t n_tokens;
	const int32_t *ids; /* [n_tokens][top_k] */
	const float *weights; /* [n_tokens][top_k] combine weights, scaling included; NULL: not kept */
	const float *logits; /* [n_tokens][n_experts] router outputs; NULL: not kept */
	const float *margins; /* [n_tokens] score of the last chosen minus the best not chosen; NULL: not kept */
};

enum { MOE_GROUP_MAX, MOE_GROUP_TOP2 }; /* how a group of experts is scored */

/* Every parameter any policy takes; a policy reads those it names in `params`. */
struct moe_policy_params {
	int32_t n_experts, top_k;
	int32_t n_groups, top_groups; /* 1, 1: no groups */
	int32_t group_score; /* MOE_GROUP_MAX or MOE_GROUP_TOP2 */
	double scale; /* factor on the weights */
	bool normalize; /* divide by the sum of the chosen */
	double eps; /* sparsemixer: how near the best a score must come to share its weight */
	double p_norm; /* dbrx: the weights are divided by this norm of the chosen; 0: they are not */
	const float *mask; /* [n_tokens][n_experts] added for the choice only: 0, or -infinity to bar; NULL: none */
	const float *bias; /* [n_experts] added to the score for the choice only; NULL: none */
};

/* What a policy reads beside top_k; unset options of the others are refused by the tools. */
enum moe_policy_reads {
	MOE_READS_GROUPS = 1,
	MOE_READS_GROUP_SCORE = 2,
	MOE_READS_SCALE = 4,
	MOE_READS_NORMALIZE = 8,
	MOE_READS_BIAS = 16,
	MOE_READS_EPS = 32,
	MOE_READS_P_NORM = 64,
};

/* A routing policy. Members: route/policy/. */
struct moe_policy {
	const char *name; /* "noaux_tc" */
	const char *help;
	const char *scoring;    /* what turns logits into scores: "softmax", "sigmoid"; "" where nothing does */
	const char *source; /* where the formula was published */
	unsigned reads; /* enum moe_policy_reads */
	int32_t group_score; /* default */
	double eps, p_norm; /* defaults */
	size_t (*scratch)(const struct moe_policy_params *params); /* floats of scratch per caller */
	/* logits [n_tokens][n_experts] -> ids, weights [n_tokens][top_k], margins [n_tokens] (NULL: not wanted).
	 * The margin is the smallest difference of choice scores, of experts or of groups, that separates this choice
	 * from another; infinite where nothing was left out. Ties go to the lower id. Safe from several threads with
	 * scratch of their own. */
	void (*rows)(const struct moe_policy_params *params, const float *logits, int64_t n_tokens, int32_t *ids,
	             float *weights, float *margins, float *scratch);
};

const struct moe_policy *moe_policy_at(size_t i); /* NULL past the end */
const struct moe_policy *moe_policy_by_name(const char *name);

/* Do these numbers make sense for this policy? One sentence otherwise (MOE_EUSAGE). */
MOE_MUST_USE enum moe_status moe_policy_check(const struct moe_policy *policy, const struct moe_policy_params *params,
                                              struct moe_err *err);

/* The k largest of n scores, ties to the lower index, into ids by descending score; scores are not changed.
 * Entries at -infinity are never chosen: ids then -1. */
void moe_top_k(const float *scores, int32_t n, int32_t k, int32_t *ids);

/* softmax and sigmoid of n logits in f32. */
void moe_softmax(const float *logits, int32_t n, float *out);
void moe_sigmoid(const float *logits, int32_t n, float *out);

/* Expert capacity: in a group of T tokens an expert takes at most C choices (GShard, Switch Transformers),
 *
 *   C = ceil(CF top_k T / E), or a number that is given
 *
 * the first ones in the order of the tokens and, of one token, of its choices. One that finds no room keeps its id and
 * weighs 0. Tokens without any choice are in no group. All zero: no limit. */
struct moe_capacity {
	double factor;   /* CF; 0: not by a factor */
	int64_t choices; /* C itself; 0: by the factor */
	int64_t group;   /* T, counted across sequences; 0: each sequence is a group */
};
bool moe_capacity_is_set(const struct moe_capacity *capacity);
/* C of a group of n_tokens. */
int64_t moe_capacity_choices(const struct moe_capacity *capacity, int32_t top_k, int32_t n_experts, int64_t n_tokens);
/* "sequence" or "tokens=N": the size of a group. */
MOE_MUST_USE enum moe_status moe_capacity_group_parse(const char *text, int64_t *out, struct moe_err *err);

/* What the experts of one layer have taken in the current group; the owner begins with zeros. */
struct moe_queue {
	int64_t *taken; /* [n_experts] */
	int64_t n_in_group; /* tokens so far */
};
void moe_queue_begin(struct moe_queue *queue, int32_t n_experts);
/* Lets tokens queue up, ids and weights [n_tokens][top_k], and sets the weights of those that find no room to 0. A new
 * group begins by itself after `group` tokens (0: never). */
void moe_queue_take(struct moe_queue *queue, int64_t choices, int64_t group, int32_t n_experts, int32_t top_k,
                    int64_t n_tokens, const int32_t *ids, float *weights);

/* The bias table of --bias: layer expert bias, every expert of each layer named once. */
struct moe_bias {
	int32_t n_layers, n_experts;
	int32_t *layers; /* [n_layers] ascending */
	float *values; /* [n_layers][n_experts] */
};
MOE_MUST_USE enum moe_status moe_bias_read(struct moe_bias *bias, const char *path, int32_t n_experts,
                                           struct moe_err *err);
/* Fails unless the biases of a layer [n_experts] are all finite: `path` is where they come from. */
MOE_MUST_USE enum moe_status moe_bias_check(const float *values, int32_t n_experts, int32_t layer, const char *path,
                                            struct moe_err *err);
const float *moe_bias_at(const struct moe_bias *bias, int32_t layer); /* NULL where the table has no such layer */
void moe_bias_free(struct moe_bias *bias);

#endif
