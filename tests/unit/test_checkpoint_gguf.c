/* GGUF files: reading, writing, split files, and everything that can be wrong with them. */
#include "../tap.h"
#include "../ckpt.h"

/* Files are built byte by byte, so that what the writer never makes can be read as well. */
static void add_u32(struct moe_buf *buf, uint32_t v)
{
	uint8_t bytes[4];

	moe_store_u32(bytes, v);
	moe_buf_add(buf, bytes, 4);
}

static void add_u64(struct moe_buf *buf, uint64_t v)
{
	uint8_t bytes[8];

	moe_store_u64(bytes, v);
	moe_buf_add(buf, bytes, 8);
}

static void add_text(struct moe_buf *buf, const char *text)
{
	add_u64(buf, strlen(text));
	moe_buf_adds(buf, text);
}

static void add_head(struct moe_buf *buf, uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
	moe_buf_adds(buf, "GGUF");
	add_u32(buf, version);
	add_u64(buf, n_tensors);
	add_u64(buf, n_keys);
}

static void add_key(struct moe_buf *buf, const char *key, uint32_t type)
{
	add_text(buf, key);
	add_u32(buf, type);
}

static void add_info(struct moe_buf *buf, const char *name, uint32_t type, uint64_t ne0, uint64_t ne1, uint64_t offset)
{
	add_text(buf, name);
	add_u32(buf, ne1 ? 2 : 1);
	add_u64(buf, ne0);
	if (ne1)
		add_u64(buf, ne1);
	add_u32(buf, type);
	add_u64(buf, offset);
}

static void add_pad(struct moe_buf *buf, size_t alignment)
{
	while (buf->n % alignment)
		moe_buf_addc(buf, 0);
}

static void add_data(struct moe_buf *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		moe_buf_addc(buf, (char)i);
}

static void save(const char *dir, const char *name, struct moe_buf *buf)
{
	put_bytes(dir, name, buf->p, buf->n);
	moe_buf_free(buf);
}

/* Two tensors: q [2, 32] q8_0 of 68 bytes, a [3] f32 at 96; keys of every type. */
static void build_good(struct moe_buf *buf, uint32_t version)
{
	add_head(buf, version, 2, 17);
	add_key(buf, "general.architecture", 8);
	add_text(buf, "deepseek2");
	add_key(buf, "u8", 0);
	moe_buf_addc(buf, (char)200);
	add_key(buf, "i8", 1);
	moe_buf_addc(buf, (char)-3);
	add_key(buf, "u16", 2);
	moe_buf_add(buf, "\xff\xff", 2);
	add_key(buf, "i16", 3);
	moe_buf_add(buf, "\xff\xff", 2);
	add_key(buf, "u32", 4);
	add_u32(buf, 4000000000u);
	add_key(buf, "i32", 5);
	add_u32(buf, (uint32_t)-7);
	add_key(buf, "f32", 6);
	add_u32(buf, 0x3fc00000);
	add_key(buf, "inf", 6);
	add_u32(buf, 0x7f800000);
	add_key(buf, "bool", 7);
	moe_buf_addc(buf, 1);
	add_key(buf, "raw", 8);
	add_text(buf, "\xff\x01");
	add_key(buf, "u64", 10);
	add_u64(buf, UINT64_MAX);
	add_key(buf, "i64", 11);
	add_u64(buf, (uint64_t)INT64_MIN);
	add_key(buf, "f64", 12);
	add_u64(buf, 0x3ff8000000000000);
	add_key(buf, "texts", 9);
	add_u32(buf, 8);
	add_u64(buf, 3);
	add_text(buf, "x");
	add_text(buf, "\xc3\xa9");
	add_text(buf, "\xc3");
	add_key(buf, "nested", 9);
	add_u32(buf, 9);
	add_u64(buf, 1);
	add_u32(buf, 5);
	add_u64(buf, 2);
	add_u32(buf, 1);
	add_u32(buf, 2);
	add_key(buf, "moe.file.config.json", 8);
	add_text(buf, "{\"hidden_size\": 8}");
	add_info(buf, "a", 0, 3, 0, 96);
	add_info(buf, "q", 8, 32, 2, 0);
	add_pad(buf, 32);
	add_data(buf, 96 + 12);
	add_pad(buf, 32);
}

