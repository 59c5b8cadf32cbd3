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

static enum moe_status gguf_extra(const struct moe_config *c, json_t *keys, struct moe_err *err)
{
	return moe_mla_gguf_extra(c, keys, 2, err);
}

static enum moe_status hf_extra(json_t *config, const json_t *keys, struct moe_err *err)
{
	if (json_object_set_new(config, "scoring_func", json_string("sigmoid")) ||
	    json_object_set_new(config, "topk_method", json_string("noaux_tc")))
		return moe_err_nomem(err, 64, "config");
	return moe_mla_hf_extra(config, keys, 256, 8, 4, err);
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
	.parse = parse,
	.tensors = moe_mla_tensors,
	.keys = moe_mla_keys,
	.gguf_extra = gguf_extra,
	.hf_extra = hf_extra,
};
