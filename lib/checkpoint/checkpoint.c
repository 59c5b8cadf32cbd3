/* Opening, looking up, identifying and closing checkpoints, whatever their container. */
#include "checkpoint/checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/json.h"
#include "checkpoint/deepseek.h"
#include "checkpoint/format.h"

#define X(name) extern const struct moe_format moe_format_##name;
#include "gen/checkpoint_format.h"
#undef X

static const struct moe_format *const formats[] = {
#define X(name) &moe_format_##name,
#include "gen/checkpoint_format.h"
#undef X
};

#define N_FORMATS (sizeof formats / sizeof formats[0])

const struct moe_format *moe_format_at(size_t i)
{
	return i < N_FORMATS ? formats[i] : NULL;
}

const struct moe_format *moe_format_by_name(const char *name)
{
	for (size_t i = 0; i < N_FORMATS; i++) {
		if (!strcmp(formats[i]->name, name))
			return formats[i];
	}
	return NULL;
}

bool moe_format_peek(const char *path, void *bytes, size_t n)
{
	FILE *file;
	bool got;

	if (!moe_is_file(path))
		return false;
	file = fopen(path, "rbe");
	if (!file)
		return false;
	got = fread(bytes, 1, n, file) == n;
	fclose(file);
	return got;
}

enum moe_status moe_format_alloc_files(struct moe_ckpt *ckpt, size_t n, struct moe_err *err)
{
	ckpt->files = n <= INT32_MAX ? MOE_NEW(&ckpt->arena, struct moe_map, n) : NULL;
	if (!ckpt->files)
		return moe_err_nomem(err, n * sizeof *ckpt->files, "the files of a checkpoint");
	return MOE_OK;
}

enum moe_status moe_format_open_file(struct moe_ckpt *ckpt, const char *path, struct moe_err *err)
{
	enum moe_status status = moe_map_open(&ckpt->files[ckpt->n_files], path, ckpt->watch, err);

	if (!status)
		ckpt->n_files++;
	return status;
}

bool moe_format_is_utf8(const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n) {
		uint32_t c = p[i], least;
		size_t more;

		if (c < 0x80) {
			i++;
			continue;
		}
		if (c >= 0xc2 && c <= 0xdf) {
			more = 1, least = 0x80, c &= 0x1f;
		} else if ((c & 0xf0) == 0xe0) {
			more = 2, least = 0x800, c &= 0x0f;
		} else if (c >= 0xf0 && c <= 0xf4) {
			more = 3, least = 0x10000, c &= 0x07;
		} else {
			return false;
		}
		if (more >= n - i)
			return false;
		for (size_t k = 1; k <= more; k++) {
			if ((p[i + k] & 0xc0) != 0x80)
				return false;
			c = c << 6 | (p[i + k] & 0x3f);
		}
		if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
			return false;
		i += more + 1;
	}
	return true;
}