static const json_t *value_of(const struct moe_ckpt *ckpt, const char *key)
{
	return json_object_get(json_object_get(ckpt->metadata, key), "value");
}

static const char *hex_of(const struct moe_ckpt *ckpt, const char *key)
{
	return json_string_value(json_object_get(json_object_get(ckpt->metadata, key), "hex"));
}

static void test_read(const char *dir)
{
	struct moe_buf buf = { 0 };
	struct moe_ckpt *ckpt;
	const struct moe_tensor *q;
	const json_t *array;

	build_good(&buf, 3);
	save(dir, "good.gguf", &buf);
	ckpt = open_good(dir, "good.gguf", "a file");
	is_str(ckpt->format->name, "gguf", "its format");
	is_i64((int64_t)ckpt->n_tensors, 2, "tensors");
	is_str(ckpt->tensors[0].name, "q", "in the order of their bytes");
	q = moe_ckpt_find(ckpt, "q");
	ok(q && q->n_dims == 2 && q->dims[0] == 2 && q->dims[1] == 32 && q->n_bytes == 68,
	   "dimensions are turned round");
	ok(q && q->data[0] == 0 && q->data[67] == 67 && q->codec == moe_codec_by_name("q8_0"), "with their bytes");
	ok(moe_ckpt_find(ckpt, "a") && moe_ckpt_find(ckpt, "a")->data[0] == 96, "the other too");
	is_i64((int64_t)json_object_size(ckpt->metadata), 17, "keys");
	is_i64(json_integer_value(value_of(ckpt, "u8")), 200, "u8");
	is_i64(json_integer_value(value_of(ckpt, "i8")), -3, "i8");
	is_i64(json_integer_value(value_of(ckpt, "u16")), 65535, "u16");
	is_i64(json_integer_value(value_of(ckpt, "i16")), -1, "i16");
	is_i64(json_integer_value(value_of(ckpt, "u32")), 4000000000, "u32");
	is_i64(json_integer_value(value_of(ckpt, "i32")), -7, "i32");
	is_i64(json_integer_value(value_of(ckpt, "i64")), INT64_MIN, "i64");
	is_close(json_real_value(value_of(ckpt, "f32")), 1.5, 0, "f32");
	is_close(json_real_value(value_of(ckpt, "f64")), 1.5, 0, "f64");
	ok(json_is_true(value_of(ckpt, "bool")), "bool");
	is_str(hex_of(ckpt, "inf"), "0000807f", "infinity as bytes");
	is_str(hex_of(ckpt, "u64"), "ffffffffffffffff", "2^64 - 1 as bytes");
	is_str(hex_of(ckpt, "raw"), "ff01", "text that is none as bytes");
	array = value_of(ckpt, "texts");
	is_str(json_string_value(json_array_get(array, 1)), "\xc3\xa9", "a text in an array");
	is_str(json_string_value(json_object_get(json_array_get(array, 2), "hex")), "c3", "bytes in an array");
	array = json_object_get(json_array_get(value_of(ckpt, "nested"), 0), "value");
	is_i64(json_integer_value(json_array_get(array, 1)), 2, "an array in an array");
	ok(ckpt->n_companions == 1 && ckpt->companions[0].n_bytes == 18, "a file in a key");
	is_i64(json_integer_value(json_object_get(ckpt->config, "hidden_size")), 8, "is the config");
	moe_ckpt_close(ckpt);
	build_good(&buf, 2);
	save(dir, "two.gguf", &buf);
	moe_ckpt_close(open_good(dir, "two.gguf", "version 2"));
	add_head(&buf, 3, 0, 0);
	save(dir, "empty.gguf", &buf);
	moe_ckpt_close(open_good(dir, "empty.gguf", "no keys and no tensors"));
	add_head(&buf, 3, 1, 1);
	add_key(&buf, "general.alignment", 4);
	add_u32(&buf, 64);
	add_info(&buf, "a", 0, 3, 0, 0);
	add_pad(&buf, 64);
	add_data(&buf, 12);
	save(dir, "tail.gguf", &buf);
	moe_ckpt_close(open_good(dir, "tail.gguf", "another alignment, and no padding at the end"));
}

