/* Qwen2, Qwen2.5 without experts: biased q, k, v. */
#include "model/gguf_form.h"
#include "model/qwen_moe.h"

static const char *const architectures[] = {"Qwen2ForCausalLM", NULL};
static const char *const model_types[] = {"qwen2", NULL};

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	c->vocab_size = 151936;
	c->hidden_size = 4096;
	c->n_layers = 32;
	c->n_heads = c->n_kv_heads = 32;
	c->qkv_bias = true;
	c->intermediate_size = 22016;
	c->max_positions = 32768;
	c->rms_eps = 1e-6;
	c->rope.theta = 10000;
	c->router = MOE_GQA_NO_ROUTER;
	return moe_qwen_dense_parse(c, json, where, err);
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

static const char *obstacle(const struct moe_config *c)
{
	static const struct moe_gguf_form form = { .square = true };

	return moe_gguf_misfit(c, &form);
}

const struct moe_family moe_family_qwen2 = {
	.name = "qwen2",
	.help = "Qwen2, Qwen2.5",
	.traits = "dense baseline, without experts",
	.architectures = architectures,
	.model_types = model_types,
	.gguf_arch = "qwen2",
	.gguf_obstacle = obstacle,
	.parse = parse,
	.tensors = tensors,
	.keys = keys,
	.gguf_extra = moe_gqa_gguf_extra,
	.hf_extra = moe_gqa_hf_extra,
};
