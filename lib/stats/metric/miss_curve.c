/* What caches of every size save: experts of a layer that stay in fast memory. */
#include "stats/caches.h"
#include "stats/rows.h"

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	(void)err;
	moe_caches_put(counts, rows);
	return MOE_OK;
}

static const char *const columns[] = {"resident", "lru", "lfu", "static", "belady", NULL};

const struct moe_metric moe_metric_miss_curve = {
	.name = "miss_curve", .unit = "1", .all = MOE_ALL_POOL, .stream = &moe_stream_caches,
	.columns = columns, .n_keys = 1, .rows = put_rows,
	.help = "share of choices that find their expert among `resident` ones of the layer; keeps the ids of a part",
	.formula = "#{choices at position <= resident of the list of lru, lfu, static, belady} / C",
	.source = "Mattson et al. 1970, Evaluation techniques for storage hierarchies; Belady 1966",
};
