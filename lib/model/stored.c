/* From tensors to the matrices of parts. */
#include "model/stored.h"

struct moe_weight moe_stored_weight(const struct moe_config *c, const struct moe_ckpt *ckpt, enum moe_naming naming,
                                    const struct moe_tensor_spec *spec, const struct moe_tensor *t, int32_t e)
{
	const bool hf = naming == MOE_NAMING_HF, turned = hf && spec->input_major;
	const bool by_rows = hf && spec->stack == MOE_STACK_ROWS;
	const bool bias = spec->n_dims == 1 && moe_spec_is_expert(spec);
	const struct moe_codec *codec = spec->mx_blocks ? moe_codec_by_name("mxfp4_split") : t->codec;
	const int32_t last = t->n_dims - (spec->mx_blocks ? 2 : 1);
	const int64_t stored = bias ? t->dims[last] :
	                       spec->n_dims > 1 ? t->dims[last - 1] / (by_rows ? c->n_experts : 1) : 1;
	const int64_t cols = bias ? 1 : t->dims[last] * (spec->mx_blocks ? MOE_MX_BLOCK : 1);
	const struct moe_tensor *scales = t->codec->scaled ? moe_names_scales(ckpt, t) : NULL;
	const size_t n_bytes = (size_t)stored * ((size_t)cols / codec->block_elems) * codec->block_bytes;

	if (t->parted && moe_spec_is_stack(spec, naming))
		return t->parted->parts[e];
	if (t->parted)
		return (struct moe_weight){ .codec = codec, .rows = stored, .cols = cols, .parted = t->parted };
	return (struct moe_weight){ .codec = codec, .data = t->data + (size_t)e * n_bytes,
	                            .rows = turned ? cols : stored, .cols = turned ? stored : cols,
	                            .in_stride = turned ? cols : 0, .scales = scales ? scales->data : NULL,
	                            .e8m0 = scales && !scales->codec->is_float };
}

struct moe_weight moe_stored_piece(const struct moe_config *c, const struct moe_tensor_spec *spec,
                                   const struct moe_weight *w, int32_t piece)
{
	struct moe_weight rows = *w;
	const size_t between = w->in_stride ? 1 : (size_t)w->cols / w->codec->block_elems;
	int64_t first = 0;

	if (spec->n_pieces == 0)
		return rows;
	for (int32_t i = 0; i < piece; i++)
		first += spec->pieces_alternate ? 1 : moe_dim_of(c, spec->pieces[i].rows);
	rows.rows = moe_dim_of(c, spec->pieces[piece].rows);
	rows.row_step = spec->pieces_alternate ? spec->n_pieces : 0;
	rows.data += (size_t)first * between * w->codec->block_bytes;
	return rows;
}

/* Which piece of the spec plays the part: 0 where it is all there is, -1 where none does. */
static int32_t piece_of(const struct moe_tensor_spec *spec, enum moe_part part)
{
	if (spec->n_pieces == 0)
		return spec->part == part ? 0 : -1;
	for (int32_t i = 0; i < spec->n_pieces; i++)
		if (spec->pieces[i].part == part)
			return i;
	return -1;
}

/* The part that holds the exponents of an expert's codes. */
static enum moe_part exponents_of(enum moe_part part)
{
	return part == MOE_PART_EXPERT_GATE ? MOE_PART_EXPERT_GATE_SCALES
	       : part == MOE_PART_EXPERT_UP ? MOE_PART_EXPERT_UP_SCALES : MOE_PART_EXPERT_DOWN_SCALES;
}

bool moe_stored_find(const struct moe_config *c, const struct moe_ckpt *ckpt, enum moe_naming naming,
                     enum moe_part part, int32_t layer, int32_t expert, struct moe_weight *weight,
                     struct moe_buf *name)
{
	for (const struct moe_tensor_spec *spec = c->family->tensors; spec->hf || spec->gguf; spec++) {
		const int32_t piece = piece_of(spec, part);
		const bool stack = moe_spec_is_stack(spec, naming);
		const struct moe_tensor_id id = { .spec = spec, .layer = layer, .expert = stack ? -1 : expert };

		if (piece < 0 || !moe_spec_in(spec, naming) || !moe_spec_applies(c, spec, layer))
			continue;
		name->n = 0;
		moe_names_format(c, &id, naming, name);
		const struct moe_tensor *t = name->failed ? NULL : moe_ckpt_find(ckpt, name->p);
		if (!t)
			return false;
		const struct moe_weight whole = moe_stored_weight(c, ckpt, naming, spec, t, stack ? expert : 0);
		struct moe_weight exponents;

		*weight = moe_stored_piece(c, spec, &whole, piece);
		if (!spec->mx_blocks)
			return true;
		if (!moe_stored_find(c, ckpt, naming, exponents_of(part), layer, expert, &exponents, name))
			return false;
		weight->scales = exponents.data;
		return true;
	}
	return false;
}

bool moe_stored_paired(const struct moe_config *c, enum moe_naming naming, enum moe_part part)
{
	return naming != MOE_NAMING_HF && c->family->gguf_paired &&
	       (part == MOE_PART_Q || part == MOE_PART_K || part == MOE_PART_Q_BIAS || part == MOE_PART_K_BIAS);
}
