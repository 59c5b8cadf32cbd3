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
/* gshard's choices behind the first: all; with chance 2p; with chance 2p of the chosen alone; drawn by their scores */
enum { MOE_SECOND_ALL, MOE_SECOND_RANDOM, MOE_SECOND_RANDOM_PAIR, MOE_SECOND_SAMPLING };
struct moe_token_table;

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
	/* What is known of the tokens beside their logits, [n_tokens] each; NULL: nothing, where no policy needs it. */
	const int32_t *tokens; /* ids, -1 unknown */
	const int64_t *positions; /* in the sequence, from 0 */
	const uint64_t *keys; /* moe_token_key: what random numbers are drawn by */
	uint64_t seed; /* of what is drawn for all tokens alike */
	const float *uniform; /* gshard: these numbers in [0, 1) in place of drawn ones; NULL: drawn */
	const struct moe_token_table *table; /* experts of every token id, of top_k columns; NULL: none */
	int32_t second; /* gshard: MOE_SECOND_... */
	int64_t capacity; /* expert_choice: tokens an expert takes of a group */
	const struct moe_kernel *kernel; /* of moe_kernel_best; NULL: none, the same bits token by token */
};

/* A way to choose for several tokens at once by what this processor has. Members: route/kernel/. */
struct moe_kernel;
const struct moe_kernel *moe_kernel_at(size_t i); /* NULL past the end */
const char *moe_kernel_name(const struct moe_kernel *kernel);
bool moe_kernel_usable(const struct moe_kernel *kernel); /* by this processor */
/* The best usable one; MOE_CPU=NAME in the environment bars all of higher rank than NAME. */
const struct moe_kernel *moe_kernel_best(void);
/* For programs to begin with: fails where MOE_CPU names no instruction set that anything here is written for. */
MOE_MUST_USE enum moe_status moe_cpu_check(struct moe_err *err);

/* What a policy reads beside top_k; unset options of the others are refused by the tools. */
enum moe_policy_reads {
	MOE_READS_GROUPS = 1,
	MOE_READS_GROUP_SCORE = 2,
	MOE_READS_SCALE = 4,
	MOE_READS_NORMALIZE = 8,
	MOE_READS_BIAS = 16,
	MOE_READS_EPS = 32,
	MOE_READS_P_NORM = 64,
	MOE_READS_TABLE = 128,
	MOE_READS_SECOND = 256,
	MOE_NEEDS_TOKENS = 512, /* params->tokens */
	MOE_NEEDS_PLACE = 1024, /* params->positions and keys */
};

/* What the groups of a policy came to: the sum of the affinities of its assignment, and a number that no assignment
 * exceeds, found from prices alone. */
struct moe_certificate {
	double value, bound;
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
	int32_t top_k; /* default; 0: that of the trace */
	int32_t drop; /* default: MOE_DROP_... */
	bool rescale; /* default of struct moe_capacity's */
	double noise; /* default deviation of noise on the logits */
	size_t (*scratch)(const struct moe_policy_params *params); /* floats of scratch per caller */
	/* logits [n_tokens][n_experts] -> ids, weights [n_tokens][top_k], margins [n_tokens] (NULL: not wanted).
	 * The margin is the smallest difference of choice scores, of experts or of groups, that separates this choice
	 * from another; infinite where nothing was left out. Ties go to the lower id. Safe from several threads with
	 * scratch of their own. */
	void (*rows)(const struct moe_policy_params *params, const float *logits, int64_t n_tokens, int32_t *ids,
	             float *weights, float *margins, float *scratch);
	/* NULL, or for a policy whose tokens depend on each other: the same for a whole group of them; rows
	 * is NULL then. Logits are finite, n_tokens at least 1. certificate: added to by policies that have one. */
	MOE_MUST_USE enum moe_status (*group)(const struct moe_policy_params *params, const float *logits,
	                                      int64_t n_tokens, int32_t *ids, float *weights,
	                                      struct moe_certificate *certificate, struct moe_err *err);
	/* Experts a token may get, where that is not top_k; NULL: it is. */
	int32_t (*most)(const struct moe_policy_params *params);
};

const struct moe_policy *moe_policy_at(size_t i); /* NULL past the end */
const struct moe_policy *moe_policy_by_name(const char *name);

/* Do these numbers make sense for this policy? One sentence otherwise (MOE_EUSAGE). */
MOE_MUST_USE enum moe_status moe_policy_check(const struct moe_policy *policy, const struct moe_policy_params *params,
                                              struct moe_err *err);

/* The k largest of n scores, ties to the lower index, into ids by descending score; scores are not changed.
 * Entries at -infinity are never chosen: ids then -1. */
void moe_top_k(const float *scores, int32_t n, int32_t k, int32_t *ids);

/* Are these n logits such as a router gives? NaN is none, nor is +infinity, whose softmax is none; -infinity is that of
 * an expert that is barred. */
bool moe_logits_good(const float *logits, int64_t n);

/* softmax and sigmoid of n logits in f32. */
void moe_softmax(const float *logits, int32_t n, float *out);
void moe_sigmoid(const float *logits, int32_t n, float *out);

