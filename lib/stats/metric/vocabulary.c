/* Which tokens an expert likes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/rows.h"
#include "stats/stats.h"
#include "stats/vocab.h"

enum { TOP = 10 };   /* tokens of an expert, unless asked for others */

/* A token of an expert, and what it adds to the mutual information of experts and tokens, times C. */
struct liked {
	struct moe_vocab_entry entry;
	double bits;
};

static int by_expert(const void *a, const void *b)
{
	const struct liked *x = a, *y = b;

	if (x->entry.expert != y->entry.expert)
		return x->entry.expert < y->entry.expert ? -1 : 1;
	if (x->bits != y->bits)
		return x->bits < y->bits ? 1 : -1;
	return (x->entry.token > y->entry.token) - (x->entry.token < y->entry.token);
}

/* The text of a token; a NUL in it, which a string cannot hold, as U+FFFD. */
static enum moe_status put_text(const struct moe_counts *counts, uint32_t token, struct moe_rows *rows,
                                struct moe_err *err)
{
	const struct moe_metric_params *p = counts->setup->params;
	struct moe_buf text = {0};
	struct moe_str bytes = {"", 0};
	enum moe_status status;

	if (p->token_text && !p->token_text(p->token_arg, (int32_t)token, &bytes))
		bytes.n = 0;
	moe_buf_adds(&text, "");
	for (size_t i = 0; i < bytes.n; i++)
		if (bytes.p[i])
			moe_buf_addc(&text, bytes.p[i]);
		else
			moe_buf_adds(&text, "\xef\xbf\xbd");
	status = moe_buf_check(&text, err);
	if (!status)
		moe_rows_str(rows, text.p ? text.p : "");
	moe_buf_free(&text);
	return status;
}

static enum moe_status put_liked(const struct moe_counts *counts, const struct liked *liked, double share, double lift,
                                 struct moe_rows *rows, struct moe_err *err)
{
	moe_rows_u64(rows, liked->entry.expert);
	moe_rows_u64(rows, liked->entry.token);
	enum moe_status status = put_text(counts, liked->entry.token, rows, err);

	if (status)
		return status;
	moe_rows_u64(rows, liked->entry.count);
	moe_rows_f64(rows, share);
	moe_rows_f64(rows, lift);
	return MOE_OK;
}

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	const struct moe_vocab *v = counts->state;
	const int64_t top = counts->setup->params->top_n > 0 ? counts->setup->params->top_n : TOP;
	struct liked *all = calloc(v->n + 1, sizeof *all);
	enum moe_status status = all ? MOE_OK : moe_err_nomem(err, v->n * sizeof *all, "token ids");
	int64_t n_put = 0;
	size_t n = 0;

	for (size_t i = 0; i < v->cap && !status; i++) {
		struct moe_vocab_entry entry = v->entries[i];
		double expected;

		if (entry.count == 0 || entry.expert == MOE_VOCAB_ALL)
			continue;
		expected = (double)moe_vocab_count(v, entry.token, MOE_VOCAB_ALL) *
		           (double)counts->counts[entry.expert] / (double)v->n_choices;
		all[n++] = (struct liked){entry, (double)entry.count * log2((double)entry.count / expected)};
	}
	if (n > 0)
		qsort(all, n, sizeof *all, by_expert);
	for (size_t i = 0; i < n && !status; i++) {
		const struct moe_vocab_entry *entry = &all[i].entry;
		/* Every token makes as many choices as it has, so its tokens are its choices over their number. */
		double of_token = (double)moe_vocab_count(v, entry->token, MOE_VOCAB_ALL);
		double share = (double)entry->count / of_token;

		n_put = i > 0 && all[i - 1].entry.expert == entry->expert ? n_put + 1 : 0;
		if (n_put < top)
			status = put_liked(counts, &all[i], share * counts->setup->top_k,
			                   share * (double)v->n_choices / (double)counts->counts[entry->expert],
			                   rows, err);
	}
	free(all);
	return status;
}

static const char *const columns[] = {"expert", "token", "text", "count", "share", "lift", NULL};

const struct moe_metric moe_metric_vocabulary = {
	.name = "vocabulary", .unit = "choices, 1, 1", .all = MOE_ALL_NONE, .stream = &moe_stream_vocab,
	.columns = columns, .n_keys = 2, .rows = put_rows,
	.help = "the tokens an expert likes: ten of each, or --top; keeps a count for each token id and expert",
	.formula = "n_xe, K n_xe / n_x, C n_xe / (n_x c_e), by n_xe log2 of the last; n_x: choices of token id x",
	.source = "Muennighoff et al. 2024, OLMoE, section 5.4: vocabulary specialization",
};
