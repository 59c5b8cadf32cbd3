/* GLM-4.7-Flash: DeepSeek-V3's attention, router and MTP layer in other sizes. */
#include "base/json.h"
#include "model/mla.h"
#include "model/parse.h"

static const char *const architectures[] = {"Glm4MoeLiteForCausalLM", NULL};
static const char *const model_types[] = {"glm4_moe_lite", NULL};

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	c->vocab_size = 154880;
	c->hidden_size = 2048;
	c->n_layers = 47;
	c->n_heads = 20;
	c->q_lora_rank = 768;
	c->kv_lora_rank = 512;
	c->qk_nope_head_dim = 192;
	c->qk_rope_head_dim = 64;
	c->v_head_dim = 256;
	c->intermediate_size = 10240;
	c->moe_intermediate_size = 1536;
	c->n_experts = 64;
	c->n_shared_experts = 1;
	c->max_positions = 202752;
	c->rms_eps = 1e-5;
	c->rope.theta = 10000;
	c->bos_id = -1;
	c->router = (struct moe_router_spec){ .policy = "noaux_tc", .top_k = 4, .n_groups = 1, .top_groups = 1,
	                                      .scale = 1.8, .bias = true };
	return moe_mla_v3_parse(c, json, where, 1, err);
}

const struct moe_family moe_family_glm4_moe_lite = {
	.name = "glm4_moe_lite",
	.help = "GLM-4.7-Flash",
	.traits = "latent attention, multi-token-prediction layers",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "deepseek2",
	.gguf_is_ours = moe_mla_never,
	.gguf_obstacle = moe_mla_obstacle,
	.gguf_remark = moe_mla_remark,
	.gguf_limit = moe_mla_limit,
	.parse = parse,
	.tensors = moe_mla_tensors,
	.keys = moe_mla_keys,
	.gguf_extra = moe_mla_v3_gguf_extra,
	.hf_extra = moe_mla_v3_hf_extra,
};
