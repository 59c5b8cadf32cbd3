/* What a model costs, from its config alone. */
#ifndef MOE_MODEL_ACCOUNT_H
#define MOE_MODEL_ACCOUNT_H

#include "model/model.h"

/* Counted over every tensor the family expects. "Activated" in the three countings in use: everything a token touches;
 * without the input embedding; without embedding and head. MTP layers are counted apart. */
struct moe_account {
	int64_t total;              /* main model */
	int64_t mtp_unique;         /* MTP layers without their copies of embedding and head */
	int64_t mtp_stored;         /* with them */
	int64_t activated, activated_no_embed, activated_no_both;
	int64_t by_role[MOE_N_ROLES];
	int64_t n_tensors;          /* in the Hugging Face layout, one tensor per expert; block scales included */
	int64_t n_bytes;            /* of all of them as the config says they are stored; 0: it does not say, or 2^63 */
	double flops_token;         /* forward, matrices only: 2 N_mm (head included, input embedding and router not) */
	/* the papers' training figure: s (6 N_mm + 6 A), s = 4096, A the sum over layers of H (key + value width) times
	 * the positions a token reads (s, or what window, chunk or indexer leave), and n_heads (width + 1) s for each
	 * indexer that has to choose */
	double flops_4k;
	int64_t cache_elems_token;  /* numbers cached per token, all layers */
	char combinations[48];      /* C(E, k), exact where it fits 128 bits, else in scientific form */
};
/* n over k, 0 <= k <= n: exact below 2^127, else mantissa and exponent. */
void moe_combinations_text(int32_t n, int32_t k, char text[48]);
MOE_MUST_USE enum moe_status moe_account_of(const struct moe_config *config, struct moe_account *out,
                                            struct moe_err *err);

#endif
