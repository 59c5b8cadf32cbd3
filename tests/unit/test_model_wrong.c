/* Damaged checkpoints of every family: each model of tests/golden/models with one tensor missing, turned, of another
 * shape or type, there twice, or one too many, or with one number of its config that its tensors contradict. Each is
 * refused with a sentence that names the file and the tensor or key.
 *
 * The copies have the real header and no bytes behind it (a sparse file): nothing is read before all is checked. */
#include <fcntl.h>

#include "../tap.h"

#include "../ckpt.h"
#include "base/json.h"
#include "model/names.h"

#define MAX_TENSORS 4096

/* What a header says of a tensor. */
struct entry {
	char *name;
	char dtype[16];
	int64_t dims[MOE_MAX_DIMS];
	int32_t n_dims;
};

static struct entry entries[MAX_TENSORS + 1];
static size_t n_entries;
static const char *dir;          /* where copies are made */

static size_t size_of(const char *dtype)
{
	static const struct {
		const char *dtype;
		size_t size;
	} sizes[] = {
		{ "F32", 4 }, { "I32", 4 }, { "BF16", 2 }, { "F16", 2 }, { "F8_E4M3", 1 }, { "U8", 1 }, { "I8", 1 },
		{ "I64", 8 }, { "F64", 8 },
	};

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		if (!strcmp(sizes[i].dtype, dtype))
			return sizes[i].size;
	ok(false, "an element type that this test knows: %s", dtype);
	exit(done());
}

/* The header's entries, by their place in the file. */
static void read_entries(const char *path)
{
	json_t *header = NULL, *value;
	const char *key;
	FILE *file = fopen(path, "rb");
	uint64_t n = 0;
	char *text = NULL;

	n_entries = 0;
	if (file && fread(&n, sizeof n, 1, file) == 1 && n < 1 << 24 && (text = calloc(1, n + 1)) &&
	    fread(text, 1, n, file) == n)
		header = json_loads(text, 0, NULL);
	if (!header) {
		ok(false, "%s: a header", path);
		exit(done());
	}
	json_object_foreach(header, key, value) {
		struct entry *entry = &entries[n_entries];
		const json_t *shape = json_object_get(value, "shape");

		if (!strcmp(key, "__metadata__"))
			continue;
		entry->name = strdup(key);
		snprintf(entry->dtype, sizeof entry->dtype, "%s", json_string_value(json_object_get(value, "dtype")));
		entry->n_dims = (int32_t)json_array_size(shape);
		for (int32_t i = 0; i < entry->n_dims; i++)
			entry->dims[i] = json_integer_value(json_array_get(shape, (size_t)i));
		if (++n_entries == MAX_TENSORS)
			break;
	}
	json_decref(header);
	free(text);
	fclose(file);
}

