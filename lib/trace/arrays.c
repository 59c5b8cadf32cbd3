/* Arrays of expert ids become sequences: layers are told apart, ids and weights are checked, pieces are delivered. */
#include "trace/arrays.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "trace/record.h"

#define PIECE_CHOICES (1 << 18)   /* of a run that is delivered */

void moe_array_pack(struct moe_array *array, bool fortran)
{
	uint64_t stride = 1;   /* beside a dimension of 0, where there is nothing to step over, it may wrap */
	for (int32_t i = 0; i < array->n_dims; i++) {
		int32_t at = fortran ? i : array->n_dims - 1 - i;
		array->strides[at] = (int64_t)stride;
		stride *= (uint64_t)array->dims[at];
	}
}

bool moe_array_is_integer(const struct moe_array *array)
{
	return (array->codec->name[0] == 'u' || array->codec->name[0] == 'i') && array->codec->block_elems == 1;
}

static bool is_real(const struct moe_array *array)
{
	const char *const name = array->codec->name;
	return strcmp(name, "f32") == 0 || strcmp(name, "f16") == 0 || strcmp(name, "bf16") == 0 ||
	       strcmp(name, "f64") == 0;
}

int64_t moe_array_id(const struct moe_array *array, int64_t i)
{
	const uint8_t *p = array->data + (size_t)i * array->codec->block_bytes;
	const bool is_signed = array->codec->name[0] == 'i';
	switch (array->codec->block_bytes) {
	case 1: return is_signed ? (int8_t)*p : *p;
	case 2: return is_signed ? (int16_t)moe_load_u16(p) : moe_load_u16(p);
	case 4: return is_signed ? (int64_t)(int32_t)moe_load_u32(p) : (int64_t)moe_load_u32(p);
	default: break;
	}
	uint64_t value = moe_load_u64(p);
	return is_signed || value <= INT64_MAX ? (int64_t)value : -1;
}

float moe_array_value(const struct moe_array *array, int64_t i)
{
	float value = 0;
	array->codec->decode(array->data + (size_t)i * array->codec->block_bytes, &value, 1);
	return value;
}

/* ---- names ---- */

/* Numbers in names by their value: "ids.2" before "ids.10". */
static int compare_names(const void *left, const void *right)
{
	const char *a = ((const struct moe_array *)left)->name, *b = ((const struct moe_array *)right)->name;
	const char *const whole_a = a, *const whole_b = b;
	while (*a && *b) {
		if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
			size_t zeros_a = strspn(a, "0"), zeros_b = strspn(b, "0");
			size_t n_a = strspn(a + zeros_a, "0123456789"), n_b = strspn(b + zeros_b, "0123456789");
			int order = n_a != n_b ? (n_a < n_b ? -1 : 1) : strncmp(a + zeros_a, b + zeros_b, n_a);
			if (order)
				return order;
			a += zeros_a + n_a;
			b += zeros_b + n_b;
			continue;
		}
		if (*a != *b)
			return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
		a++;
		b++;
	}
	return *a || *b ? (*a ? 1 : -1) : strcmp(whole_a, whole_b);
}

/* ---- one sequence ---- */

struct sequence {
	const struct moe_array *ids, *weights, *tokens;   /* weights, tokens: NULL where there are none */
	int64_t n_tokens, n_layers, k;
};

static char *shape_text(const struct moe_array *a, char *buf)
{
	return moe_dims_text(buf, a->dims, a->n_dims);
}

/* What begins a sentence about an array. */
static void name_array(const char *path, const struct moe_array *a, char *buf, size_t cap)
{
	snprintf(buf, cap, "%.600s%s%.100s%s", path, *a->name ? ": array '" : "", a->name, *a->name ? "'" : "");
}

/* Layers [n] of the model that the array's rows are, and which of its rows: both of n_layers at least. */
struct rows {
	int32_t *layers, *rows;
	int32_t n;
};

