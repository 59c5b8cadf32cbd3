/* Kimi K2.5: the text model is Kimi K2, under language_model. and text_config; what sees pictures is left alone. */
#include <stdio.h>

#include "base/json.h"
#include "model/mla.h"
#include "model/parse.h"

static const char *const architectures[] = {"Kimi_K25ForConditionalGeneration", "KimiK25ForConditionalGeneration",
                                            NULL};
static const char *const model_types[] = {"kimi_k25", NULL};
static const char *const skipped[] = {"vision_tower.", "mm_projector.", NULL};

static enum moe_status parse(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	static const char *const types[] = {"kimi_k2", "deepseek_v3", NULL};
	const json_t *text = json_object_get(json, "text_config");
	const char *type;
	char inner[1100];
	enum moe_status st;

	if (!json_is_object(text))
		return moe_json_refuse(err, text, where, "text_config: expected an object");
	snprintf(inner, sizeof inner, "%.1000s: text_config", where);
	st = moe_parse_word(text, "model_type", inner, types, "kimi_k2", &type, err);
	if (st)
		return st;
	c->hf_prefix = "language_model.";
	moe_mla_v3_defaults(c);
	return moe_mla_v3_parse(c, text, inner, 3, err);
}

const struct moe_family moe_family_kimi_k25 = {
	.name = "kimi_k25",
	.help = "Kimi K2.5, K2.6",
	.traits = "deepseek_v3 inside a model that sees: the text model, where its experts are not packed integers",
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
	.skipped = skipped,
};
