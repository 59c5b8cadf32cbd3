/* What one cache for the experts of all layers saves, of every size. */
#include "stats/caches.h"
#include "stats/rows.h"

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	(void)err;
	if (counts->layer < 0)
		moe_caches_put(counts, rows);
	return MOE_OK;
}

static const char *const columns[] = {"resident", "lru", "lfu", "static", "belady", NULL};

const struct moe_metric moe_metric_miss_curve_shared = {
	.name = "miss_curve_shared", .unit = "1", .all = MOE_ALL_POOL, .stream = &moe_stream_caches_shared,
	.columns = columns, .n_keys = 1, .rows = put_rows,
	.help = "the same for one cache that all layers share: rows `all` only; keeps the ids of a part",
	.formula = "as miss_curve, an expert of another layer being another expert",
	.source = "as miss_curve",
};
