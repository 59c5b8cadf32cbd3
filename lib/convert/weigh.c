/* Which tensors of a conversion a table of importance guides, and what is to be said of it. */
#include <stdlib.h>
#include <string.h>

#include "convert/job.h"
#include "model/gguf_keys.h"
#include "model/inputs.h"

enum { NAMED_EXPERTS = 16 };   /* in one sentence; all are among the details */

struct report {
	struct moe_convert *conv;
	struct moe_buf name;
	int32_t layer;            /* whose experts were reported last; -1: none */
	size_t n_found, n_missing, n_scarce, n_wanted;
	int64_t n_experts, n_scarce_experts;
	bool silent;              /* an entry does not say how many tokens */
};

/* Is the tensor encoded anew, in a type that has a choice, from a matrix that meets activations? */
static bool is_guided(const struct moe_convert *conv, size_t i)
{
	const struct moe_seen *seen = &conv->view.seen[i];
	const struct moe_tensor_spec *spec = seen->id.spec;

	return conv->choices[i].codec->encode_weighted && !conv->choices[i].kept && seen->n_dims > 1 &&
	       moe_part_input(spec->part) != MOE_N_PARTS &&
	       (spec->part != MOE_PART_EMBED || conv->config.tie_embeddings);
}

/* The experts of a layer that saw too few tokens, in a sentence for the layer and one for each. */
static enum moe_status report_experts(struct report *r, const struct moe_seen *seen,
                                      const struct moe_imatrix_entry *entry, struct moe_err *err)
{
	struct moe_convert *conv = r->conv;
	const int64_t n = moe_seen_matrices(seen), least = conv->opts.imatrix_tokens;
	struct moe_buf list = {0};
	int64_t n_scarce = 0;
	enum moe_status st = MOE_OK;

	for (int64_t e = 0; e < n && !st; e++) {
		int64_t tokens;

		st = moe_importance_tokens(&conv->imatrix, entry, e, &tokens, err);
		if (st || tokens < 0 || tokens >= least)
			continue;
		if (++n_scarce <= NAMED_EXPERTS)
			moe_buf_addf(&list, "%s%lld (%lld)", n_scarce > 1 ? ", " : "", (long long)e,
			             (long long)tokens);
		moe_buf_addf(&conv->details,
		             "layer %d, expert %lld saw %lld tokens: its weights are %lld parts of %lld its own, the "
		             "rest the layer's\n", seen->id.layer, (long long)e, (long long)tokens, (long long)tokens,
		             (long long)least);
	}
	if (!st && n_scarce)
		moe_buf_addf(&conv->notes, "layer %d: %lld of %lld experts saw fewer than %lld tokens and take weights "
		             "from the layer's others: %s%s\n", seen->id.layer, (long long)n_scarce, (long long)n,
		             (long long)least, moe_buf_check(&list, NULL) ? "" : list.p,
		             n_scarce > NAMED_EXPERTS ? ", ... (-v names them)" : "");
	r->n_experts += n;
	r->n_scarce_experts += n_scarce;
	moe_buf_free(&list);
	return st;
}

static enum moe_status take(struct report *r, size_t i, struct moe_err *err)
{
	struct moe_convert *conv = r->conv;
	const struct moe_seen *seen = &conv->view.seen[i];
	const struct moe_imatrix_entry *entry = moe_importance_find(&conv->imatrix, &conv->view, seen, &r->name);
	int64_t tokens;
	enum moe_status st = moe_buf_check(&r->name, err);

	r->n_wanted++;
	if (st || !entry) {
		moe_buf_addf(&conv->details, "%s: no entry in %s: encoded without weights\n", seen->name,
		             conv->imatrix.path);
		r->n_missing++;
		return st;
	}
	r->n_found++;
	conv->choices[i].importance = entry;
	st = moe_importance_check(&conv->imatrix, entry, seen, err);
	if (!st)
		st = moe_importance_tokens(&conv->imatrix, entry, 0, &tokens, err);
	if (st)
		return st;
	r->silent = r->silent || tokens < 0;
	if (moe_spec_is_expert(seen->id.spec)) {
		if (r->layer == seen->id.layer || entry->n_counts <= 1)
			return MOE_OK;
		r->layer = seen->id.layer;
		return report_experts(r, seen, entry, err);
	}
	if (tokens >= 0 && tokens < conv->opts.imatrix_tokens) {
		moe_buf_addf(&conv->details, "%s met %lld tokens: its weights are %lld parts of %lld its own\n",
		             seen->name, (long long)tokens, (long long)tokens, (long long)conv->opts.imatrix_tokens);
		r->n_scarce++;
	}
	return MOE_OK;
}

