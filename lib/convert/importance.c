/* From a table of importance to the weights of columns. */
#include "convert/importance.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "model/inputs.h"

int64_t moe_seen_matrices(const struct moe_seen *seen) { return seen->n_dims > 2 ? seen->dims[0] : 1; }
int64_t moe_seen_cols(const struct moe_seen *seen) { return seen->dims[seen->n_dims - 1]; }

/* ---- finding ---- */

static const struct moe_imatrix_entry *entry_called(const struct moe_imatrix *im, const struct moe_view *view,
                                                    const struct moe_tensor_id *id, enum moe_naming naming,
                                                    struct moe_buf *name)
{
	name->n = 0;
	moe_names_format(view->config, id, naming, name);
	return name->failed ? NULL : moe_imatrix_find(im, name->p);
}

const struct moe_imatrix_entry *moe_importance_find(const struct moe_imatrix *im, const struct moe_view *view,
                                                    const struct moe_seen *seen, struct moe_buf *name)
{
	const enum moe_naming namings[] = {MOE_NAMING_GGUF, MOE_NAMING_GGUF_OLD};
	const enum moe_part input = moe_part_input(seen->id.spec->part);
	const struct moe_imatrix_entry *entry = moe_imatrix_find(im, seen->name);

	for (size_t i = 0; i < 2 && !entry; i++)
		for (const struct moe_tensor_spec *s = view->config->family->tensors; (s->hf || s->gguf) && !entry;
		     s++) {
			const struct moe_tensor_id id = { .spec = s, .layer = seen->id.layer, .expert = -1 };

			if (s->gguf && moe_part_input(s->part) == input &&
			    (moe_spec_is_stack(s, namings[i]) || !moe_spec_is_expert(s)) &&
			    moe_spec_applies(view->config, s, seen->id.layer))
				entry = entry_called(im, view, &id, namings[i], name);
		}
	return entry;
}

/* ---- reading ---- */

/* Do all matrices of the tensor share what the entry says? */
static bool is_shared(const struct moe_imatrix_entry *entry, const struct moe_seen *seen)
{
	return entry->n_values == moe_seen_cols(seen);
}

enum moe_status moe_importance_check(const struct moe_imatrix *im, const struct moe_imatrix_entry *entry,
                                     const struct moe_seen *seen, struct moe_err *err)
{
	const int64_t cols = moe_seen_cols(seen), n = moe_seen_matrices(seen);

	/* rows of in_sum2 are columns; old tables do not say how many, and heads count as one */
	if ((is_shared(entry, seen) && entry->n_counts <= 1) ||
	    (entry->n_values / cols == n && entry->n_values % cols == 0 &&
	     (entry->n_counts <= 1 || entry->n_counts == n)))
		return MOE_OK;
	return moe_err_set(err, MOE_EFORMAT,
	                   "%s: %s: expected %lld x %lld sums for tensor '%s', found %lld with %lld counts: is it the "
	                   "table of another model?", im->path, entry->name, (long long)n, (long long)cols, seen->name,
	                   (long long)entry->n_values, (long long)entry->n_counts);
}

enum moe_status moe_importance_tokens(const struct moe_imatrix *im, const struct moe_imatrix_entry *entry, int64_t i,
                                      int64_t *n, struct moe_err *err)
{
	*n = -1;
	return entry->n_counts ? moe_imatrix_count(im, entry, entry->n_counts > 1 ? i : 0, n, err) : MOE_OK;
}

void moe_weigher_free(struct moe_weigher *w)
{
	free(w->weights);
	free(w->pool);
	free(w->row);
	*w = (struct moe_weigher){0};
}

static enum moe_status reserve(struct moe_weigher *w, size_t cols, struct moe_err *err)
{
	if (cols <= w->cap)
		return MOE_OK;
	moe_weigher_free(w);
	w->weights = malloc(cols * sizeof *w->weights);
	w->pool = malloc(cols * sizeof *w->pool);
	w->row = malloc(cols * sizeof *w->row);
	if (!w->weights || !w->pool || !w->row)
		return moe_err_nomem(err, cols * sizeof *w->pool, "weights of columns");
	w->cap = cols;
	return MOE_OK;
}

