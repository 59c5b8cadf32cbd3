/* The configuration that the Qwen families have in common. */
#include "model/qwen_moe.h"

#include "base/json.h"

static const struct moe_number numbers[] = {
	MOE_NUMBER("moe_intermediate_size", moe_intermediate_size, 1, INT32_MAX),
	MOE_NUMBER("num_experts", n_experts, 0, INT32_MAX),
	MOE_NUMBER("shared_expert_intermediate_size", shared_intermediate_size, 1, INT32_MAX),
	{NULL, 0, 0, 0},
};

/* Windows, where a config turns them on, concern the layers from max_window_layers on: not run. */
static enum moe_status refuse_windows(const struct moe_config *c, const json_t *json, const char *where,
                                      struct moe_err *err)
{
	static const char *const words[] = {"sliding_attention", "full_attention"};
	bool windowed = false, full = true;
	enum moe_status st = moe_json_bool(json, "use_sliding_window", where, &windowed, err);

	if (!st && windowed)
		return moe_err_set(err, MOE_EFORMAT, "%s: use_sliding_window: expected false, found true", where);
	for (int32_t l = 0; l < c->n_layers && !st; l++) {
		st = moe_parse_layer_word(json, "layer_types", where, c->n_layers, l, words, &full, err);
		if (!st && !full)
			st = moe_err_set(err, MOE_EFORMAT, "%s: layer_types: layer %d: expected "
			                 "\"full_attention\", found \"sliding_attention\"", where, l);
	}
	return st;
}

enum moe_status moe_qwen_dense_parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	static const struct moe_number none[] = {{NULL, 0, 0, 0}};
	enum moe_status st;

	c->bos_id = -1;
	st = moe_gqa_parse(c, json, where, none, err);
	return st ? st : refuse_windows(c, json, where, err);
}

/* num_local_experts, as transformers 5 writes num_experts. */
static enum moe_status parse_experts(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	int32_t n = c->n_experts;
	enum moe_status st = moe_json_i32(json, "num_local_experts", where, 0, INT32_MAX, &n, err);

	if (!st && n != c->n_experts && moe_json_has(json, "num_experts"))
		st = moe_err_set(err, MOE_EFORMAT, "%s: num_local_experts: expected %d as num_experts says, found %d",
		                 where, c->n_experts, n);
	c->n_experts = n;
	return st;
}

enum moe_status moe_qwen_moe_parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	int32_t step = 1;
	enum moe_status st;

	c->bos_id = -1;
	st = moe_gqa_parse(c, json, where, numbers, err);
	if (!st)
		st = parse_experts(c, json, where, err);
	if (!st)
		st = moe_json_bool(json, "norm_topk_prob", where, &c->router.normalize, err);
	if (!st)
		st = refuse_windows(c, json, where, err);
	if (!st)
		st = moe_json_i32(json, "decoder_sparse_step", where, 1, INT32_MAX, &step, err);
	return st ? st : moe_gqa_place_experts(c, json, where, 0, step, 1, "mlp_only_layers", err);
}
