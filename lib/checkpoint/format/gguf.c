/* GGUF, versions 2 and 3, little-endian, in one file or split over several: header, keys, tensor infos, data. */
#include <stdlib.h>
#include <string.h>

#include "checkpoint/format.h"
#include "checkpoint/gguf.h"

#define PART_SUFFIX_BYTES (sizeof "-00001-of-00002.gguf" - 1)

static bool probe(const char *path)
{
	uint8_t magic[4];

	return !moe_is_dir(path) && moe_format_peek(path, magic, sizeof magic) && !memcmp(magic, "GGUF", 4);
}

static enum moe_status take_info(struct moe_gguf_reader *r, struct moe_tensor *tensor)
{
	struct moe_str name;
	char dims[24 * MOE_MAX_DIMS];
	uint32_t n_dims = 0, id = 0;
	uint64_t ne = 0;
	enum moe_status status = moe_gguf_take_name(r, "a tensor's name", &name);

	if (status)
		return status;
	tensor->name = moe_arena_strndup(&r->ckpt->arena, name.p, name.n);
	if (!tensor->name)
		return moe_err_nomem(r->err, name.n + 1, "a tensor's name");
	status = moe_gguf_take_u32(r, tensor->name, &n_dims);
	if (!status && n_dims > MOE_GGUF_MAX_DIMS)
		status = moe_gguf_refuse(r, "tensor %s: expected at most %d dimensions, found %u", tensor->name,
		                MOE_GGUF_MAX_DIMS, n_dims);
	tensor->n_dims = (int32_t)n_dims;
	for (uint32_t i = 0; i < n_dims && !status; i++) {
		status = moe_gguf_take_u64(r, tensor->name, &ne);
		if (!status && ne > INT64_MAX)
			status = moe_gguf_refuse(r, "tensor %s: dimension %u is %llu, more than can be counted",
			                         tensor->name, i, (unsigned long long)ne);
		tensor->dims[n_dims - 1 - i] = (int64_t)ne;
	}
	if (!status)
		status = moe_gguf_take_u32(r, tensor->name, &id);
	if (!status)
		status = moe_gguf_take_u64(r, tensor->name, &tensor->offset);
	if (status)
		return status;
	tensor->codec = moe_codec_by_gguf(id);
	if (!tensor->codec)
		return moe_gguf_refuse(r, "tensor %s: its storage type %u is not known here", tensor->name, id);
	moe_dims_text(dims, tensor->dims, tensor->n_dims);
	if (!moe_dims_bytes(tensor->codec, tensor->dims, tensor->n_dims, &tensor->n_bytes))
		return moe_gguf_refuse(r, "tensor %s: shape %s of %s is not whole blocks of %u, or too large",
		                       tensor->name, dims, tensor->codec->name, tensor->codec->block_elems);
	if (tensor->offset % r->alignment)
		return moe_gguf_refuse(r, "tensor %s: expected an offset that is a multiple of %llu, found %llu",
		                       tensor->name, (unsigned long long)r->alignment,
		                       (unsigned long long)tensor->offset);
	return MOE_OK;
}

static int compare_infos(const void *a, const void *b)
{
	const struct moe_tensor *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	if (x->n_bytes != y->n_bytes)
		return x->n_bytes < y->n_bytes ? -1 : 1;
	return strcmp(x->name, y->name);
}

static uint64_t align_up(uint64_t at, uint64_t alignment)
{
	return at + (alignment - at % alignment) % alignment;
}

/* Sorted tensors with offsets into the data area, which starts at data_start: no overlap, nothing between them but
 * padding, nothing behind them but padding. Offsets become those in the file. */
static enum moe_status place_tensors(struct moe_gguf_reader *r, struct moe_tensor *tensors, size_t n,
                                     uint64_t data_start)
{
	const struct moe_map *file = r->file;
	uint64_t n_data = file->n_bytes > data_start ? file->n_bytes - data_start : 0;
	uint64_t at = 0;

	for (size_t i = 0; i < n; i++) {
		struct moe_tensor *tensor = &tensors[i];

		if (tensor->offset != align_up(at, r->alignment))
			return moe_gguf_refuse(r, "tensor %s: expected offset %llu, behind %s, found %llu",
			                       tensor->name, (unsigned long long)align_up(at, r->alignment),
			                       i ? tensors[i - 1].name : "the header",
			                       (unsigned long long)tensor->offset);
		if (tensor->offset > n_data || tensor->n_bytes > n_data - tensor->offset)
			return moe_gguf_refuse(r, "tensor %s: expected %zu bytes at offset %llu, but the data area has "
			                       "%llu", tensor->name, tensor->n_bytes,
			                       (unsigned long long)tensor->offset, (unsigned long long)n_data);
		at = tensor->offset + tensor->n_bytes;
		tensor->file = (int32_t)(file - r->ckpt->files);
		tensor->offset += data_start;
		/* An empty tensor may stand where the file ends before its padding. */
		tensor->data = file->data + (tensor->n_bytes ? tensor->offset : 0);
	}
	if (n_data > align_up(at, r->alignment))
		return moe_gguf_refuse(r, "expected at most %llu bytes of data, found %llu",
		              (unsigned long long)align_up(at, r->alignment), (unsigned long long)n_data);
	return MOE_OK;
}

/* Tensors of the file the reader stands in, behind its keys, appended to ckpt->tensors. */
static enum moe_status read_tensors(struct moe_gguf_reader *r)
{
	struct moe_ckpt *ckpt = r->ckpt;
	size_t n = (size_t)r->n_tensors;
	struct moe_tensor *tensors = realloc(ckpt->tensors, (ckpt->n_tensors + n + 1) * sizeof *tensors);
	enum moe_status status = MOE_OK;