bool moe_format_plain_name(const char *name, size_t n)
{
	if (n == 0 || memchr(name, '/', n) || memchr(name, 0, n))
		return false;
	return !(name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.')));
}

static int compare_companions(const void *a, const void *b)
{
	return strcmp(((const struct moe_companion *)a)->name, ((const struct moe_companion *)b)->name);
}

enum moe_status moe_ckpt_translate(json_t **config, const char *where, struct moe_err *err)
{
	json_t *made = NULL;
	enum moe_status status = MOE_OK;

	if (moe_deepseek_is_args(*config))
		status = moe_deepseek_config(&made, *config, where, err);
	if (made) {
		json_decref(*config);
		*config = made;
	}
	return status;
}

/* Where ckpt->config is that of DeepSeek's inference program, takes what it says as config.json says it, also as the
 * companion. */
static enum moe_status translate_config(struct moe_ckpt *ckpt, const char *where, struct moe_companion *companion,
                                        struct moe_err *err)
{
	const json_t *own = ckpt->config;
	enum moe_status status = moe_ckpt_translate(&ckpt->config, where, err);
	char *text, *kept;

	if (status || ckpt->config == own)
		return status;
	text = json_dumps(ckpt->config, JSON_INDENT(2));
	kept = text ? moe_arena_strndup(&ckpt->arena, text, strlen(text)) : NULL;
	free(text);
	if (!kept)
		return moe_err_nomem(err, 1024, "config");
	companion->data = (const uint8_t *)kept;
	companion->n_bytes = strlen(kept);
	return MOE_OK;
}

enum moe_status moe_format_take_config(struct moe_ckpt *ckpt, struct moe_err *err)
{
	struct moe_companion *companion;
	enum moe_status status;
	char name[512];

	if (ckpt->n_companions > 1)
		qsort(ckpt->companions, (size_t)ckpt->n_companions, sizeof *ckpt->companions, compare_companions);
	companion = (struct moe_companion *)moe_ckpt_companion(ckpt, "config.json");
	if (!companion)
		return MOE_OK;
	snprintf(name, sizeof name, "%.480s/config.json", ckpt->path);
	status = moe_json_parse(&ckpt->config, companion->data, companion->n_bytes, name, err);
	if (!status && !json_is_object(ckpt->config))
		status = moe_err_set(err, MOE_EFORMAT, "%s: expected a JSON object", name);
	return status ? status : translate_config(ckpt, name, companion, err);
}

enum moe_status moe_ckpt_give_config(struct moe_ckpt *ckpt, const char *path, struct moe_err *err)
{
	const size_t n = (size_t)ckpt->n_companions;
	struct moe_companion *companions;
	struct moe_buf text = {0};
	enum moe_status status = moe_watch_add_input(ckpt->watch, path, err);
	char *kept = NULL;

	if (!status && (ckpt->config || ckpt->format->naming != MOE_NAMING_HF))
		status = moe_err_set(err, MOE_EUSAGE, "--config: %s has a config of its own", ckpt->path);
	if (!status)
		status = moe_read_all(path, (size_t)1 << 24, &text, err);
	if (!status)
		status = moe_json_parse(&ckpt->config, (const uint8_t *)text.p, text.n, path, err);
	if (!status && !json_is_object(ckpt->config))
		status = moe_err_set(err, MOE_EFORMAT, "%s: expected a JSON object", path);
	companions = status ? NULL : MOE_NEW(&ckpt->arena, struct moe_companion, n + 1);
	if (!status && (!companions || !(kept = moe_arena_strndup(&ckpt->arena, text.p, text.n))))
		status = moe_err_nomem(err, text.n, "config");
	if (!status) {
		if (n)
			memcpy(companions, ckpt->companions, n * sizeof *companions);
		companions[n] = (struct moe_companion){ "config.json", (const uint8_t *)kept, text.n };
		status = translate_config(ckpt, path, &companions[n], err);
		qsort(companions, n + 1, sizeof *companions, compare_companions);
		ckpt->companions = companions;
		ckpt->n_companions++;
	}
	moe_buf_free(&text);
	return status;
}

enum moe_status moe_ckpt_check_replicas(const struct moe_ckpt *ckpt, struct moe_err *err)
{
	for (size_t i = 0; i < ckpt->n_replicas; i++) {
		const struct moe_tensor *a = &ckpt->replicas[i].tensor, *b = &ckpt->replicas[i].other;

		if (a->n_bytes != b->n_bytes || (a->n_bytes && memcmp(a->data, b->data, a->n_bytes)))
			return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s' holds other numbers than in %s, and "
			                   "should be a copy", moe_ckpt_file(ckpt, b), b->name,
			                   moe_path_base(moe_ckpt_file(ckpt, a)));
	}
	return MOE_OK;
}

