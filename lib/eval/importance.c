/* Sums of squares of the inputs of matrices: gathered while a model runs, written as a table. */
#include "eval/importance.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/str.h"
#include "checkpoint/write.h"
#include "model/inputs.h"
#include "model/names.h"

/* What one input of a layer added up to. Matrices that share an input share it. */
struct sum {
	int64_t cols;
	int32_t n_matrices;   /* experts, heads; else 1 */
	double *squares;      /* [n_matrices][cols] */
	int64_t *counts;      /* [n_matrices] */
};

/* A tensor of the table. */
struct entry {
	const char *name;
	size_t sum;
	int32_t repeat;       /* as many matrices met the same rows */
	bool flat;            /* all matrices count as one: heads, which all tokens pass */
};

struct moe_importance {
	const struct moe_model *model;
	struct moe_listener listener;
	bool mtp;
	int32_t n_layers;     /* those of the config, multi-token prediction included */
	struct sum *sums;     /* [n_sums] */
	size_t n_sums, cap_sums;
	struct entry *entries;   /* [n_entries] */
	size_t n_entries, cap_entries;
	int32_t *index;       /* [1 + n_layers][MOE_N_PARTS] of the sum that a part adds to; -1: none. Row 0: the top */
	struct moe_arena arena;
};

/* ---- listening ---- */

static int32_t *index_at(const struct moe_importance *im, int32_t layer, enum moe_part part)
{
	return &im->index[(size_t)(layer + 1) * MOE_N_PARTS + part];
}

/* The sum that rows of this weight belong to; NULL where those of another one stand for it. */
static struct sum *find_sum(const struct moe_importance *im, const struct moe_weight *w)
{
	const struct moe_layer *layers = im->model->layers;
	enum moe_part part = MOE_N_PARTS;
	int32_t layer = -1;

	if (w == &im->model->head)
		part = MOE_PART_HEAD;
	for (int32_t l = 0; part == MOE_N_PARTS && l < im->n_layers; l++) {
		layer = l;
		if (w >= layers[l].part && w < layers[l].part + MOE_N_PARTS)
			part = (enum moe_part)(w - layers[l].part);
		else if (w == layers[l].expert_up)
			part = MOE_PART_EXPERT_UP;
		else if (w == layers[l].expert_down)
			part = MOE_PART_EXPERT_DOWN;
	}
	/* queries come from one matrix, or from the first of two: it stands for all that read the layer's input */
	if (part == MOE_PART_Q_A)
		part = MOE_PART_Q;
	if (part == MOE_N_PARTS || moe_part_input(part) != part)
		return NULL;
	const int32_t at = *index_at(im, part == MOE_PART_HEAD ? -1 : layer, part);
	return at >= 0 ? &im->sums[at] : NULL;
}

static void on_rows(void *arg, const struct moe_weight *w, int32_t matrix, const float *x, int64_t stride,
                    int64_t n_rows)
{
	struct moe_importance *im = arg;
	struct sum *sum = n_rows > 0 ? find_sum(im, w) : NULL;

	if (!sum)
		return;
	double *squares = sum->squares + (int64_t)matrix * sum->cols;
	sum->counts[matrix] += n_rows;
	for (int64_t r = 0; r < n_rows; r++, x += stride)
		for (int64_t c = 0; c < sum->cols; c++)
			squares[c] += (double)x[c] * (double)x[c];
}

/* ---- what there is to hear ---- */

/* Room for one more element in an array of n. */
static void *grown(void *items, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return items;
	const size_t more = *cap ? 2 * *cap : 64;
	void *p = realloc(items, more * size);

	if (p)
		*cap = more;
	return p;
}

static enum moe_status add_sum(struct moe_importance *im, int64_t cols, int32_t n_matrices, struct moe_err *err)
{
	struct sum *sums = grown(im->sums, im->n_sums, &im->cap_sums, sizeof *sums);
	const size_t n = (size_t)n_matrices;
	size_t n_elems;

	if (!sums)
		return moe_err_nomem(err, im->n_sums * sizeof *sums, "a table of importance");
	im->sums = sums;
	if (!moe_mul_size(n, (size_t)cols, &n_elems))
		return moe_err_nomem(err, SIZE_MAX, "a table of importance");
	const struct sum sum = { cols, n_matrices, calloc(n_elems, sizeof *sum.squares),
	                         calloc(n, sizeof *sum.counts) };
	im->sums[im->n_sums++] = sum;
	return sum.squares && sum.counts ? MOE_OK
	                                 : moe_err_nomem(err, n_elems * sizeof *sum.squares, "a table of importance");
}

