/* Block scales of a destination: which form they have, what the config says of them, and where they go. */
#include "convert/job.h"
#include "tensor/blocks.h"

#define KEY "quantization_config"

/* Are all scales the tensor has powers of two? */
static bool are_powers(const struct moe_view *view, const struct moe_seen *seen)
{
	for (int64_t i = 0; i < seen->n_segments; i++) {
		const struct moe_segment s = moe_seen_segment(view, seen, i);
		const struct moe_weight *w = &s.parts[0];
		const int64_t rows = w->scales || (w->parted && w->codec->scaled) ? w->rows : 0;

		for (int64_t r = 0; !w->e8m0 && r < rows; r += MOE_SCALE_BLOCK)
			for (int64_t c = 0; c < w->cols; c += MOE_SCALE_BLOCK)
				if (!moe_e8m0_holds(moe_weight_scale(w, (size_t)r, (size_t)c)))
					return false;
	}
	return true;
}

void moe_convert_choose_scales(struct moe_convert *conv, const struct moe_seen *seen, struct moe_choice *out)
{
	const enum moe_scales_form asked = conv->opts.scales;
	/* as stored, nothing is looked at: sources may be large */
	if (asked == MOE_SCALES_ANY) {
		const struct moe_segment s = moe_seen_segment(&conv->view, seen, 0);

		const struct moe_weight *w = s.parts[0].parted ? s.parts[0].parted->parts : &s.parts[0];

		out->e8m0 = w->scales && w->e8m0;
		out->powers = out->e8m0 || conv->config.fp8_powers;
		return;
	}
	out->e8m0 = asked == MOE_SCALES_E8M0;
	out->powers = asked != MOE_SCALES_F32;
	out->rescale = out->powers && !are_powers(&conv->view, seen);
	if (!out->rescale)
		return;
	conv->n_rescaled++;
	moe_buf_addf(&conv->details, "%s: rounded anew with powers of two as scales\n", seen->name);
}

enum moe_status moe_convert_ask_scales(struct moe_convert *conv, const char *where, struct moe_err *err)
{
	json_t *text = json_object_get(conv->json, "text_config");

	if (conv->opts.to->naming != MOE_NAMING_HF)
		return MOE_OK;
	if (json_is_object(json_object_get(conv->json, KEY)) ||
	    json_is_object(json_object_get(text, KEY)))
		return moe_err_set(err, MOE_EUSAGE, "--type: block scales do not go with the quantization_config of %s",
		                   where);
	return moe_convert_set(conv, KEY,
	                     json_pack("{s:s, s:s, s:s, s:[i,i]}", "activation_scheme", "dynamic", "fmt", "e4m3",
	                               "quant_method", "fp8", "weight_block_size", MOE_SCALE_BLOCK, MOE_SCALE_BLOCK),
	                     err);
}

/* quantization_config.scale_fmt, as DeepSeek-V3.1 has it. */
static enum moe_status add_format(struct moe_convert *conv, struct moe_err *err)
{
	json_t *text = json_object_get(conv->json, "text_config"), *q = json_object_get(conv->json, KEY);
	json_t *copy = json_deep_copy(q ? q : json_object_get(text, KEY));

	if (!copy || json_object_set_new(copy, "scale_fmt", json_string("ue8m0"))) {
		json_decref(copy);
		return moe_err_nomem(err, 64, "config");
	}
	if (q)
		return moe_convert_set(conv, KEY, copy, err);
	text = json_deep_copy(text);
	if (!text || json_object_set_new(text, KEY, copy)) {
		json_decref(text);
		return moe_err_nomem(err, 64, "config");
	}
	return moe_convert_set(conv, "text_config", text, err);
}

enum moe_status moe_convert_settle_scales(struct moe_convert *conv, struct moe_err *err)
{
	bool scaled = false, powers = false;

	for (size_t i = 0; i < conv->view.n; i++) {
		scaled |= conv->choices[i].scaled;
		powers |= conv->choices[i].scaled && conv->choices[i].powers;
	}
	if (!scaled && conv->opts.scales != MOE_SCALES_ANY)
		return moe_err_set(err, MOE_EUSAGE, "--fp8-scales: no tensor of %s would have block scales",
		                   conv->opts.dst);
	if (conv->n_rescaled)
		moe_buf_addf(&conv->notes, "%zu tensors had block scales that are no powers of two: their values are "
		             "rounded anew (-v names them)\n", conv->n_rescaled);
	if (scaled && powers && !conv->config.fp8_powers)
		return add_format(conv, err);
	if (scaled || !conv->config.fp8_blocks)
		return MOE_OK;
	conv->config.fp8_blocks = false;
	return moe_convert_set(conv, KEY, NULL, err);
}

enum moe_status moe_convert_declare_scales(struct moe_convert *conv, const struct moe_seen *seen,
                                            bool e8m0, struct moe_err *err)
{
	const int64_t dims[2] = {(int64_t)moe_blocks_of((size_t)seen->dims[0]),
	                         (int64_t)moe_blocks_of((size_t)seen->dims[1])};
	struct moe_buf published = {0}, name = {0};

	moe_buf_addf(&published, "%s" MOE_SCALES_SUFFIX, seen->name);
	enum moe_status st = moe_buf_check(&published, err);
	if (!st)
		st = moe_convert_name(conv, published.p, &name, err);
	if (!st)
		st = moe_ckpt_out_declare(conv->out, name.p, moe_codec_by_name(e8m0 ? "f8_e8m0" : "f32"), dims, 2, err);
	if (!st)
		moe_ckpt_out_tie(conv->out);
	moe_buf_free(&name);
	moe_buf_free(&published);
	return st;
}