/* Entries that no tensor of the model goes by. */
static void count_others(struct report *r)
{
	const struct moe_imatrix *im = &r->conv->imatrix;
	const char *first = NULL;
	size_t n = 0;

	for (size_t i = 0; i < im->n; i++) {
		struct moe_tensor_id id;

		if (moe_names_parse(&r->conv->config, MOE_NAMING_GGUF, im->entries[i].name, &id) ||
		    moe_names_parse(&r->conv->config, MOE_NAMING_GGUF_OLD, im->entries[i].name, &id))
			continue;
		first = first ? first : im->entries[i].name;
		n++;
	}
	if (n)
		moe_buf_addf(&r->conv->notes, "%s: %zu entries go with no tensor of the model, the first is '%s'\n",
		             im->path, n, first);
}

static void add_notes(const struct report *r)
{
	struct moe_convert *conv = r->conv;
	const char *path = conv->imatrix.path;

	if (r->n_missing)
		moe_buf_addf(&conv->notes, "%s: no entry for %zu of %zu tensors that it could guide: encoded without "
		             "weights (-v names them)\n", path, r->n_missing, r->n_wanted);
	if (r->n_scarce)
		moe_buf_addf(&conv->notes, "%s: %zu tensors beside experts met fewer than %lld tokens and are "
		             "weighted less (-v names them)\n", path, r->n_scarce,
		             (long long)conv->opts.imatrix_tokens);
	if (r->silent)
		moe_buf_addf(&conv->notes, "%s: does not say how many tokens each expert saw: those with few cannot be "
		             "told\n", path);
	moe_buf_addf(&conv->details, "%s: guides %zu tensors; %lld of %lld experts saw fewer than %lld tokens\n", path,
	             r->n_found, (long long)r->n_scarce_experts, (long long)r->n_experts,
	             (long long)conv->opts.imatrix_tokens);
}

/* As llama.cpp's files say what guided them. */
static enum moe_status record(struct moe_convert *conv, struct moe_err *err)
{
	const bool ok = moe_gguf_put(conv->metadata, NULL, "quantize.imatrix.file", "string",
	                             json_string(moe_path_base(conv->imatrix.path))) &&
	                moe_gguf_put(conv->metadata, NULL, "quantize.imatrix.entries_count", "u32",
	                             json_integer((json_int_t)conv->imatrix.n));
	return ok ? MOE_OK : moe_err_nomem(err, 64, "keys");
}

enum moe_status moe_convert_weigh(struct moe_convert *conv, struct moe_err *err)
{
	struct report r = { .conv = conv, .layer = -1 };
	enum moe_status st;

	if (!conv->opts.imatrix)
		return MOE_OK;
	if (moe_surgery_asked(&conv->opts.surgery))
		return moe_err_set(err, MOE_EUSAGE, "--imatrix: experts are changed, and the table is of those before: "
		                   "convert first, and quantise what comes of it with a table of its own");
	st = moe_imatrix_open(&conv->imatrix, conv->opts.imatrix, conv->opts.watch, err);
	for (size_t i = 0; i < conv->view.n && !st; i++)
		if (is_guided(conv, i))
			st = take(&r, i, err);
	if (!st && r.n_wanted == 0)
		st = moe_err_set(err, MOE_EUSAGE, "--imatrix: no tensor is encoded in a type that it guides (see "
		                 "--type): it would change nothing");
	if (!st && r.n_found == 0)
		st = moe_err_set(err, MOE_EFORMAT, "%s: no entry for any of %zu tensors, its first is '%s': is it the "
		                 "table of another model?", conv->imatrix.path, r.n_wanted,
		                 conv->imatrix.entries[0].name);
	if (!st) {
		count_others(&r);
		add_notes(&r);
		st = record(conv, err);
	}
	moe_buf_free(&r.name);
	return st;
}
