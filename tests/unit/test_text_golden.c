/* Ids and texts of a reference tokenizer:
 *     test_text_golden [TOKENIZER ENCODE.jsonl DECODE.jsonl]
 * TOKENIZER is a tokenizer.json, a directory with the files of a tokenizer, or a GGUF file.
 * ENCODE has {"text", "add_special", "ids"} per line, DECODE {"ids", "skip_special", "text"}. add_special adds
 * nothing for the tokenizers here, whose templates are empty. Without arguments: those in tests/golden/tokenizers,
 * the large ones unpacked by xz. */
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "text/encode.h"
#include "text/parts.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

/* Calls check() with each line of a file. */
static void each_line(const char *path, const struct moe_tokenizer *tok,
                      bool (*check)(const struct moe_tokenizer *tok, const json_t *line, const char *where))
{
	struct moe_buf file = {0};
	struct moe_err err = {0};
	struct moe_str rest, line;
	int n = 0, n_good = 0;

	if (moe_read_all(path, 0, &file, &err)) {
		ok(false, "%s: %s", path, err.text);
		return;
	}
	rest = (struct moe_str){file.p, file.n};
	while (moe_str_next(&rest, '\n', &line)) {
		char where[600];
		json_t *value = NULL;
		if (line.n == 0)
			continue;
		n++;
		snprintf(where, sizeof where, "%s:%d", path, n);
		if (moe_json_parse(&value, line.p, line.n, where, &err))
			ok(false, "%s", err.text);
		else
			n_good += check(tok, value, where);
		json_decref(value);
	}
	ok(n > 30 && n_good == n, "%s: %d of %d lines agree", path, n_good, n);
	moe_buf_free(&file);
}

static void show(const char *what, const int32_t *ids, size_t n)
{
	printf("#   %s", what);
	for (size_t i = 0; i < n && i < 40; i++)
		printf(" %d", ids[i]);
	printf("\n");
}

/* The ids do not depend on how much of the text is taken at a time. */
static bool check_windows(const struct moe_tokenizer *tok, struct moe_str text, const struct moe_ids *want,
                          const char *where)
{
	static const size_t windows[] = {1, 2, 3, 4, 7, 11, 16, 29, 64};
	bool same = true;

	for (size_t i = 0; i < sizeof windows / sizeof *windows && same; i++) {
		struct moe_ids ids = {0};
		struct moe_err err = {0};

		if (moe_tokenizer_encode_by(tok, text.p, text.n, windows[i], &ids, &err))
			printf("# %s: %s\n", where, err.text);
		same = ids.n == want->n && (ids.n == 0 || memcmp(ids.ids, want->ids, ids.n * sizeof *ids.ids) == 0);
		if (!same) {
			printf("# %s: encode by windows of %zu\n", where, windows[i]);
			show("expected", want->ids, want->n);
			show("found   ", ids.ids, ids.n);
		}
		moe_ids_free(&ids);
	}
	return same;
}

static bool check_encode(const struct moe_tokenizer *tok, const json_t *line, const char *where)
{
	const json_t *text = json_object_get(line, "text"), *want = json_object_get(line, "ids");
	struct moe_ids ids = {0};
	struct moe_err err = {0};
	size_t n = json_array_size(want);
	int32_t *expected = calloc(n + 1, sizeof *expected);
	bool same;

	for (size_t i = 0; i < n; i++)
		expected[i] = (int32_t)json_integer_value(json_array_get(want, i));
	if (moe_tokenizer_encode(tok, json_string_value(text), json_string_length(text), &ids, &err))
		printf("# %s: %s\n", where, err.text);
	same = ids.n == n && (n == 0 || memcmp(ids.ids, expected, n * sizeof *expected) == 0);
	if (!same) {
		printf("# %s: encode\n", where);
		show("expected", expected, n);
		show("found   ", ids.ids, ids.n);
	}
	same = same && check_windows(tok, (struct moe_str){json_string_value(text), json_string_length(text)}, &ids,
	                             where);
	free(expected);
	moe_ids_free(&ids);
	return same;
}

static bool check_decode(const struct moe_tokenizer *tok, const json_t *line, const char *where)
{
	const json_t *list = json_object_get(line, "ids"), *want = json_object_get(line, "text");
	bool skip = json_is_true(json_object_get(line, "skip_special")), same, same_stream;
	size_t n = json_array_size(list);
	int32_t *ids = calloc(n + 1, sizeof *ids);
	struct moe_buf text = {0}, stream = {0};
	struct moe_detok *detok = NULL;
	struct moe_err err = {0};
	enum moe_status status;

	for (size_t i = 0; i < n; i++)
		ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
	status = moe_tokenizer_decode(tok, ids, n, skip, &text, &err);
	if (!status)
		status = moe_detok_new(&detok, tok, skip, &err);
	for (size_t i = 0; i < n && !status; i++)
		status = moe_detok_add(detok, ids[i], &stream, &err);
	if (!status)
		status = moe_detok_finish(detok, &stream, &err);
	if (status)
		printf("# %s: %s\n", where, err.text);
	same = text.n == json_string_length(want) &&
	       (text.n == 0 || memcmp(text.p, json_string_value(want), text.n) == 0);
	same_stream = stream.n == text.n && (text.n == 0 || memcmp(text.p, stream.p, text.n) == 0);
	if (!same || !same_stream)
		printf("# %s: decode: expected '%s', found '%s', one by one '%s'\n", where, json_string_value(want),
		       text.p ? text.p : "", stream.p ? stream.p : "");
	moe_detok_free(detok);
	moe_buf_free(&text);
	moe_buf_free(&stream);
	free(ids);
	return same && same_stream && !status;
}

