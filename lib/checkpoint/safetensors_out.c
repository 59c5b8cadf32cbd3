/* Writing a Hugging Face directory: shards in declared order, an index where there is more than one, companions. Or the
 * files of ranks, each with the tensors declared for it, without an index. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "checkpoint/format.h"

#define INDEX_NAME "model.safetensors.index.json"
#define MAX_HEADER_BYTES 100000000u   /* what readers accept */

struct shard {
	size_t first, end;      /* tensors */
	struct moe_buf header;  /* with the length before it and padding behind it */
};

struct layout {
	size_t n_shards, current;
	bool ranks;             /* a shard is the file of a rank */
	struct shard *shards;   /* [n_shards], malloc'd */
	struct moe_buf index;   /* empty where one shard is all */
};

static void free_layout(void *arg)
{
	struct layout *layout = arg;

	for (size_t i = 0; layout->shards && i < layout->n_shards; i++)
		moe_buf_free(&layout->shards[i].header);
	free(layout->shards);
	moe_buf_free(&layout->index);
	free(layout);
}

static enum moe_status check(const struct moe_ckpt_out *out, const struct moe_declared *tensor, struct moe_err *err)
{
	if (!tensor->codec->safetensors)
		return moe_err_set(err, MOE_EUSAGE, "%s: tensor %s: safetensors has no type for %s", out->path,
		                   tensor->name, tensor->codec->name);
	if (!strcmp(tensor->name, "__metadata__"))
		return moe_err_set(err, MOE_EUSAGE, "%s: a tensor cannot be called %s in safetensors", out->path,
		                   tensor->name);
	return MOE_OK;
}

static void shard_name(const struct layout *layout, size_t i, char name[64])
{
	if (layout->ranks)
		snprintf(name, 64, "model%zu-mp%zu.safetensors", i, layout->n_shards);
	else if (layout->n_shards <= 1)
		snprintf(name, 64, "model.safetensors");
	else
		snprintf(name, 64, "model-%05zu-of-%05zu.safetensors", i + 1, layout->n_shards);
}

/* A tensor starts a new shard where the bytes of the current one would pass the limit, or those of a rank begin. An
 * empty checkpoint is one empty shard. */
static bool starts_shard(const struct moe_ckpt_out *out, size_t i, uint64_t n_shard_bytes)
{
	uint64_t n_bytes = out->tensors[i].n_bytes;

	if (out->n_ranks)
		return i > 0 && out->tensors[i].rank != out->tensors[i - 1].rank;
	return out->shard_bytes && n_shard_bytes && n_bytes &&
	       (n_shard_bytes > out->shard_bytes || n_bytes > out->shard_bytes - n_shard_bytes);
}

static enum moe_status cut_shards(const struct moe_ckpt_out *out, struct layout *layout, struct moe_err *err)
{
	uint64_t n_shard_bytes = 0;
	size_t k = 0;

	layout->ranks = out->n_ranks > 0;
	layout->n_shards = 1;
	for (size_t i = 0; i < out->n_tensors; i++) {
		if (starts_shard(out, i, n_shard_bytes)) {
			layout->n_shards++;
			n_shard_bytes = 0;
		}
		n_shard_bytes += out->tensors[i].n_bytes;
	}
	layout->shards = calloc(layout->n_shards, sizeof *layout->shards);
	if (!layout->shards)
		return moe_err_nomem(err, layout->n_shards * sizeof *layout->shards, "shards");
	n_shard_bytes = 0;
	for (size_t i = 0; i < out->n_tensors; i++) {
		if (starts_shard(out, i, n_shard_bytes)) {
			layout->shards[k++].end = i;
			layout->shards[k].first = i;
			n_shard_bytes = 0;
		}
		n_shard_bytes += out->tensors[i].n_bytes;
	}
	layout->shards[k].end = out->n_tensors;
	return MOE_OK;
}

static enum moe_status add_metadata(const struct moe_ckpt_out *out, struct moe_buf *header, struct moe_err *err)
{
	const char *key, *before = "";
	json_t *value;

	moe_buf_adds(header, "\"__metadata__\":{");
	json_object_foreach(out->metadata, key, value) {
		if (!json_is_string(value))
			return moe_err_set(err, MOE_EUSAGE, "%s: metadata %s: safetensors holds only strings",
			                   out->path, key);
		moe_buf_adds(header, before);
		moe_json_quote(header, key, strlen(key));
		moe_buf_addc(header, ':');
		moe_json_quote(header, json_string_value(value), json_string_length(value));
		before = ",";
	}
	moe_buf_addc(header, '}');
	return MOE_OK;
}

