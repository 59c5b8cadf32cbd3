/* Surgery on experts: which is asked for, and what a view gets to see of the source then. */
#include "convert/surgery.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "convert/surgery/kinds.h"
#include "model/stored.h"

/* ---- planning ---- */

enum { N_KINDS = 6 };

/* One of the surgeries that exclude each other. */
struct kind {
	const char *option;
	bool asked;
	enum moe_status (*plan)(const struct moe_operation *op, struct moe_err *err);
	bool makes_experts;      /* of a model that has none */
};

static void list_kinds(const struct moe_surgery_opts *o, struct kind kinds[N_KINDS])
{
	const struct kind all[N_KINDS] = {
		{"--segment", o->segment, moe_surgery_segment, false},
		{"--keep-experts", o->keep, moe_surgery_keep, false},
		{"--drop-experts", o->drop, moe_surgery_drop, false},
		{"--order", o->order, moe_surgery_order, false},
		{"--merge-experts", o->merge, moe_surgery_merge, false},
		{"--upcycle", o->upcycle, moe_surgery_upcycle, true},
	};

	memcpy(kinds, all, sizeof all);
}

bool moe_surgery_asked(const struct moe_surgery_opts *opts)
{
	struct kind kinds[N_KINDS];
	bool asked = false;

	list_kinds(opts, kinds);
	for (int i = 0; i < N_KINDS; i++)
		asked |= kinds[i].asked;
	return asked || opts->upcycle_top_k || opts->upcycle_shared || opts->upcycle_noise > 0;
}

enum moe_status moe_surgery_plan(struct moe_surgery *s, const struct moe_surgery_opts *opts, const struct moe_ckpt *src,
                                 const struct moe_config *own, const struct moe_config *before, json_t *json,
                                 struct moe_buf *notes, struct moe_err *err)
{
	const struct moe_operation op = { .s = s, .opts = opts, .src = src, .config = before, .json = json,
	                                  .notes = notes };
	const struct kind *kind = NULL;
	struct kind kinds[N_KINDS];

	list_kinds(opts, kinds);
	for (int i = 0; i < N_KINDS; i++) {
		if (kinds[i].asked && kind)
			return moe_err_set(err, MOE_EUSAGE, "%s and %s: one of them at a time", kind->option,
			                   kinds[i].option);
		if (kinds[i].asked)
			kind = &kinds[i];
	}
	if (!opts->upcycle && (opts->upcycle_top_k || opts->upcycle_shared || opts->upcycle_noise > 0))
		return moe_err_set(err, MOE_EUSAGE, "%s goes with --upcycle", opts->upcycle_top_k ? "--upcycle-top-k"
		                   : opts->upcycle_shared ? "--upcycle-shared" : "--upcycle-noise");
	*s = (struct moe_surgery){ .own = own, .n_parts = 1, .down_factor = 1, .down_bias_factor = 1, .bias_factor = 1,
	                           .shared_factor = 1 };
	if (before->n_experts == 0 && !kind->makes_experts)
		return moe_err_set(err, MOE_EUSAGE, "%s has no experts", src->path);
	return kind->plan(&op, err);
}

static bool same_rope(const struct moe_rope *a, const struct moe_rope *b)
{
	return a->n_dims == b->n_dims && a->interleaved == b->interleaved && a->theta == b->theta &&
	       a->linear == b->linear && a->llama3 == b->llama3 && a->yarn == b->yarn && a->factor == b->factor &&
	       a->original_positions == b->original_positions && a->attention_factor == b->attention_factor &&
	       !a->factors == !b->factors;
}

/* Is what comes before and behind the networks of layers the same? */
static bool same_frame(const struct moe_config *a, const struct moe_config *b)
{
	bool same = a->vocab_size == b->vocab_size && a->hidden_size == b->hidden_size && a->n_layers == b->n_layers &&
	            a->n_heads == b->n_heads && a->n_kv_heads == b->n_kv_heads && a->head_dim == b->head_dim &&
	            a->qkv_bias == b->qkv_bias && a->o_bias == b->o_bias && a->head_bias == b->head_bias &&
	            a->qk_norm == b->qk_norm && a->qk_norm_late == b->qk_norm_late && a->rms_eps == b->rms_eps &&
	            a->tie_embeddings == b->tie_embeddings && a->attention_scale == b->attention_scale &&
	            a->clip_qkv == b->clip_qkv && same_rope(&a->rope, &b->rope);

	for (int32_t l = 0; same && l < a->n_layers; l++)
		same = a->layers[l].window == b->layers[l].window && a->layers[l].no_rope == b->layers[l].no_rope &&
		       a->layers[l].attention_chunk == b->layers[l].attention_chunk &&
		       !strcmp(a->layers[l].mixer, b->layers[l].mixer);
	return same;
}