/* dir/model.safetensors with these entries but `without` (n_entries: all), holes for data. */
static void write_copy(size_t without)
{
	struct moe_buf header = { 0 };
	char *path = moe_path_join(dir, "model.safetensors");
	uint64_t at = 0;
	const char *comma = "";

	moe_buf_add(&header, "{", 1);
	for (size_t i = 0; i < n_entries; i++) {
		const struct entry *entry = &entries[i];
		uint64_t n = size_of(entry->dtype);

		if (i == without)
			continue;
		moe_buf_addf(&header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", comma, entry->name, entry->dtype);
		for (int32_t d = 0; d < entry->n_dims; d++) {
			moe_buf_addf(&header, "%s%lld", d ? "," : "", (long long)entry->dims[d]);
			n *= (uint64_t)entry->dims[d];
		}
		moe_buf_addf(&header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
		             (unsigned long long)(at + n));
		at += n;
		comma = ",";
	}
	moe_buf_add(&header, "}", 1);
	while (header.n % 8)
		moe_buf_add(&header, " ", 1);

	const uint64_t n_header = header.n;
	const int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	const bool written = fd >= 0 && write(fd, &n_header, sizeof n_header) == sizeof n_header &&
	                     write(fd, header.p, header.n) == (ssize_t)header.n &&
	                     !ftruncate(fd, (off_t)(sizeof n_header + header.n + at));
	if (!written || close(fd)) {
		ok(false, "%s can be written", path);
		exit(done());
	}
	moe_buf_free(&header);
	free(path);
}

static void write_config(const json_t *config)
{
	char *text = json_dumps(config, JSON_INDENT(1));

	put_text(dir, "config.json", text);
	free(text);
}

/* Opens and binds the copy; words: what it said. */
static enum moe_status attempt(struct moe_err *err)
{
	struct moe_ckpt *ckpt = NULL;
	struct moe_model *model = NULL;
	enum moe_status st;

	*err = (struct moe_err){ 0 };
	st = moe_ckpt_open(&ckpt, dir, NULL, err);
	if (!st)
		st = moe_model_bind(&model, ckpt, err);
	moe_model_free(st ? NULL : model);
	moe_ckpt_close(ckpt);
	return st;
}

static bool is_sentence(const struct moe_err *err, const char *part, const char *part2)
{
	return strstr(err->text, dir) && strstr(err->text, part) && strstr(err->text, part2) &&
	       strlen(err->text) < sizeof err->text - 1 && !strchr(err->text, '\n');
}

/* The copy as it is now is refused in a sentence with the file, and these. */
static void refused(const char *model, const char *what, const char *part, const char *part2)
{
	struct moe_err err;
	const enum moe_status st = attempt(&err);

	if (!ok(st == MOE_EFORMAT && is_sentence(&err, part, part2), "%s: %s: %s", model, part, what))
		printf("# status %d: '%s'\n# without '%s'\n", (int)st, err.text, part2);
}

/* Every way to damage entry i. */
static void damage(const char *model, size_t i)
{
	struct entry *entry = &entries[i];
	const struct entry good = *entry;
	const int32_t n = good.n_dims;

	write_copy(i);
	refused(model, "missing", good.name, "is missing");
	entry->dims[0]++;
	write_copy(n_entries);
	refused(model, "one row more", good.name, "expected shape");
	*entry = good;
	if (n >= 2 && good.dims[n - 1] != good.dims[n - 2]) {
		entry->dims[n - 1] = good.dims[n - 2];
		entry->dims[n - 2] = good.dims[n - 1];
		write_copy(n_entries);
		refused(model, "transposed", good.name, "expected shape");
		*entry = good;
	}
	if (n < MOE_MAX_DIMS) {
		entry->dims[entry->n_dims++] = 1;
		write_copy(n_entries);
		refused(model, "one dimension more", good.name, "expected shape");
		*entry = good;
	}
	entry->dims[0] = 0;
	write_copy(n_entries);
	refused(model, "empty", good.name, "expected shape");
	*entry = good;
	snprintf(entry->dtype, sizeof entry->dtype, "I32");
	write_copy(n_entries);
	refused(model, "whole numbers", good.name, "i32");
	*entry = good;
	entries[n_entries++] = good;
	write_copy(n_entries);
	refused(model, "there twice", good.name, "");
	n_entries--;
}

static void unknown(const char *model)
{
	struct entry more = { .name = strdup("bogus.weight"), .dtype = "F32", .dims = { 2, 3 }, .n_dims = 2 };

	entries[n_entries++] = more;
	write_copy(n_entries);
	refused(model, "one too many", "bogus.weight", "none of");
	n_entries--;
	free(more.name);
}

/* The object that holds a key, at the top or one level down. */
static json_t *holder(json_t *config, const char *key)
{
	static const char *const inner[] = { "text_config", "ffn_config", "attn_config" };

	for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++)
		if (json_object_get(json_object_get(config, inner[i]), key))
			return json_object_get(config, inner[i]);
	return config;
}

/* Does the text speak of a tensor or of a key of the config? */
static bool names_something(const char *text, json_t *config)
{
	const char *key;
	json_t *value;

	if (strstr(text, "tensor '"))
		return true;
	json_object_foreach(config, key, value)
		if (strstr(text, key) || (json_is_object(value) && names_something(text, value)))
			return true;
	return false;
}

static void contradict(const char *model, json_t *config, const char *key, json_t *value, bool by_key, const char *what)
{
	json_t *changed = json_deep_copy(config), *at = holder(changed, key);
	struct moe_err err;

	json_object_set_new(at, key, value);
	write_config(changed);
	const enum moe_status st = attempt(&err);
	const bool names = by_key ? strstr(err.text, key) != NULL : names_something(err.text, at);
	if (!ok(st == MOE_EFORMAT && is_sentence(&err, "", "") && names, "%s: %s: %s", model, key, what))
		printf("# status %d: '%s'\n", (int)st, err.text);
	json_decref(changed);
}

