/* The configuration that the Qwen MoE families have in common. */
#include "model/qwen_moe.h"

#include "base/json.h"

static const struct moe_number numbers[] = {
	MOE_NUMBER("moe_intermediate_size", moe_intermediate_size, 1, INT32_MAX),
	MOE_NUMBER("num_experts", n_experts, 0, INT32_MAX),
	MOE_NUMBER("shared_expert_intermediate_size", shared_intermediate_size, 1, INT32_MAX),
	{NULL, 0, 0, 0},
};

enum moe_status moe_qwen_moe_parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	bool windowed = false;
	int32_t step = 1;
	enum moe_status st;

	c->bos_id = -1;
	st = moe_gqa_parse(c, json, where, numbers, err);
	if (!st)
		st = moe_json_bool(json, "norm_topk_prob", where, &c->router.normalize, err);
	if (!st)
		st = moe_json_bool(json, "use_sliding_window", where, &windowed, err);
	if (!st && windowed)
		st = moe_err_set(err, MOE_EFORMAT, "%s: use_sliding_window: expected false, found true", where);
	if (!st)
		st = moe_json_i32(json, "decoder_sparse_step", where, 1, INT32_MAX, &step, err);
	return st ? st : moe_gqa_place_experts(c, json, where, 0, step, 1, "mlp_only_layers", err);
}
