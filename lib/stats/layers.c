/* Lists of layers. */
#include "stats/layers.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* Marks the rows of `layers` that "3" or "3-9" names. */
static enum moe_status mark_item(const int32_t *layers, int32_t n_layers, struct moe_str item, bool *marks,
                                 struct moe_err *err)
{
	const char *dash = item.n > 0 ? memchr(item.p, '-', item.n) : NULL;
	struct moe_str from = {item.p, dash ? (size_t)(dash - item.p) : item.n};
	struct moe_str to = dash ? (struct moe_str){dash + 1, item.n - from.n - 1} : from;
	int64_t first, last;
	bool any = false;

	if (!moe_parse_i64(from, &first) || !moe_parse_i64(to, &last) || first < 0 || last < first)
		return moe_err_set(err, MOE_EUSAGE, "'%.*s' is neither a layer nor a range A-B",
		                   (int)(item.n < 80 ? item.n : 80), item.p);
	for (int32_t l = 0; l < n_layers; l++)
		if (layers[l] >= first && layers[l] <= last)
			marks[l] = any = true;
	if (!any)
		return moe_err_set(err, MOE_EUSAGE, "there is no layer %.*s: the MoE layers are %d to %d",
		                   (int)item.n, item.p, layers[0], layers[n_layers - 1]);
	return MOE_OK;
}

enum moe_status moe_layers_mark(const int32_t *layers, int32_t n_layers, const char *text, bool **marks,
                                struct moe_err *err)
{
	struct moe_str rest = moe_str_of(text ? text : ""), item;
	enum moe_status status = MOE_OK;

	*marks = calloc((size_t)n_layers + 1, sizeof **marks);
	if (!*marks)
		return moe_err_nomem(err, (size_t)n_layers, "the list of layers");
	if (!text)
		memset(*marks, true, (size_t)n_layers);
	else if (!*text)
		status = moe_err_set(err, MOE_EUSAGE, "an empty list of layers: expected layers, as 3 or 3-9");
	while (!status && n_layers > 0 && moe_str_next(&rest, ',', &item))
		status = mark_item(layers, n_layers, item, *marks, err);
	if (status) {
		free(*marks);
		*marks = NULL;
	}
	return status;
}