/* Below n. */
static size_t draw(uint64_t *drawn, size_t n)
{
	return moe_rng_u64(20, 1, (*drawn)++) % n;
}

/* A stretch of one kind of text. */
static void add_random(struct moe_buf *out, const struct moe_tokenizer *tok, uint64_t *drawn)
{
	static const char *const words[] = {
		" the", "The ", "'ll", "'LL", "don't", " ", "  ", "\n", "\r\n", "\t \n", "\u00a0", "\u3000", "_",
		"\u2581", "1", "12345", "...", "#!", "(x)", "aa", "ij", "q", "xxx", "yyz", "\u01c5", "\u0130",
		"stra\u00dfe", "|",
	};
	/* First and last of ranges: marks, jamo, Devanagari, Hangul, ideographs, pictures, selectors, anything. */
	static const uint32_t ranges[][2] = {{0x300, 0x36F}, {0x1100, 0x11FF}, {0x900, 0x97F}, {0xAC00, 0xD7A3},
	                                     {0x4E00, 0x4FFF}, {0x1F300, 0x1F6FF}, {0xFE00, 0xFE0F}, {0x200B, 0x200F},
	                                     {0x20, 0x7E}, {0xA0, 0x24F}, {0x1E00, 0x1FFF}, {0xF900, 0xFAFF},
	                                     {0x2000, 0x33FF}, {0x300, 0x315}, {0x1, 0x10FFFF}};
	enum { N_RANGES = sizeof ranges / sizeof *ranges, N_WORDS = sizeof words / sizeof *words };
	const size_t kind = draw(drawn, N_RANGES + 5), n = 1 + draw(drawn, draw(drawn, 9) ? 4 : 40);
	const char *word = words[draw(drawn, N_WORDS)];

	for (size_t i = 0; i < n; i++) {
		uint8_t utf8[4];
		uint32_t code;

		if (kind < N_RANGES) {
			code = ranges[kind][0] + (uint32_t)draw(drawn, ranges[kind][1] - ranges[kind][0] + 1);
			/* Surrogates come out as bytes that are invalid. */
			moe_buf_add(out, utf8, moe_utf8_put(utf8, code));
		} else if (kind == N_RANGES) {
			moe_buf_addc(out, (char)draw(drawn, 256));
		} else if (kind == N_RANGES + 1 && tok->n_added > 0) {
			const struct moe_str token = tok->added[draw(drawn, tok->n_added)].content;
			moe_buf_add(out, token.p, token.n - (draw(drawn, 4) ? 0 : draw(drawn, token.n)));
		} else if (kind == N_RANGES + 2) {
			moe_buf_adds(out, word);
		} else {
			moe_buf_adds(out, words[draw(drawn, N_WORDS)]);
		}
	}
}

/* Windows of every length give the ids that the whole text gives at once. */
static void check_random(const struct moe_tokenizer *tok, const char *name)
{
	enum { N_TEXTS = 100 };
	uint64_t drawn = 0;
	struct moe_buf text = {0};
	int n_good = 0;

	for (int i = 0; i < N_TEXTS; i++) {
		const size_t window = 1 + draw(&drawn, 64), n_parts = 1 + draw(&drawn, 40);
		struct moe_ids whole = {0}, ids = {0};
		struct moe_err err = {0};
		enum moe_status status, again;

		text.n = 0;
		for (size_t k = 0; k < n_parts; k++)
			add_random(&text, tok, &drawn);
		status = moe_tokenizer_encode_by(tok, text.p, text.n, text.n, &whole, &err);
		again = moe_tokenizer_encode_by(tok, text.p, text.n, window, &ids, &err);
		if (status == again && (status || (ids.n == whole.n && (ids.n == 0 ||
		                        !memcmp(ids.ids, whole.ids, ids.n * sizeof *ids.ids))))) {
			n_good++;
		} else {
			printf("# text %d of %zu bytes by windows of %zu: %s\n", i, text.n, window, err.text);
			show("expected", whole.ids, whole.n);
			show("found   ", ids.ids, ids.n);
		}
		moe_ids_free(&whole);
		moe_ids_free(&ids);
	}
	is_i64(n_good, N_TEXTS, "%s: texts that do not depend on the window", name);
	moe_buf_free(&text);
}

