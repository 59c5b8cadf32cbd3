/* DeepSeek V3.2: DeepSeek-V3 whose attention reads the positions that a lightning indexer in every layer chose.
 *
 * The indexer rotates in halves, the attention itself in neighbouring pairs. */
#include "model/mla.h"

static const char *const architectures[] = {"DeepseekV32ForCausalLM", NULL};
static const char *const model_types[] = {"deepseek_v32", NULL};

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	enum moe_status st;

	moe_mla_v3_defaults(c);
	c->max_positions = 163840;
	c->index_n_heads = 64;
	c->index_head_dim = 128;
	c->index_top_k = 2048;
	st = moe_mla_v3_parse(c, json, where, 3, err);
	return st ? st : moe_mla_indexer_parse(c, json, where, NULL, err);
}

const struct moe_family moe_family_deepseek_v32 = {
	.name = "deepseek_v32",
	.help = "DeepSeek V3.2",
	.traits = "deepseek_v3 with an indexer that picks the positions seen",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "deepseek32",
	.gguf_obstacle = moe_mla_obstacle,
	.gguf_remark = moe_mla_remark,
	.parse = parse,
	.tensors = moe_mla_tensors,
	.keys = moe_mla_keys,
	.gguf_extra = moe_mla_v3_gguf_extra,
	.hf_extra = moe_mla_v3_hf_extra,
};
