/* Normalizers one behind the other, each with what has come to it and may yet change. */
#include <stdlib.h>

#include "text/stage.h"

struct moe_norm_link {
	const struct moe_normalizer *kind;
	const void *self;
	struct moe_flow in;
	size_t need;     /* code points to be used that are worth another try: twice what the last could not use */
	size_t n_left;   /* code points that may come out of it */
};

static size_t count_links(const struct moe_stage *stage)
{
	const struct moe_normalizer *kind = (const struct moe_normalizer *)stage->part;
	size_t n = 0, n_links = 0;
	const struct moe_stage *v = kind->children ? kind->children(stage->self, &n) : NULL;

	if (!kind->children)
		return 1;
	for (size_t i = 0; i < n; i++)
		n_links += count_links(&v[i]);
	return n_links;
}

static void add_links(struct moe_norm *norm, const struct moe_stage *stage, size_t limit)
{
	const struct moe_normalizer *kind = (const struct moe_normalizer *)stage->part;
	size_t n = 0;
	const struct moe_stage *v = kind->children ? kind->children(stage->self, &n) : NULL;

	if (!kind->children)
		norm->links[norm->n++] = (struct moe_norm_link){.kind = kind, .self = stage->self, .n_left = limit};
	for (size_t i = 0; i < n; i++)
		add_links(norm, &v[i], limit);
}

enum moe_status moe_norm_new(struct moe_norm *norm, const struct moe_stage *normalizer, size_t limit,
                             struct moe_err *err)
{
	size_t n = normalizer->part ? count_links(normalizer) : 0;

	*norm = (struct moe_norm){0};
	if (n == 0)
		return MOE_OK;
	norm->links = calloc(n, sizeof *norm->links);
	if (!norm->links)
		return moe_err_nomem(err, n * sizeof *norm->links, "normalizers");
	add_links(norm, normalizer, limit);
	return MOE_OK;
}

struct moe_codes *moe_norm_in(struct moe_norm *norm)
{
	return norm->n ? &norm->links[0].in.text : &norm->out;
}

/* Lets go of what is used up and out of sight. */
static void let_go(struct moe_flow *in)
{
	size_t n = in->at > in->behind ? in->at - in->behind : 0;

	moe_codes_drop(&in->text, n);
	if (in->scan)
		moe_regex_drop(in->scan, n);
	in->at -= n;
}

static enum moe_status run_link(struct moe_norm_link *link, struct moe_codes *out, bool last, struct moe_err *err)
{
	struct moe_flow *in = &link->in;
	const size_t before = out->n;
	enum moe_status status;

	if (!last && in->text.n - in->at < link->need)
		return MOE_OK;
	in->last = last;
	out->limit = out->n + link->n_left;
	status = link->kind->apply(link->self, in, out, err);
	out->limit = 0;
	if (status)
		return status;
	/* The limit of nothing is none. */
	link->n_left = out->n - before < link->n_left ? link->n_left - (out->n - before) : 1;
	link->need = 2 * (in->text.n - in->at);
	if (!last) {
		let_go(in);
		return MOE_OK;
	}
	in->text.n = in->text.n_lead = in->at = link->need = 0;
	in->begun = in->fresh = false;
	if (in->scan)
		moe_regex_drop(in->scan, SIZE_MAX);
	return MOE_OK;
}

enum moe_status moe_norm_run(struct moe_norm *norm, bool last, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < norm->n && !status; i++) {
		struct moe_codes *out = i + 1 < norm->n ? &norm->links[i + 1].in.text : &norm->out;
		status = run_link(&norm->links[i], out, last, err);
	}
	return status;
}

void moe_norm_free(struct moe_norm *norm)
{
	for (size_t i = 0; i < norm->n; i++) {
		moe_codes_free(&norm->links[i].in.text);
		moe_regex_finish(norm->links[i].in.scan);
	}
	free(norm->links);
	moe_codes_free(&norm->out);
	*norm = (struct moe_norm){0};
}

enum moe_status moe_normalize(const struct moe_stage *normalizer, struct moe_codes *text, size_t limit,
                              struct moe_err *err)
{
	struct moe_norm norm;
	enum moe_status status = moe_norm_new(&norm, normalizer, limit, err);

	if (!status && norm.n > 0) {
		status = moe_codes_add(moe_norm_in(&norm), text->p, text->n, err);
		moe_norm_in(&norm)->n_lead = text->n_lead;
		if (!status)
			status = moe_norm_run(&norm, true, err);
		if (!status) {
			const struct moe_codes old = *text;
			*text = norm.out;
			norm.out = old;
		}
	}
	moe_norm_free(&norm);
	return status;
}
