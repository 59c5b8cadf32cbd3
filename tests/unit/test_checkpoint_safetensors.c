/* safetensors files and Hugging Face directories: reading, writing, and everything that can be wrong with them. */
#include "../tap.h"
#include "../ckpt.h"

/* A file of the header (its length before it) and n_data bytes 0, 1, 2, ... */
static void put_file(const char *dir, const char *name, const char *header, size_t n_data)
{
	struct moe_buf buf = { 0 };
	uint8_t length[8];

	moe_store_u64(length, strlen(header));
	moe_buf_add(&buf, length, sizeof length);
	moe_buf_adds(&buf, header);
	for (size_t i = 0; i < n_data; i++)
		moe_buf_addc(&buf, (char)i);
	put_bytes(dir, name, buf.p, buf.n);
	moe_buf_free(&buf);
}

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}"
#define B "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}"
#define ONE(dtype, shape, offsets) \
	"{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void test_read(const char *dir)
{
	struct moe_ckpt *ckpt;
	const struct moe_tensor *b;

	put_file(dir, "good.safetensors", "{\"__metadata__\":{\"format\":\"pt\"}," B "," A ","
	         "\"z\":{\"dtype\":\"I64\",\"shape\":[0,5],\"data_offsets\":[32,32]},"
	         "\"s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[32,33]}}   ", 33);
	ckpt = open_good(dir, "good.safetensors", "one file");
	is_str(ckpt->format->name, "safetensors", "its format");
	is_i64((int64_t)ckpt->n_tensors, 4, "tensors");
	is_str(ckpt->tensors[0].name, "a", "the first in the file, not in the header");
	b = moe_ckpt_find(ckpt, "b");
	ok(b && b->codec == moe_codec_by_name("bf16") && b->n_dims == 1 && b->dims[0] == 4 && b->n_bytes == 8,
	   "b is as stated");
	ok(b && b->data[0] == 24 && b->data[7] == 31 && ckpt->files[0].data + b->offset == b->data,
	   "b lies where stated");
	ok(moe_ckpt_find(ckpt, "s") && moe_ckpt_find(ckpt, "z") && !moe_ckpt_find(ckpt, "c"), "find");
	is_str(json_string_value(json_object_get(ckpt->metadata, "format")), "pt", "metadata");
	ok(!ckpt->config && ckpt->n_companions == 0, "a lone file has no companions");
	moe_ckpt_close(ckpt);
	put_file(dir, "none.safetensors", "{}", 0);
	ckpt = open_good(dir, "none.safetensors", "a file without tensors");
	is_i64((int64_t)ckpt->n_tensors, 0, "no tensors");
	moe_ckpt_close(ckpt);
}