static enum moe_status add_entry(void *arg, const struct moe_tensor_id *id, const int64_t *dims, int32_t n_dims,
                                 struct moe_err *err)
{
	struct moe_importance *im = arg;
	const struct moe_config *config = &im->model->config;
	const enum moe_part part = id->spec->part, input = moe_part_input(part);
	const bool mtp = id->layer >= config->n_layers, stack = moe_spec_is_stack(id->spec, MOE_NAMING_GGUF);
	struct moe_buf name = { 0 };

	if (input == MOE_N_PARTS || n_dims < 2 || (mtp && !im->mtp) ||
	    (part == MOE_PART_EMBED && (id->layer >= 0 || !config->tie_embeddings)))
		return MOE_OK;
	int32_t *at = index_at(im, id->layer, input);
	const int32_t n_matrices = n_dims > 2 ? (int32_t)dims[0] : 1;
	const bool shared = part == MOE_PART_V_B;   /* all heads read the same latents */
	struct entry *entries = grown(im->entries, im->n_entries, &im->cap_entries, sizeof *entries);

	if (!entries)
		return moe_err_nomem(err, im->n_entries * sizeof *entries, "a table of importance");
	im->entries = entries;
	if (*at < 0) {
		enum moe_status status = add_sum(im, dims[n_dims - 1], shared ? 1 : n_matrices, err);
		if (status)
			return status;
		*at = (int32_t)(im->n_sums - 1);
	}
	moe_names_format(config, id, MOE_NAMING_GGUF, &name);
	enum moe_status status = moe_buf_check(&name, err);
	if (!status)
		im->entries[im->n_entries] = (struct entry){ moe_arena_strndup(&im->arena, name.p, name.n),
		                                             (size_t)*at, shared ? n_matrices : 1, !stack };
	moe_buf_free(&name);
	if (!status && !im->entries[im->n_entries++].name)
		status = moe_err_nomem(err, 64, "a name");
	return status;
}

enum moe_status moe_importance_new(struct moe_importance **out, const struct moe_model *model, bool mtp,
                                   struct moe_err *err)
{
	struct moe_importance *im = calloc(1, sizeof *im);
	if (!im)
		return moe_err_nomem(err, sizeof *im, "a table of importance");
	im->model = model;
	im->mtp = mtp;
	im->listener = (struct moe_listener){ im, on_rows };
	im->n_layers = model->config.n_layers + model->config.n_mtp_layers;
	const size_t n = (size_t)(im->n_layers + 1) * MOE_N_PARTS;
	im->index = malloc(n * sizeof *im->index);
	for (size_t i = 0; im->index && i < n; i++)
		im->index[i] = -1;
	enum moe_status status = im->index ? moe_names_each(&model->config, MOE_NAMING_GGUF, add_entry, im, err)
	                                   : moe_err_nomem(err, n * sizeof *im->index, "a table of importance");
	if (status) {
		moe_importance_free(im);
		return status;
	}
	*out = im;
	return MOE_OK;
}

void moe_importance_free(struct moe_importance *im)
{
	if (!im)
		return;
	for (size_t i = 0; i < im->n_sums; i++) {
		free(im->sums[i].squares);
		free(im->sums[i].counts);
	}
	free(im->sums);
	free(im->entries);
	free(im->index);
	moe_arena_free(&im->arena);
	free(im);
}

const struct moe_listener *moe_importance_listener(const struct moe_importance *im) { return &im->listener; }

/* ---- writing ---- */

double moe_importance_bytes(const struct moe_importance *im)
{
	double bytes = 0;

	for (size_t i = 0; i < im->n_entries; i++) {
		const struct sum *sum = &im->sums[im->entries[i].sum];
		bytes += 4.0 * sum->n_matrices * im->entries[i].repeat * (double)(sum->cols + 1);
	}
	return bytes;
}

static bool was_heard(const struct sum *sum)
{
	for (int32_t m = 0; m < sum->n_matrices; m++)
		if (sum->counts[m] > 0)
			return true;
	return false;
}

static enum moe_status declare(struct moe_ckpt_out *out, const struct entry *entry, const struct sum *sum,
                               struct moe_err *err)
{
	const struct moe_codec *f32 = moe_codec_by_name("f32");
	const int64_t rows = entry->flat ? 1 : sum->n_matrices;
	const int64_t n = (int64_t)sum->n_matrices * entry->repeat * sum->cols / rows;
	struct moe_buf name = { 0 };

