/* --upcycle E: experts from a dense network (Komatsuzaki et al. 2022, sparse upcycling).
 *
 * Every expert is a copy of the layer's network, so that weights that add up to 1 leave its output. Routers are drawn
 * from a normal distribution of the config's initializer_range. A family with a shared expert behind a sigmoid gate
 * gets a gate of zeros, which is 1/2 whatever the input: the shared expert is the network with its down matrix times 2,
 * and the experts' down matrices begin as zeros (--upcycle-shared), or both are the network and add up to it, each
 * giving a half. Noise is added to the experts, never to the shared one. */
#include <math.h>
#include <string.h>

#include "convert/surgery/kinds.h"

/* What a dense family becomes. */
struct target {
	const char *from, *to, *architecture, *n_experts;
	bool shared;               /* it has a shared expert */
	bool asks_shared;          /* it is the choice where --upcycle-shared asks for one */
	bool normalizes;           /* norm_topk_prob says that weights add up to 1; elsewhere they always do */
	bool qkv_bias;             /* the key of this name says whether there are biases */
};

static const struct target targets[] = {
	{"llama", "mixtral", "MixtralForCausalLM", "num_local_experts", false, false, false, false},
	{"llama", "qwen2_moe", "Qwen2MoeForCausalLM", "num_experts", true, true, true, true},
	{"qwen2", "qwen2_moe", "Qwen2MoeForCausalLM", "num_experts", true, false, true, false},
	{"qwen2", "qwen2_moe", "Qwen2MoeForCausalLM", "num_experts", true, true, true, false},
	{"qwen3", "qwen3_moe", "Qwen3MoeForCausalLM", "num_experts", false, false, true, false},
};

static const struct target *find_target(const char *family, bool shared)
{
	for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++)
		if (!strcmp(targets[i].from, family) && targets[i].asks_shared == shared)
			return &targets[i];
	return NULL;
}

/* Sets a key, and does not touch one that is there where `absent` only those that are not are meant. */
static bool put(json_t *json, const char *key, json_t *value, bool absent)
{
	if (absent && json_object_get(json, key)) {
		json_decref(value);
		return true;
	}
	return !json_object_set_new(json, key, value);
}

/* What both families may leave to their defaults, which differ, is said. */
static bool write_common(json_t *json, const struct moe_config *c)
{
	bool ok = put(json, "vocab_size", json_integer(c->vocab_size), false) &&
	          put(json, "hidden_size", json_integer(c->hidden_size), false) &&
	          put(json, "num_hidden_layers", json_integer(c->n_layers), false) &&
	          put(json, "num_attention_heads", json_integer(c->n_heads), false) &&
	          put(json, "num_key_value_heads", json_integer(c->n_kv_heads), false) &&
	          put(json, "head_dim", json_integer(c->head_dim), false) &&
	          put(json, "intermediate_size", json_integer(c->intermediate_size), false) &&
	          put(json, "max_position_embeddings", json_integer(c->max_positions), false) &&
	          put(json, "rms_norm_eps", json_real(c->rms_eps), true) &&
	          put(json, "tie_word_embeddings", json_boolean(c->tie_embeddings), false) &&
	          put(json, "bos_token_id", c->bos_id < 0 ? json_null() : json_integer(c->bos_id), true) &&
	          put(json, "initializer_range", json_real(0.02), true);

	if (!json_is_object(json_object_get(json, "rope_parameters")))
		ok = ok && put(json, "rope_theta", json_real(c->rope.theta), true);
	if (c->n_eos > 0)
		ok = ok && put(json, "eos_token_id", json_integer(c->eos_ids[0]), true);
	return ok;
}

static enum moe_status write_config(const struct moe_operation *op, const struct target *t, int32_t top_k,
                                    struct moe_err *err)
{
	json_t *json = op->json;
	const struct moe_config *c = op->config;
	bool ok = write_common(json, c) &&
	          put(json, "architectures", json_pack("[s]", t->architecture), false) &&
	          put(json, "model_type", json_string(t->to), false) &&
	          put(json, t->n_experts, json_integer(op->s->n_experts), false) &&
	          put(json, "num_experts_per_tok", json_integer(top_k), false) &&
	          put(json, "output_router_logits", json_false(), true);