static void test_bad_headers(const char *dir)
{
	static const struct {
		const char *what, *header;
		size_t n_data;
		const char *part;
	} cases[] = {
		{ "an unknown dtype", ONE("F31", "[6]", "[0,24]"), 24, "found F31" },
		{ "a missing dtype", "{\"a\":{\"shape\":[6],\"data_offsets\":[0,24]}}", 24, "found none" },
		{ "a dtype that is a number", "{\"a\":{\"dtype\":3,\"shape\":[6],\"data_offsets\":[0,24]}}", 24,
		  "dtype" },
		{ "a missing shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,24]}}", 24, "shape" },
		{ "a negative dimension", ONE("F32", "[-2,-3]", "[0,24]"), 24, "shape[0]" },
		{ "a fractional dimension", ONE("F32", "[2,3.0]", "[0,24]"), 24, "shape[1]" },
		{ "a text dimension", ONE("F32", "[\"6\"]", "[0,24]"), 24, "shape[0]" },
		{ "a dimension of 2^63", ONE("F32", "[9223372036854775808]", "[0,24]"), 24, "" },
		{ "a product beyond 2^64", ONE("F32", "[4294967296,4294967297]", "[0,24]"), 24, "counted" },
		{ "bytes beyond 2^64", ONE("F32", "[4611686018427387910]", "[0,24]"), 24, "counted" },
		{ "nine dimensions", ONE("F32", "[1,1,1,1,1,1,1,1,6]", "[0,24]"), 24, "at most 8" },
		{ "missing offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[6]}}", 24, "data_offsets" },
		{ "three offsets", ONE("F32", "[6]", "[0,24,24]"), 24, "data_offsets" },
		{ "a fractional offset", ONE("F32", "[6]", "[0,24.0]"), 24, "data_offsets" },
		{ "a negative offset", ONE("F32", "[6]", "[-24,0]"), 24, "-24..0" },
		{ "offsets the wrong way", ONE("F32", "[6]", "[24,0]"), 24, "24..0" },
		{ "a tensor past the end", ONE("F32", "[6]", "[0,24]"), 23, "0..23" },
		{ "an offset of 2^63", ONE("F32", "[6]", "[0,9223372036854775808]"), 24, "" },
		{ "too few bytes", ONE("F32", "[6]", "[0,23]"), 23, "expected 24 bytes for F32 [6], found 23" },
		{ "bytes behind the tensors", "{" A "}", 25, "found 25" },
		{ "a hole at the start", ONE("F32", "[6]", "[1,25]"), 25, "the header" },
		{ "a hole", "{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[25,26]}}", 26,
		  "where a ends, found 25" },
		{ "an overlap", "{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[23,25]}}", 25,
		  "where a ends, found 23" },
		{ "the same place twice", "{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", 24,
		  "where a ends" },
		{ "a name twice", "{" A "," A "}", 24, "bad.safetensors" },
		{ "an array", "{\"a\":[1]}", 0, "an object" },
		{ "metadata that is no object", "{\"__metadata__\":[],\"a\":3}", 0, "__metadata__" },
		{ "metadata that is no text", "{\"__metadata__\":{\"x\":1}," A "}", 24, "__metadata__ x" },
		{ "no JSON", "{\"a\":", 0, "bad.safetensors" },
		{ "text behind the header", "{} x", 0, "bad.safetensors" },
		{ "a NUL in a name", "{\"a\\u0000\":3}", 0, "bad.safetensors" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		put_file(dir, "bad.safetensors", cases[i].header, cases[i].n_data);
		open_bad(dir, "bad.safetensors", cases[i].part, "bad.safetensors", cases[i].what);
	}
}

/* Every beginning of a good file, and lengths that cannot be. */
static void test_truncated(const char *dir)
{
	static const uint64_t lengths[] = { 0, 1, 100000001, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7 };
	char *path = moe_path_join(dir, "good.safetensors");
	struct moe_map map = { 0 };
	struct moe_err err = { 0 };
	int64_t n_opened = 0;
	uint8_t *bytes;

	step(moe_map_open(&map, path, NULL, &err), &err, "the good file is read");
	for (size_t n = 0; n < map.n_bytes; n++) {
		struct moe_ckpt *ckpt = NULL;
		char *cut = moe_path_join(dir, "cut.safetensors");

		put_bytes(dir, "cut.safetensors", map.data, n);
		n_opened += moe_ckpt_open(&ckpt, cut, NULL, NULL) != MOE_EFORMAT;
		moe_ckpt_close(ckpt);
		free(cut);
	}
	is_i64(n_opened, 0, "none of %zu beginnings of a file opens", map.n_bytes);
	bytes = malloc(map.n_bytes);
	memcpy(bytes, map.data, map.n_bytes);
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		moe_store_u64(bytes, lengths[i]);
		put_bytes(dir, "cut.safetensors", bytes, map.n_bytes);
		open_bad(dir, "cut.safetensors", "", "cut.safetensors", "a header length that cannot be");
	}
	free(bytes);
	moe_map_close(&map);
	free(path);
}

static char *make_subdir(const char *dir, const char *name)
{
	char *path = moe_path_join(dir, name);

	mkdir(path, 0777);
	return path;
}

