/* Numbers that pictures show, taken from what was gathered. */
#ifndef MOE_STATS_PICTURE_H
#define MOE_STATS_PICTURE_H

#include <stdint.h>

#include "base/err.h"
#include "stats/gather.h"

/* A matrix with names, or lines: values [n_rows][n_cols], malloc'd. Zero-initialise. */
struct moe_picture {
	int32_t n_rows, n_cols;
	double *values;
	int32_t *order;            /* [n_rows] what a row was before rows were put in order; NULL: they were not */
	const char *const *names;  /* of rows, or of columns where rows are layers: views; NULL: numbers */
};
void moe_picture_free(struct moe_picture *picture);

/* The metric whose stream a picture reads; it is to be gathered. */
const struct moe_metric *moe_picture_coactivation_metric(void);
const struct moe_metric *moe_picture_curve_metric(void);
const struct moe_metric *moe_picture_sources_metric(void);

/* Lift of every pair of experts of a layer, NaN on the diagonal. Rows and columns are in an order in which experts that
 * are chosen together are neighbours: the leaves of an average-linkage tree over lifts. */
MOE_MUST_USE enum moe_status moe_picture_coactivation(const struct moe_gather *gather, int32_t layer,
                                                      struct moe_picture *out, struct moe_err *err);
/* Hit shares of lru, lfu, static, belady (rows) by 0, 1, 2, ... resident experts (columns), over all layers. */
MOE_MUST_USE enum moe_status moe_picture_curve(const struct moe_gather *gather, struct moe_picture *out,
                                               struct moe_err *err);
/* An expert's part of a source's choices over its part of all: sources by experts of a layer. */
MOE_MUST_USE enum moe_status moe_picture_sources(const struct moe_gather *gather, int32_t layer,
                                                 struct moe_picture *out, struct moe_err *err);
/* The Lorenz curve of each layer, then that of their mean (rows), by 0 .. n_experts experts (columns). */
MOE_MUST_USE enum moe_status moe_picture_lorenz(const struct moe_gather *gather, struct moe_picture *out,
                                                struct moe_err *err);
/* MaxVio of each layer, then their mean (rows), by label of the gather (columns). */
MOE_MUST_USE enum moe_status moe_picture_maxvio(const struct moe_gather *gather, struct moe_picture *out,
                                                struct moe_err *err);

#endif
