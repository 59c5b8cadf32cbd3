/* Llama 2 and 3, and DeepSeek LLM, whose files call themselves so: a dense model to measure others against. */
#include "base/json.h"
#include "model/gguf_form.h"
#include "model/gqa.h"

static const char *const architectures[] = {"LlamaForCausalLM", NULL};
static const char *const model_types[] = {"llama", NULL};
static const struct moe_number numbers[] = {{NULL, 0, 0, 0}};

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	bool biased = false;
	enum moe_status st;

	c->vocab_size = 32000;
	c->hidden_size = 4096;
	c->n_layers = 32;
	c->n_heads = 32;
	c->intermediate_size = 11008;
	c->max_positions = 2048;
	c->rms_eps = 1e-6;
	c->rope.theta = 10000;
	c->bos_id = 1;
	c->n_eos = 1;
	c->eos_ids[0] = 2;
	c->router = MOE_GQA_NO_ROUTER;
	st = moe_json_bool(json, "attention_bias", where, &c->qkv_bias, err);
	c->o_bias = c->qkv_bias;
	if (!st)
		st = moe_json_bool(json, "mlp_bias", where, &biased, err);
	if (!st && biased)
		st = moe_err_set(err, MOE_EFORMAT, "%s: mlp_bias: expected false, found true", where);
	return st ? st : moe_gqa_parse(c, json, where, numbers, err);
}

static const struct moe_tensor_spec tensors[] = {
	MOE_ROWS_TOP,
	MOE_ROWS_ATTENTION,
	MOE_ROWS_DENSE,
	MOE_ROWS_END,
};

static const struct moe_key keys[] = {
	MOE_GQA_KEYS,
	{"intermediate_size", "feed_forward_length", "u32"},
	MOE_GQA_KEYS_END,
};

/* Mixtral has the same architecture there */
static bool is_ours(const json_t *keys) { return moe_gguf_int(keys, "llama", "expert_count", 0) == 0; }

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .freqs = true };

	return moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_llama = {
	.name = "llama",
	.help = "Llama 2, 3, DeepSeek LLM",
	.traits = "dense baseline, without experts",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "llama",
	.gguf_is_ours = is_ours,
	.gguf_obstacle = obstacle,
	.gguf_paired = true,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = moe_gqa_hf_extra,
};