	if (!strcmp(t->to, "mixtral")) {   /* whose windows are for all layers; a dense llama has none */
		ok = ok && put(json, "sliding_window", json_null(), false);
		return ok ? MOE_OK : moe_err_nomem(err, 64, "config");
	}
	ok = ok && put(json, "moe_intermediate_size", json_integer(c->intermediate_size), false) &&
	     put(json, "decoder_sparse_step", json_integer(1), false) &&
	     put(json, "mlp_only_layers", json_array(), false);
	if (t->normalizes)
		ok = ok && put(json, "norm_topk_prob", json_true(), false);
	if (t->shared)
		ok = ok && put(json, "shared_expert_intermediate_size", json_integer(c->intermediate_size), false);
	if (t->qkv_bias)
		ok = ok && put(json, "qkv_bias", json_boolean(c->qkv_bias), false);
	return ok ? MOE_OK : moe_err_nomem(err, 64, "config");
}

static enum moe_status check_source(const struct moe_operation *op, const struct target *t, struct moe_err *err)
{
	const struct moe_config *c = op->config;
	const char *family = c->family->name;

	if (c->n_experts > 0)
		return moe_err_set(err, MOE_EUSAGE, "--upcycle: %s has experts already", op->src->path);
	if (!t && find_target(family, false))
		return moe_err_set(err, MOE_EUSAGE, "--upcycle-shared: what %s becomes, %s, has no shared expert",
		                   family, find_target(family, false)->to);
	if (!t)
		return moe_err_set(err, MOE_EUSAGE, "--upcycle: no family with experts is known that is otherwise "
		                   "as %s", family);
	if (op->opts->upcycle_top_k > op->opts->upcycle)
		return moe_err_set(err, MOE_EUSAGE, "--upcycle-top-k: expected at most the %d experts, found %d",
		                   op->opts->upcycle, op->opts->upcycle_top_k);
	return MOE_OK;
}

enum moe_status moe_surgery_upcycle(const struct moe_operation *op, struct moe_err *err)
{
	struct moe_surgery *s = op->s;
	const bool shared = op->opts->upcycle_shared;
	const struct target *t = find_target(op->config->family->name, shared);
	const int32_t n = op->opts->upcycle, top_k = op->opts->upcycle_top_k ? op->opts->upcycle_top_k : n < 2 ? n : 2;
	enum moe_status st = check_source(op, t, err);

	if (!st)
		st = moe_surgery_alloc(op, n, err);
	if (!st)
		st = write_config(op, t, top_k, err);
	if (st)
		return st;
	s->upcycled = true;
	s->noise = op->opts->upcycle_noise;
	s->seed = (uint64_t)op->opts->seed;
	const json_t *range = json_object_get(op->json, "initializer_range");
	s->router_noise = json_number_value(range);
	if (!json_is_number(range) || !(s->router_noise > 0) || !isfinite(s->router_noise))
		return moe_err_set(err, MOE_EUSAGE, "--upcycle: initializer_range of %s: expected a number above 0, of "
		                   "which the routers are made", op->src->path);
	if (t->shared) {
		s->down_factor = shared ? 0 : 0.5f;
		s->shared_factor = shared ? 2 : 1;
	}
	moe_buf_addf(op->notes, "family %s: %d experts in each of %d layers, %d chosen; routers drawn with deviation "
	             "%g from seed %lld\n", t->to, n, s->n_layers, top_k, s->router_noise, (long long)op->opts->seed);
	if (t->shared)
		moe_buf_addf(op->notes, "a shared expert behind a gate of zeros, which is 1/2: %s\n", shared
		             ? "the network with its down matrix doubled; the experts' down matrices are zeros"
		             : "the network, of which it gives a half and the experts the other");
	return MOE_OK;
}
