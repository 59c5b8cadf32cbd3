/* The counts that the recorder of expert distributions of SGLang dumps (python/sglang/srt/eplb/expert_distribution.py),
 * as a load. Such a file is a dictionary that torch.save wrote, of one of two kinds:
 *
 *	logical_count                  [steps, layers, experts] or [layers, experts]: modes stat, stat_approx
 *	records, a list of             modes per_pass, per_token
 *	  global_physical_count        [layers, slots] of one pass: a slot holds a copy of an expert
 *	last_physical_to_logical_map   [layers, slots]: which one
 *
 * Layers are all of the model. One in which nothing was ever chosen has no experts to choose from. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "stats/load.h"
#include "trace/torch.h"

/* Sums over all steps or passes. */
struct sums {
	const char *path;
	int64_t n_layers, n_experts;
	uint64_t *counts;   /* [n_layers][n_experts] */
};

bool moe_load_is_torch(const char *path)
{
	char magic[4];
	FILE *file = moe_is_file(path) ? fopen(path, "rbe") : NULL;
	const bool is = file && fread(magic, 1, 4, file) == 4 && memcmp(magic, "PK\3\4", 4) == 0;
	if (file)
		fclose(file);
	return is;
}

/* The next tensor of that name behind *at, or NULL. */
static const struct moe_array *find(const struct moe_torch *file, const char *name, size_t *at)
{
	for (size_t i = *at; i < file->n_tensors; i++)
		if (strcmp(file->tensors[i].name, name) == 0) {
			*at = i + 1;
			return &file->tensors[i];
		}
	*at = file->n_tensors;
	return NULL;
}

/* [layers, n] or, where steps are allowed, [steps, layers, n], of integers. */
static enum moe_status check_shape(const struct moe_array *a, const char *path, bool steps, struct moe_err *err)
{
	char dims[24 * MOE_MAX_DIMS];
	const int32_t n = a->n_dims;
	if (moe_array_is_integer(a) && (n == 2 || (steps && n == 3 && a->dims[0] >= 1)) && a->dims[n - 1] >= 1 &&
	    a->dims[n - 2] >= 1 && a->dims[n - 1] <= INT32_MAX && a->dims[n - 2] <= INT32_MAX)
		return MOE_OK;
	return moe_err_set(err, MOE_EFORMAT, "%s: %s: expected integers %s, found %s %s", path, a->name,
	                   steps ? "[steps, layers, experts]" : "[layers, slots]", a->codec->name,
	                   moe_dims_text(dims, a->dims, n));
}

static enum moe_status allocate(struct sums *s, const char *path, int64_t n_layers, int64_t n_experts,
                                struct moe_err *err)
{
	*s = (struct sums) { .path = path, .n_layers = n_layers, .n_experts = n_experts };
	s->counts = calloc((size_t)n_layers, (size_t)n_experts * sizeof *s->counts);
	return s->counts ? MOE_OK
	                 : moe_err_nomem(err, (size_t)n_layers * (size_t)n_experts * sizeof *s->counts, "counts");
}

static enum moe_status add_count(struct sums *s, const char *name, int64_t layer, int64_t expert, int64_t count,
                                 struct moe_err *err)
{
	uint64_t *sum = &s->counts[layer * s->n_experts + expert];
	if (count < 0 || (uint64_t)count > MOE_LOAD_COUNT_MAX - *sum)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: %s: layer %lld, expert %lld: expected counts whose sum is at most 2^53, found "
		                   "%lld", s->path, name, (long long)layer, (long long)expert, (long long)count);
	*sum += (uint64_t)count;
	return MOE_OK;
}

static enum moe_status sum_logical(struct sums *s, const struct moe_array *a, const char *path, struct moe_err *err)
{
	const int32_t n = a->n_dims;
	enum moe_status status = allocate(s, path, a->dims[n - 2], a->dims[n - 1], err);
	for (int64_t step = 0; step < (n == 3 ? a->dims[0] : 1); step++)
		for (int64_t l = 0; l < s->n_layers; l++)
			for (int64_t e = 0; e < s->n_experts && !status; e++)
				status = add_count(s, a->name, l, e,
				                   moe_array_id(a, (n == 3 ? step * a->strides[0] : 0) +
				                                   l * a->strides[n - 2] + e * a->strides[n - 1]),
				                   err);
	return status;
}

