/* The counts in a matrix of importance of llama.cpp (llama-imatrix, tools/imatrix/imatrix.cpp), as a load.
 *
 * Where an entry (checkpoint/imatrix.h) is called blk.L.ffn_{gate,up,down}_exps.weight, a matrix is an expert, and a
 * row that was counted is a token that chose it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/imatrix.h"
#include "stats/load.h"

#define NAME_MAX_BYTES 64

/* The layer, if an entry is of experts; else -1. */
static int32_t layer_of(const struct moe_imatrix_entry *entry)
{
	static const char *const kinds[] = { "gate", "up", "down", "gate_up" };
	int layer = -1;
	char expected[NAME_MAX_BYTES];
	if (sscanf(entry->name, "blk.%9d.", &layer) != 1 || layer < 0)
		return -1;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		snprintf(expected, sizeof expected, "blk.%d.ffn_%s_exps.weight", layer, kinds[i]);
		if (strcmp(entry->name, expected) == 0)
			return layer;
	}
	return -1;
}

static int compare(const void *left, const void *right)
{
	const int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
	return (a > b) - (a < b);
}

/* *layers [*n]: ascending, each once; malloc'd. Every entry has as many experts. */
static enum moe_status find_layers(const struct moe_imatrix *im, int32_t **layers, int32_t *n, int64_t *n_experts,
                                   struct moe_err *err)
{
	int32_t *found = malloc((im->n + 1) * sizeof *found);
	size_t n_found = 0;
	*layers = found;
	*n = 0;
	if (!found)
		return moe_err_nomem(err, im->n * sizeof *found, "layers");
	for (size_t i = 0; i < im->n; i++) {
		const struct moe_imatrix_entry *entry = &im->entries[i];
		if (layer_of(entry) < 0)
			continue;
		if (entry->n_counts > INT32_MAX || (n_found > 0 && entry->n_counts != *n_experts))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: tensor %s.counts: expected f32 [experts, 1] as in all layers, found "
			                   "%lld counts", im->path, entry->name, (long long)entry->n_counts);
		*n_experts = entry->n_counts;
		found[n_found++] = layer_of(entry);
	}
	if (n_found == 0)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: expected counts of experts, tensors such as blk.1.ffn_up_exps.weight.counts, "
		                   "found none: is it a matrix of importance of a model with experts?", im->path);
	qsort(found, n_found, sizeof *found, compare);
	for (size_t i = 0; i < n_found; i++)
		if (i == 0 || found[i] != found[*n - 1])
			found[(*n)++] = found[i];
	return MOE_OK;
}

/* The counts of one entry; those of a layer's other entries must be the same. */
static enum moe_status take_counts(struct moe_load *load, const struct moe_imatrix *im,
                                   const struct moe_imatrix_entry *entry, bool *filled, struct moe_err *err)
{
	const int32_t row = moe_load_find(load, layer_of(entry));
	uint64_t *counts = load->counts + (size_t)row * (size_t)load->n_experts;
	for (int32_t e = 0; e < load->n_experts; e++) {
		int64_t value;
		enum moe_status status = moe_imatrix_count(im, entry, e, &value, err);
		if (status)
			return status;
		if ((uint64_t)value > MOE_LOAD_COUNT_MAX)
			return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s.counts, expert %d: expected a count, found "
			                   "%lld", im->path, entry->name, e, (long long)value);
		if (filled[row] && counts[e] != (uint64_t)value)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: tensor %s.counts, expert %d: a count of %lld, but %llu in another "
			                   "tensor of the layer", im->path, entry->name, e, (long long)value,
			                   (unsigned long long)counts[e]);
		counts[e] = (uint64_t)value;
	}
	filled[row] = true;
	return MOE_OK;
}

bool moe_load_is_gguf(const char *path)
{
	char magic[4];
	FILE *file = moe_is_file(path) ? fopen(path, "rbe") : NULL;
	const bool is = file && fread(magic, 1, 4, file) == 4 && memcmp(magic, "GGUF", 4) == 0;
	if (file)
		fclose(file);
	return is;
}

enum moe_status moe_load_imatrix_read(struct moe_load *load, const char *path, struct moe_err *err)
{
	struct moe_imatrix im;
	int32_t *layers = NULL, n_layers = 0;
	int64_t n_experts = 0;
	bool *filled = NULL;
	*load = (struct moe_load) {0};
	enum moe_status status = moe_imatrix_open(&im, path, NULL, err);
	if (!status)
		status = find_layers(&im, &layers, &n_layers, &n_experts, err);
	if (!status)
		status = moe_load_init(load, layers, n_layers, (int32_t)n_experts, err);
	if (!status && !(filled = calloc((size_t)n_layers, sizeof *filled)))
		status = moe_err_nomem(err, (size_t)n_layers, "layers");
	for (size_t i = 0; !status && i < im.n; i++)
		if (layer_of(&im.entries[i]) >= 0)
			status = take_counts(load, &im, &im.entries[i], filled, err);
	if (status)
		moe_load_free(load);
	free(filled);
	free(layers);
	moe_imatrix_close(&im);
	return status;
}