enum moe_status moe_ckpt_check_whole(const struct moe_ckpt *ckpt, bool stacks, struct moe_err *err)
{
	for (size_t i = 0; i < ckpt->n_tensors; i++)
		if (ckpt->tensors[i].parted && (stacks || ckpt->tensors[i].n_dims == 2))
			return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s' lies in %d parts: moe-convert puts them "
			                   "together", ckpt->path, ckpt->tensors[i].name,
			                   ckpt->tensors[i].parted->n);
	return MOE_OK;
}

static int compare_names(const void *a, const void *b, void *arg)
{
	const struct moe_tensor *tensors = arg;

	return strcmp(tensors[*(const uint32_t *)a].name, tensors[*(const uint32_t *)b].name);
}

static enum moe_status index_names(struct moe_ckpt *ckpt, struct moe_err *err)
{
	size_t n = ckpt->n_tensors;

	if (n > UINT32_MAX || !(ckpt->by_name = MOE_NEW(&ckpt->arena, uint32_t, n)))
		return moe_err_nomem(err, n * sizeof *ckpt->by_name, "the index of tensors");
	for (size_t i = 0; i < n; i++)
		ckpt->by_name[i] = (uint32_t)i;
	if (n > 1)
		qsort_r(ckpt->by_name, n, sizeof *ckpt->by_name, compare_names, ckpt->tensors);
	for (size_t i = 1; i < n; i++) {
		const struct moe_tensor *a = &ckpt->tensors[ckpt->by_name[i - 1]];
		const struct moe_tensor *b = &ckpt->tensors[ckpt->by_name[i]];

		if (!strcmp(a->name, b->name))
			return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s is here twice, first in %s",
			                   moe_ckpt_file(ckpt, b), b->name, moe_ckpt_file(ckpt, a));
	}
	return MOE_OK;
}

/* What the path holds instead of a checkpoint, as a sentence. */
static enum moe_status refuse(const char *path, struct moe_err *err)
{
	const char *kind = moe_path_kind(path);
	struct stat st;

	if (kind && !moe_is_dir(path))
		return moe_err_set(err, MOE_EFORMAT, "%s: expected a checkpoint, found %s", path, kind);
	if (moe_is_dir(path))
		return moe_err_set(err, MOE_EFORMAT, "%s: expected a checkpoint, found a directory without config.json "
		                   "and without .safetensors files", path);
	if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected a checkpoint, but the file is empty", path);
	if (moe_is_file(path) && access(path, R_OK) == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected a checkpoint, found a file that starts neither like "
		                   "safetensors nor like GGUF", path);
	return moe_err_sys(err, "%s: cannot open the checkpoint", path);
}

/* What is read of a checkpoint is not to be written over. */
static enum moe_status add_inputs(const struct moe_ckpt *ckpt, struct moe_err *err)
{
	enum moe_status status = moe_watch_add_input(ckpt->watch, ckpt->path, err);

	for (int32_t i = 0; i < ckpt->n_files && !status; i++)
		status = moe_watch_add_input(ckpt->watch, ckpt->files[i].path, err);
	for (int32_t i = 0; i < ckpt->n_side_files && !status; i++)
		status = moe_watch_add_input(ckpt->watch, ckpt->side_files[i].path, err);
	return status;
}

enum moe_status moe_ckpt_open(struct moe_ckpt **out, const char *path, struct moe_watch *watch, struct moe_err *err)
{
	struct moe_ckpt *ckpt = calloc(1, sizeof *ckpt);
	enum moe_status status = MOE_OK;

	*out = NULL;
	if (!ckpt || !(ckpt->path = strdup(path))) {
		free(ckpt);
		return moe_err_nomem(err, sizeof *ckpt, "a checkpoint");
	}
	ckpt->watch = watch;
	for (size_t i = 0; i < N_FORMATS && !ckpt->format; i++) {
		if (formats[i]->probe(path))
			ckpt->format = formats[i];
	}
	if (!ckpt->format)
		status = refuse(path, err);
	if (!status)
		status = ckpt->format->open(ckpt, path, err);
	if (!status)
		status = index_names(ckpt, err);
	if (!status) {
		const size_t n = ckpt->n_tensors;

		status = (ckpt->format->naming == MOE_NAMING_HF ? moe_ckpt_unstack : moe_ckpt_unmerge)(ckpt, err);
		if (!status && ckpt->n_tensors != n)
			status = index_names(ckpt, err);
	}
	if (!status)
		status = add_inputs(ckpt, err);
	if (status)
		moe_ckpt_close(ckpt);
	else
		*out = ckpt;
	return status;
}

