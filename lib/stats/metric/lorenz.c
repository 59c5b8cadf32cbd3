/* Points of the Lorenz curve: what the least busy experts take together. */
#include <math.h>

#include "stats/rows.h"
#include "stats/stats.h"

static enum moe_status put_rows(const struct moe_counts *counts, struct moe_rows *rows, struct moe_err *err)
{
	double sum = 0;

	(void)err;
	for (int32_t i = 0; i <= counts->n_experts; i++) {
		moe_rows_u64(rows, (uint64_t)i);
		moe_rows_f64(rows, counts->total > 0 ? sum / counts->total : (double)NAN);
		sum += i < counts->n_experts ? (double)counts->ascending[i] : 0;
	}
	return MOE_OK;
}

static const char *const columns[] = {"experts", "share", NULL};

const struct moe_metric moe_metric_lorenz = {
	.name = "lorenz", .unit = "1", .all = MOE_ALL_NONE, .columns = columns, .n_keys = 1, .rows = put_rows,
	.help = "the part of the choices that the n least busy experts take together, n from 0 to E",
	.formula = "L(n) = (c_(1) + ... + c_(n)) / C, c_(i) ascending",
	.source = "Lorenz 1905, Methods of measuring the concentration of wealth",
};