static enum moe_status find_rows(struct moe_intake *in, int64_t n_layers, struct rows *out, const char *where,
                                 struct moe_err *err)
{
	const int32_t first = in->opts->layer;
	if (n_layers < 1 || n_layers > MOE_TRACE_PAIRS_MAX)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected 1 to %d layers, found %lld", where,
		                   MOE_TRACE_PAIRS_MAX, (long long)n_layers);
	out->layers = MOE_NEW(&in->arena, int32_t, (size_t)n_layers);
	out->rows = MOE_NEW(&in->arena, int32_t, (size_t)n_layers);
	if (!out->layers || !out->rows)
		return moe_err_nomem(err, (size_t)n_layers * sizeof *out->rows, "layers");
	if (first < 0 && in->has_config && n_layers != in->n_moe && n_layers != in->config.n_layers)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: %lld layers, but %s has %d with experts of %d in all: name the first one by "
		                   "--layer", where, (long long)n_layers, in->opts->config_path, in->n_moe,
		                   in->config.n_layers);
	for (int32_t l = 0; l < n_layers; l++) {
		int64_t layer = first < 0 ? l : (int64_t)first + l;
		if (first < 0 && in->has_config && n_layers == in->n_moe) {
			layer = in->moe_layers[l];
		} else if (first < 0 && in->has_config) {   /* those without experts are filled with something */
			if (in->config.layers[l].ffn != MOE_FFN_MOE)
				continue;
		} else {
			enum moe_status status = moe_intake_layer(in, layer, where, err);
			if (status)
				return status;
		}
		out->layers[out->n] = (int32_t)layer;
		out->rows[out->n++] = l;
	}
	return MOE_OK;
}

static enum moe_status begin(struct moe_intake *in, const struct sequence *seq, const struct rows *rows,
                             const char *where, struct moe_err *err)
{
	const struct moe_trace_header *h = &in->header;
	if (seq->k < 1 || seq->k > h->n_experts)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected 1 to %d choices for every token, found %lld", where,
		                   h->n_experts, (long long)seq->k);
	if (!in->begun)
		return moe_intake_begin(in, rows->layers, rows->n, (int32_t)seq->k, seq->weights != NULL, false, where,
		                        err);
	if (seq->k != h->top_k || rows->n != h->n_layers)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: %d layers with %lld experts for every token, but %d with %d came before", where,
		                   rows->n, (long long)seq->k, h->n_layers, h->top_k);
	if ((seq->weights != NULL) != (h->gates != MOE_GATES_NONE))
		return moe_err_set(err, MOE_EFORMAT, "%s: %s weights, but what came before has %s", where,
		                   seq->weights ? "has" : "has no", seq->weights ? "none" : "them");
	return MOE_OK;
}

/* Where a piece of a run lives: [n_layers][piece][k]. */
struct space {
	int32_t *tokens, *ids;
	float *weights;
	struct moe_routing *layers;
	int64_t piece;
};

static enum moe_status space_open(struct space *space, const struct moe_trace_header *h, int64_t n_tokens,
                                  struct moe_err *err)
{
	const int64_t per_token = (int64_t)h->n_layers * h->top_k;   /* at most MOE_TRACE_CHOICES_MAX */
	space->piece = PIECE_CHOICES / per_token > 0 ? PIECE_CHOICES / per_token : 1;
	if (space->piece > n_tokens)
		space->piece = n_tokens;
	const size_t n = (size_t)(space->piece * per_token);
	space->tokens = malloc((size_t)space->piece * sizeof *space->tokens);
	space->ids = malloc(n * sizeof *space->ids);
	space->weights = h->gates == MOE_GATES_NONE ? NULL : malloc(n * sizeof *space->weights);
	space->layers = calloc((size_t)h->n_layers, sizeof *space->layers);
	if (!space->tokens || !space->ids || (h->gates != MOE_GATES_NONE && !space->weights) || !space->layers)
		return moe_err_nomem(err, n * 8, "choices");
	return MOE_OK;
}

static void space_close(struct space *space)
{
	free(space->tokens);
	free(space->ids);
	free(space->weights);
	free(space->layers);
}