/* Expert capacity: in a group of T tokens an expert takes at most C choices (GShard, Switch Transformers),
 *
 *   C = ceil(CF top_k T / E), or a number that is given
 *
 * One that finds no room keeps its id and weighs 0. Choices queue in the order of `drop`, and those before a tie in the
 * order of the tokens and, of one token, of its choices. Tokens without any choice are in no group. Where n_devices is
 * set, the E of all this are devices of consecutive experts (DeepSeek-V2 report, section 2.2.4). All zero: no limit. */
enum { MOE_DROP_POSITION, MOE_DROP_CHOICE, MOE_DROP_PROB, MOE_DROP_RANDOM };
enum { MOE_PRIORITY_TOKEN, MOE_PRIORITY_BATCH };
struct moe_capacity {
	double factor;   /* CF; 0: not by a factor */
	int64_t choices; /* C itself; 0: by the factor */
	int64_t group;   /* T, counted across sequences; 0: each sequence is a group */
	int32_t drop;    /* position: as told; choice: all first choices before any second one; prob: the largest
	                  * weights first; random */
	int32_t priority; /* batch: the order of the tokens is that of their largest probability */
	bool rescale;    /* what a token has left is scaled to the sum it had */
	int32_t n_devices; /* 0: experts */
	double exempt;   /* the part of the sequences, drawn by chance, that find room before all others and always */
};
/* Is this sequence one of those? */
bool moe_capacity_exempts(const struct moe_capacity *capacity, uint64_t seed, int64_t seq);
bool moe_capacity_is_set(const struct moe_capacity *capacity);
/* C of a group of n_tokens. */
int64_t moe_capacity_choices(const struct moe_capacity *capacity, int32_t top_k, int32_t n_experts, int64_t n_tokens);
/* "sequence" or "tokens=N": the size of a group. */
MOE_MUST_USE enum moe_status moe_capacity_group_parse(const char *text, int64_t *out, struct moe_err *err);

/* The choices of one group in one layer, [n_tokens][top_k]. */
struct moe_group {
	int64_t n_tokens;
	int32_t n_experts, top_k;
	const int32_t *ids;
	float *weights;
	const double *priority; /* [n_tokens] for MOE_PRIORITY_BATCH */
	const uint64_t *keys; /* [n_tokens] for MOE_DROP_RANDOM */
	const bool *exempt; /* [n_tokens]; NULL: none */
};
/* Lets a whole group queue up for `choices` places each, in any order that a capacity may name. */
MOE_MUST_USE enum moe_status moe_group_limit(const struct moe_capacity *capacity, int64_t choices,
                                             const struct moe_group *group, struct moe_err *err);

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

/* A number for each token in each layer that depends on nothing else. */
uint64_t moe_token_key(uint64_t seed, int32_t layer, int64_t seq, int64_t pos);

/* What is done to logits before a policy sees them: x / temperature + noise N(0, 1), drawn by the key. */
struct moe_adjust {
	double temperature, noise; /* 0: not divided, none added */
};
bool moe_adjust_is_set(const struct moe_adjust *adjust);
void moe_adjust_logits(const struct moe_adjust *adjust, uint64_t key, const float *logits, int32_t n_experts,
                       float *out);

/* The experts of every token id, best first; no expert twice in a row. */
struct moe_token_table {
	int32_t n_experts, top_k;
	int64_t n_tokens;
	int32_t *experts; /* [n_tokens][top_k]; -1: the table has no such token */
};
/* Columns token expert: every token named equally often, its experts in the order of the rows. */
MOE_MUST_USE enum moe_status moe_token_table_read(struct moe_token_table *table, const char *path, int32_t n_experts,
                                                  struct moe_err *err);
/* Columns token count: tokens by descending count (equal ones: the lower id) go to the top_k experts with the least
 * counts so far (equal ones: the lower id). */
MOE_MUST_USE enum moe_status moe_token_table_balance(struct moe_token_table *table, const char *path,
                                                     int32_t n_experts, int32_t top_k, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_token_table_from_counts(struct moe_token_table *table, const int64_t *counts,
                                                         int64_t n_tokens, int32_t n_experts, int32_t top_k,
                                                         struct moe_err *err);
/* [top_k], or NULL for a token that the table does not have. */
const int32_t *moe_token_table_at(const struct moe_token_table *table, int64_t token);
void moe_token_table_free(struct moe_token_table *table);

/* Loss-free balancing (Wang et al. 2024): one step of the biases [n_experts] after a batch in which expert i was chosen
 * counts[i] times, e_i = mean - counts[i]:
 *
 *   sign          b_i += rate sign(e_i)
 *   proportional  b_i += rate e_i / mean
 *   centred       b_i += rate (sign(e_i) - mean_j sign(e_j))    (Moonlight report, section 2.2) */
enum { MOE_ADAPT_SIGN, MOE_ADAPT_PROPORTIONAL, MOE_ADAPT_CENTRED };
void moe_bias_adapt(float *bias, const int64_t *counts, int32_t n_experts, int32_t rule, double rate);

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