static enum moe_status make_header(const struct moe_ckpt_out *out, struct shard *shard, struct moe_err *err)
{
	struct moe_buf *header = &shard->header;
	const char *before = "";
	uint64_t at = 0;
	enum moe_status status = MOE_OK;

	moe_buf_adds(header, "........{");
	if (json_object_size(out->metadata)) {
		status = add_metadata(out, header, err);
		before = ",";
	}
	for (size_t i = shard->first; i < shard->end && !status; i++) {
		const struct moe_declared *tensor = &out->tensors[i];

		moe_buf_adds(header, before);
		moe_json_quote(header, tensor->name, strlen(tensor->name));
		moe_buf_addf(header, ":{\"dtype\":\"%s\",\"shape\":[", tensor->codec->safetensors);
		for (int32_t d = 0; d < tensor->n_dims; d++)
			moe_buf_addf(header, "%s%lld", d ? "," : "", (long long)tensor->dims[d]);
		moe_buf_addf(header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
		             (unsigned long long)(at + tensor->n_bytes));
		at += tensor->n_bytes;
		before = ",";
	}
	moe_buf_addc(header, '}');
	while (!header->failed && header->n % 8)
		moe_buf_addc(header, ' ');
	if (!status)
		status = moe_buf_check(header, err);
	if (status)
		return status;
	if (header->n - 8 > MAX_HEADER_BYTES)
		return moe_err_set(err, MOE_EUSAGE,
		                   "%s: a header would take %zu bytes, and readers accept %u: use smaller shards",
		                   out->path, header->n - 8, MAX_HEADER_BYTES);
	moe_store_u64((uint8_t *)header->p, header->n - 8);
	return MOE_OK;
}

static enum moe_status make_index(const struct moe_ckpt_out *out, struct layout *layout, uint64_t n_tensor_bytes,
                                  struct moe_err *err)
{
	struct moe_buf *index = &layout->index;
	const char *before = "";
	char name[64];

	moe_buf_addf(index, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
	             (unsigned long long)n_tensor_bytes);
	for (size_t k = 0; k < layout->n_shards; k++) {
		shard_name(layout, k, name);
		for (size_t i = layout->shards[k].first; i < layout->shards[k].end; i++) {
			moe_buf_addf(index, "%s\n    ", before);
			moe_json_quote(index, out->tensors[i].name, strlen(out->tensors[i].name));
			moe_buf_addf(index, ": \"%s\"", name);
			before = ",";
		}
	}
	moe_buf_adds(index, "\n  }\n}\n");
	return moe_buf_check(index, err);
}

static enum moe_status plan(const struct moe_ckpt_out *out, void **result, uint64_t *total, struct moe_err *err)
{
	struct layout *layout = calloc(1, sizeof *layout);
	uint64_t n_tensor_bytes = 0;
	enum moe_status status;

	if (!layout)
		return moe_err_nomem(err, sizeof *layout, "a layout");
	*result = layout;
	*total = 0;
	for (size_t i = 0; i < out->n_tensors; i++) {
		if (__builtin_add_overflow(n_tensor_bytes, out->tensors[i].n_bytes, &n_tensor_bytes) ||
		    n_tensor_bytes > INT64_MAX)
			return moe_err_set(err, MOE_EUSAGE, "%s: the tensors have more bytes than can be counted",
			                   out->path);
	}
	status = cut_shards(out, layout, err);
	for (size_t k = 0; k < layout->n_shards && !status; k++) {
		status = make_header(out, &layout->shards[k], err);
		*total += layout->shards[k].header.n;
	}
	if (!status && layout->n_shards > 1 && !layout->ranks)
		status = make_index(out, layout, n_tensor_bytes, err);
	*total += layout->index.n + n_tensor_bytes;
	for (int32_t i = 0; i < out->n_companions; i++)
		*total += out->companions[i].n_bytes;
	return status;
}

static enum moe_status end_shard(struct moe_ckpt_out *out, struct moe_err *err)
{
	enum moe_status status = moe_format_flush(out, err);
	struct moe_out *sink = out->sink;

	if (status)
		return status;
	out->sink = NULL;
	return moe_out_commit(sink, err);
}

/* Bytes of tensors [first, end). */
static uint64_t bytes_of(const struct moe_ckpt_out *out, size_t first, size_t end)
{
	uint64_t n_bytes = 0;

	for (size_t i = first; i < end; i++)
		n_bytes += out->tensors[i].n_bytes;
	return n_bytes;
}