/* The choices of one token in one layer: those that can be in front, -1 behind them. */
static enum moe_status take_token(struct moe_intake *in, const struct sequence *seq, int32_t row, int32_t *ids,
                                  float *weights, struct moe_place *place, struct moe_err *err)
{
	const struct moe_array *a = seq->ids, *w = seq->weights;
	const int32_t last = a->n_dims - 1;
	int64_t at = place->token * a->strides[0] + (last > 1 ? row * a->strides[1] : 0);
	int64_t at_weight = w ? place->token * w->strides[0] + (last > 1 ? row * w->strides[1] : 0) : 0;
	int32_t n_kept = 0;
	moe_intake_token(in);
	for (place->choice = 0; place->choice < seq->k; place->choice++) {
		const int64_t id = moe_array_id(a, at + place->choice * a->strides[last]);
		const float gate = w ? moe_array_value(w, at_weight + place->choice * w->strides[last]) : 0;
		bool kept = false;
		enum moe_status status = moe_intake_choice(in, id, gate, place, &kept, err);
		if (status)
			return status;
		if (!kept)
			continue;
		ids[n_kept] = (int32_t)id;
		if (w)
			weights[n_kept] = gate;
		n_kept++;
	}
	for (; n_kept < seq->k; n_kept++) {
		ids[n_kept] = -1;
		if (w)
			weights[n_kept] = 0;
	}
	return MOE_OK;
}

/* Tokens [from, from + n) of a sequence. */
static enum moe_status deliver(struct moe_intake *in, const struct sequence *seq, const struct rows *rows,
                               struct space *space, struct moe_trace_run *run, struct moe_place *place,
                               struct moe_err *err)
{
	const struct moe_trace_header *h = &in->header;
	for (int64_t t = 0; t < run->n_tokens; t++) {
		int64_t token = seq->tokens ? moe_array_id(seq->tokens, (run->pos + t) * seq->tokens->strides[0]) : -1;
		if (token < -1 || token > INT32_MAX)
			return moe_err_set(err, MOE_EFORMAT, "%s: array '%s': position %lld: expected a token id, "
			                   "found %lld", place->path, seq->tokens->name, (long long)(run->pos + t),
			                   (long long)token);
		space->tokens[t] = (int32_t)token;
		place->token = run->pos + t;
		for (int32_t l = 0; l < h->n_layers; l++) {
			size_t at = ((size_t)l * (size_t)run->n_tokens + (size_t)t) * (size_t)h->top_k;
			place->layer = h->layers[l];
			enum moe_status status =
				take_token(in, seq, rows->rows[l], space->ids + at,
			                   space->weights ? space->weights + at : NULL, place, err);
			if (status)
				return status;
		}
	}
	for (int32_t l = 0; l < h->n_layers; l++) {
		size_t at = (size_t)l * (size_t)run->n_tokens * (size_t)h->top_k;
		space->layers[l] = (struct moe_routing) {
			.layer = h->layers[l], .n_experts = h->n_experts, .top_k = h->top_k, .n_tokens = run->n_tokens,
			.ids = space->ids + at, .weights = space->weights ? space->weights + at : NULL,
		};
	}
	run->tokens = space->tokens;
	run->layers = space->layers;
	return in->sink->run(in->sink->arg, run, err);
}

static enum moe_status import_sequence(struct moe_intake *in, const char *path, const struct sequence *seq,
                                       const char *label, int64_t number, struct moe_err *err)
{
	struct rows rows = {0};
	struct space space = {0};
	char where[800];
	name_array(path, seq->ids, where, sizeof where);
	if (seq->n_tokens < 1)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected tokens, found none", where);
	enum moe_status status = find_rows(in, seq->n_layers, &rows, where, err);
	if (!status)
		status = begin(in, seq, &rows, where, err);
	if (!status)
		status = space_open(&space, &in->header, seq->n_tokens, err);
	struct moe_place place = { .path = path, .array = seq->ids->name };
	struct moe_trace_run run = { .seq = number, .source = label };
	for (; !status && run.pos < seq->n_tokens; run.pos += run.n_tokens) {
		run.n_tokens = seq->n_tokens - run.pos < space.piece ? seq->n_tokens - run.pos : space.piece;
		status = deliver(in, seq, &rows, &space, &run, &place, err);
	}
	space_close(&space);
	return status;
}

/* ---- all arrays of a file ---- */

enum role { SEQUENCE, WEIGHTS, TOKENS, NONE };

