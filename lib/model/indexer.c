/* The lightning indexer's part of a config (DeepSeek-V3.2): beside its latents, a layer caches a key per token. */
#include "base/json.h"
#include "model/mla.h"
#include "model/parse.h"

static const struct moe_number numbers[] = {
	MOE_NUMBER("index_n_heads", index_n_heads, 1, 1 << 20),
	MOE_NUMBER("index_head_dim", index_head_dim, 1, 1 << 20),
	MOE_NUMBER("index_topk", index_top_k, 1, INT32_MAX),
	{NULL, 0, 0, 0},
};

enum moe_status moe_mla_indexer_parse(struct moe_config *c, const json_t *json, const char *where, const bool *owns,
                                      struct moe_err *err)
{
	enum moe_status st = moe_parse_numbers(c, json, where, numbers, err);

	if (!st)
		st = moe_json_bool(json, "indexer_rope_interleave", where, &c->index_interleaved, err);
	if (st)
		return st;
	if (c->q_lora_rank == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: q_lora_rank: expected a number, as the indexer reads the "
		                   "queries' latent, found null", where);
	if (c->index_head_dim < c->rope.n_dims)
		return moe_err_set(err, MOE_EFORMAT, "%s: index_head_dim: expected at least qk_rope_head_dim %d, "
		                   "found %d", where, c->rope.n_dims, c->index_head_dim);
	for (int32_t l = 0; l < c->n_layers + c->n_mtp_layers; l++) {
		const bool own = l >= c->n_layers || !owns || owns[l];

		if (l == 0 && !own)
			return moe_err_set(err, MOE_EFORMAT, "%s: layer 0 shares an indexer's choice, but there is "
			                   "none below it", where);
		c->layers[l].indexer = own ? MOE_INDEXER_OWN : MOE_INDEXER_SHARED;
		if (own)
			c->layers[l].cache_elems += c->index_head_dim;
	}
	return MOE_OK;
}
