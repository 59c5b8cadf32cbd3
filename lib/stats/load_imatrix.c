/* The counts in a matrix of importance of llama.cpp (llama-imatrix, tools/imatrix/imatrix.cpp), as a load.
 *
 * Such a GGUF file holds for every weight NAME that was multiplied two tensors: NAME.in_sum2, sums of squares, and
 * NAME.counts, F32 [n_matrices, 1], how many rows each matrix was multiplied with. Where NAME is
 * blk.L.ffn_{gate,up,down}_exps.weight, a matrix is an expert, and a row is a token that chose it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint.h"
#include "stats/load.h"

#define NAME_MAX_BYTES 64

/* The layer, if a tensor is the counts of experts; else -1. */
static int32_t layer_of(const struct moe_tensor *tensor)
{
	static const char *const kinds[] = { "gate", "up", "down", "gate_up" };
	int layer = -1;
	char expected[NAME_MAX_BYTES];
	if (sscanf(tensor->name, "blk.%9d.", &layer) != 1 || layer < 0)
		return -1;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		snprintf(expected, sizeof expected, "blk.%d.ffn_%s_exps.weight.counts", layer, kinds[i]);
		if (strcmp(tensor->name, expected) == 0)
			return layer;
	}
	return -1;
}

static int compare(const void *left, const void *right)
{
	const int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
	return (a > b) - (a < b);
}

/* *layers [*n]: ascending, each once; malloc'd. Every tensor of counts has as many experts. */
static enum moe_status find_layers(const struct moe_ckpt *ckpt, int32_t **layers, int32_t *n, int64_t *n_experts,
                                   struct moe_err *err)
{
	int32_t *found = malloc((ckpt->n_tensors + 1) * sizeof *found);
	size_t n_found = 0;
	*layers = found;
	*n = 0;
	if (!found)
		return moe_err_nomem(err, ckpt->n_tensors * sizeof *found, "layers");
	for (size_t i = 0; i < ckpt->n_tensors; i++) {
		const struct moe_tensor *t = &ckpt->tensors[i];
		char dims[24 * MOE_MAX_DIMS];
		if (layer_of(t) < 0)
			continue;
		if (strcmp(t->codec->name, "f32") != 0 || t->n_dims != 2 || t->dims[1] != 1 || t->dims[0] < 1 ||
		    t->dims[0] > INT32_MAX || (n_found > 0 && t->dims[0] != *n_experts))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: tensor %s: expected f32 [experts, 1] as in all layers, found %s %s",
			                   ckpt->path, t->name, t->codec->name,
			                   moe_dims_text(dims, t->dims, t->n_dims));
		*n_experts = t->dims[0];
		found[n_found++] = layer_of(t);
	}
	if (n_found == 0)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: expected counts of experts, tensors such as blk.1.ffn_up_exps.weight.counts, "
		                   "found none: is it a matrix of importance of a model with experts?", ckpt->path);
	qsort(found, n_found, sizeof *found, compare);
	for (size_t i = 0; i < n_found; i++)
		if (i == 0 || found[i] != found[*n - 1])
			found[(*n)++] = found[i];
	return MOE_OK;
}

/* The counts of one tensor; those of a layer's other tensors must be the same. */
static enum moe_status take_counts(struct moe_load *load, const struct moe_ckpt *ckpt, const struct moe_tensor *t,
                                   bool *filled, struct moe_err *err)
{
	const int32_t row = moe_load_find(load, layer_of(t));
	uint64_t *counts = load->counts + (size_t)row * (size_t)load->n_experts;
	for (int32_t e = 0; e < load->n_experts; e++) {
		float value;
		t->codec->decode(t->data + 4 * (size_t)e, &value, 1);
		if (!(value >= 0) || value > (float)MOE_LOAD_COUNT_MAX || value != truncf(value))
			return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s, expert %d: expected a count, found %g",
			                   ckpt->path, t->name, e, (double)value);
		if (filled[row] && counts[e] != (uint64_t)value)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: tensor %s, expert %d: a count of %g, but %llu in another tensor of "
			                   "the layer", ckpt->path, t->name, e, (double)value,
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
	struct moe_ckpt *ckpt = NULL;
	int32_t *layers = NULL, n_layers = 0;
	int64_t n_experts = 0;
	bool *filled = NULL;
	*load = (struct moe_load) {0};
	enum moe_status status = moe_ckpt_open(&ckpt, path, NULL, err);
	if (!status)
		status = find_layers(ckpt, &layers, &n_layers, &n_experts, err);
	if (!status)
		status = moe_load_init(load, layers, n_layers, (int32_t)n_experts, err);
	if (!status && !(filled = calloc((size_t)n_layers, sizeof *filled)))
		status = moe_err_nomem(err, (size_t)n_layers, "layers");
	for (size_t i = 0; !status && i < ckpt->n_tensors; i++)
		if (layer_of(&ckpt->tensors[i]) >= 0)
			status = take_counts(load, ckpt, &ckpt->tensors[i], filled, err);
	if (status)
		moe_load_free(load);
	free(filled);
	free(layers);
	moe_ckpt_close(ckpt);
	return status;
}