static enum role role_of(const struct moe_array *a)
{
	if (moe_array_is_integer(a) && a->n_dims == 1)
		return TOKENS;
	if (a->n_dims != 2 && a->n_dims != 3)
		return NONE;
	return moe_array_is_integer(a) ? SEQUENCE : is_real(a) ? WEIGHTS : NONE;
}

static bool same_shape(const struct moe_array *a, const struct moe_array *b)
{
	return a->n_dims == b->n_dims && memcmp(a->dims, b->dims, (size_t)a->n_dims * sizeof *a->dims) == 0;
}

static enum moe_status refuse(const char *path, const struct moe_array *a, const char *reason, struct moe_err *err)
{
	char where[800], shape[24 * MOE_MAX_DIMS];
	name_array(path, a, where, sizeof where);
	return moe_err_set(err, MOE_EFORMAT, "%s: %s %s: %s", where, a->codec->name, shape_text(a, shape), reason);
}

/* Arrays by their names, those of one name in the order of the file. */
struct index {
	const struct moe_array *arrays;
	size_t *order;   /* [n] */
	size_t n;
};

static int compare_entries(const void *left, const void *right, void *arg)
{
	const struct index *index = arg;
	const size_t a = *(const size_t *)left, b = *(const size_t *)right;
	const int order = strcmp(index->arrays[a].name, index->arrays[b].name);
	return order ? order : a < b ? -1 : a > b;
}

