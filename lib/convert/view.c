/* Seen tensors, their segments and tiles. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "convert/view.h"

enum { RELEASED_BYTES = 65536 };   /* smaller tiles are not worth a system call */

struct builder {
	struct moe_view *view;
	struct moe_buf name;
};

static const struct moe_tensor_spec *spec_of(const struct moe_config *config, enum moe_part part, int32_t layer)
{
	const struct moe_tensor_spec *spec = config->family->tensors;

	while (spec->hf || spec->gguf) {
		if (spec->part == part && moe_spec_applies(config, spec, layer))
			return spec;
		spec++;
	}
	return NULL;
}

/* The stored tensor that plays a part, or NULL. The name stays in name->p. */
static const struct moe_tensor *stored(const struct moe_view *view, enum moe_part part, int32_t layer, int32_t expert,
                                       struct moe_buf *name)
{
	const enum moe_naming naming = view->ckpt->format->naming;
	const struct moe_tensor_spec *spec = spec_of(view->config, part, layer);
	const struct moe_tensor_id id = { .spec = spec, .layer = layer, .expert = expert };

	name->n = 0;
	if (!id.spec || !(naming == MOE_NAMING_HF ? id.spec->hf : id.spec->gguf))
		return NULL;
	moe_names_format(view->config, &id, naming, name);
	return name->failed ? NULL : moe_ckpt_find(view->ckpt, name->p);
}

/* How the tensor comes about; false where a stored part of it is not there. */
static bool make(const struct moe_view *view, struct moe_seen *seen, struct moe_buf *name)
{
	const enum moe_naming from = view->ckpt->format->naming;
	const enum moe_part part = seen->id.spec->part;
	const int32_t layer = seen->id.layer;

	seen->n_segments = 1;
	if (moe_spec_is_expert(seen->id.spec) && from != view->naming) {
		seen->making = from == MOE_NAMING_HF ? MOE_MADE_STACK : MOE_MADE_SLICE;
		if (from == MOE_NAMING_HF)
			seen->n_segments = view->config->n_experts;
		seen->a = stored(view, part, layer, from == MOE_NAMING_HF ? 0 : -1, name);
		return seen->a;
	}
	seen->a = stored(view, part, layer, seen->id.expert, name);
	if (seen->a)
		return true;
	if (part == MOE_PART_KV_B) {
		seen->making = MOE_MADE_JOINED;
		seen->n_segments = 2 * (int64_t)view->config->n_heads;
		seen->a = stored(view, MOE_PART_K_B, layer, -1, name);
		seen->b = stored(view, MOE_PART_V_B, layer, -1, name);
		return seen->a && seen->b;
	}
	if (part == MOE_PART_K_B || part == MOE_PART_V_B) {
		seen->making = part == MOE_PART_K_B ? MOE_MADE_K : MOE_MADE_V;
		seen->n_segments = view->config->n_heads;
		seen->a = stored(view, MOE_PART_KV_B, layer, -1, name);
		return seen->a;
	}
	return false;
}

static const uint8_t *scales_of(const struct moe_view *view, const struct moe_tensor *t)
{
	const struct moe_tensor *scales = t->codec && t->codec->scaled ? moe_names_scales(view->ckpt, t) : NULL;

	return scales ? scales->data : NULL;
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
	b->name.n = 0;
	moe_names_format(view->config, id, view->naming, &b->name);
	if (moe_buf_check(&b->name, err))
		return MOE_EIO;
	if (!made)
		return moe_err_set(err, MOE_EFORMAT, "%s: nothing to make tensor '%s' of", view->ckpt->path, b->name.p);
	seen->name = moe_arena_strndup(&view->arena, b->name.p, b->name.n);
	if (!seen->name)
		return moe_err_nomem(err, b->name.n, "tensor name");
	view->n++;
	return MOE_OK;
}

enum moe_status moe_view_make(struct moe_view *view, const struct moe_ckpt *ckpt, const struct moe_config *config,
                              enum moe_naming naming, struct moe_err *err)
{
	struct builder b = { .view = view };
	enum moe_status st;