static int64_t at(const struct moe_array *a, int64_t row, int64_t col)
{
	return moe_array_id(a, row * a->strides[0] + col * a->strides[1]);
}

/* How many experts the slots hold: as there are slots at most. */
static enum moe_status count_experts(const struct moe_array *map, const char *path, int64_t *n_experts,
                                     struct moe_err *err)
{
	*n_experts = 0;
	for (int64_t l = 0; l < map->dims[0]; l++)
		for (int64_t slot = 0; slot < map->dims[1]; slot++) {
			const int64_t expert = at(map, l, slot);
			if (expert < 0 || expert >= map->dims[1])
				return moe_err_set(err, MOE_EFORMAT,
				                   "%s: %s: layer %lld, slot %lld: expected an expert from 0 to %lld, "
				                   "found %lld", path, map->name, (long long)l, (long long)slot,
				                   (long long)map->dims[1] - 1, (long long)expert);
			*n_experts = expert >= *n_experts ? expert + 1 : *n_experts;
		}
	return MOE_OK;
}

static enum moe_status sum_physical(struct sums *s, const struct moe_torch *file, const char *path,
                                    struct moe_err *err)
{
	size_t i = 0;
	const struct moe_array *map = find(file, "last_physical_to_logical_map", &i), *a;
	int64_t n_experts = 0;
	if (!map)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: expected logical_count, or records and last_physical_to_logical_map, found "
		                   "neither: is it a dump of SGLang's recorder of expert distributions?", path);
	enum moe_status status = check_shape(map, path, false, err);
	if (!status)
		status = count_experts(map, path, &n_experts, err);
	if (!status)
		status = allocate(s, path, map->dims[0], n_experts, err);
	for (i = 0; !status && (a = find(file, "global_physical_count", &i));) {
		status = check_shape(a, path, false, err);
		if (!status && (a->dims[0] != map->dims[0] || a->dims[1] != map->dims[1]))
			status = moe_err_set(err, MOE_EFORMAT,
			                     "%s: %s: %lld layers of %lld slots, but the map has %lld of %lld", path,
			                     a->name, (long long)a->dims[0], (long long)a->dims[1],
			                     (long long)map->dims[0], (long long)map->dims[1]);
		for (int64_t l = 0; !status && l < map->dims[0]; l++)
			for (int64_t slot = 0; slot < map->dims[1] && !status; slot++)
				status = add_count(s, a->name, l, at(map, l, slot), at(a, l, slot), err);
	}
	return status;
}

/* The layers in which anything was chosen. */
static enum moe_status to_load(struct moe_load *load, const struct sums *s, struct moe_err *err)
{
	const size_t n = (size_t)s->n_experts;
	int32_t *layers = calloc((size_t)s->n_layers, sizeof *layers), n_layers = 0;
	if (!layers)
		return moe_err_nomem(err, (size_t)s->n_layers * sizeof *layers, "layers");
	for (int64_t l = 0; l < s->n_layers; l++)
		for (size_t e = 0; e < n; e++)
			if (s->counts[(size_t)l * n + e]) {
				layers[n_layers++] = (int32_t)l;
				break;
			}
	enum moe_status status =
		n_layers ? moe_load_init(load, layers, n_layers, (int32_t)n, err)
		         : moe_err_set(err, MOE_EFORMAT, "%s: nothing was recorded: every count is 0", s->path);
	for (int32_t i = 0; i < n_layers && !status; i++)
		memcpy(load->counts + (size_t)i * n, s->counts + (size_t)layers[i] * n, n * sizeof *s->counts);
	free(layers);
	return status;
}

enum moe_status moe_load_sglang_read(struct moe_load *load, const char *path, struct moe_err *err)
{
	struct moe_torch file;
	struct sums sums = {0};
	size_t i = 0;
	*load = (struct moe_load) {0};
	enum moe_status status = moe_torch_open(&file, path, err);
	if (status)
		return status;
	const struct moe_array *logical = find(&file, "logical_count", &i);
	if (logical)
		status = check_shape(logical, path, true, err);
	if (!status)
		status = logical ? sum_logical(&sums, logical, path, err) : sum_physical(&sums, &file, path, err);
	if (!status)
		status = to_load(load, &sums, err);
	free(sums.counts);
	moe_torch_close(&file);
	return status;
}
