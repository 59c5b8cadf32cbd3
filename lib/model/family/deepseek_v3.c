/* DeepSeek V3, R1, V3.1, Moonlight, Kimi-K2: latent attention, sigmoid router with a correction bias, MTP.
 *
 * Router: s = sigmoid(logits); chosen by s + bias among the groups with the largest sums of two; weights are s, divided
 * by their sum where norm_topk_prob says so, and always times routed_scaling_factor. */
#include "model/gguf_keys.h"
#include "model/mla.h"

static const char *const architectures[] = {"DeepseekV3ForCausalLM", "KimiK2ForCausalLM", NULL};
static const char *const model_types[] = {"deepseek_v3", "kimi_k2", NULL};

static bool gguf_is_ours(const json_t *keys) { return moe_gguf_int(keys, "deepseek2", "expert_gating_func", 1) == 2; }

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	moe_mla_v3_defaults(c);
	return moe_mla_v3_parse(c, json, where, 3, err);
}

const struct moe_family moe_family_deepseek_v3 = {
	.name = "deepseek_v3",
	.help = "DeepSeek V3, V3.1, R1, Moonlight, Kimi K2",
	.traits = "latent attention, sigmoid router with a correction bias, multi-token-prediction layers, "
	          "FP8 weights with block scales",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "deepseek2",
	.gguf_is_ours = gguf_is_ours,
	.gguf_obstacle = moe_mla_obstacle,
	.gguf_remark = moe_mla_remark,
	.gguf_limit = moe_mla_limit,
	.parse = parse,
	.tensors = moe_mla_tensors,
	.keys = moe_mla_keys,
	.gguf_extra = moe_mla_v3_gguf_extra,
	.hf_extra = moe_mla_v3_hf_extra,
};