static bool skips_layers(const struct moe_family *family)
{
	for (const char *const *begin = family->skipped; begin && *begin; begin++)
		if (strstr(*begin, "{l}"))
			return true;
	return false;
}

static bool has_mtp(const struct moe_family *family)
{
	for (const struct moe_tensor_spec *spec = family->tensors; spec->hf || spec->gguf; spec++)
		if (spec->where == MOE_AT_MTP)
			return true;
	return false;
}

static void contradictions(const char *model, json_t *config, const struct moe_family *family)
{
	static const char *const keys[] = {
		"hidden_size",
		"d_model",
		"num_hidden_layers",
		"n_layers",
		"num_layers",
		"num_attention_heads",
		"n_heads",
		"vocab_size",
		"n_routed_experts",
		"num_experts",
		"num_local_experts",
		"moe_num_experts",
		"kv_lora_rank",
		"qk_rope_head_dim",
		"v_head_dim",
		"moe_intermediate_size",
		"num_nextn_predict_layers",
	};

	write_copy(n_entries);
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		const char *key = keys[i];
		json_t *value = json_object_get(holder(config, key), key);
		const json_int_t n = json_integer_value(value);
		const bool layers = !strcmp(key, "num_hidden_layers") || !strcmp(key, "n_layers");

		/* MTP layers that a family leaves alone can be as many as they like */
		if (!json_is_integer(value) || (strstr(key, "nextn") && !has_mtp(family)))
			continue;
		contradict(model, config, key, json_integer(n + 1), false, "one more");
		contradict(model, config, key, json_integer(n ? 2 * n : 2), false, "twice as many");
		/* where a family leaves layers behind the last alone, fewer are no contradiction */
		if (n > 0 && !(layers && skips_layers(family)))
			contradict(model, config, key, json_integer(n - 1), false, "one less");
		contradict(model, config, key, json_string("8"), true, "a string");
		contradict(model, config, key, json_real((double)n + 0.5), true, "a fraction");
		contradict(model, config, key, json_integer(-3), true, "below zero");
		contradict(model, config, key, json_integer(INT64_C(1) << 40), true, "2^40");
		contradict(model, config, key, json_pack("[i]", 4), true, "a list");
	}
}

static void check(const char *models, const char *name)
{
	char *from = moe_path_join(models, name), *weights = moe_path_join(from, "model.safetensors");
	char *config_path = moe_path_join(from, "config.json");
	bool seen[MOE_N_PARTS][2] = { { false } };
	struct moe_config config;
	struct moe_err err = { 0 };
	json_t *json = NULL;

	step(moe_json_load(&json, config_path, 1 << 20, &err), &err, config_path);
	step(moe_config_parse(&config, json, config_path, &err), &err, name);
	read_entries(weights);
	write_config(json);
	write_copy(n_entries);
	if (ok(attempt(&err) == MOE_OK, "%s: the copy binds as it is %s", name, err.text)) {
		const size_t n = n_entries;

		for (size_t i = 0; i < n; i++) {
			struct moe_tensor_id id;

			/* one of each part, and one with and one without block scales */
			if (!moe_names_parse(&config, MOE_NAMING_HF, entries[i].name, &id) ||
			    seen[id.spec->part][id.scales])
				continue;
			seen[id.spec->part][id.scales] = true;
			damage(name, i);
		}
		unknown(name);
		contradictions(name, json, config.family);
	}
	while (n_entries)
		free(entries[--n_entries].name);
	moe_config_free(&config);
	json_decref(json);
	free(config_path);
	free(weights);
	free(from);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int main(void)
{
	const char *top = getenv("MOE_TOP") ? getenv("MOE_TOP") : ".";
	char *models = moe_path_join(top, "tests/golden/models"), *names[256];
	char *made = make_dir();
	DIR *handle = opendir(models);
	struct dirent *entry;
	size_t n = 0;

	dir = made;
	while (handle && (entry = readdir(handle)) && n < sizeof names / sizeof names[0]) {
		char *one = moe_path_join(models, entry->d_name), *path = moe_path_join(one, "model.safetensors");

		if (!access(path, R_OK))
			names[n++] = strdup(entry->d_name);
		free(path);
		free(one);
	}
	if (handle)
		closedir(handle);
	ok(n >= 34, "%zu models", n);
	qsort(names, n, sizeof names[0], by_text);
	for (size_t i = 0; i < n; i++) {
		check(models, names[i]);
		free(names[i]);
	}
	remove_dir(made);
	free(made);
	free(models);
	return done();
}
