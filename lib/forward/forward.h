/* The forward pass: a session is one model on one device, and one sequence at a time.
 *
 * Results do not depend on how a sequence is cut into calls or chunks, nor on the number of threads. Where attention
 * has two forms, the choice follows from what a token is: given (expanded) or generated (absorbed). */
#ifndef MOE_FORWARD_FORWARD_H
#define MOE_FORWARD_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "device/device.h"
#include "model/model.h"
#include "route/route.h"

struct moe_session;

/* What happens inside, told to whoever asks. Any may be NULL. Pointers live until the hook returns. pos is that of the
 * first token. A status that is not MOE_OK ends the pass and is returned. */
struct moe_hooks {
	void *arg;
	/* The residual stream after n_layers layers, x [n_tokens][hidden_size]; 0: the embedding output. Up to
	 * n_encoder_layers it is the encoder's, of its tokens; the decoder's embedding output is not told. */
	enum moe_status (*hidden)(void *arg, int32_t n_layers, int64_t pos, int64_t n_tokens, const float *x,
	                          struct moe_err *err);
	/* Every layer with a router, in order; those of an encoder once, when it runs. The MTP layer, where it runs and
	 * has a router, is the last of a pass, number n_layers: its tokens are those whose next token is known, from
	 * the last of the pass before to the last but one of this. */
	enum moe_status (*routing)(void *arg, const struct moe_routing *routing, int64_t pos, struct moe_err *err);
	/* Rows of logits [n_tokens][vocab_size], in order, for the tokens whose logits were asked for. */
	enum moe_status (*logits)(void *arg, int64_t pos, int64_t n_tokens, const float *logits, struct moe_err *err);
	/* Rows of the MTP layer's logits: row pos predicts token pos + 2. */
	enum moe_status (*mtp_logits)(void *arg, int64_t pos, int64_t n_tokens, const float *logits,
	                              struct moe_err *err);
	/* Layers with an indexer of their own: positions [n_tokens][top_k] each token reads, ascending; a token at a
	 * position p < top_k reads all up to its own and has no more than p + 1 entries. NULL: all tokens do. */
	enum moe_status (*visible)(void *arg, int32_t layer, int64_t pos, int64_t n_tokens, const int32_t *positions,
	                           int32_t top_k, struct moe_err *err);
};

/* What a run changes about the model's routing. Zero: nothing. In MTP layers top_k, policy and no_shared hold too, the
 * rest does not. */
struct moe_ablation {
	int32_t top_k; /* 0: the model's */
	const char *policy; /* NULL: the model's; its parameters stay the model's */
	bool no_shared; /* shared experts contribute nothing */
	const uint8_t *disabled; /* [n_layers][n_experts] not 0: never chosen; NULL: none. Borrowed. */
	/* This share of each token's experts, those with the largest logits, is never chosen. */
	double mask_top;
	struct moe_capacity capacity; /* in place of the model's own, if it is set */
	/* Choices that are forced: sets *ids [n_tokens][top_k] (-1: none) for positions pos.., and *weights to what
	 * they weigh or leaves it NULL, which weighs them by the policy. NULL: choices are free. */
	enum moe_status (*forced)(void *arg, int32_t layer, int64_t pos, int64_t n_tokens, const int32_t **ids,
	                          const float **weights, struct moe_err *err);
	void *arg;
};

/* Which form latent attention takes: by what a token is, or always one. */
enum moe_mla_form { MOE_MLA_BY_ROLE, MOE_MLA_EXPANDED, MOE_MLA_ABSORBED };

struct moe_session_opts {
	int64_t n_ctx; /* positions a sequence may have */
	int64_t n_encoder_ctx; /* tokens that an encoder may be given; 0 where there is no encoder */
	int32_t chunk; /* tokens a pass, at most; an encoder takes all of its tokens in one */
	bool routers_only; /* end each pass at the last router, with mtp that of the MTP layer: no logits */
	bool mtp; /* run the MTP layer behind the model, up to what a hook asks for */
	enum moe_mla_form mla;
	struct moe_ablation ablation;
	bool margins; /* compute routing margins */
	struct moe_hooks hooks;
};

enum moe_logits { MOE_LOGITS_NONE, MOE_LOGITS_LAST, MOE_LOGITS_ALL };

/* Every buffer is allocated here, none later. model and device are borrowed and must outlive the session. */
MOE_MUST_USE enum moe_status moe_session_open(struct moe_session **out, const struct moe_model *model,
                                              struct moe_device *device, const struct moe_session_opts *opts,
                                              struct moe_err *err);
void moe_session_close(struct moe_session *session); /* NULL is fine */

/* Forgets the sequence, the encoder's tokens too; the next token is at position 0. n_given tokens are to be given (not
 * generated) to the decoder: a capacity that is a share of the sequence is a share of these, and where long sequences
 * are rotated otherwise, all of these are from the first on. One that grows past that length later is computed again
 * from its beginning, unheard. */
void moe_session_reset(struct moe_session *session, int64_t n_given);
int64_t moe_session_pos(const struct moe_session *session);
/* Back to the first `pos` tokens of the sequence, as those of one of n_given: what follows goes on from there, with the
 * same bits as after a reset. False, and nothing changes, where the session has not got that far or cannot take back
 * what it did: behind an encoder, with MTP or a limited capacity, or where n_given tokens are rotated otherwise. */
bool moe_session_rewind(struct moe_session *session, int64_t pos, int64_t n_given);

/* Runs the encoder on its tokens: once for a sequence, before the first of the decoder's. Only for models with an
 * encoder, which take no other token before. */
MOE_MUST_USE enum moe_status moe_session_encode(struct moe_session *session, const int32_t *tokens, int64_t n_tokens,
                                                struct moe_err *err);
/* What the decoder attends to [n_tokens][hidden_size], the encoder's output behind its norm: a view until the next
 * sequence. */
const float *moe_session_encoded(const struct moe_session *session);

/* Appends tokens to the sequence. generated: they came out of the model. Logits reach hooks.logits; the last row asked
 * for also stays in moe_session_logits until the next call. */
MOE_MUST_USE enum moe_status moe_session_feed(struct moe_session *session, const int32_t *tokens, int64_t n_tokens,
                                              bool generated, enum moe_logits want, struct moe_err *err);
/* The router of one layer alone, on what the norm before it gave: rows [n_rows][hidden_size], n_rows at most
 * opts.chunk. Told to hooks.routing at position pos; the sequence does not move on. */
MOE_MUST_USE enum moe_status moe_session_route(struct moe_session *session, int32_t layer, const float *rows,
                                               int64_t pos, int64_t n_rows, struct moe_err *err);
/* [vocab_size], a view. */
const float *moe_session_logits(const struct moe_session *session);

/* Bytes of a session's buffers, for --dry-run. */
uint64_t moe_session_bytes(const struct moe_config *config, const struct moe_session_opts *opts);

#endif
