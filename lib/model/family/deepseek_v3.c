/* DeepSeek V3, R1, V3.1, Moonlight, Kimi-K2: latent attention, sigmoid router with a correction bias, MTP.
 *
 * Router: s = sigmoid(logits); chosen by s + bias among the groups with the largest sums of two; weights are s, divided
 * by their sum where norm_topk_prob says so, and always times routed_scaling_factor. */
#include "base/json.h"
#include "model/gguf_keys.h"
#include "model/mla.h"
#include "model/parse.h"

static const char *const architectures[] = {"DeepseekV3ForCausalLM", "KimiK2ForCausalLM", NULL};
static const char *const model_types[] = {"deepseek_v3", "kimi_k2", NULL};

static bool gguf_is_ours(const json_t *keys) { return moe_gguf_int(keys, "deepseek2", "expert_gating_func", 1) == 2; }

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	static const char *const scorings[] = {"sigmoid", NULL};
	static const char *const methods[] = {"noaux_tc", NULL};
	const char *word;
	bool normalize = true;
	enum moe_status st;

	/* the defaults of the published configuration class */
	c->vocab_size = 129280;
	c->hidden_size = 7168;
	c->n_layers = 61;
	c->n_mtp_layers = 1;
	c->n_heads = 128;
	c->q_lora_rank = 1536;
	c->kv_lora_rank = 512;
	c->qk_nope_head_dim = 128;
	c->qk_rope_head_dim = 64;
	c->v_head_dim = 128;
	c->intermediate_size = 18432;
	c->moe_intermediate_size = 2048;
	c->n_experts = 256;
	c->n_shared_experts = 1;
	c->max_positions = 4096;
	c->rms_eps = 1e-6;
	c->rope.theta = 10000;
	c->bos_id = 0;
	c->n_eos = 1;
	c->eos_ids[0] = 1;
	c->router = (struct moe_router_spec){ .policy = "noaux_tc", .top_k = 8, .n_groups = 8, .top_groups = 4,
	                                      .scale = 2.5, .bias = true };
	st = moe_mla_parse(c, json, where, 3, err);
	if (!st)
		st = moe_parse_word(json, "scoring_func", where, scorings, "sigmoid", &word, err);
	if (!st)
		st = moe_parse_word(json, "topk_method", where, methods, "noaux_tc", &word, err);
	if (!st)
		st = moe_json_bool(json, "norm_topk_prob", where, &normalize, err);
	if (!st)
		st = moe_json_f64(json, "routed_scaling_factor", where, &c->router.scale, err);
	c->router.normalize = normalize && c->router.top_k > 1;
	return st ? st : moe_parse_groups(c, where, 2, err);
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
	.help = "DeepSeek V3, V3.1, R1, Moonlight, Kimi-K2",
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