static void test_index(const char *top)
{
	static const struct {
		const char *what, *index, *part, *part2;
	} cases[] = {
		{ "a missing shard", "{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"3.safetensors\"}}",
		  "3.safetensors", "no such file" },
		{ "a path upwards", "{\"weight_map\":{\"a\":\"../x\"}}", "tensor a", "found ../x" },
		{ "an absolute path", "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "tensor a", "found /etc/passwd" },
		{ "the directory itself", "{\"weight_map\":{\"a\":\"..\"}}", "tensor a", "same directory" },
		{ "an empty file name", "{\"weight_map\":{\"a\":\"\"}}", "tensor a", "same directory" },
		{ "a file that is a number", "{\"weight_map\":{\"a\":1}}", "tensor a", "no string" },
		{ "a tensor in no file",
		  "{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"y.safetensors\",\"c\":\"y.safetensors\"}}",
		  "tensor c is not in y.safetensors", "index.json" },
		{ "a tensor not in the map", "{\"weight_map\":{\"a\":\"x.safetensors\",\"c\":\"y.safetensors\"}}",
		  "tensor b", "no file" },
		{ "a tensor in another file", "{\"weight_map\":{\"a\":\"y.safetensors\",\"b\":\"x.safetensors\"}}",
		  "tensor a lies in x", "names y" },
		{ "a wrong total",
		  "{\"metadata\":{\"total_size\":31},\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"y.safetensors\"}}",
		  "32 bytes", "found 31" },
		{ "no weight_map", "{\"metadata\":{}}", "weight_map", "index.json" },
		{ "an array as index", "[]", "weight_map", "index.json" },
	};
	char *dir = make_subdir(top, "sharded");
	struct moe_ckpt *ckpt;

	put_file(dir, "x.safetensors", "{" A "}", 24);
	put_file(dir, "y.safetensors", "{\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[0,8]}}", 8);
	open_bad(dir, NULL, "2 .safetensors files", "no index", "a directory of two files without index");
	put_text(dir, "model.safetensors.index.json", "{\"metadata\":{\"total_size\":32},\"weight_map\":"
	         "{\"b\":\"y.safetensors\",\"a\":\"x.safetensors\"}}");
	put_text(dir, "config.json", "{\"x\":1}");
	put_text(dir, "LICENSE-MODEL", "free");
	put_text(dir, "tokenizer.json", "{}");
	put_text(dir, "other.txt", "not ours");
	ckpt = open_good(dir, NULL, "a directory with an index");
	is_i64(ckpt->n_files, 2, "files");
	is_i64((int64_t)ckpt->n_tensors, 2, "tensors of both");
	is_str(moe_path_base(moe_ckpt_file(ckpt, moe_ckpt_find(ckpt, "b"))), "y.safetensors", "the file of a tensor");
	is_i64(json_integer_value(json_object_get(ckpt->config, "x")), 1, "config.json is read");
	is_i64(ckpt->n_companions, 3, "companions");
	is_str(ckpt->companions[0].name, "LICENSE-MODEL", "sorted by name");
	ok(!memcmp(ckpt->companions[0].data, "free", 4) && ckpt->companions[0].n_bytes == 4, "with their bytes");
	moe_ckpt_close(ckpt);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		put_text(dir, "model.safetensors.index.json", cases[i].index);
		open_bad(dir, NULL, cases[i].part, cases[i].part2, cases[i].what);
	}
	put_file(dir, "y.safetensors", "{" A "}", 24);
	put_file(dir, "w.safetensors", "{" A "}", 24);
	put_text(dir, "model.safetensors.index.json",
	         "{\"weight_map\":{\"b\":\"y.safetensors\",\"a\":\"w.safetensors\"}}");
	open_bad(dir, NULL, "tensor a lies in another file and in y.safetensors", "index.json", "a name in two files");
	free(dir);
}