static void test_truncated(const char *dir)
{
	struct moe_buf buf = { 0 };
	int64_t n_opened = 0;
	size_t n_needed;
	char *path = moe_path_join(dir, "cut.gguf");

	build_good(&buf, 3);
	n_needed = buf.n - 20;   /* the padding behind the last tensor is not needed */
	for (size_t n = 0; n < n_needed; n++) {
		struct moe_ckpt *ckpt = NULL;

		put_bytes(dir, "cut.gguf", buf.p, n);
		n_opened += moe_ckpt_open(&ckpt, path, NULL, NULL) != MOE_EFORMAT;
		moe_ckpt_close(ckpt);
	}
	is_i64(n_opened, 0, "none of %zu beginnings of a file opens", n_needed);
	put_bytes(dir, "cut.gguf", buf.p, n_needed);
	moe_ckpt_close(open_good(dir, "cut.gguf", "all but the last padding"));
	moe_buf_addc(&buf, 0);
	put_bytes(dir, "cut.gguf", buf.p, buf.n);
	open_bad(dir, "cut.gguf", "at most 128 bytes", "found 129", "a byte behind the last padding");
	moe_buf_free(&buf);
	free(path);
}

static void test_bad_heads(const char *dir)
{
	static const struct {
		const char *what;
		uint32_t version;
		uint64_t n_tensors, n_keys;
		const char *part;
	} cases[] = {
		{ "version 1", 1, 0, 0, "version 2 or 3, found 1" },
		{ "version 4", 4, 0, 0, "found 4" },
		{ "version 0", 0, 0, 0, "found 0" },
		{ "a big-endian file", 0x03000000, 0, 0, "big-endian GGUF" },
		{ "2^63 tensors", 3, (uint64_t)1 << 63, 0, "do not fit" },
		{ "2^64 - 1 keys", 3, 0, UINT64_MAX, "do not fit" },
		{ "more keys than bytes", 3, 0, 100, "do not fit" },
		{ "more tensors than bytes", 3, 40, 0, "do not fit" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct moe_buf buf = { 0 };

		add_head(&buf, cases[i].version, cases[i].n_tensors, cases[i].n_keys);
		add_data(&buf, 900);
		save(dir, "bad.gguf", &buf);
		open_bad(dir, "bad.gguf", cases[i].part, "bad.gguf", cases[i].what);
	}
}

/* A file of one key, whose bytes behind its name are given. */
static void bad_key(const char *dir, const char *key, const void *bytes, size_t n, const char *part, const char *what)
{
	struct moe_buf buf = { 0 };

	add_head(&buf, 3, 0, 1);
	add_text(&buf, key);
	moe_buf_add(&buf, bytes, n);
	save(dir, "bad.gguf", &buf);
	open_bad(dir, "bad.gguf", part, "bad.gguf", what);
}

static void test_bad_keys(const char *dir)
{
	struct moe_buf buf = { 0 };

	bad_key(dir, "k", "\x0d\0\0\0\0\0\0\0", 8, "found 13", "value type 13");
	bad_key(dir, "k", "\7\0\0\0\2", 5, "expected 0 or 1", "a bool of 2");
	bad_key(dir, "k", "\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 12, "18446744073709551615 bytes",
	        "a text of 2^64 - 1");
	bad_key(dir, "k", "\x08\0\0\0\2\0\0\0\0\0\0\0x", 13, "found only 1", "a text past the end");
	bad_key(dir, "k", "\x09\0\0\0\x04\0\0\0\xff\xff\xff\xff\xff\xff\xff\x3f", 16, "do not fit", "an array of 2^62");
	bad_key(dir, "k", "\x09\0\0\0\x0d\0\0\0\1\0\0\0\0\0\0\0", 16, "found 13", "an array of type 13");
	bad_key(dir, "", "\4\0\0\0\1\0\0\0", 8, "1 to 65535 bytes", "an empty key");
	bad_key(dir, "\xff", "\4\0\0\0\1\0\0\0", 8, "UTF-8", "a key that is not UTF-8");
	bad_key(dir, "general.alignment", "\4\0\0\0\0\0\0\0", 8, "general.alignment", "alignment 0");
	bad_key(dir, "general.alignment", "\4\0\0\0\x0c\0\0\0", 8, "multiple of 8", "alignment 12");
	bad_key(dir, "general.alignment", "\4\0\0\0\0\0\0\x40", 8, "multiple of 8", "alignment 2^30");
	bad_key(dir, "general.alignment", "\6\0\0\0\0\0\0\x42", 8, "to be an integer", "alignment 32.0");
	bad_key(dir, "moe.file.../x", "\x08\0\0\0\0\0\0\0\0\0\0\0", 12, "plain file name", "a file outside");
	bad_key(dir, "moe.file.", "\x08\0\0\0\0\0\0\0\0\0\0\0", 12, "plain file name", "a file without name");
	bad_key(dir, "moe.file.config.json", "\x08\0\0\0\1\0\0\0\0\0\0\0{", 13, "config.json",
	        "a config that is no JSON");
	for (int i = 0; i < 6; i++) {
		add_u32(&buf, 9);
		if (i)
			add_u64(&buf, 1);
	}
	add_data(&buf, 16);
	bad_key(dir, "k", buf.p, buf.n, "nested deeper", "arrays nested six deep");
	moe_buf_free(&buf);
	for (int kind = 0; kind < 2; kind++) {
		/* Values of 12 bytes or 4 in the file that take hundreds in memory. */
		add_u32(&buf, 9);
		add_u32(&buf, kind ? 6 : 9);
		add_u64(&buf, 1 << 18);
		for (int i = 0; i < 1 << 18; i++) {
			add_u32(&buf, kind ? 0x7fc00000 : 0);
			if (!kind)
				add_u64(&buf, 0);
		}
		bad_key(dir, "k", buf.p, buf.n, "at most 131072", kind ? "2^18 NaNs" : "2^18 arrays in an array");
		moe_buf_free(&buf);
	}
	add_head(&buf, 3, 0, 2);
	for (int i = 0; i < 2; i++) {
		add_key(&buf, "k", 4);
		add_u32(&buf, 1);
	}
	save(dir, "bad.gguf", &buf);
	open_bad(dir, "bad.gguf", "key k is here twice", "bad.gguf", "a key twice");
}

struct info {
	const char *name;
	uint32_t type;
	uint64_t ne0, ne1, offset;
};

static void test_bad_tensors(const char *dir)
{
	static const struct {
		const char *what;
		struct info infos[2];
		size_t n_data;
		const char *part;
	} cases[] = {
		{ "an unknown type", { { "a", 99, 8, 0, 0 }, { "b", 0, 8, 0, 32 } }, 64, "type 99 is not known" },
		{ "half a block", { { "a", 8, 33, 1, 0 }, { "b", 0, 8, 0, 64 } }, 96, "whole blocks of 32" },
		{ "a product beyond 2^64", { { "a", 0, 1ull << 33, 1ull << 33, 0 }, { "b", 0, 8, 0, 32 } }, 64,
		  "too large" },
		{ "a dimension of 2^63", { { "a", 0, 1ull << 63, 0, 0 }, { "b", 0, 8, 0, 32 } }, 64, "dimension 0" },
		{ "an odd offset", { { "a", 0, 8, 0, 0 }, { "b", 0, 8, 0, 33 } }, 65, "multiple of 32, found 33" },
		{ "an overlap", { { "a", 0, 9, 0, 0 }, { "b", 0, 8, 0, 32 } }, 64,
		  "expected offset 64, behind a, found 32" },
		{ "a hole", { { "a", 0, 8, 0, 0 }, { "b", 0, 8, 0, 64 } }, 96,
		  "expected offset 32, behind a, found 64" },
		{ "a hole at the start", { { "a", 0, 8, 0, 32 }, { "b", 0, 8, 0, 64 } }, 96, "behind the header" },
		{ "a tensor past the end", { { "a", 0, 8, 0, 0 }, { "b", 0, 8, 0, 32 } }, 63, "data area has 63" },
		{ "an offset near 2^64", { { "a", 0, 8, 0, 0 }, { "b", 0, 8, 0, UINT64_MAX - 31 } }, 64,
		  "expected offset 32" },
		{ "a name twice", { { "a", 0, 8, 0, 0 }, { "a", 0, 8, 0, 32 } }, 64, "tensor a is here twice" },
		{ "no name", { { "", 0, 8, 0, 0 }, { "a", 0, 8, 0, 32 } }, 64, "a tensor's name" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct moe_buf buf = { 0 };

		add_head(&buf, 3, 2, 0);
		for (int k = 0; k < 2; k++) {
			const struct info *info = &cases[i].infos[k];

			add_info(&buf, info->name, info->type, info->ne0, info->ne1, info->offset);
		}
		add_pad(&buf, 32);
		add_data(&buf, cases[i].n_data);
		save(dir, "bad.gguf", &buf);
		open_bad(dir, "bad.gguf", cases[i].part, "bad.gguf", cases[i].what);
	}
	for (uint32_t n_dims = 5; n_dims; n_dims = n_dims == 5 ? UINT32_MAX : 0) {
		struct moe_buf buf = { 0 };

		add_head(&buf, 3, 1, 0);
		add_text(&buf, "a");
		add_u32(&buf, n_dims);
		add_data(&buf, 100);
		save(dir, "bad.gguf", &buf);
		open_bad(dir, "bad.gguf", "at most 4 dimensions", "tensor a", "too many dimensions");
	}
}

static void put_part(const char *dir, const char *name, uint32_t no, uint32_t count, uint32_t n_all, const char *tensor)
{
	struct moe_buf buf = { 0 };
	uint8_t bytes[4];

	add_head(&buf, 3, 1, 4);
	add_key(&buf, "split.no", 2);
	moe_store_u32(bytes, no);
	moe_buf_add(&buf, bytes, 2);
	add_key(&buf, "split.count", 2);
	moe_store_u32(bytes, count);
	moe_buf_add(&buf, bytes, 2);
	add_key(&buf, "split.tensors.count", 5);
	add_u32(&buf, n_all);
	add_key(&buf, "part", 8);
	add_text(&buf, name);
	add_info(&buf, tensor, 0, 2, 0, 0);
	add_pad(&buf, 32);
	add_data(&buf, 8);
	save(dir, name, &buf);
}

static void test_split(const char *top)
{
	static const char *const names[] = { "m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
	                                     "m-00003-of-00003.gguf" };
	char *dir = moe_path_join(top, "split"), *gone;
	struct moe_ckpt *ckpt;

	mkdir(dir, 0777);
	for (uint32_t i = 0; i < 3; i++)
		put_part(dir, names[i], i, 3, 3, (const char *[]){ "x", "a", "m" }[i]);
	for (int i = 0; i < 3; i++) {
		ckpt = open_good(dir, names[i], names[i]);
		ok(ckpt->n_files == 3 && ckpt->n_tensors == 3, "all parts are open");
		is_str(json_string_value(value_of(ckpt, "part")), names[0], "keys are those of the first");
		ok(moe_ckpt_find(ckpt, "x")->file == 0 && moe_ckpt_find(ckpt, "m")->file == 2,
		   "tensors know their file");
		moe_ckpt_close(ckpt);
	}
	put_part(dir, "alone.gguf", 0, 3, 3, "x");
	open_bad(dir, "alone.gguf", "one of 3 parts", "-of-00003.gguf", "a part under another name");
	put_part(dir, "m-00001-of-00002.gguf", 0, 3, 3, "x");
	open_bad(dir, "m-00001-of-00002.gguf", "its name says 2", "split.count 3", "a part with a wrong name");
	put_part(dir, "n-00001-of-00002.gguf", 0, 1, 1, "x");
	moe_ckpt_close(open_good(dir, "n-00001-of-00002.gguf", "a whole file with the name of a part"));
	put_part(dir, names[1], 2, 3, 3, "a");
	open_bad(dir, names[0], "expected split.no 1", "found 2 and 3", "parts in the wrong order");
	put_part(dir, names[1], 1, 3, 3, "x");
	open_bad(dir, names[0], "tensor x is here twice", names[1], "a tensor in two parts");
	put_part(dir, names[1], 1, 3, 3, "a");
	put_part(dir, names[0], 0, 3, 4, "x");
	open_bad(dir, names[0], "split.tensors.count", "found 4", "a wrong count of tensors");
	gone = moe_path_join(dir, names[1]);
	unlink(gone);
	open_bad(dir, names[2], names[1], "no such file", "a missing part");
	free(gone);
	free(dir);
}

static void test_write(const char *top)
{
	struct moe_ckpt *src = open_good(top, "good.gguf", "the source"), *ckpt;
	char *path = moe_path_join(top, "copy.gguf"), *good = moe_path_join(top, "good.gguf");
	struct moe_companion companions[] = { { "tokenizer.json", (const uint8_t *)"{}", 2 },
	                                      { "raw", (const uint8_t *)"\xff", 1 } };
	struct moe_ckpt_out_opts opts = { .format = moe_format_by_name("gguf"), .path = path,
	                                  .metadata = src->metadata };
	struct moe_map first = { 0 }, second = { 0 };
	struct moe_ckpt_out *out;
	struct moe_err err = { 0 };

	step(moe_ckpt_out_open(&out, &opts, &err), &err, "a file is opened for writing");
	copy_tensors(out, src, 7);
	ckpt = open_good(top, "copy.gguf", "what was written");
	is_same(ckpt, src, "copy");
	ok(json_equal(ckpt->metadata, src->metadata), "keys came along");
	moe_ckpt_close(ckpt);
	opts.flags = MOE_OUT_FORCE;
	opts.companions = companions;
	opts.n_companions = 2;
	step(moe_ckpt_out_open(&out, &opts, &err), &err, "a file is opened once more");
	copy_tensors(out, src, 1000);
	ckpt = open_good(top, "copy.gguf", "what was written with files in it");
	is_same(ckpt, src, "copy with files");
	is_i64(ckpt->n_companions, 3, "files inside");
	is_str(ckpt->companions[1].name, "raw", "by name");
	ok(ckpt->companions[1].n_bytes == 1 && ckpt->companions[1].data[0] == 0xff, "with their bytes");
	moe_ckpt_close(ckpt);
	opts.n_companions = 0;
	opts.metadata = NULL;
	step(moe_ckpt_out_open(&out, &opts, &err), &err, "a file without keys is opened");
	copy_tensors(out, src, 1000);
	ckpt = open_good(top, "copy.gguf", "what was written without keys");
	is_same(ckpt, src, "copy without keys");
	opts.path = good;
	opts.metadata = ckpt->metadata;
	step(moe_ckpt_out_open(&out, &opts, &err), &err, "the same over another file");
	copy_tensors(out, ckpt, 11);
	step(moe_map_open(&first, path, NULL, &err), &err, "first");
	step(moe_map_open(&second, good, NULL, &err), &err, "second");
	ok(first.n_bytes == second.n_bytes && !memcmp(first.data, second.data, first.n_bytes), "gives the same bytes");
	ok(first.n_bytes % 32 == 0, "padded to the end");
	moe_map_close(&first);
	moe_map_close(&second);
	moe_ckpt_close(ckpt);
	moe_ckpt_close(src);
	free(path);
	free(good);
}

static void test_write_wrong(const char *top)
{
	static const char *const bad[] = {
		"{\"k\":{\"type\":\"u8\",\"value\":256}}", "{\"k\":{\"type\":\"i8\",\"value\":-129}}",
		"{\"k\":{\"type\":\"u32\",\"value\":-1}}", "{\"k\":{\"type\":\"u32\",\"value\":1.0}}",
		"{\"k\":{\"type\":\"bool\",\"value\":1}}", "{\"k\":{\"type\":\"string\",\"value\":1}}",
		"{\"k\":{\"type\":\"f32\",\"value\":1e39}}", "{\"k\":{\"type\":\"f32\",\"hex\":\"00\"}}",
		"{\"k\":{\"type\":\"string\",\"hex\":\"0g\"}}", "{\"k\":{\"type\":\"u33\",\"value\":1}}", "{\"k\":1}",
		"{\"k\":{\"type\":\"array\",\"value\":[1]}}",
		"{\"k\":{\"type\":\"array\",\"of\":\"i32\",\"value\":[1,\"x\"]}}",
		"{\"k\":{\"type\":\"array\",\"of\":\"array\",\"value\":[1]}}",
		"{\"\":{\"type\":\"bool\",\"value\":true}}",
		"{\"general.alignment\":{\"type\":\"u32\",\"value\":12}}",
	};
	char *path = moe_path_join(top, "wrong.gguf");
	struct moe_ckpt_out_opts opts = { .format = moe_format_by_name("gguf"), .path = path };
	struct moe_companion twice = { "x", (const uint8_t *)"", 0 };
	int64_t dims[] = { 1, 1, 1, 1, 32 };
	struct moe_ckpt_out *out;
	struct moe_err err = { 0 };
	json_t *metadata;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		metadata = json_loads(bad[i], 0, NULL);
		opts.metadata = metadata;
		step(moe_ckpt_out_open(&out, &opts, &err), &err, "a file is opened for writing");
		is_i64(moe_ckpt_out_begin(out, &err), MOE_EUSAGE, "refused: %s", bad[i]);
		moe_ckpt_out_abort(out);
		json_decref(metadata);
	}
	metadata = json_loads("{\"moe.file.x\":{\"type\":\"string\",\"value\":\"\"}}", 0, NULL);
	opts.metadata = metadata;
	opts.companions = &twice;
	opts.n_companions = 1;
	step(moe_ckpt_out_open(&out, &opts, &err), &err, "a file is opened for writing");
	is_i64(moe_ckpt_out_begin(out, &err), MOE_EUSAGE, "a file that is also a key");
	moe_ckpt_out_abort(out);
	json_decref(metadata);
	opts = (struct moe_ckpt_out_opts){ .format = moe_format_by_name("gguf"), .path = path };
	step(moe_ckpt_out_open(&out, &opts, &err), &err, "a file is opened for writing");
	is_i64(moe_ckpt_out_declare(out, "a", moe_codec_by_name("f8_e4m3"), dims, 1, &err), MOE_EUSAGE,
	       "no f8_e4m3 in GGUF");
	moe_ckpt_out_abort(out);
	step(moe_ckpt_out_open(&out, &opts, &err), &err, "a file is opened for writing");
	is_i64(moe_ckpt_out_declare(out, "a", moe_codec_by_name("f32"), dims, 5, &err), MOE_EUSAGE, "five dimensions");
	moe_ckpt_out_abort(out);
	step(moe_ckpt_out_open(&out, &opts, &err), &err, "a file is opened for writing");
	is_i64(moe_ckpt_out_declare(out, "a0123456789012345678901234567890123456789012345678901234567890123",
	                            moe_codec_by_name("f32"), dims, 1, &err), MOE_EUSAGE, "a name of 65 bytes");
	moe_ckpt_out_abort(out);
	ok(!moe_is_file(path), "nothing is left");
	free(path);
}

int main(void)
{
	char *dir = make_dir();

	test_read(dir);
	test_truncated(dir);
	test_bad_heads(dir);
	test_bad_keys(dir);
	test_bad_tensors(dir);
	test_split(dir);
	test_write(dir);
	test_write_wrong(dir);
	remove_dir(dir);
	free(dir);
	return done();
}
