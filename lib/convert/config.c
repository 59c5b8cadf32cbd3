/* The config of a destination: the source's, and what the conversion changes of it. */
#include "convert/job.h"

enum moe_status moe_convert_set(struct moe_convert *conv, const char *key, json_t *value, struct moe_err *err)
{
	json_t *copy = conv->json_changed ? conv->json : json_deep_copy(conv->json);

	if (!conv->json_changed)
		json_decref(conv->json);
	conv->json = copy;
	conv->json_changed = true;
	if (value && (!copy || json_object_set(copy, key, value))) {
		json_decref(value);
		return moe_err_nomem(err, 64, "config");
	}
	json_decref(value);
	if (!value && copy) {
		/* absent keys are no failure */
		json_object_del(copy, key);
		json_object_del(json_object_get(copy, "text_config"), key);
	}
	return copy ? MOE_OK : moe_err_nomem(err, 64, "config");
}

/* --dequantize: nothing is left that a config should speak of. MXFP4 is said by the config alone; block scales go where
 * no tensor has them any more. */
static enum moe_status drop_blocks(struct moe_convert *conv, struct moe_err *err)
{
	const struct moe_codec *codec = conv->opts.types ? moe_type_rules_quantised(conv->opts.types) : NULL;

	if (codec)
		return moe_err_set(err, MOE_EUSAGE, "--dequantize and --type %s: one or the other", codec->name);
	return conv->own.mxfp4_experts ? moe_convert_set(conv, "quantization_config", NULL, err) : MOE_OK;
}

/* Decides what the experts become, and what the config says then. */
static enum moe_status operate(struct moe_convert *conv, const char *where, struct moe_err *err)
{
	struct moe_config before = {0}, after = {0};
	enum moe_status st = moe_config_parse(&before, conv->json, where, err);
	json_t *model_type = json_object_get(conv->json, "model_type");

	if (!st)   /* the same again, in a copy of its own */
		st = moe_convert_set(conv, "model_type", model_type ? json_incref(model_type) : NULL, err);
	if (!st)
		st = moe_surgery_plan(&conv->surgery, &conv->opts.surgery, conv->src, &conv->own, &before, conv->json,
		                      &conv->notes, err);
	if (!st)
		st = moe_config_parse(&after, conv->json, "with these experts", err);
	if (st && conv->surgery.first && err)
		err->status = st = MOE_EUSAGE;
	if (!st)
		st = moe_surgery_check(&conv->surgery, &before, &after, err);
	moe_config_free(&before);
	moe_config_free(&after);
	return st;
}

enum moe_status moe_convert_take_config(struct moe_convert *conv, struct moe_err *err)
{
	struct moe_config *own = &conv->own;
	char where[1024];
	enum moe_status st = moe_config_json_of(&conv->json, conv->src, &conv->json_made, where, err);

	/* a GGUF file may not hold what its config.json says of types */
	conv->json_changed = !st && !conv->json_made && conv->src->config && conv->json != conv->src->config;
	if (!st)
		st = moe_config_parse(own, conv->json, where, err);
	if (!st)
		st = moe_model_check(own, conv->src, where, err);
	if (!st && conv->opts.drop_mtp && own->n_mtp_layers)
		st = moe_convert_set(conv, "num_nextn_predict_layers", json_integer(0), err);
	if (!st && conv->opts.dequantize)
		st = drop_blocks(conv, err);
	if (!st && !own->fp8_blocks && conv->opts.types && moe_type_rules_scaled(conv->opts.types))
		st = moe_convert_ask_scales(conv, where, err);
	if (!st && moe_surgery_asked(&conv->opts.surgery))
		st = operate(conv, where, err);
	return st ? st : moe_config_parse(&conv->config, conv->json, where, err);
}