	if (!tensors)
		return moe_err_nomem(r->err, n * sizeof *tensors, "a table of tensors");
	ckpt->tensors = tensors;
	tensors += ckpt->n_tensors;
	memset(tensors, 0, n * sizeof *tensors);
	for (size_t i = 0; i < n && !status; i++)
		status = take_info(r, &tensors[i]);
	if (status)
		return status;
	if (n > 1)
		qsort(tensors, n, sizeof *tensors, compare_infos);
	status = place_tensors(r, tensors, n, align_up(r->at, r->alignment));
	if (!status)
		ckpt->n_tensors += n;
	return status;
}

/* Where the path ends in -NNNNN-of-MMMMM.gguf: MMMMM, else 0. *stem is the length before that. */
static long name_parts(const char *path, size_t *stem)
{
	static const char form[] = "-ddddd-of-ddddd.gguf";
	size_t n = strlen(path);
	const char *end = path + n - PART_SUFFIX_BYTES;

	if (n <= PART_SUFFIX_BYTES)
		return 0;
	for (size_t i = 0; i < PART_SUFFIX_BYTES; i++) {
		if (form[i] == 'd' ? end[i] < '0' || end[i] > '9' : end[i] != form[i])
			return 0;
	}
	*stem = n - PART_SUFFIX_BYTES;
	return strtol(end + 10, NULL, 10);
}

/* Part i of n. The keys of part 0 become the checkpoint's. */
static enum moe_status read_part(struct moe_ckpt *ckpt, long i, long n, struct moe_err *err)
{
	struct moe_gguf_reader r = { .ckpt = ckpt, .file = &ckpt->files[i], .err = err, .keep_files = i == 0 };
	json_int_t count = 1, no = 0;
	enum moe_status status = moe_gguf_read_keys(&r);

	if (!status) {
		moe_gguf_key_integer(r.keys, "split.count", &count);
		moe_gguf_key_integer(r.keys, "split.no", &no);
		if (n == 1 && count > 1)
			status = moe_err_set(err, MOE_EFORMAT, "%s: is one of %lld parts, but its name does not end in "
			                     "-00001-of-%05lld.gguf", r.file->path, (long long)count, (long long)count);
		else if (n > 1 && (count != n || no != i))
			status = moe_err_set(err, MOE_EFORMAT,
			                     "%s: expected split.no %ld and split.count %ld, found %lld and %lld",
			                     r.file->path, i, n, (long long)no, (long long)count);
	}
	if (!status)
		status = read_tensors(&r);
	if (!status && i == 0)
		ckpt->metadata = json_incref(r.keys);
	json_decref(r.keys);
	return status;
}

/* How many parts the file says it is of: its name has the form of a part. */
static enum moe_status count_parts(struct moe_ckpt *ckpt, const char *path, long *n, struct moe_err *err)
{
	struct moe_map file = { 0 };
	struct moe_gguf_reader r = { .ckpt = ckpt, .file = &file, .err = err };
	json_int_t count = 1;
	enum moe_status status = moe_map_open(&file, path, ckpt->watch, err);

	if (!status)
		status = moe_gguf_read_keys(&r);
	if (!status && moe_gguf_key_integer(r.keys, "split.count", &count) && count > 1 && count != *n)
		status = moe_err_set(err, MOE_EFORMAT, "%s: its name says %ld parts, its key split.count %lld", path,
		                     *n, (long long)count);
	if (!status && count <= 1)
		*n = 1;
	json_decref(r.keys);
	moe_map_close(&file);
	return status;
}

static enum moe_status open_part(struct moe_ckpt *ckpt, const char *path, size_t stem, long i, long n,
                                 struct moe_err *err)
{
	struct moe_buf name = { 0 };
	enum moe_status status;

	if (n == 1)
		moe_buf_adds(&name, path);
	else
		moe_buf_addf(&name, "%.*s-%05ld-of-%05ld.gguf", (int)stem, path, i + 1, n);
	status = moe_buf_check(&name, err);
	if (!status && !moe_is_file(name.p))
		status = moe_err_set(err, MOE_EFORMAT, "%s: there is no such file, but %s is one of %ld parts", name.p,
		                     path, n);
	if (!status)
		status = moe_format_open_file(ckpt, name.p, err);
	if (!status)
		status = read_part(ckpt, i, n, err);
	moe_buf_free(&name);
	return status;
}

static enum moe_status open_path(struct moe_ckpt *ckpt, const char *path, struct moe_err *err)
{
	size_t stem = 0;
	long n = name_parts(path, &stem);
	json_int_t expected;
	enum moe_status status = MOE_OK;

	if (n > 1 && stem <= INT32_MAX)
		status = count_parts(ckpt, path, &n, err);
	else
		n = 1;
	if (!status)
		status = moe_format_alloc_files(ckpt, (size_t)n, err);
	for (long i = 0; i < n && !status; i++)
		status = open_part(ckpt, path, stem, i, n, err);
	if (status)
		return status;
	if (n > 1 && moe_gguf_key_integer(ckpt->metadata, "split.tensors.count", &expected) &&
	    (expected < 0 || (uint64_t)expected != ckpt->n_tensors))
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: expected split.tensors.count to be the %zu tensors of all parts, found %lld",
		                   ckpt->files[0].path, ckpt->n_tensors, (long long)expected);
	return moe_format_take_config(ckpt, err);
}

const struct moe_format moe_format_gguf = {
	.name = "gguf",
	.naming = MOE_NAMING_GGUF,
	.help = "GGUF file, whole or split, as llama.cpp runs it",
	.probe = probe,
	.open = open_path,
	.writer = &moe_gguf_writer,
};