static enum moe_status check_upcycled(const struct moe_surgery *s, const struct moe_config *before,
                                      const struct moe_config *after, struct moe_err *err)
{
	bool sparse = true;

	if (!same_frame(before, after))
		return moe_err_set(err, MOE_EUSAGE, "--upcycle: a config of family %s does not take the attention of "
		                   "this %s: its biases, widths or rotation", after->family->name,
		                   before->family->name);
	for (int32_t l = 0; l < after->n_layers; l++)
		sparse &= after->layers[l].ffn == MOE_FFN_MOE;
	if (sparse && after->n_experts == s->n_experts && after->moe_intermediate_size == before->intermediate_size)
		return MOE_OK;
	return moe_err_set(err, MOE_EUSAGE, "--upcycle: a config of family %s does not take %d experts of width %d in "
	                   "every layer", after->family->name, s->n_experts, before->intermediate_size);
}

enum moe_status moe_surgery_check(const struct moe_surgery *s, const struct moe_config *before,
                                  const struct moe_config *after, struct moe_err *err)
{
	const int32_t m = s->n_parts, groups = before->router.n_groups > 1 ? m : 1;
	bool dense = false;

	if (s->upcycled)
		return check_upcycled(s, before, after, err);
	for (int32_t l = 0; l < s->n_layers; l++)
		dense |= before->layers[l].ffn == MOE_FFN_DENSE;
	if (after->n_experts == s->n_experts && after->router.top_k == before->router.top_k * m &&
	    after->moe_intermediate_size == before->moe_intermediate_size / m &&
	    after->router.n_groups == before->router.n_groups * groups &&
	    after->router.top_groups == before->router.top_groups * groups &&
	    moe_dim_of(after, MOE_DIM_SHARED_FFN) == moe_dim_of(before, MOE_DIM_SHARED_FFN) &&
	    (!dense || after->intermediate_size == before->intermediate_size))
		return MOE_OK;
	return moe_err_set(err, MOE_EUSAGE,
	                   "a config of family %s does not take %d experts of width %d, %d of them chosen",
	                   before->family->name, s->n_experts, before->moe_intermediate_size / m,
	                   before->router.top_k * m);
}

void moe_surgery_free(struct moe_surgery *s)
{
	free(s->first);
	free(s->terms);
	s->first = NULL;
	s->terms = NULL;
}

/* ---- what a view sees ---- */

static const struct moe_term *terms_of(const struct moe_surgery *s, int32_t layer, int32_t expert, size_t *n)
{
	const size_t i = (size_t)layer * (size_t)s->n_experts + (size_t)expert;

	*n = s->first[i + 1] - s->first[i];
	return s->terms + s->first[i];
}

bool moe_surgery_by_rows(const struct moe_tensor_spec *spec)
{
	/* a row for each; or a number, all dimensions before it being 1 */
	return spec->where == MOE_AT_MOE &&
	       (spec->dims[0] == MOE_DIM_EXPERTS ||
	        (spec->n_dims == 2 && spec->dims[0] == MOE_DIM_1 && spec->dims[1] == MOE_DIM_EXPERTS));
}

bool moe_surgery_touches(const struct moe_surgery *s, const struct moe_tensor_spec *spec)
{
	return s->upcycled || moe_spec_is_expert(spec) || moe_surgery_by_rows(spec);
}

bool moe_surgery_is_new(const struct moe_surgery *s, const struct moe_tensor_spec *spec)
{
	return s->upcycled && (spec->part == MOE_PART_ROUTER || spec->part == MOE_PART_SHARED_MIX);
}

/* The stream of random numbers of a matrix. */
static uint64_t stream_of(enum moe_part part, int32_t layer, int32_t expert)
{
	return moe_rng_mix((uint64_t)part << 32 | (uint32_t)layer) + (uint32_t)expert;
}

