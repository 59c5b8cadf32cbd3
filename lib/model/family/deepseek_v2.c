/* DeepSeek V2, V2.5, V2-Lite, Coder-V2: latent attention, softmax router, optionally limited to groups.
 *
 * Router: s = softmax(logits); chosen among the groups with the largest maxima; weights are s, divided by their sum
 * where norm_topk_prob says so and more than one is chosen, else times routed_scaling_factor: one or the other, never
 * both. */
#include <string.h>

#include "base/json.h"
#include "model/gguf_keys.h"
#include "model/mla.h"
#include "model/parse.h"

static const char *const architectures[] = {"DeepseekV2ForCausalLM", NULL};
static const char *const model_types[] = {"deepseek_v2", NULL};

static bool gguf_is_ours(const json_t *keys) { return moe_gguf_int(keys, "deepseek2", "expert_gating_func", 1) == 1; }

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	static const char *const scorings[] = {"softmax", NULL};
	/* "gready" is how the published configuration class spells its default */
	static const char *const methods[] = {"greedy", "group_limited_greedy", "gready", NULL};
	const char *word, *method = NULL;
	bool normalize = false;
	enum moe_status st;

	/* the defaults of the published configuration class */
	c->vocab_size = 102400;
	c->hidden_size = 4096;
	c->n_layers = 30;
	c->n_heads = 32;
	c->q_lora_rank = 1536;
	c->kv_lora_rank = 512;
	c->qk_nope_head_dim = 128;
	c->qk_rope_head_dim = 64;
	c->v_head_dim = 128;
	c->intermediate_size = 11008;
	c->moe_intermediate_size = 1407;
	c->max_positions = 2048;
	c->rms_eps = 1e-6;
	c->rope.theta = 10000;
	c->bos_id = 100000;
	c->n_eos = 1;
	c->eos_ids[0] = 100001;
	c->router = (struct moe_router_spec){ .policy = "group_limited", .n_groups = 1, .top_groups = 1, .scale = 1 };
	st = moe_mla_parse(c, json, where, 0, err);
	if (!st)
		st = moe_parse_word(json, "scoring_func", where, scorings, "softmax", &word, err);
	if (!st)
		st = moe_parse_word(json, "topk_method", where, methods, "greedy", &method, err);
	if (!st)
		st = moe_json_bool(json, "norm_topk_prob", where, &normalize, err);
	if (!st)
		st = moe_json_f64(json, "routed_scaling_factor", where, &c->router.scale, err);
	if (st)
		return st;
	if (strcmp(method, "group_limited_greedy"))
		c->router.n_groups = c->router.top_groups = 1;
	st = moe_parse_groups(c, where, 1, err);
	c->router.normalize = normalize && c->router.top_k > 1;
	if (c->router.normalize)
		c->router.scale = 1;
	return st;
}

static enum moe_status gguf_extra(const struct moe_config *c, json_t *keys, struct moe_err *err)
{
	return moe_mla_gguf_extra(c, keys, 1, err);
}

static enum moe_status hf_extra(json_t *config, const json_t *keys, struct moe_err *err)
{
	enum moe_status st = moe_mla_hf_extra(config, keys, 160, 8, 3, err);

	if (st)
		return st;
	const bool grouped = json_integer_value(json_object_get(config, "n_group")) > 1;
	if (json_object_set_new(config, "scoring_func", json_string("softmax")) ||
	    json_object_set_new(config, "topk_method", json_string(grouped ? "group_limited_greedy" : "greedy")))
		return moe_err_nomem(err, 64, "config");
	return MOE_OK;
}

const struct moe_family moe_family_deepseek_v2 = {
	.name = "deepseek_v2",
	.help = "DeepSeek V2, V2.5, V2-Lite, Coder-V2",
	.traits = "latent attention, softmax router with or without groups",
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
	.gguf_extra = gguf_extra,
	.hf_extra = hf_extra,
};