static void test_dirs(const char *top)
{
	char *dir = make_subdir(top, "plain");
	struct moe_ckpt *ckpt;

	open_bad(dir, NULL, "without config.json", "plain", "an empty directory");
	put_text(dir, "config.json", "{}");
	ckpt = open_good(dir, NULL, "a directory with only config.json");
	ok(ckpt->n_tensors == 0 && ckpt->config && !ckpt->metadata, "has a config and no tensors");
	moe_ckpt_close(ckpt);
	put_file(dir, "any.safetensors", "{" A "}", 24);
	ckpt = open_good(dir, NULL, "a directory with one .safetensors file");
	is_i64((int64_t)ckpt->n_tensors, 1, "which is taken");
	moe_ckpt_close(ckpt);
	put_file(dir, "model.safetensors", "{" A "," B "}", 32);
	ckpt = open_good(dir, NULL, "model.safetensors");
	is_i64((int64_t)ckpt->n_tensors, 2, "goes before others");
	moe_ckpt_close(ckpt);
	put_text(dir, "config.json", "{\"a\":");
	open_bad(dir, NULL, "config.json", "", "a config that is no JSON");
	put_text(dir, "config.json", "[]");
	open_bad(dir, NULL, "config.json", "object", "a config that is no object");
	put_text(dir, "notes", "hello there, this is no checkpoint");
	open_bad(dir, "notes", "neither like safetensors nor like GGUF", "notes", "a text file");
	free(dir);
}

static const struct moe_ckpt_out_opts *opts_for(struct moe_ckpt_out_opts *opts, const char *path)
{
	*opts = (struct moe_ckpt_out_opts){ .format = moe_format_by_name("safetensors"), .path = path };
	return opts;
}

static void test_write(const char *top)
{
	struct moe_ckpt *src = open_good(top, "good.safetensors", "the source"), *ckpt;
	char *one = moe_path_join(top, "one"), *many = moe_path_join(top, "many");
	struct moe_companion companion = { "config.json", (const uint8_t *)"{\"k\":2}", 7 };
	struct moe_ckpt_out_opts opts;
	struct moe_ckpt_out *out;
	struct moe_err err = { 0 };
	char first[33], second[33];

	opts_for(&opts, one);
	opts.metadata = src->metadata;
	opts.companions = &companion;
	opts.n_companions = 1;
	step(moe_ckpt_out_open(&out, &opts, &err), &err, "a directory is opened for writing");
	copy_tensors(out, src, 5);
	ckpt = open_good(top, "one", "what was written");
	is_same(ckpt, src, "one file");
	ok(ckpt->n_files == 1 && (ckpt->tensors[0].offset % 8) == 0, "in one file, data behind 8-aligned headers");
	ok(json_equal(ckpt->metadata, src->metadata), "metadata came along");
	is_i64(json_integer_value(json_object_get(ckpt->config, "k")), 2, "and the companion");
	step(moe_ckpt_hash(ckpt, true, first, &err), &err, "hash of one file");
	moe_ckpt_close(ckpt);

	opts.path = many;
	opts.shard_bytes = 30;
	step(moe_ckpt_out_open(&out, &opts, &err), &err, "a sharded directory is opened for writing");
	copy_tensors(out, src, 1000);
	ckpt = open_good(top, "many", "what was written in shards");
	is_i64(ckpt->n_files, 2, "in two files");
	is_same(ckpt, src, "two files");
	step(moe_ckpt_hash(ckpt, true, second, &err), &err, "hash of two files");
	is_str(second, first, "the hash does not depend on the cut");
	step(moe_ckpt_hash(ckpt, false, second, &err), &err, "quick hash");
	ok(strcmp(first, second) != 0, "the quick hash is another");
	moe_ckpt_close(ckpt);
	is_i64(moe_ckpt_out_open(&out, &opts, &err), MOE_OK, "the same name once more");
	is_i64(moe_ckpt_out_begin(out, &err), MOE_EUSAGE, "is refused without force");
	is_like(err.text, "--force", "and says so");
	moe_ckpt_out_abort(out);
	moe_ckpt_close(src);
	free(one);
	free(many);
}

