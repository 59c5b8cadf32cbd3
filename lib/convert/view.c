/* Seen tensors and their segments. */
#include <stdlib.h>
#include <string.h>

#include "convert/surgery.h"
#include "convert/view.h"
#include "model/stored.h"

struct builder {
	struct moe_view *view;
	struct moe_buf name;
};

/* The stored tensor that a spec of the source's naming describes, or NULL. */
static const struct moe_tensor *stored(const struct moe_view *view, enum moe_part part, int32_t layer,
                                       struct moe_buf *name)
{
	for (const struct moe_tensor_spec *spec = view->own->family->tensors; spec->hf || spec->gguf; spec++) {
		const struct moe_tensor_id id = { .spec = spec, .layer = layer, .expert = -1 };

		if (spec->part != part || !moe_spec_in(spec, view->from) || !moe_spec_applies(view->own, spec, layer))
			continue;
		name->n = 0;
		moe_names_format(view->own, &id, view->from, name);
		return name->failed ? NULL : moe_ckpt_find(view->ckpt, name->p);
	}
	return NULL;
}

/* The matrix of a part, term k of what expert e is made of. */
static bool find(const struct moe_view *view, enum moe_part part, int32_t layer, int32_t e, size_t k,
                 struct moe_weight *w, struct moe_buf *name)
{
	return view->surgery ? moe_surgery_find(view->surgery, view->ckpt, view->from, part, layer, e, k, w, name)
	                     : moe_stored_find(view->own, view->ckpt, view->from, part, layer, e, w, name);
}

/* Does the tensor hold several matrices in such a way that rows of it are made of more than one of them? */
static bool is_mixed(const struct moe_tensor_spec *spec, enum moe_naming naming)
{
	return spec->n_pieces && (spec->pieces_alternate || (naming == MOE_NAMING_HF && spec->input_major));
}

static enum moe_part part_at(const struct moe_tensor_spec *spec, int64_t i)
{
	return spec->n_pieces ? spec->pieces[i].part : spec->part;
}

/* The part whose matrix a spec of exponents belongs to. */
static enum moe_part codes_of(enum moe_part part)
{
	return part == MOE_PART_EXPERT_GATE_SCALES ? MOE_PART_EXPERT_GATE
	       : part == MOE_PART_EXPERT_UP_SCALES ? MOE_PART_EXPERT_UP
	       : part == MOE_PART_EXPERT_DOWN_SCALES ? MOE_PART_EXPERT_DOWN : part;
}

/* Can it be made of the matrices of its parts? All are there, and those of MXFP4 tensors are MXFP4. */
static bool make_of_parts(const struct moe_view *view, struct moe_seen *seen, struct moe_buf *name)
{
	const struct moe_tensor_spec *spec = seen->id.spec;
	const bool stack = moe_spec_is_stack(spec, view->naming);
	const int32_t n = spec->n_pieces ? spec->n_pieces : 1;

	seen->making = MOE_MADE_PARTS;
	seen->n_segments = is_mixed(spec, view->naming) ? 1 : n;
	for (int32_t e = stack ? 0 : seen->id.expert, end = stack ? view->config->n_experts : e + 1; e < end; e++)
		for (int32_t i = 0; i < n; i++) {
			struct moe_weight w;

			if (!find(view, codes_of(part_at(spec, i)), seen->id.layer, e, 0, &w, name) ||
			    (moe_spec_is_mx(spec) && !w.codec->joined && strcmp(w.codec->name, "mxfp4")))
				return false;
		}
	if (stack)
		seen->n_segments *= view->config->n_experts;
	return true;
}

/* Divisors of frequencies, as GGUF has them. */
static bool make_new(struct moe_view *view, struct moe_seen *seen)
{
	const struct moe_rope *rope = &view->config->rope;
	const bool lengthened = seen->id.spec->part == MOE_PART_ROPE_LONG;
	float *values = MOE_NEW(&view->arena, float, seen->n_elems);

	seen->making = MOE_MADE_NEW;
	seen->values = values;
	if (values && view->surgery && moe_surgery_is_new(view->surgery, seen->id.spec)) {
		moe_surgery_make(view->surgery, seen->id.spec, seen->id.layer, values, seen->n_elems);
		return true;
	}
	for (int32_t i = 0; values && i < rope->n_dims / 2; i++)
		values[i] = rope->factors ? (float)rope->factors[(lengthened ? rope->n_dims / 2 : 0) + i]
		                          : moe_rope_divisor(rope, i);
	return values;
}

