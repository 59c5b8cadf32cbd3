/* Makes a checkpoint of any config.json: all tensors that the family expects, in shards of a Hugging Face directory,
 * with normally distributed numbers, or (--holes) files of the right size of which only the headers take room.
 *
 *	checkpoint [--seed N] [--layers N] [--shards N] [--holes] CONFIG DIR
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/str.h"
#include "model/names.h"
#include "tensor/half.h"

enum { SAMPLES = 1 << 16, CHUNK = 1 << 22 };

enum storage { BF16, F32, F8 };
static const char *const storage_name[] = {"BF16", "F32", "F8_E4M3"};
static const size_t storage_bytes[] = {2, 4, 1};

struct entry {
	char *name;
	enum storage storage;
	int32_t n_dims;
	int64_t dims[MOE_MAX_DIMS];
	uint64_t n_bytes;
};

struct list {
	const struct moe_config *config;
	struct entry *entries;
	size_t n, cap;
	uint64_t n_bytes;
};

static _Noreturn void fail(const char *what, const char *why)
{
	fprintf(stderr, "checkpoint: %s: %s\n", what, why);
	exit(1);
}

static void *need(void *p)
{
	if (!p)
		fail("memory", strerror(ENOMEM));
	return p;
}

/* ---- what there is ---- */

static void push(struct list *list, const struct moe_tensor_id *id, bool scales, enum storage storage,
                 const int64_t *dims, int32_t n_dims)
{
	struct moe_buf name = {0};
	struct entry *e;

	if (list->n == list->cap) {
		list->cap = list->cap ? 2 * list->cap : 256;
		list->entries = need(realloc(list->entries, list->cap * sizeof *list->entries));
	}
	moe_names_format(list->config, id, MOE_NAMING_HF, &name);
	if (scales)
		moe_buf_adds(&name, MOE_SCALES_SUFFIX);
	e = &list->entries[list->n++];
	*e = (struct entry){ .name = need(name.p), .storage = storage, .n_dims = n_dims,
	                     .n_bytes = storage_bytes[storage] };
	for (int32_t d = 0; d < n_dims; d++) {
		e->dims[d] = dims[d];
		e->n_bytes *= (uint64_t)dims[d];
	}
	list->n_bytes += e->n_bytes;
}

static enum moe_status add(void *arg, const struct moe_tensor_id *id, const int64_t *dims, int32_t n_dims,
                           struct moe_err *err)
{
	struct list *list = arg;
	const bool scaled = moe_spec_scaled(list->config, id->spec);
	int64_t blocks[MOE_MAX_DIMS];

	(void)err;
	push(list, id, false, scaled ? F8 : id->spec->f32 ? F32 : BF16, dims, n_dims);
	for (int32_t d = 0; d < n_dims; d++)
		blocks[d] = (dims[d] + MOE_SCALE_BLOCK - 1) / MOE_SCALE_BLOCK;
	if (scaled)
		push(list, id, true, F32, blocks, n_dims);
	return MOE_OK;
}

/* Where shards end, for n of about the same size. */
static size_t shard_end(const struct list *list, size_t first, int k, int n_shards)
{
	uint64_t at = 0;
	size_t i;

	if (k + 1 == n_shards)
		return list->n;
	for (i = 0; i < first; i++)
		at += list->entries[i].n_bytes;
	while (i < list->n && at < list->n_bytes / (uint64_t)n_shards * (uint64_t)(k + 1))
		at += list->entries[i++].n_bytes;
	return i;
}

/* ---- what is in it ---- */

struct samples {
	uint8_t bf16[SAMPLES][2], f32[SAMPLES][4], f8[SAMPLES];
};