	*view = (struct moe_view){ .ckpt = ckpt, .config = config, .naming = naming };
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

struct moe_segment moe_seen_segment(const struct moe_view *view, const struct moe_seen *seen, int64_t i)
{
	const struct moe_config *c = view->config;
	const int64_t n_k = c->qk_nope_head_dim, n_v = c->v_head_dim, rank = c->kv_lora_rank;
	struct moe_tensor t = seen->a ? *seen->a : (struct moe_tensor){0};
	struct moe_segment s = {0};

	switch (seen->making) {
	case MOE_MADE_WHOLE:
		break;
	case MOE_MADE_SLICE:
		t = moe_tensor_slice(seen->a, seen->id.expert);
		break;
	case MOE_MADE_STACK: {
		struct moe_buf name = {0};
		const struct moe_tensor *one = stored(view, seen->id.spec->part, seen->id.layer, (int32_t)i, &name);
		moe_buf_free(&name);
		if (one)
			t = *one;
		else
			t.data = NULL;
		break;
	}
	case MOE_MADE_JOINED:
		t = moe_tensor_slice(i % 2 ? seen->b : seen->a, i / 2);
		return (struct moe_segment){ .codec = t.codec, .data = t.data, .rows = i % 2 ? n_v : n_k, .cols = rank,
		                             .turned = i % 2 == 0 };
	case MOE_MADE_K:
	case MOE_MADE_V: {
		const size_t row = (size_t)rank / t.codec->block_elems * t.codec->block_bytes;
		const int64_t first = i * (n_k + n_v) + (seen->making == MOE_MADE_V ? n_k : 0);
		s = (struct moe_segment){ .codec = t.codec, .data = t.data + (size_t)first * row, .rows = n_v,
		                         .cols = rank, .scales = scales_of(view, &t), .scale_row = first };
		if (seen->making == MOE_MADE_K)
			s.rows = rank, s.cols = n_k, s.turned = true;
		return s;
	}
	}
	s.codec = t.codec;
	s.data = t.data;
	s.scales = scales_of(view, &t);
	s.cols = t.n_dims ? t.dims[t.n_dims - 1] : 1;
	s.rows = 1;
	for (int32_t d = 0; d < t.n_dims - 1; d++)
		s.rows *= t.dims[d];
	return s;
}

bool moe_seen_aligned(const struct moe_view *view, const struct moe_seen *seen)
{
	for (int64_t i = 0; i + 1 < seen->n_segments; i++)
		if (moe_seen_segment(view, seen, i).rows % MOE_SCALE_BLOCK)
			return false;
	return true;
}

bool moe_tile_next(struct moe_tile_walk *w, struct moe_tile *tile)
{
	while (w->segment < w->seen->n_segments) {
		const struct moe_segment s = moe_seen_segment(w->view, w->seen, w->segment);
		const size_t n = (size_t)s.rows * (size_t)s.cols;

		if (w->at >= n) {
			w->segment++;
			w->at = 0;
			continue;
		}
		tile->segment = s;
		tile->at = w->at;
		const size_t band = (size_t)s.cols * MOE_SCALE_BLOCK;
		const size_t most = !w->blocks            ? MOE_TILE_ELEMS
		                    : band > MOE_TILE_ELEMS ? band
		                                            : MOE_TILE_ELEMS / band * band;
		tile->n = s.turned || n - w->at < most ? n - w->at : most;
		w->at += tile->n;
		return true;
	}
	return false;
}

static size_t bytes_of(const struct moe_codec *codec, size_t n_elems)
{
	return n_elems / codec->block_elems * codec->block_bytes;
}

const uint8_t *moe_tile_stored(const struct moe_tile *tile, size_t *n_bytes)
{
	*n_bytes = bytes_of(tile->segment.codec, tile->n);
	return tile->segment.data + bytes_of(tile->segment.codec, tile->at);
}

void moe_tile_release(const struct moe_tile *tile)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	size_t n_bytes;
	const uint8_t *bytes = moe_tile_stored(tile, &n_bytes);
	const uintptr_t begin = (uintptr_t)bytes / page * page;

	/* pages shared with a neighbour come back when they are touched; a failure changes nothing */
	if (n_bytes >= RELEASED_BYTES)
		(void)madvise((void *)begin, (uintptr_t)bytes + n_bytes - begin, MADV_DONTNEED);
}

