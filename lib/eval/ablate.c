/* Lists of LAYER:EXPERT. */
#include "eval/ablate.h"

#include <stdlib.h>

#include "base/str.h"

struct range {
	int64_t first, last;
};

/* "5", "2-4" or "*" within [0, n). */
static bool parse_range(struct moe_str text, int64_t n, struct range *out)
{
	struct moe_str rest = text, part;
	if (moe_str_eq(text, "*")) {
		*out = (struct range){ 0, n - 1 };
		return true;
	}
	if (!moe_str_next(&rest, '-', &part) || !moe_parse_i64(part, &out->first))
		return false;
	out->last = out->first;
	if (rest.n && !moe_parse_i64(rest, &out->last))
		return false;
	return out->first >= 0 && out->first <= out->last && out->last < n;
}

static enum moe_status apply(struct moe_str item, const struct moe_config *config, uint8_t *table, struct moe_err *err)
{
	struct moe_str rest = item, layer_text;
	struct range layers, experts;
	const int shown = (int)(item.n > 60 ? 60 : item.n);
	if (!moe_str_next(&rest, ':', &layer_text) || !parse_range(layer_text, config->n_layers, &layers))
		return moe_err_set(err, MOE_EUSAGE, "--disable: '%.*s': expected LAYER:EXPERT with a layer from 0 to %d", shown,
		                   item.p, (int)config->n_layers - 1);
	if (!parse_range(rest, config->n_experts, &experts))
		return moe_err_set(err, MOE_EUSAGE, "--disable: '%.*s': expected LAYER:EXPERT with an expert from 0 to %d",
		                   shown, item.p, (int)config->n_experts - 1);
	const bool all = moe_str_eq(layer_text, "*");
	for (int64_t l = layers.first; l <= layers.last; l++) {
		if (config->layers[l].ffn != MOE_FFN_MOE && all)
			continue;
		if (config->layers[l].ffn != MOE_FFN_MOE)
			return moe_err_set(err, MOE_EUSAGE, "--disable: '%.*s': layer %lld has no experts", shown, item.p,
			                   (long long)l);
		for (int64_t e = experts.first; e <= experts.last; e++)
			table[l * config->n_experts + e] = 1;
	}
	return MOE_OK;
}

enum moe_status moe_ablate_parse(const char *text, const struct moe_config *config, int32_t top_k, uint8_t **out,
                                 struct moe_err *err)
{
	struct moe_str rest = moe_str_of(text), item;
	uint8_t *table = calloc((size_t)config->n_layers * (size_t)config->n_experts + 1, 1);
	enum moe_status status = table ? MOE_OK : moe_err_nomem(err, (size_t)config->n_layers, "a list of experts");
	while (!status && moe_str_next(&rest, ',', &item))
		status = apply(item, config, table, err);
	for (int32_t l = 0; l < config->n_layers && !status; l++) {
		int32_t left = 0;
		for (int32_t e = 0; e < config->n_experts; e++)
			left += !table[(int64_t)l * config->n_experts + e];
		if (config->layers[l].ffn == MOE_FFN_MOE && left < top_k)
			status = moe_err_set(err, MOE_EUSAGE, "--disable: layer %d is left with %d experts, each token needs %d",
			                     (int)l, (int)left, (int)top_k);
	}
	if (status)
		free(table);
	else
		*out = table;
	return status;
}
