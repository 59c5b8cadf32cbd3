/* A destination that is the files of ranks: every tensor goes to one of them, or is cut for all, or copied to all. */
#include <stdlib.h>
#include <string.h>

#include "convert/job.h"

struct cutter {
	struct moe_convert *conv;
	int32_t n_ranks;
	struct moe_seen *seen;        /* [n] so far */
	struct moe_choice *choices;
	size_t n, cap;
};

static enum moe_status refuse(const struct cutter *c, const struct moe_seen *seen, const char *why, struct moe_err *err)
{
	return moe_err_set(err, MOE_EUSAGE, "--model-parallel %d: tensor '%s' %s", c->n_ranks, seen->name, why);
}

static enum moe_status grow(struct cutter *c, struct moe_err *err)
{
	const size_t cap = c->cap ? 2 * c->cap : 1024;
	struct moe_seen *seen = c->n < c->cap ? c->seen : reallocarray(c->seen, cap, sizeof *seen);
	struct moe_choice *choices;

	if (!seen)
		return moe_err_nomem(err, cap * sizeof *seen, "tensors of ranks");
	c->seen = seen;
	choices = c->n < c->cap ? c->choices : reallocarray(c->choices, cap, sizeof *choices);
	if (!choices)
		return moe_err_nomem(err, cap * sizeof *choices, "tensors of ranks");
	c->choices = choices;
	c->cap = c->n < c->cap ? c->cap : cap;
	return MOE_OK;
}

/* Rows [first, first + n) of w, or columns. */
static enum moe_status make_window(struct moe_view *view, struct moe_seen *seen, const struct moe_weight *w,
                                   bool by_cols, int64_t first, int64_t n, struct moe_err *err)
{
	struct moe_weight *window = MOE_NEW(&view->arena, struct moe_weight, 2);
	struct moe_parted *parted = MOE_NEW(&view->arena, struct moe_parted, 1);

	if (!window || !parted)
		return moe_err_nomem(err, sizeof *window, "a window");
	*window = *w;
	seen->window = window;
	if (!by_cols && !w->parted) {
		/* rows follow each other: these are a matrix of their own */
		const size_t row = (size_t)w->cols / w->codec->block_elems * w->codec->block_bytes;

		window->data += (size_t)first * row;
		window->scale_row += first;
		window->rows = n;
		return MOE_OK;
	}
	if (!w->parted) {
		window[1] = *w;
		*parted = (struct moe_parted){ .n = 1, .by_cols = by_cols, .parts = &window[1] };
		*window = (struct moe_weight){ .codec = w->codec, .rows = w->rows, .cols = w->cols, .parted = parted };
	}
	*(by_cols ? &window->col0 : &window->row0) += first;
	*(by_cols ? &window->cols : &window->rows) = n;
	return MOE_OK;
}

/* The part of `seen` that rank r holds. */
static enum moe_status cut(const struct cutter *c, struct moe_seen *seen, const struct moe_choice *choice, bool by_cols,
                           int32_t r, struct moe_err *err)
{
	const struct moe_segment s = moe_seen_segment(&c->conv->view, seen, 0);
	const struct moe_weight *w = &s.parts[0];
	const int32_t dim = by_cols ? 1 : 0;
	const int64_t n = seen->n_dims == 2 ? seen->dims[dim] / c->n_ranks : 0;
	const int64_t n_segments = seen->n_segments / c->n_ranks;
	int64_t rows = 0;

	if (seen->n_dims != 2 || seen->dims[dim] % c->n_ranks)
		return refuse(c, seen, by_cols ? "has columns that so many ranks cannot share evenly"
		                               : "has rows that so many ranks cannot share evenly", err);
	if (choice->scaled && n % MOE_SCALE_BLOCK)
		return refuse(c, seen, "cannot be cut between blocks that share a scale: use fewer ranks, or --type "
		              "bf16", err);
	seen->dims[dim] = n;
	seen->n_elems /= (size_t)c->n_ranks;
	if (seen->n_segments == 1) {
		if (s.n_parts != 1 || s.edited || s.turned || s.head || s.mx != MOE_MX_WHOLE || w->in_stride ||
		    w->row_step > 1)
			return refuse(c, seen, "is put together of parts and cannot be cut: convert it to safetensors "
			              "first", err);
		return make_window(&c->conv->view, seen, w, by_cols, n * r, n, err);
	}
	seen->first_segment = n_segments * r;
	seen->n_segments = n_segments;
	for (int64_t i = 0; i < n_segments; i++)
		rows += moe_seen_segment(&c->conv->view, seen, i).rows;
	if (by_cols || rows != n)
		return refuse(c, seen, "is put together of parts that so many ranks cannot share evenly", err);
	return MOE_OK;
}

/* Adds what rank r holds of tensor i. */
static enum moe_status add(struct cutter *c, size_t i, int32_t r, struct moe_buf *name, struct moe_err *err)
{
	const struct moe_convert *conv = c->conv;
	const struct moe_seen *whole = &conv->view.seen[i];
	const int32_t per_rank = conv->config.n_experts / c->n_ranks;
	enum moe_cut how;
	enum moe_status st;

	name->n = 0;
	if (!conv->opts.to->rank_name(whole->name, name, &how))
		return moe_err_set(err, MOE_EUSAGE, "%s: the %s layout has no name for tensor '%s'", conv->opts.dst,
		                   conv->opts.to->name, whole->name);
	if (how == MOE_CUT_EXPERTS && (whole->id.expert < per_rank * r || whole->id.expert >= per_rank * (r + 1)))
		return MOE_OK;
	st = moe_buf_check(name, err);
	if (!st)
		st = grow(c, err);
	if (st)
		return st;
	c->seen[c->n] = *whole;
	c->choices[c->n] = conv->choices[i];
	c->choices[c->n].rank = r;
	if (c->n_ranks > 1 && (how == MOE_CUT_ROWS || how == MOE_CUT_COLS))
		st = cut(c, &c->seen[c->n], &conv->choices[i], how == MOE_CUT_COLS, r, err);
	c->n += !st;
	return st;
}

enum moe_status moe_convert_cut_ranks(struct moe_convert *conv, struct moe_err *err)
{
	struct cutter c = { .conv = conv, .n_ranks = conv->opts.n_ranks };
	const struct moe_config *config = &conv->config;
	struct moe_buf name = {0};
	enum moe_status st = MOE_OK;

	if (config->n_mtp_layers)
		return moe_err_set(err, MOE_EUSAGE, "--to %s: this layout does not hold multi-token-prediction layers, "
		                   "and %s has %d: --drop-mtp leaves them out", conv->opts.to->name, conv->src->path,
		                   config->n_mtp_layers);
	if (conv->opts.experts == MOE_EXPERTS_STACKED)
		return moe_err_set(err, MOE_EUSAGE, "--to %s: this layout holds experts one by one, --experts stacked "
		                   "does not go with it", conv->opts.to->name);
	if (config->n_experts % c.n_ranks)
		return moe_err_set(err, MOE_EUSAGE, "--model-parallel %d: so many ranks cannot share %d experts evenly",
		                   c.n_ranks, config->n_experts);
	for (int32_t r = 0; r < c.n_ranks && !st; r++)
		for (size_t i = 0; i < conv->view.n && !st; i++)
			st = add(&c, i, r, &name, err);
	moe_buf_free(&name);
	if (st) {
		free(c.seen);
		free(c.choices);
		return st;
	}
	free(conv->view.seen);
	free(conv->choices);
	conv->view.seen = c.seen;
	conv->view.n = c.n;
	conv->view.cap = c.cap;
	conv->choices = c.choices;
	return MOE_OK;
}