/* Its tensors before out->current are there already. */
static enum moe_status begin_shard(struct moe_ckpt_out *out, size_t k, struct moe_err *err)
{
	struct layout *layout = out->layout;
	const struct moe_buf *header = &layout->shards[k].header;
	const size_t first = layout->shards[k].first;
	const uint64_t n_kept = out->current > first ? header->n + bytes_of(out, first, out->current) : 0;
	enum moe_status status;
	char name[64];

	layout->current = k;
	shard_name(layout, k, name);
	status = moe_outdir_file_kept(out->dir, name, n_kept, &out->sink, err);
	return status || n_kept ? status : moe_format_put(out, header->p, header->n, err);
}

static enum moe_status begin(struct moe_ckpt_out *out, struct moe_err *err)
{
	const struct layout *layout = out->layout;
	enum moe_status status;
	size_t k = 0;

	for (int32_t i = 0; i < out->n_companions; i++) {
		const char *name = out->companions[i].name, *end = strrchr(name, '.');

		if (!strcmp(name, INDEX_NAME) || (end && !strcmp(end, ".safetensors")))
			return moe_err_set(err, MOE_EUSAGE, "%s: %s cannot be copied beside tensors that are written",
			                   out->path, name);
	}
	while (k + 1 < layout->n_shards && out->current >= layout->shards[k].end)
		k++;
	status = moe_outdir_open(&out->dir, out->path, out->flags | (out->resume ? MOE_OUT_RESUME : 0), out->watch,
	                         err);
	if (!status)
		status = moe_outdir_room(out->dir, out->total - bytes_of(out, 0, out->current), err);
	return status ? status : begin_shard(out, k, err);
}

static enum moe_status tensor(struct moe_ckpt_out *out, size_t i, struct moe_err *err)
{
	struct layout *layout = out->layout;
	enum moe_status status;

	if (i < layout->shards[layout->current].end)
		return MOE_OK;
	status = end_shard(out, err);
	return status ? status : begin_shard(out, layout->current + 1, err);
}

static enum moe_status put_file(struct moe_ckpt_out *out, const char *name, const void *bytes, size_t n_bytes,
                                struct moe_err *err)
{
	enum moe_status status = moe_outdir_file(out->dir, name, &out->sink, err);

	if (!status)
		status = moe_format_put(out, bytes, n_bytes, err);
	return status ? status : end_shard(out, err);
}

static enum moe_status finish(struct moe_ckpt_out *out, struct moe_err *err)
{
	struct layout *layout = out->layout;
	struct moe_outdir *dir;
	enum moe_status status = end_shard(out, err);

	if (!status && layout->index.n)
		status = put_file(out, INDEX_NAME, layout->index.p, layout->index.n, err);
	for (int32_t i = 0; i < out->n_companions && !status; i++) {
		const struct moe_companion *companion = &out->companions[i];

		status = put_file(out, companion->name, companion->data, companion->n_bytes, err);
	}
	if (status)
		return status;
	dir = out->dir;
	out->dir = NULL;
	return moe_outdir_commit(dir, err);
}

static void place(const struct moe_ckpt_out *out, const void *arg_layout, size_t i, struct moe_format_place *place)
{
	const struct layout *layout = arg_layout;
	size_t k = 0;

	while (i >= layout->shards[k].end)
		k++;
	shard_name(layout, k, place->name);
	place->header = &layout->shards[k].header;
	place->offset = place->header->n + bytes_of(out, layout->shards[k].first, i);
}

static void files(const struct moe_ckpt_out *out, const void *arg_layout, uint64_t total,
                  void (*fn)(void *arg, const char *name, uint64_t n_bytes), void *arg)
{
	const struct layout *layout = arg_layout;
	char name[64];

	(void)total;
	for (size_t k = 0; k < layout->n_shards; k++) {
		uint64_t n_bytes = layout->shards[k].header.n;

		n_bytes += bytes_of(out, layout->shards[k].first, layout->shards[k].end);
		shard_name(layout, k, name);
		fn(arg, name, n_bytes);
	}
	if (layout->index.n)
		fn(arg, INDEX_NAME, layout->index.n);
	for (int32_t i = 0; i < out->n_companions; i++)
		fn(arg, out->companions[i].name, out->companions[i].n_bytes);
}

const struct moe_format_writer moe_safetensors_writer = {
	.check = check,
	.plan = plan,
	.place = place,
	.begin = begin,
	.tensor = tensor,
	.finish = finish,
	.free_layout = free_layout,
	.files = files,
};