/* The first place in the order whose name is not before this one. */
static size_t lower_bound(const struct index *index, const char *name)
{
	size_t from = 0, to = index->n;
	while (from < to) {
		const size_t middle = from + (to - from) / 2;
		if (strcmp(index->arrays[index->order[middle]].name, name) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

/* The array called as ids is, with `word` in the place of the last "ids": of several of that name the one that stands
 * among them where ids stands among its own, as in a list of dictionaries. The number of arrays: none. */
static size_t find_partner(const struct index *index, size_t ids, const char *word)
{
	const char *const name = index->arrays[ids].name, *at = NULL;
	char wanted[512];
	for (const char *p = name; (p = strstr(p, "ids")); p++)
		at = p;
	if (!at || snprintf(wanted, sizeof wanted, "%.*s%s%s", (int)(at - name < 400 ? at - name : 400), name, word,
	                    at + 3) >= (int)sizeof wanted)
		return index->n;
	size_t rank = 0, first = lower_bound(index, name);
	size_t from = first, to = index->n;   /* by index among those of one name */
	while (from < to) {
		const size_t middle = from + (to - from) / 2;
		const struct moe_array *a = &index->arrays[index->order[middle]];
		if (strcmp(a->name, name) == 0 && index->order[middle] < ids)
			from = middle + 1;
		else
			to = middle;
	}
	rank = from - first;
	const size_t place = lower_bound(index, wanted) + rank;
	if (place >= index->n || strcmp(index->arrays[index->order[place]].name, wanted) != 0)
		return index->n;
	return index->order[place];
}

/* The weights and tokens that belong to ids; taken[i] is set for each. n_ids: sequences in the file. */
static enum moe_status find_partners(const char *path, struct sequence *seq, const struct index *index, size_t n_ids,
                                     bool *taken, struct moe_err *err)
{
	const size_t ids = (size_t)(seq->ids - index->arrays);
	size_t weights = find_partner(index, ids, "weights");
	const size_t tokens = find_partner(index, ids, "tokens");
	for (size_t i = 0; weights == index->n && n_ids == 1 && i < index->n; i++)
		if (role_of(&index->arrays[i]) == WEIGHTS)
			weights = i;
	if (weights < index->n && role_of(&index->arrays[weights]) == WEIGHTS) {
		seq->weights = &index->arrays[weights];
		taken[weights] = true;
		if (!same_shape(seq->weights, seq->ids))
			return refuse(path, seq->weights, "expected weights of the shape of the ids", err);
	}
	if (tokens < index->n && role_of(&index->arrays[tokens]) == TOKENS) {
		seq->tokens = &index->arrays[tokens];
		taken[tokens] = true;
		if (seq->tokens->dims[0] != seq->ids->dims[0])
			return refuse(path, seq->tokens, "expected as many tokens as ids are for", err);
	}
	return MOE_OK;
}

/* Which arrays are sequences, and what belongs to them: seqs has room for all. */
static enum moe_status find_sequences(const char *path, const struct index *index, bool *taken, struct sequence *seqs,
                                      size_t *n_seqs, struct moe_err *err)
{
	size_t n_ids = 0;
	enum moe_status status = MOE_OK;
	for (size_t i = 0; i < index->n; i++)
		n_ids += role_of(&index->arrays[i]) == SEQUENCE;
	for (size_t i = 0; !status && i < index->n; i++) {
		const struct moe_array *a = &index->arrays[i];
		if (role_of(a) != SEQUENCE)
			continue;
		struct sequence *seq = &seqs[(*n_seqs)++];
		*seq = (struct sequence) { .ids = a, .n_tokens = a->dims[0], .n_layers = a->n_dims > 2 ? a->dims[1] : 1,
			                   .k = a->dims[a->n_dims - 1] };
		taken[i] = true;
		status = find_partners(path, seq, index, n_ids, taken, err);
	}
	for (size_t i = 0; !status && i < index->n; i++)
		if (!taken[i])
			status = refuse(path, &index->arrays[i],
			                "expected ids as integers [tokens, layers, k] or [tokens, k], and perhaps "
			                "their weights and tokens under such names", err);
	if (!status && *n_seqs == 0)
		status = moe_err_set(err, MOE_EFORMAT, "%s: expected arrays of expert ids, found none", path);
	return status;
}

enum moe_status moe_arrays_import(struct moe_intake *in, const char *path, struct moe_array *arrays, size_t n,
                                  bool by_name, int64_t *next_seq, struct moe_err *err)
{
	struct sequence *seqs = calloc(n + 1, sizeof *seqs);
	bool *taken = calloc(n + 1, sizeof *taken);
	struct index index = { arrays, calloc(n + 1, sizeof(size_t)), n };
	const char *label = NULL;
	size_t n_seqs = 0;
	enum moe_status status = seqs && taken && index.order ? moe_intake_label(in, path, &label, err) :
	                         moe_err_nomem(err, n * sizeof *seqs, path);
	if (!status && by_name && n > 1)
		qsort(arrays, n, sizeof *arrays, compare_names);
	for (size_t i = 0; !status && i < n; i++)
		index.order[i] = i;
	if (!status && n > 1)
		qsort_r(index.order, n, sizeof *index.order, compare_entries, &index);
	if (!status)
		status = find_sequences(path, &index, taken, seqs, &n_seqs, err);
	for (size_t i = 0; !status && i < n_seqs; i++)
		status = import_sequence(in, path, &seqs[i], label, (*next_seq)++, err);
	free(index.order);
	free(seqs);
	free(taken);
	return status;
}

enum moe_status moe_arrays_run(char *const *files, int n_files, const struct moe_import_opts *opts,
                               const struct moe_import_sink *sink,
                               enum moe_status (*read_file)(struct moe_intake *in, const char *path,
                                                            int64_t *next_seq, struct moe_err *err),
                               struct moe_err *err)
{
	struct moe_intake in = {0};
	int64_t next_seq = 0;
	enum moe_status status = moe_intake_open(&in, opts, sink, "arrays of ids", err);
	for (int i = 0; !status && i < n_files; i++)
		status = read_file(&in, files[i], &next_seq, err);
	moe_intake_close(&in);
	return status;
}

enum moe_status moe_arrays_unzip(struct moe_intake *in, const char *path,
                                 enum moe_status (*read)(struct moe_intake *in, struct moe_zip *zip,
                                                         int64_t *next_seq, struct moe_err *err),
                                 int64_t *next_seq, struct moe_err *err)
{
	struct moe_map map = {0};
	struct moe_zip zip = {0};
	enum moe_status status = moe_map_open(&map, path, in->opts->watch, err);
	if (!status)
		status = moe_zip_open(&zip, &map, err);
	if (!status)
		status = read(in, &zip, next_seq, err);
	moe_zip_close(&zip);
	moe_map_close(&map);
	return status;
}