/* Numbers of standard deviation 0.02 by the formula of Box and Muller, and random codes but for NaN. */
static void draw_samples(struct samples *s, uint64_t seed)
{
	for (uint64_t i = 0; i < SAMPLES; i++) {
		const double u = 1 - moe_rng_f64(seed, 1, i), v = moe_rng_f64(seed, 2, i);
		const float x = (float)(0.02 * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
		const uint8_t code = (uint8_t)moe_rng_u64(seed, 3, i);

		moe_store_u16(s->bf16[i], moe_bf16_from_f32(x));
		moe_store_u32(s->f32[i], moe_f32_bits(x));
		s->f8[i] = (code & 0x7f) == 0x7f ? (uint8_t)(code ^ 1) : code;
	}
}

static void fill(uint8_t *bytes, size_t n_bytes, enum storage storage, const struct samples *s, uint64_t *state)
{
	const size_t size = storage_bytes[storage];
	uint64_t bits = 0;

	for (size_t i = 0; i < n_bytes / size; i++, bits >>= 16) {
		if (i % 4 == 0)
			bits = moe_rng_mix((*state)++);
		switch (storage) {
		case BF16: memcpy(bytes + 2 * i, s->bf16[bits & 0xffff], 2); break;
		case F32: memcpy(bytes + 4 * i, s->f32[bits & 0xffff], 4); break;
		case F8: bytes[i] = s->f8[bits & 0xffff]; break;
		}
	}
}

static void write_all(int fd, const void *bytes, size_t n_bytes, const char *path)
{
	const char *p = bytes;

	while (n_bytes) {
		const ssize_t n = write(fd, p, n_bytes);

		if (n < 0 && errno != EINTR)
			fail(path, strerror(errno));
		p += n > 0 ? n : 0;
		n_bytes -= n > 0 ? (size_t)n : 0;
	}
}

/* ---- files ---- */

static void make_header(const struct list *list, size_t first, size_t end, struct moe_buf *header)
{
	uint64_t at = 0;

	moe_buf_adds(header, "........{\"__metadata__\":{\"format\":\"pt\"}");
	for (size_t i = first; i < end; i++) {
		const struct entry *e = &list->entries[i];

		moe_buf_addf(header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", e->name, storage_name[e->storage]);
		for (int32_t d = 0; d < e->n_dims; d++)
			moe_buf_addf(header, "%s%lld", d ? "," : "", (long long)e->dims[d]);
		moe_buf_addf(header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
		             (unsigned long long)(at + e->n_bytes));
		at += e->n_bytes;
	}
	moe_buf_addc(header, '}');
	while (header->n % 8)
		moe_buf_addc(header, ' ');
	need(header->p);
	moe_store_u64((uint8_t *)header->p, header->n - 8);
}

static void make_shard(const struct list *list, size_t first, size_t end, const char *path, const struct samples *s,
                       uint64_t *state)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	struct moe_buf header = {0};
	uint8_t *chunk = need(malloc(CHUNK));
	uint64_t total;

	if (fd < 0)
		fail(path, strerror(errno));
	make_header(list, first, end, &header);
	write_all(fd, header.p, header.n, path);
	total = header.n;
	for (size_t i = first; i < end; i++) {
		total += list->entries[i].n_bytes;
		for (uint64_t left = list->entries[i].n_bytes; s && left;) {
			const size_t n = left < CHUNK ? (size_t)left : CHUNK;

			fill(chunk, n, list->entries[i].storage, s, state);
			write_all(fd, chunk, n, path);
			left -= n;
		}
	}
	if (ftruncate(fd, (off_t)total) || close(fd))
		fail(path, strerror(errno));
	moe_buf_free(&header);
	free(chunk);
}

static void put_text(const char *dir, const char *name, const char *text, size_t n)
{
	char *path = need(moe_path_join(dir, name));
	FILE *file = fopen(path, "wb");

	if (!file || fwrite(text, 1, n, file) != n || fclose(file))
		fail(path, strerror(errno));
	free(path);
}

static void make_files(const struct list *list, int n_shards, const char *dir, const struct samples *s, uint64_t seed)
{
	struct moe_buf index = {0};
	uint64_t state = moe_rng_mix(seed);
	size_t first = 0;

	moe_buf_addf(&index, "{\"metadata\":{\"total_size\":%llu},\"weight_map\":{", (unsigned long long)list->n_bytes);
	for (int k = 0; k < n_shards; k++) {
		const size_t end = shard_end(list, first, k, n_shards);
		char name[64], *path;

		snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", k + 1, n_shards);
		path = need(moe_path_join(dir, name));
		make_shard(list, first, end, path, s, &state);
		for (size_t i = first; i < end; i++)
			moe_buf_addf(&index, "%s\n\"%s\":\"%s\"", i ? "," : "", list->entries[i].name, name);
		free(path);
		first = end;
	}
	moe_buf_adds(&index, "}}\n");
	put_text(dir, "model.safetensors.index.json", need(index.p), index.n);
	moe_buf_free(&index);
}

static long long number(const char *text, const char *option)
{
	char *end;
	const long long n = text ? strtoll(text, &end, 10) : -1;

	if (!text || *end || n < 0)
		fail(option, "expected a number");
	return n;
}

int main(int argc, char **argv)
{
	long long seed = 1, n_layers = 0, n_shards = 1;
	struct moe_config config = {0};
	struct moe_err err = {0};
	struct list list = { .config = &config };
	struct samples *samples = NULL;
	bool holes = false;
	json_t *json;
	char *text;
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--holes"))
			holes = true;
		else if (!strcmp(argv[i], "--seed"))
			seed = number(argv[i + 1], argv[i]), i++;
		else if (!strcmp(argv[i], "--layers"))
			n_layers = number(argv[i + 1], argv[i]), i++;
		else if (!strcmp(argv[i], "--shards"))
			n_shards = number(argv[i + 1], argv[i]), i++;
		else
			fail(argv[i], "no such option");
	}
	if (argc - i != 2 || n_shards < 1 || n_shards > 99999)
		fail("usage", "checkpoint [--seed N] [--layers N] [--shards N] [--holes] CONFIG DIR");
	if (moe_json_load(&json, argv[i], 1 << 24, &err))
		fail(argv[i], err.text);
	if (n_layers)
		json_object_set_new(json, "num_hidden_layers", json_integer(n_layers));
	if (!json_object_get(json, "torch_dtype"))
		json_object_set_new(json, "torch_dtype", json_string("bfloat16"));
	if (moe_config_parse(&config, json, argv[i], &err) || moe_names_each(&config, MOE_NAMING_HF, add, &list, &err))
		fail(argv[i], err.text);
	if (mkdir(argv[i + 1], 0777))
		fail(argv[i + 1], strerror(errno));
	if (!holes) {
		samples = need(malloc(sizeof *samples));
		draw_samples(samples, (uint64_t)seed);
	}
	text = need(json_dumps(json, JSON_INDENT(1)));
	put_text(argv[i + 1], "config.json", text, strlen(text));
	make_files(&list, (int)n_shards, argv[i + 1], samples, (uint64_t)seed);
	printf("%zu tensors, %llu bytes\n", list.n, (unsigned long long)list.n_bytes);
	for (size_t k = 0; k < list.n; k++)
		free(list.entries[k].name);
	free(list.entries);
	free(samples);
	free(text);
	json_decref(json);
	moe_config_free(&config);
	return 0;
}
