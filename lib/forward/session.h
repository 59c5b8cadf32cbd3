/* The inside of a session, shared by forward/ and its mixers. */
#ifndef MOE_FORWARD_SESSION_H
#define MOE_FORWARD_SESSION_H

#include "forward/forward.h"

/* What mixes tokens in a layer. Members: forward/mixer/. */
struct moe_mixer {
	const char *name;
	/* Numbers of work space per token of a pass. */
	int64_t (*work_elems)(const struct moe_config *config);
	/* out [n_tokens][hidden] = attention of x [n_tokens][hidden] at positions pos..; extends the layer's cache. */
	MOE_MUST_USE enum moe_status (*run)(struct moe_session *session, int32_t layer, const float *x, int64_t pos,
	                                    int64_t n_tokens, bool generated, float *out, struct moe_err *err);
};
const struct moe_mixer *moe_mixer_by_name(const char *name);

struct moe_session {
	const struct moe_model *model;
	struct moe_device *device;
	struct moe_session_opts opts;
	int64_t rows;               /* of the buffers: a pass has fewer */
	int64_t pos;
	int64_t n_encoded;          /* tokens the encoder was given */
	int32_t top_k;              /* experts a token, the model's or the ablation's */
	int32_t last_router;        /* layer of the last router, the MTP layer's if it runs; -1: none */

	/* device memory */
	float *x, *h, *y, *z;       /* [chunk + 1][hidden]: residual, normed, branch output, second branch */
	float *router_logits;       /* [chunk][n_experts] */
	float *pair;                /* [chunk + 1][2 hidden], MTP only */
	float *final;               /* [chunk + 1][hidden], MTP only: row 0 is the last row of the pass before */
	float *head;                /* [HEAD_ROWS][vocab] */
	float *work;                /* [chunk + 1] mixer work */
	float **cache;              /* [n_layers + mtp][n_ctx or n_encoder_ctx][cache_elems of the layer] */
	float **cross;              /* as cache, [n_encoder_ctx]: keys and values of the encoder's output */
	float *bias[2];             /* decoder's, encoder's [n_heads][2 n_ctx - 1]: on scores, by distance */
	/* [1 or 2][n_ctx][rope n_dims / 2]: where long sequences have factors of their own, these come second */
	float *cos, *sin;
	int64_t rope_at;            /* of the tables of this sequence: chosen by its own length */
	int32_t *tokens;            /* [n_ctx] of the sequence, where growing may change its tables; NULL elsewhere */
	float *temperature;         /* [n_ctx]: factors on queries, where some layer has them */
	float softmax_scale;
	int32_t *visible;           /* [chunk + 1][index_top_k]: the last indexer's choice; NULL where none is needed */

	/* what the experts have taken in the current group; NULL pointers where capacity is not limited */
	struct {
		struct moe_queue *queues; /* [n_layers], of */
		int64_t *taken;           /* [n_layers][n_experts] */
		int64_t limit;            /* choices an expert takes */
	} capacity;

	/* host memory */
	float *host_router;         /* [chunk][n_experts] */
	float *host_rows;           /* [HEAD_ROWS][vocab] */
	float *last_logits;         /* [vocab] */
	float *host_hidden;         /* [chunk][hidden], where a hook wants it */
	int32_t *ids;               /* [chunk][top_k] */
	float *mask;                /* [chunk][n_experts], NULL where no ablation bars experts */
	int32_t *top_ids;           /* [n_experts] */
	float *weights, *margins, *scratch;
	int32_t *host_visible;      /* as visible, where a hook wants it */
	float **router_bias;        /* [n_layers + mtp][n_experts], NULL where none */
	float *host_encoded;        /* [n_encoder_ctx][hidden] */
	const struct moe_policy *policy;
};

/* What the policy is given in this layer (-1: in general), without a mask. */
struct moe_policy_params moe_router_params(const struct moe_session *session, int32_t layer);
/* Router logits of h, the experts chosen and their weights into ids and weights; told to the hook. */
MOE_MUST_USE enum moe_status moe_router_run(struct moe_session *session, int32_t layer, const float *h, int64_t pos,
                                            int64_t n_tokens, struct moe_err *err);

