/* Which tokens chose otherwise in another trace, those first that should have been surest. */
#include <inttypes.h>

#include "stats/flips.h"
#include "stats/rows.h"
#include "stats/stats.h"

/* "3 17 5": the experts of a token. */
static void put_ids(struct moe_rows *rows, const int32_t *ids, int32_t k, struct moe_buf *text)
{
	text->n = 0;
	moe_buf_adds(text, "");
	for (int32_t i = 0; i < k; i++)
		if (ids[i] >= 0)
			moe_buf_addf(text, "%s%" PRId32, text->n ? " " : "", ids[i]);
	if (text->p)
		moe_rows_str(rows, text->p);
}

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	const struct moe_flips *s = counts->state;
	const int32_t k = counts->setup->top_k;
	struct moe_buf text = {0};
	enum moe_status status = MOE_OK;

	for (uint64_t i = 0; i < s->n_listed && !status; i++) {
		const int32_t *ids;
		const struct moe_flip *flip = moe_flip_at(counts->setup, s, i, &ids);

		moe_rows_u64(rows, (uint64_t)flip->part);
		moe_rows_u64(rows, (uint64_t)flip->seq);
		moe_rows_u64(rows, (uint64_t)flip->pos);
		moe_rows_f64(rows, flip->margin);
		put_ids(rows, ids, k, &text);
		put_ids(rows, ids + k, k, &text);
		status = moe_buf_check(&text, err);
	}
	moe_buf_free(&text);
	return status;
}

static const char *const columns[] = {"part", "seq", "pos", "margin", "experts", "others", NULL};

const struct moe_metric moe_metric_flip_list = {
	.name = "flip_list", .unit = "score", .all = MOE_ALL_NONE,
	.needs = MOE_NEEDS_AGAINST, .reads = MOE_TRACE_MARGINS, .stream = &moe_stream_flips,
	.columns = columns, .n_keys = 3, .rows = put_rows,
	.help = "the flips with the largest margins: ten of each layer, or --top; the experts here and there",
	.formula = "K(t), K'(t) of t with K(t) != K'(t), by falling margin, then as they come",
	.source = "definition",
};