static void test_write_wrong(const char *top)
{
	char *path = moe_path_join(top, "wrong");
	const struct moe_codec *bf16 = moe_codec_by_name("bf16");
	int64_t four = 4, huge[] = { INT64_MAX, 3 }, minus = -1, none = 0;
	struct moe_ckpt_out_opts opts;
	struct moe_ckpt_out *out;
	struct moe_err err = { 0 };
	json_t *metadata = json_pack("{s:i}", "x", 1);
	struct moe_companion up = { "../x", (const uint8_t *)"", 0 };

	opts_for(&opts, path);
	opts.companions = &up;
	opts.n_companions = 1;
	is_i64(moe_ckpt_out_open(&out, &opts, &err), MOE_EFORMAT, "a companion outside is refused");
	opts_for(&opts, path);
	step(moe_ckpt_out_open(&out, &opts, &err), &err, "a directory is opened for writing");
	is_i64(moe_ckpt_out_declare(out, "q", moe_codec_by_name("q8_0"), &(int64_t){ 32 }, 1, &err), MOE_EUSAGE,
	       "no q8_0 in safetensors");
	moe_ckpt_out_abort(out);
	step(moe_ckpt_out_open(&out, &opts, &err), &err, "a directory is opened for writing");
	is_i64(moe_ckpt_out_declare(out, "h", bf16, huge, 2, &err), MOE_EUSAGE, "too many bytes");
	is_i64(moe_ckpt_out_declare(out, "m", bf16, &minus, 1, &err), MOE_EUSAGE, "a negative dimension");
	is_i64(moe_ckpt_out_declare(out, "\xff", bf16, &four, 1, &err), MOE_EUSAGE, "a name that is not UTF-8");
	is_i64(moe_ckpt_out_declare(out, "", bf16, &four, 1, &err), MOE_EUSAGE, "an empty name");
	is_i64(moe_ckpt_out_write(out, "1234", 4, &err), MOE_EUSAGE, "bytes before the beginning");
	step(moe_ckpt_out_declare(out, "z", bf16, &none, 1, &err), &err, "an empty tensor");
	step(moe_ckpt_out_declare(out, "a", bf16, &four, 1, &err), &err, "a tensor");
	step(moe_ckpt_out_begin(out, &err), &err, "writing begins");
	is_i64(moe_ckpt_out_declare(out, "b", bf16, &four, 1, &err), MOE_EUSAGE, "a tensor behind the beginning");
	is_i64(moe_ckpt_out_write(out, "123456789", 9, &err), MOE_EUSAGE, "too many bytes for a tensor");
	step(moe_ckpt_out_write(out, "1234567", 7, &err), &err, "seven of eight bytes");
	is_i64(moe_ckpt_out_commit(out, &err), MOE_EUSAGE, "a tensor without all its bytes");
	is_like(err.text, "tensor a: expected 8 bytes, found 7", "and says which");
	ok(!moe_is_dir(path), "nothing is left");
	step(moe_ckpt_out_open(&out, &opts, &err), &err, "a directory is opened for writing");
	step(moe_ckpt_out_declare(out, "a", bf16, &four, 1, &err), &err, "a tensor");
	step(moe_ckpt_out_declare(out, "a", bf16, &four, 1, &err), &err, "the same name");
	is_i64(moe_ckpt_out_begin(out, &err), MOE_EUSAGE, "is refused at the beginning");
	moe_ckpt_out_abort(out);
	opts.metadata = metadata;
	step(moe_ckpt_out_open(&out, &opts, &err), &err, "a directory is opened for writing");
	ok(moe_ckpt_out_total(out) == 0, "no total for metadata that cannot be written");
	is_i64(moe_ckpt_out_begin(out, &err), MOE_EUSAGE, "metadata that is no text");
	moe_ckpt_out_abort(out);
	json_decref(metadata);
	free(path);
}

int main(void)
{
	char *dir = make_dir();

	test_read(dir);
	test_bad_headers(dir);
	test_truncated(dir);
	test_index(dir);
	test_dirs(dir);
	test_write(dir);
	test_write_wrong(dir);
	remove_dir(dir);
	free(dir);
	return done();
}