void moe_edit_add_noise(const struct moe_edit *edit, size_t at, float *values, size_t n)
{
	/* Box and Muller's pair, of which one half is taken: a number needs nothing but its own place */
	for (size_t i = 0; i < n; i++) {
		const uint64_t place = 2 * (uint64_t)(at + i);
		const double u = 1 - moe_rng_f64(edit->seed, edit->stream, place);
		const double v = moe_rng_f64(edit->seed, edit->stream, place + 1);

		values[i] += (float)(edit->noise * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
	}
}

void moe_surgery_make(const struct moe_surgery *s, const struct moe_tensor_spec *spec, int32_t layer, float *values,
                      size_t n)
{
	const struct moe_edit edit = { .noise = s->router_noise, .seed = s->seed,
	                               .stream = stream_of(spec->part, layer, 0) };

	memset(values, 0, n * sizeof *values);
	if (spec->part == MOE_PART_ROUTER)
		moe_edit_add_noise(&edit, 0, values, n);
}

/* The part of a dense network that becomes this one. */
static enum moe_part dense_part(enum moe_part part)
{
	switch (part) {
	case MOE_PART_EXPERT_GATE:
	case MOE_PART_SHARED_GATE: return MOE_PART_GATE;
	case MOE_PART_EXPERT_UP:
	case MOE_PART_SHARED_UP: return MOE_PART_UP;
	case MOE_PART_EXPERT_DOWN:
	case MOE_PART_SHARED_DOWN: return MOE_PART_DOWN;
	default: return part;
	}
}

/* Rows [first, first + n) of w. */
static void take_rows(struct moe_weight *w, int64_t first, int64_t n)
{
	const size_t blocks = w->in_stride ? 1 : (size_t)w->cols / w->codec->block_elems;
	const size_t at = (size_t)first * (size_t)(w->row_step > 1 ? w->row_step : 1);

	w->data += at * blocks * w->codec->block_bytes;
	if (w->scales && w->codec->block_exponents)
		w->scales += at * blocks;
	else
		w->scale_row += first;
	w->rows = n;
}

/* Columns [first, first + n) of w, without blocks, n being a divisor of all: a row of so many then comes every so many
 * rows. */
static void take_columns(struct moe_weight *w, int64_t first, int64_t n)
{
	w->data += (size_t)first * (size_t)(w->in_stride ? w->in_stride : 1) * w->codec->block_bytes;
	if (!w->in_stride)
		w->row_step = (w->row_step > 1 ? w->row_step : 1) * (w->cols / n);
	w->cols = n;
}

static void cut(const struct moe_surgery *s, enum moe_part part, int32_t which, struct moe_weight *w)
{
	switch (part) {
	case MOE_PART_EXPERT_DOWN: take_columns(w, which * (w->cols / s->n_parts), w->cols / s->n_parts); break;
	case MOE_PART_EXPERT_DOWN_BIAS: break;
	default: take_rows(w, which * (w->rows / s->n_parts), w->rows / s->n_parts);
	}
}

bool moe_surgery_find(const struct moe_surgery *s, const struct moe_ckpt *src, enum moe_naming naming,
                      enum moe_part part, int32_t layer, int32_t expert, size_t k, struct moe_weight *w,
                      struct moe_buf *name)
{
	const bool of_expert = part >= MOE_PART_EXPERT_GATE && part <= MOE_PART_EXPERT_DOWN_SCALES;
	size_t n;

	if (s->upcycled)
		return moe_stored_find(s->own, src, naming, dense_part(part), layer, -1, w, name);
	if (!of_expert)
		return moe_stored_find(s->own, src, naming, part, layer, expert, w, name);
	const struct moe_term *terms = terms_of(s, layer, expert, &n);
	if (k >= n || !moe_stored_find(s->own, src, naming, part, layer, terms[k].expert, w, name))
		return false;
	if (s->n_parts > 1)
		cut(s, part, terms[k].part, w);
	return true;
}

bool moe_surgery_row(const struct moe_surgery *s, const struct moe_ckpt *src, enum moe_naming naming,
                     const struct moe_tensor_spec *spec, int32_t layer, int32_t expert, size_t k, struct moe_weight *w,
                     struct moe_buf *name)
{
	size_t n;
	const struct moe_term *terms = terms_of(s, layer, expert, &n);

	if (k >= n || !moe_stored_find(s->own, src, naming, spec->part, layer, -1, w, name))
		return false;
	if (spec->n_dims == 2 && spec->dims[0] == MOE_DIM_EXPERTS) {
		take_rows(w, terms[k].expert, 1);
	} else {
		w->data += (size_t)terms[k].expert * w->codec->block_bytes;
		w->cols = 1;
	}
	return true;
}

bool moe_surgery_edits(const struct moe_surgery *s, enum moe_part part, int32_t layer, int32_t expert,
                       struct moe_edit *edit)
{
	const bool of_expert = part >= MOE_PART_EXPERT_GATE && part <= MOE_PART_EXPERT_DOWN_SCALES;
	const bool by_rows = part >= MOE_PART_ROUTER && part <= MOE_PART_ROUTER_LOGIT_BIAS;

	*edit = (struct moe_edit){ .factor = 1, .seed = s->seed, .stream = stream_of(part, layer, expert) };
	if (part == MOE_PART_SHARED_DOWN)
		edit->factor = s->shared_factor;
	if (!of_expert && !by_rows)
		return edit->factor != 1;
	edit->terms = terms_of(s, layer, expert, &edit->n_terms);
	if (part == MOE_PART_EXPERT_DOWN)
		edit->factor = s->down_factor;
	else if (part == MOE_PART_EXPERT_DOWN_BIAS)
		edit->factor = s->down_bias_factor;
	else if (part == MOE_PART_ROUTER_BIAS)
		edit->factor = s->bias_factor;
	if (of_expert && edit->factor != 0)
		edit->noise = s->noise;
	return edit->factor != 1 || edit->n_terms > 1 || edit->noise > 0;
}