	moe_buf_addf(&name, "%s.in_sum2", entry->name);
	const size_t n_base = strlen(entry->name);
	enum moe_status status = moe_buf_check(&name, err);
	if (!status)
		status = moe_ckpt_out_declare(out, name.p, f32, (const int64_t[]){ rows, n }, 2, err);
	name.n = status ? 0 : n_base;
	moe_buf_adds(&name, ".counts");
	if (!status)
		status = moe_buf_check(&name, err);
	if (!status)
		status = moe_ckpt_out_declare(out, name.p, f32, (const int64_t[]){ rows, 1 }, 2, err);
	moe_buf_free(&name);
	return status;
}

static enum moe_status write_entry(struct moe_ckpt_out *out, const struct entry *entry, const struct sum *sum,
                                   const char *path, struct moe_buf *row, struct moe_err *err)
{
	const size_t n_bytes = (size_t)sum->cols * sizeof(float);
	uint8_t number[4];
	enum moe_status status = MOE_OK;

	for (int64_t m = 0; m < (int64_t)sum->n_matrices * entry->repeat && !status; m++) {
		const double *squares = sum->squares + m % sum->n_matrices * sum->cols;

		row->n = 0;
		for (int64_t c = 0; c < sum->cols; c++) {
			const float value = (float)squares[c];
			if (!isfinite(value))
				return moe_err_set(err, MOE_EFORMAT,
				                   "%s: the inputs of %s, column %lld, have squares that add up to %g",
				                   path, entry->name, (long long)c, squares[c]);
			moe_store_u32(number, moe_f32_bits(value));
			moe_buf_add(row, number, sizeof number);
		}
		status = moe_buf_check(row, err);
		if (!status)
			status = moe_ckpt_out_write(out, row->p, n_bytes, err);
	}
	for (int32_t m = 0; m < (entry->flat ? 1 : sum->n_matrices) && !status; m++) {
		moe_store_u32(number, moe_f32_bits((float)sum->counts[m]));
		status = moe_ckpt_out_write(out, number, sizeof number, err);
	}
	return status;
}

static json_t *typed(const char *type, json_t *value) { return json_pack("{s:s, s:o}", "type", type, "value", value); }

/* Where the tokens came from; llama.cpp calls a sequence a chunk. */
static json_t *describe(const struct moe_sequences *seqs)
{
	json_t *keys = json_object(), *names = json_array();
	const int64_t longest = moe_sequences_longest(seqs), most = INT32_MAX;

	for (int64_t i = 0; i < seqs->n; i++)
		if (i == 0 || seqs->items[i].source != seqs->items[i - 1].source) {
			json_t *name = json_string(seqs->items[i].source);
			json_array_append_new(names, name ? name : json_string("?"));
		}
	json_object_set_new(keys, "general.type", typed("string", json_string("imatrix")));
	json_object_set_new(keys, "imatrix.datasets",
	                    json_pack("{s:s, s:s, s:o}", "type", "array", "of", "string", "value", names));
	json_object_set_new(keys, "imatrix.chunk_count",
	                    typed("u32", json_integer(seqs->n < most ? seqs->n : most)));
	json_object_set_new(keys, "imatrix.chunk_size", typed("u32", json_integer(longest < most ? longest : most)));
	return keys;
}

enum moe_status moe_importance_write(const struct moe_importance *im, const char *path, unsigned flags,
                                     const struct moe_sequences *seqs, struct moe_watch *watch, struct moe_err *err)
{
	json_t *keys = describe(seqs);
	const struct moe_ckpt_out_opts opts = { .format = moe_format_by_name("gguf"), .path = path, .flags = flags,
		                                .metadata = keys, .watch = watch };
	struct moe_ckpt_out *out = NULL;
	struct moe_buf row = { 0 };
	bool heard = false;
	enum moe_status status = keys ? moe_ckpt_out_open(&out, &opts, err) : moe_err_nomem(err, 64, "keys");

	for (size_t i = 0; i < im->n_entries && !status; i++)
		if (was_heard(&im->sums[im->entries[i].sum])) {
			heard = true;
			status = declare(out, &im->entries[i], &im->sums[im->entries[i].sum], err);
		}
	if (!status && !heard)
		status = moe_err_set(err, MOE_EFORMAT, "%s: no token was fed: there is nothing to write", path);
	if (!status)
		status = moe_ckpt_out_begin(out, err);
	for (size_t i = 0; i < im->n_entries && !status; i++)
		if (was_heard(&im->sums[im->entries[i].sum]))
			status = write_entry(out, &im->entries[i], &im->sums[im->entries[i].sum], path, &row, err);
	if (!status)
		status = moe_ckpt_out_commit(out, err);
	else
		moe_ckpt_out_abort(out);
	moe_buf_free(&row);
	json_decref(keys);
	return status;
}