/* The limit of a capacity: buffers, the start of a sequence of n_given tokens, and its effect on ids and weights. */
MOE_MUST_USE enum moe_status moe_capacity_open(struct moe_session *session, struct moe_err *err);
void moe_capacity_begin(struct moe_session *session, int64_t n_given);
/* The same sequence starts over: its queues are empty, the limit stays. */
void moe_capacity_again(struct moe_session *session);
/* From here on the limit is that of a sequence of so many tokens, where it is a share of them. */
void moe_capacity_group(struct moe_session *session, int64_t n_tokens);
void moe_capacity_apply(struct moe_session *session, int32_t layer, int64_t n_tokens);
void moe_capacity_close(struct moe_session *session);

/* One transformer layer on x [n_tokens][hidden], in place. *stopped is set where routers_only ends the pass. */
MOE_MUST_USE enum moe_status moe_block_run(struct moe_session *session, int32_t layer, float *x, int64_t pos,
                                           int64_t n_tokens, bool generated, bool *stopped, struct moe_err *err);

/* The norm of a block or the final one, rows of hidden_size: x -> out. bias: only LayerNorm may have one. */
MOE_MUST_USE enum moe_status moe_block_norm(struct moe_session *session, const float *x, const struct moe_weight *w,
                                            const struct moe_weight *bias, int64_t n_tokens, float *out,
                                            struct moe_err *err);

/* Does a sequence of n_ctx positions need the indexers' choice? */
bool moe_indexer_needed(const struct moe_config *config, int64_t n_ctx);
/* Numbers of work space per token of a pass. */
int64_t moe_indexer_work_elems(const struct moe_config *config);
/* *visible: which positions the tokens read in this layer [n_tokens][index_top_k], NULL for all. x is the layer's
 * normed input, latent the queries' [n_tokens][q_lora_rank] behind its norm. */
MOE_MUST_USE enum moe_status moe_indexer_run(struct moe_session *session, int32_t layer, const float *x,
                                             const float *latent, int64_t pos, int64_t n_tokens, float *work,
                                             const int32_t **visible, struct moe_err *err);

/* Attention to the encoder's output: keys and values of encoded [n_tokens][hidden], then out = what queries of
 * x [n_tokens][hidden] find there. */
MOE_MUST_USE enum moe_status moe_cross_keys(struct moe_session *session, int32_t layer, const float *encoded,
                                            int64_t n_tokens, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_cross_run(struct moe_session *session, int32_t layer, const float *x, int64_t n_tokens,
                                           float *out, struct moe_err *err);

/* The bias on scores by distance (T5): table [n_heads][2 span - 1], key minus query = 0 in the middle, from
 * w [buckets][n_heads]. MOE_ENOMEM aside it cannot fail. */
MOE_MUST_USE enum moe_status moe_relative_table(const struct moe_config *config, const struct moe_weight *w,
                                                bool bidirectional, int64_t span, float *table, struct moe_err *err);

/* Numbers of a table of biases by distance, for every head: 0 where there are none. */
size_t moe_tables_biases(const struct moe_config *config, int64_t n_ctx);
/* Sets of cos and sin that n_ctx positions need: 2 where long sequences have factors of their own, else 1. */
int moe_tables_rotations(const struct moe_config *config, int64_t n_ctx);
/* Fills the session's tables, which are allocated. */
MOE_MUST_USE enum moe_status moe_tables_make(struct moe_session *session, struct moe_err *err);

/* cos and sin of every position [n_ctx][n_dims/2] with the context scaling applied; lengthened: with the factors for
 * sequences longer than those the model was first made for (LongRoPE), where it has such. */
void moe_rope_tables(const struct moe_rope *rope, int64_t n_ctx, bool lengthened, float *cos, float *sin);
/* What the scaling multiplies the softmax scale with: g(factor, mscale_all_dim)^2 for YaRN, else 1. */
double moe_rope_softmax_factor(const struct moe_rope *rope);

#endif