void moe_tile_buf_free(struct moe_tile_buf *buf)
{
	free(buf->values);
	free(buf->turned);
	free(buf->bytes);
	*buf = (struct moe_tile_buf){0};
}

/* Room for n elements of `size` bytes in *at, whose old content is not kept. */
static enum moe_status room(void **at, size_t *cap, size_t n, size_t size, struct moe_err *err)
{
	size_t n_bytes;

	if (n <= *cap)
		return MOE_OK;
	free(*at);
	*cap = 0;
	*at = moe_mul_size(n, size, &n_bytes) ? malloc(n_bytes) : NULL;
	if (!*at)
		return moe_err_nomem(err, n, "a tile");
	*cap = n;
	return MOE_OK;
}

enum moe_status moe_tile_room(struct moe_tile_buf *buf, size_t n_bytes, struct moe_err *err)
{
	return room(&buf->bytes, &buf->n_bytes, n_bytes, 1, err);
}

/* src [cols][rows] to dst [rows][cols], elements of `size` bytes. */
static void turn(const uint8_t *src, uint8_t *dst, size_t rows, size_t cols, size_t size)
{
	for (size_t i = 0; i < rows; i++)
		for (size_t j = 0; j < cols; j++)
			memcpy(dst + (i * cols + j) * size, src + (j * rows + i) * size, size);
}

enum moe_status moe_tile_decode(const struct moe_tile *tile, struct moe_tile_buf *buf, const float **values,
                                struct moe_err *err)
{
	const struct moe_segment *s = &tile->segment;
	const struct moe_weight stored = { .codec = s->codec, .data = s->data, .rows = s->turned ? s->cols : s->rows,
	                                   .cols = s->turned ? s->rows : s->cols, .scales = s->scales,
	                                   .scale_row = s->scale_row };
	enum moe_status st = room(&buf->values, &buf->n_values, tile->n, sizeof(float), err);

	if (st)
		return st;
	moe_weight_decode(&stored, tile->at, tile->n, buf->values);
	*values = buf->values;
	if (!s->turned)
		return MOE_OK;
	st = room(&buf->turned, &buf->n_turned, tile->n, sizeof(float), err);
	if (st)
		return st;
	turn(buf->values, buf->turned, (size_t)s->rows, (size_t)s->cols, sizeof(float));
	*values = buf->turned;
	return MOE_OK;
}

/* Do the bytes stand for these very values? The sign of zero and the kind of NaN do not count. */
static bool same_values(const float *values, const uint8_t *bytes, const struct moe_codec *codec, size_t n)
{
	float back[256];

	for (size_t at = 0; at < n;) {
		const size_t m = n - at < 256 ? n - at : 256;
		codec->decode(bytes + bytes_of(codec, at), back, m);
		for (size_t i = 0; i < m; i++)
			if (back[i] != values[at + i] && !(isnan(back[i]) && isnan(values[at + i])))
				return false;
		at += m;
	}
	return true;
}

enum moe_status moe_tile_encode(const struct moe_tile *tile, const struct moe_codec *to, struct moe_tile_buf *buf,
                                const uint8_t **bytes, size_t *n_bytes, bool *exact, struct moe_err *err)
{
	const struct moe_segment *s = &tile->segment;
	const float *values;
	enum moe_status st;

	if (exact)
		*exact = true;
	if (to == s->codec && !s->turned) {
		*bytes = moe_tile_stored(tile, n_bytes);
		return MOE_OK;
	}
	*n_bytes = bytes_of(to, tile->n);
	st = moe_tile_room(buf, *n_bytes, err);
	if (st)
		return st;
	*bytes = buf->bytes;
	if (to == s->codec && to->block_elems == 1) {
		turn(s->data, buf->bytes, (size_t)s->rows, (size_t)s->cols, to->block_bytes);
		return MOE_OK;
	}
	st = moe_tile_decode(tile, buf, &values, err);
	if (st)
		return st;
	to->encode(values, buf->bytes, tile->n);
	if (exact)
		*exact = same_values(values, buf->bytes, to, tile->n);
	return MOE_OK;
}