/* Takes tok over. */
static void check_tokenizer(struct moe_tokenizer *tok, const char *name, const char *encode, const char *decode)
{
	ok(true, "%s is read", name);
	each_line(encode, tok, check_encode);
	each_line(decode, tok, check_decode);
	check_random(tok, name);
	moe_tokenizer_free(tok);
}

static void check_json(const struct moe_buf *json, const char *name, const char *encode, const char *decode)
{
	struct moe_tokenizer *tok = NULL;
	struct moe_err err = {0};

	if (moe_tokenizer_parse(&tok, json->p ? json->p : "", json->n, NULL, 0, name, &err))
		ok(false, "%s", err.text);
	else
		check_tokenizer(tok, name, encode, decode);
}

/* A directory or a GGUF file. */
static void check_path(const char *path, const char *encode, const char *decode)
{
	struct moe_tokenizer *tok = NULL;
	struct moe_ckpt *ckpt = NULL;
	struct moe_err err = {0};
	enum moe_status status;

	if (moe_is_dir(path)) {
		status = moe_tokenizer_load(&tok, path, &err);
	} else {
		status = moe_ckpt_open(&ckpt, path, NULL, &err);
		if (!status)
			status = moe_tokenizer_open(&tok, ckpt, &err);
		moe_ckpt_close(ckpt);
	}
	if (status)
		ok(false, "%s", err.text);
	else
		check_tokenizer(tok, path, encode, decode);
}

static void check_packed(const char *top, const char *name)
{
	char path[4096], command[4200], encode[4096], decode[4096], block[4096];
	struct moe_buf json = {0};
	FILE *pipe;
	size_t n;

	snprintf(path, sizeof path, "%s/tests/golden/tokenizers/%s.json.xz", top, name);
	snprintf(encode, sizeof encode, "%s/tests/golden/tokenizers/%s.jsonl", top, name);
	snprintf(decode, sizeof decode, "%s/tests/golden/tokenizers/%s.decode.jsonl", top, name);
	snprintf(command, sizeof command, "xz -dc '%s'", path);
	pipe = popen(command, "r");
	while (pipe && (n = fread(block, 1, sizeof block, pipe)) > 0)
		moe_buf_add(&json, block, n);
	if (!pipe || pclose(pipe) != 0)
		ok(false, "%s does not work", command);
	else
		check_json(&json, path, encode, decode);
	moe_buf_free(&json);
}

static void check_small(const char *top)
{
	char pattern[4096], encode[4096], decode[4096];
	glob_t found = {0};

	snprintf(pattern, sizeof pattern, "%s/tests/golden/tokenizers/small/*.json", top);
	ok(glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc >= 10, "%s is there", pattern);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const char *path = found.gl_pathv[i];
		struct moe_buf json = {0};
		struct moe_err err = {0};
		int n = (int)(strlen(path) - strlen(".json"));

		snprintf(encode, sizeof encode, "%.*s.jsonl", n, path);
		snprintf(decode, sizeof decode, "%.*s.decode.jsonl", n, path);
		if (moe_read_all(path, 0, &json, &err))
			ok(false, "%s", err.text);
		else
			check_json(&json, path, encode, decode);
		moe_buf_free(&json);
	}
	globfree(&found);
}

/* What is no tokenizer.json. */
static void check_others(const char *top)
{
	char dir[4096], path[5000], encode[5000], decode[5000];

	snprintf(dir, sizeof dir, "%s/tests/golden/tokenizers/tiktoken", top);
	snprintf(encode, sizeof encode, "%s/encode.jsonl", dir);
	snprintf(decode, sizeof decode, "%s/decode.jsonl", dir);
	check_path(dir, encode, decode);
	snprintf(path, sizeof path, "%s/tests/golden/tokenizers/gguf/llama.gguf", top);
	snprintf(encode, sizeof encode, "%s/tests/golden/tokenizers/gguf/llama.jsonl", top);
	snprintf(decode, sizeof decode, "%s/tests/golden/tokenizers/gguf/llama.decode.jsonl", top);
	check_path(path, encode, decode);
}

int main(int argc, char **argv)
{
	const char *top = getenv("MOE_TOP") ? getenv("MOE_TOP") : ".";
	struct moe_buf json = {0};
	struct moe_err err = {0};

	if (argc == 1) {
		check_packed(top, "deepseek_v3");
		check_packed(top, "qwen3");
		check_packed(top, "t5");
		check_small(top);
		check_others(top);
		return done();
	}
	if (!ok(argc == 4, "three files are named, or none"))
		return done();
	if (strlen(argv[1]) > 5 && strcmp(argv[1] + strlen(argv[1]) - 5, ".json") == 0) {
		ok(!moe_read_all(argv[1], 0, &json, &err), "%s is there: %s", argv[1], err.text);
		check_json(&json, argv[1], argv[2], argv[3]);
	} else {
		check_path(argv[1], argv[2], argv[3]);
	}
	moe_buf_free(&json);
	return done();
}