/* How the tensor comes about; false where a stored part of it is not there. */
static bool make(struct moe_view *view, struct moe_seen *seen, struct moe_buf *name)
{
	const enum moe_part part = seen->id.spec->part;
	const int32_t layer = seen->id.layer;

	seen->n_segments = 1;
	if (view->surgery && moe_surgery_is_new(view->surgery, seen->id.spec))
		return make_new(view, seen);
	if (view->surgery && moe_surgery_by_rows(seen->id.spec)) {
		seen->making = MOE_MADE_ROWS;
		seen->n_segments = view->config->n_experts;
		return true;
	}
	if (view->from == view->naming && !(view->surgery && moe_surgery_touches(view->surgery, seen->id.spec))) {
		name->n = 0;
		moe_names_format(view->config, &seen->id, view->naming, name);
		seen->a = name->failed ? NULL : moe_ckpt_find(view->ckpt, name->p);
	}
	/* a stack in parts is one of experts like any other */
	if (seen->a && seen->a->parted && seen->n_dims == 3)
		seen->a = NULL;
	if (seen->a)
		return true;
	if (seen->id.spec->made)
		return make_new(view, seen);
	if (make_of_parts(view, seen, name))
		return true;
	if (part == MOE_PART_KV_B) {
		seen->making = MOE_MADE_JOINED;
		seen->n_segments = 2 * (int64_t)view->config->n_heads;
		seen->a = stored(view, MOE_PART_K_B, layer, name);
		seen->b = stored(view, MOE_PART_V_B, layer, name);
		return seen->a && seen->b;
	}
	if (part == MOE_PART_K_B || part == MOE_PART_V_B) {
		seen->making = part == MOE_PART_K_B ? MOE_MADE_K : MOE_MADE_V;
		seen->n_segments = view->config->n_heads;
		seen->a = stored(view, MOE_PART_KV_B, layer, name);
		return seen->a;
	}
	return false;
}

/* Gives w, which is all or some rows of t, its block scales. */
static void add_scales(const struct moe_view *view, const struct moe_tensor *t, struct moe_weight *w)
{
	const struct moe_tensor *scales = t->codec && t->codec->scaled ? moe_names_scales(view->ckpt, t) : NULL;

	w->scales = scales ? scales->data : NULL;
	w->e8m0 = scales && !scales->codec->is_float;
}

static enum moe_status add(void *arg, const struct moe_tensor_id *id, const int64_t *dims, int32_t n_dims,
                           struct moe_err *err)
{
	struct builder *b = arg;
	struct moe_view *view = b->view;

	if (view->n == view->cap) {
		const size_t cap = view->cap ? 2 * view->cap : 256;
		struct moe_seen *bigger = realloc(view->seen, cap * sizeof *bigger);
		if (!bigger)
			return moe_err_nomem(err, cap * sizeof *bigger, "tensor list");
		view->seen = bigger;
		view->cap = cap;
	}
	struct moe_seen *seen = &view->seen[view->n];
	*seen = (struct moe_seen){ .id = *id, .n_dims = n_dims };
	memcpy(seen->dims, dims, (size_t)n_dims * sizeof *dims);
	if (!moe_dims_elems(dims, n_dims, &seen->n_elems))
		return moe_err_set(err, MOE_EFORMAT, "%s: layer %d: a tensor too large to count", view->ckpt->path,
		                   id->layer);
	const bool made = make(view, seen, &b->name);
	size_t n_stored;
	b->name.n = 0;
	moe_names_format(view->config, id, view->naming, &b->name);
	if (moe_buf_check(&b->name, err))
		return MOE_EIO;
	if (!made)
		return moe_err_set(err, MOE_EFORMAT, "%s: nothing to make tensor '%s' of", view->ckpt->path, b->name.p);
	if (seen->making == MOE_MADE_WHOLE &&
	    (!moe_dims_elems(seen->a->dims, seen->a->n_dims, &n_stored) || n_stored != seen->n_elems))
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s': expected %zu numbers, as the new config has it, "
		                   "found %zu", view->ckpt->path, b->name.p, seen->n_elems, n_stored);
	seen->name = moe_arena_strndup(&view->arena, b->name.p, b->name.n);
	if (!seen->name)
		return moe_err_nomem(err, b->name.n, "tensor name");
	view->n++;
	return MOE_OK;
}

enum moe_status moe_view_make(struct moe_view *view, const struct moe_ckpt *ckpt, const struct moe_config *config,
                              enum moe_naming naming, struct moe_err *err)
{
	return moe_view_make_anew(view, ckpt, config, config, NULL, naming, err);
}

enum moe_status moe_view_make_anew(struct moe_view *view, const struct moe_ckpt *ckpt, const struct moe_config *own,
                                   const struct moe_config *config, const struct moe_surgery *surgery,
                                   enum moe_naming naming, struct moe_err *err)
{
	struct builder b = { .view = view };
	enum moe_status st;