/* Sums over all matrices into w->pool; *tokens of all, -1 where the table does not say. */
static enum moe_status add_up(struct moe_weigher *w, const struct moe_imatrix *im,
                              const struct moe_imatrix_entry *entry, int64_t cols, double *tokens, struct moe_err *err)
{
	const int64_t n = entry->n_values / cols;
	enum moe_status st = MOE_OK;

	memset(w->pool, 0, (size_t)cols * sizeof *w->pool);
	*tokens = entry->n_counts ? 0 : -1;
	for (int64_t m = 0; m < n && !st; m++) {
		int64_t count = 0;

		st = moe_imatrix_values(im, entry, m * cols, cols, w->row, err);
		for (int64_t c = 0; c < cols && !st; c++)
			w->pool[c] += (double)w->row[c];
		if (!st && m < entry->n_counts)
			st = moe_imatrix_count(im, entry, m, &count, err);
		*tokens += (double)count;
	}
	/* heads that count as one saw the same tokens each */
	if (!st && entry->n_counts == 1)
		*tokens *= (double)n;
	return st;
}

/* Of what n tokens say, the share that counts; all of it where their number is not known (below 0). */
static double share(double n, int64_t least) { return n < 0 || n >= (double)least ? 1 : n / (double)least; }

/* What is known beside the matrix's own: w->pool becomes means. */
static enum moe_status learn_others(struct moe_weigher *w, const struct moe_imatrix *im,
                                    const struct moe_imatrix_entry *entry, int64_t cols, int64_t least,
                                    struct moe_err *err)
{
	double tokens, flat = 0;
	enum moe_status st = add_up(w, im, entry, cols, &tokens, err);

	if (st)
		return st;
	const double of_pool = share(tokens, least);
	for (int64_t c = 0; c < cols; c++) {
		w->pool[c] = tokens > 0 ? w->pool[c] / tokens : tokens < 0 ? w->pool[c] : 0;
		flat += w->pool[c] / (double)cols;
	}
	for (int64_t c = 0; c < cols; c++)
		w->pool[c] = of_pool * w->pool[c] + (1 - of_pool) * flat;
	return MOE_OK;
}

/* Divided by their mean, none below the least; w->pool holds them. */
static void finish(struct moe_weigher *w, int64_t cols)
{
	double mean = 0;

	for (int64_t c = 0; c < cols; c++)
		mean += w->pool[c] / (double)cols;
	for (int64_t c = 0; c < cols; c++) {
		const float weight = mean > 0 ? (float)(w->pool[c] / mean) : 1;
		w->weights[c] = weight > MOE_LEAST_WEIGHT ? weight : MOE_LEAST_WEIGHT;
	}
}

enum moe_status moe_importance_weights(struct moe_weigher *w, const struct moe_imatrix *im,
                                       const struct moe_imatrix_entry *entry, const struct moe_seen *seen, int64_t i,
                                       int64_t least, struct moe_err *err)
{
	const int64_t cols = moe_seen_cols(seen), at = is_shared(entry, seen) ? 0 : i;
	int64_t tokens;
	bool empty = true;

	if (w->entry == entry && w->matrix == at)
		return MOE_OK;
	w->entry = NULL;
	enum moe_status st = reserve(w, (size_t)cols, err);
	if (!st)
		st = moe_importance_tokens(im, entry, at, &tokens, err);
	if (!st)
		st = moe_imatrix_values(im, entry, at * cols, cols, w->row, err);
	if (st)
		return st;
	for (int64_t c = 0; c < cols; c++)
		empty = empty && w->row[c] == 0;
	const double own = tokens < 0 ? !empty : share((double)tokens, least);
	if (own == 1) {
		for (int64_t c = 0; c < cols; c++)
			w->pool[c] = (double)w->row[c];
	} else {
		st = learn_others(w, im, entry, cols, least, err);
		if (!st)
			st = moe_imatrix_values(im, entry, at * cols, cols, w->row, err);
		/* tokens > 0 where a share is its own */
		for (int64_t c = 0; c < cols && !st; c++)
			w->pool[c] = (own > 0 ? own * (double)w->row[c] / (double)tokens : 0) + (1 - own) * w->pool[c];
	}
	if (st)
		return st;
	finish(w, cols);
	w->entry = entry;
	w->matrix = at;
	return MOE_OK;
}
