/* What metrics see of a trace: its tokens as they pass, a run of one layer at a time.
 *
 * A stream is a set of sums over tokens, kept per layer, that one metric or several read: metrics that name the same
 * stream share its state, which is fed once. Three properties hold for all of them:
 *
 * - Merging is exact. merge() of the states of two parts gives the state of both, bit for bit, in any order: keep
 *   integers, or struct moe_fixed, never doubles that are added up.
 * - Memory does not grow with the trace: a state has a size that follows from the setup. A stream whose state owns
 *   memory that grows (say, by token id) says so in the help of its metrics.
 * - Nothing depends on how tokens were cut into runs. What must be known of earlier tokens of a sequence, or of a
 *   part, is kept in an `open` state.
 *
 * States are all zero bytes at their start, aligned for any type, and moved by nobody. Different layers are added by
 * different threads at once; one layer by one thread at a time, in the order of the trace. */
#ifndef MOE_STATS_STREAM_H
#define MOE_STATS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "plan/plan.h"
#include "plan/topology.h"
#include "trace/trace.h"

/* Parameters that metrics read. */
struct moe_metric_params {
	int32_t n_groups;      /* devices that the experts are divided among, evenly and in order; 0: as the trace */
	int32_t top_groups;    /* how many of them a token may reach; 0: as in the trace */
	int64_t batch_tokens;  /* tokens of a batch; 0: 2048 */
	double flip_below;     /* the margin below which a choice counts as shaky; 0: 1e-3 */
	int64_t top_n;         /* rows of a table that are kept for a layer, or for an expert; 0: as the metric says */
	bool against;          /* tokens come in pairs: there is another trace */
	const struct moe_plan *plan;            /* where experts live, of all layers of the traces; NULL: nobody says */
	const struct moe_topology *topology;    /* on which nodes; NULL where plan is */
	int64_t hidden_size;   /* elements of a token's row; 0: nobody says */
	int32_t element_bytes; /* of a row on its way to an expert; 0: nobody says */
	/* The bytes that a token id stands for; false: no such token. NULL: nobody knows. */
	bool (*token_text)(const void *arg, int32_t id, struct moe_str *text);
	const void *token_arg;
};

/* How logits become scores that sum up to 1. */
enum moe_scoring { MOE_SCORING_SOFTMAX, MOE_SCORING_SIGMOID, MOE_SCORING_SQRTSOFTPLUS };

/* The same for all tokens: what the traces say of themselves, and the parameters, defaults filled in. */
struct moe_stream_setup {
	int32_t n_layers, n_experts, top_k;
	const int32_t *layers;   /* [n_layers] the model's indices, ascending */
	const int32_t *rows;     /* [n_fed] which of them are fed, ascending */
	int32_t n_fed;
	const char *scoring;     /* as the traces say it, "" where they do not */
	int32_t n_groups;        /* 0: neither asked for nor in the trace */
	int32_t top_groups;
	int64_t batch_tokens;
	double flip_below;
	const struct moe_metric_params *params;   /* the others, as they were given */
};

/* Tokens of one layer; views. A token that has no choices in this layer has ids of -1; where it belongs to the other
 * stack of an encoder-decoder its logits are not numbers either. */
struct moe_stream_tokens {
	const struct moe_stream_setup *setup;
	const struct moe_trace_run *run;      /* of all layers; its part counts within its file */
	const struct moe_routing *routing;    /* run->layers + row; what no metric needs is NULL there */
	const struct moe_routing *against;    /* the same tokens in another trace, ids alone; NULL: there is none */
	int32_t row;                          /* of the layer in setup->layers */
	int64_t part;                         /* of all files, counted so that no two are alike */
	void *scratch;                        /* the stream's own, of this thread, holding anything */
};

/* How long an `open` state lasts. Tokens of another source than the one asked for are not there at all. */
enum moe_scope {
	MOE_SCOPE_SEQUENCE,   /* the tokens of a sequence, also where others come between them */
	MOE_SCOPE_PART,       /* the tokens of a part: of what one run of a program wrote */
};

struct moe_stream {
	size_t (*state)(const struct moe_stream_setup *setup);   /* bytes for each layer */
	enum moe_scope scope;
	/* Bytes for each layer of a sequence or a part that is under way; NULL: no such state. It owns no memory. */
	size_t (*open)(const struct moe_stream_setup *setup);
	size_t (*scratch)(const struct moe_stream_setup *setup);   /* bytes for each thread; NULL: none */
	/* Adds tokens. open: NULL where the stream has none. What is wrong with them is MOE_EFORMAT, and the sentence
	 * names the layer and the position (moe_stream_bad does); the file is added by the caller. */
	MOE_MUST_USE enum moe_status (*add)(const struct moe_stream_tokens *tokens, void *state, void *open,
	                                    struct moe_err *err);
	/* The sequence or part is over: what its open state still holds goes into the state. NULL: nothing does. */
	MOE_MUST_USE enum moe_status (*close)(const struct moe_stream_setup *setup, void *state, void *open,
	                                      struct moe_err *err);
	MOE_MUST_USE enum moe_status (*merge)(const struct moe_stream_setup *setup, void *into, const void *from,
	                                      struct moe_err *err);
	void (*clear)(const struct moe_stream_setup *setup, void *state);   /* frees what it owns; NULL: nothing */
};

/* MOE_EFORMAT: "sequence 3, position 17, layer 2: WHAT". token counts within the run. */
enum moe_status moe_stream_bad(const struct moe_stream_tokens *tokens, int64_t token, const char *what,
                               struct moe_err *err);

/* The scores of one token, which sum up to 1, from its logits: [n_experts], in double precision. False where a logit is
 * not a number or all scores are 0. */
bool moe_stream_scores(enum moe_scoring scoring, const float *logits, int32_t n, double *scores);
/* The scoring a trace names; softmax where it names none. */
enum moe_scoring moe_stream_scoring(const struct moe_stream_setup *setup);

/* What the logits of a token are good for. */
enum moe_token { MOE_TOKEN_GOOD, MOE_TOKEN_ELSEWHERE, MOE_TOKEN_BAD };
/* ELSEWHERE: it belongs to the other stack; BAD: its logits are not numbers, and yet it chose. Looks at the first
 * logit: what is wrong with others shows in the scores. */
enum moe_token moe_stream_token(const struct moe_routing *routing, int64_t token);

#endif