	*view = (struct moe_view){ .ckpt = ckpt, .own = own, .config = config, .surgery = surgery, .naming = naming,
	                            .from = moe_names_form(own, ckpt) };
	st = moe_names_each(config, naming, add, &b, err);
	moe_buf_free(&b.name);
	if (st)
		moe_view_free(view);
	return st;
}

void moe_view_free(struct moe_view *view)
{
	free(view->seen);
	moe_arena_free(&view->arena);
	view->seen = NULL;
	view->n = view->cap = 0;
}

/* Position of an id in canonical order: layer, then spec, then expert. */
static int compare_ids(const struct moe_tensor_id *a, const struct moe_tensor_id *b)
{
	if (a->layer != b->layer)
		return a->layer < b->layer ? -1 : 1;
	if (a->spec != b->spec)
		return a->spec < b->spec ? -1 : 1;
	return (a->expert > b->expert) - (a->expert < b->expert);
}

int64_t moe_view_find(const struct moe_view *view, const char *name)
{
	struct moe_tensor_id id;
	size_t low = 0, high = view->n;

	if (!moe_names_parse(view->config, view->naming, name, &id))
		return -1;
	while (low < high) {
		const size_t mid = low + (high - low) / 2;
		const int order = compare_ids(&view->seen[mid].id, &id);
		if (order == 0)
			return (int64_t)mid;
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return -1;
}

/* The whole of a stored tensor, whatever it is. */
static struct moe_segment whole(const struct moe_view *view, const struct moe_tensor *t)
{
	struct moe_segment s = { .n_parts = 1, .cols = t->n_dims ? t->dims[t->n_dims - 1] : 1, .rows = 1 };

	for (int32_t d = 0; d < t->n_dims - 1; d++)
		s.rows *= t->dims[d];
	s.parts[0] = (struct moe_weight){ .codec = t->codec, .data = t->data, .rows = s.rows, .cols = s.cols };
	s.parts[0].parted = t->parted;
	if (!t->parted)
		add_scales(view, t, &s.parts[0]);
	return s;
}

/* Head h of kv_b is W_UK [n, c] above W_UV [v, c]; k_b holds the former turned, [c, n]. */
static struct moe_segment head_of(const struct moe_view *view, const struct moe_seen *seen, int64_t i)
{
	const struct moe_config *c = view->config;
	const int64_t n_k = c->qk_nope_head_dim, n_v = c->v_head_dim, rank = c->kv_lora_rank;
	struct moe_segment s = { .n_parts = 1 };
	struct moe_weight *w = &s.parts[0];

	if (seen->making == MOE_MADE_JOINED) {
		const struct moe_tensor t = moe_tensor_slice(i % 2 ? seen->b : seen->a, i / 2);

		*w = (struct moe_weight){ .codec = t.codec, .data = t.data, .rows = i % 2 ? n_v : rank,
		                          .cols = i % 2 ? rank : n_k };
		s.turned = i % 2 == 0;
	} else {
		const int64_t first = i * (n_k + n_v) + (seen->making == MOE_MADE_V ? n_k : 0);
		const size_t row = (size_t)rank / seen->a->codec->block_elems * seen->a->codec->block_bytes;

		*w = (struct moe_weight){ .codec = seen->a->codec,
		                          .data = seen->a->parted ? NULL : seen->a->data + (size_t)first * row,
		                          .rows = seen->making == MOE_MADE_V ? n_v : n_k, .cols = rank,
		                          .scale_row = first };
		if (seen->a->parted)
			*w = (struct moe_weight){ .codec = w->codec, .rows = w->rows, .cols = rank,
			                          .parted = seen->a->parted, .row0 = first };
		else
			add_scales(view, seen->a, w);
		s.turned = seen->making == MOE_MADE_K;
	}
	s.rows = s.turned ? w->cols : w->rows;
	s.cols = s.turned ? w->rows : w->cols;
	return s;
}

enum moe_part moe_seen_part(const struct moe_view *view, const struct moe_seen *seen, int64_t i, int32_t *expert)
{
	const struct moe_tensor_spec *spec = seen->id.spec;
	const int32_t n = spec->n_pieces ? spec->n_pieces : 1, per_expert = is_mixed(spec, view->naming) ? 1 : n;

	*expert = seen->making == MOE_MADE_ROWS                ? (int32_t)i
	          : moe_spec_is_stack(spec, view->naming) ? (int32_t)(i / per_expert) : seen->id.expert;
	return seen->making == MOE_MADE_PARTS ? part_at(spec, i % per_expert) : spec->part;
}

static struct moe_segment of_parts(const struct moe_view *view, const struct moe_seen *seen, int64_t i, size_t term)
{
	const struct moe_tensor_spec *spec = seen->id.spec;
	const bool mixed = is_mixed(spec, view->naming);
	const int32_t n = spec->n_pieces ? spec->n_pieces : 1;
	struct moe_segment s = { .n_parts = mixed ? n : 1, .alternate = spec->pieces_alternate,
	                         .turned = view->naming == MOE_NAMING_HF && spec->input_major };
	struct moe_buf name = {0};
	int32_t e;

	(void)moe_seen_part(view, seen, i, &e);
	for (int32_t k = 0; k < s.n_parts; k++) {
		const enum moe_part part = codes_of(part_at(spec, mixed ? k : i % n));
		const bool paired = moe_stored_paired(view->config, view->naming, part);
		struct moe_weight *w = &s.parts[k];

		/* it was there when the view was made */
		if (!find(view, part, seen->id.layer, e, term, w, &name))
			continue;
		if (paired != moe_stored_paired(view->own, view->from, part)) {
			s.head = view->config->head_dim;
			s.paired = paired;
			if (w->rows == 1)
				w->rows = w->cols, w->cols = 1;   /* a bias: one number for each row */
		}
		s.rows += w->rows;
		s.cols = w->cols;
	}
	moe_buf_free(&name);
	if (moe_spec_is_mx(spec)) {
		s.mx = spec->mx_blocks ? MOE_MX_CODES : MOE_MX_EXPONENTS;
		s.cols = s.cols / MOE_MX_BLOCK * (spec->mx_blocks ? MOE_MX_BLOCK / 2 : 1);
	}
	if (s.turned) {
		const int64_t rows = s.rows;
		s.rows = s.cols;
		s.cols = rows;
	}
	return s;
}

/* What one expert has of a tensor that is one row, or one number, for each. */
static struct moe_segment row_of_expert(const struct moe_view *view, const struct moe_seen *seen, int64_t i,
                                        size_t term)
{
	struct moe_segment s = { .n_parts = 1 };
	struct moe_buf name = {0};

	/* it was there when the source was checked */
	if (moe_surgery_row(view->surgery, view->ckpt, view->from, seen->id.spec, seen->id.layer, (int32_t)i, term,
	                    &s.parts[0], &name)) {
		s.rows = s.parts[0].rows;
		s.cols = s.parts[0].cols;
	}
	moe_buf_free(&name);
	return s;
}

struct moe_segment moe_seen_segment(const struct moe_view *view, const struct moe_seen *seen, int64_t i)
{
	struct moe_segment s = moe_seen_term(view, seen, i, 0);
	struct moe_edit edit;
	int32_t expert;

	if (view->surgery && (seen->making == MOE_MADE_PARTS || seen->making == MOE_MADE_ROWS)) {
		const enum moe_part part = moe_seen_part(view, seen, i, &expert);

		s.edited = moe_surgery_edits(view->surgery, part, seen->id.layer, expert, &edit);
	}
	return s;
}

struct moe_segment moe_seen_term(const struct moe_view *view, const struct moe_seen *seen, int64_t i, size_t term)
{
	if (seen->window)
		return (struct moe_segment){ .n_parts = 1, .parts = {*seen->window}, .rows = seen->window->rows,
		                             .cols = seen->window->cols };
	i += seen->first_segment;
	switch (seen->making) {
	case MOE_MADE_PARTS: return of_parts(view, seen, i, term);
	case MOE_MADE_ROWS: return row_of_expert(view, seen, i, term);
	case MOE_MADE_JOINED:
	case MOE_MADE_K:
	case MOE_MADE_V: return head_of(view, seen, i);
	case MOE_MADE_NEW:
		return (struct moe_segment){ .n_parts = 1, .rows = 1, .cols = (int64_t)seen->n_elems,
		                             .parts = {{ .codec = moe_codec_by_name("f32"), .rows = 1,
		                                         .data = (const uint8_t *)seen->values,
		                                         .cols = (int64_t)seen->n_elems }} };
	case MOE_MADE_WHOLE: break;
	}
	return whole(view, seen->a);
}

const struct moe_weight *moe_segment_plain(const struct moe_segment *s)
{
	const struct moe_weight *w = &s->parts[0];

	return s->n_parts == 1 && !s->edited && !s->turned && !s->head && s->mx == MOE_MX_WHOLE && !w->in_stride &&
	       !w->parted && w->row_step <= 1 && !w->codec->block_exponents ? w : NULL;
}

bool moe_seen_aligned(const struct moe_view *view, const struct moe_seen *seen)
{
	for (int64_t i = 0; i + 1 < seen->n_segments; i++)
		if (moe_seen_segment(view, seen, i).rows % MOE_SCALE_BLOCK)
			return false;
	return true;
}