void moe_ckpt_close(struct moe_ckpt *ckpt)
{
	if (!ckpt)
		return;
	for (int32_t i = 0; i < ckpt->n_files; i++)
		moe_map_close(&ckpt->files[i]);
	for (int32_t i = 0; i < ckpt->n_side_files; i++)
		moe_map_close(&ckpt->side_files[i]);
	free(ckpt->tensors);
	json_decref(ckpt->config);
	json_decref(ckpt->metadata);
	moe_arena_free(&ckpt->arena);
	free(ckpt->path);
	free(ckpt);
}

const struct moe_tensor *moe_ckpt_find(const struct moe_ckpt *ckpt, const char *name)
{
	size_t low = 0, high = ckpt->n_tensors;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct moe_tensor *tensor = &ckpt->tensors[ckpt->by_name[middle]];
		int order = strcmp(name, tensor->name);

		if (order == 0)
			return tensor;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

const struct moe_companion *moe_ckpt_companion(const struct moe_ckpt *ckpt, const char *name)
{
	for (int32_t i = 0; i < ckpt->n_companions; i++) {
		if (!strcmp(ckpt->companions[i].name, name))
			return &ckpt->companions[i];
	}
	return NULL;
}

const char *moe_ckpt_file(const struct moe_ckpt *ckpt, const struct moe_tensor *tensor)
{
	return ckpt->files[tensor->file].path;
}

static void hash_u64(struct moe_hash *hash, uint64_t v)
{
	uint8_t bytes[8];

	moe_store_u64(bytes, v);
	moe_hash_add(hash, bytes, sizeof bytes);
}

static void hash_text(struct moe_hash *hash, const char *text, size_t n)
{
	hash_u64(hash, n);
	moe_hash_add(hash, text, n);
}

static void hash_parts(struct moe_hash *hash, const struct moe_tensor *tensor)
{
	for (int32_t i = 0; i < tensor->parted->n; i++) {
		const struct moe_weight *w = &tensor->parted->parts[i];

		moe_hash_add(hash, w->data, (size_t)w->rows * (size_t)w->cols / w->codec->block_elems *
		                            w->codec->block_bytes);
	}
}

/* Lengths stand before everything of variable length, and tensors are taken by name: how a checkpoint is cut into
 * files does not matter. */
enum moe_status moe_ckpt_hash(const struct moe_ckpt *ckpt, bool full, char out[33], struct moe_err *err)
{
	const struct moe_companion *config = moe_ckpt_companion(ckpt, "config.json");
	struct moe_hash *hash = moe_hash_new();

	if (!hash)
		return moe_err_nomem(err, 1024, "a hash");
	hash_text(hash, config ? (const char *)config->data : "", config ? config->n_bytes : 0);
	for (size_t i = 0; i < ckpt->n_tensors; i++) {
		const struct moe_tensor *tensor = &ckpt->tensors[ckpt->by_name[i]];

		hash_text(hash, tensor->name, strlen(tensor->name));
		hash_text(hash, tensor->codec->name, strlen(tensor->codec->name));
		hash_u64(hash, (uint64_t)tensor->n_dims);
		for (int32_t d = 0; d < tensor->n_dims; d++)
			hash_u64(hash, (uint64_t)tensor->dims[d]);
		if (full && tensor->parted)
			hash_parts(hash, tensor);
		else if (full)
			moe_hash_add(hash, tensor->data, tensor->n_bytes);
	}
	moe_hash_text(hash, out);
	moe_hash_free(hash);
	return MOE_OK;
}
