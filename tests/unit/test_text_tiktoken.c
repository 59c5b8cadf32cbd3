/* tiktoken.model: what is refused and how, what the special tokens become, two megabytes without a space. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../tap.h"
#include "base/file.h"
#include "text/tokenizer.h"

static const char good_config[] =
	"{\"tokenizer_class\":\"TikTokenTokenizer\",\"added_tokens_decoder\":{\"258\":{\"content\":\"[BOS]\"},"
	"\"260\":{\"content\":\"caf\u00e9\",\"special\":false},\"600\":{\"content\":\"far\"}},\"bos_token\":\"[BOS]\"}";

static char dir[4096];

static void put(const char *name, const char *bytes, size_t n)
{
	char path[4200];
	FILE *to;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	to = fopen(path, "w");
	if (!to || fwrite(bytes, 1, n, to) != n || fclose(to))
		ok(false, "%s is written", path);
}

static void add_base64(struct moe_buf *to, const uint8_t *p, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		const uint32_t bits = (uint32_t)p[i] << 16 | (uint32_t)(i + 1 < n ? p[i + 1] : 0) << 8 |
		                      (i + 2 < n ? p[i + 2] : 0);
		moe_buf_addc(to, digits[bits >> 18]);
		moe_buf_addc(to, digits[bits >> 12 & 63]);
		moe_buf_addc(to, i + 1 < n ? digits[bits >> 6 & 63] : '=');
		moe_buf_addc(to, i + 2 < n ? digits[bits & 63] : '=');
	}
}

/* All bytes, then "aa" 256 and "aaa" 257, without line `skip` (-1: none); then `more`. */
static void put_model(int skip, const char *more, size_t n_more)
{
	struct moe_buf text = {0};

	for (int b = 0; b < 258; b++) {
		const uint8_t bytes[3] = {b < 256 ? (uint8_t)b : 'a', 'a', 'a'};
		if (b == skip)
			continue;
		add_base64(&text, bytes, b < 256 ? 1 : (size_t)b - 254);
		moe_buf_addf(&text, " %d\n", b);
	}
	moe_buf_add(&text, more, n_more);
	put("tiktoken.model", text.p, text.n);
	moe_buf_free(&text);
}

static void refused(const char *words)
{
	struct moe_tokenizer *tok = NULL;
	struct moe_err err = {0};

	ok(moe_tokenizer_load(&tok, dir, &err) == MOE_EFORMAT && !tok, "refused: %s", words);
	is_like(err.text, words, "and the sentence says so");
	moe_tokenizer_free(tok);
}

static void test_model(void)
{
	static const struct {
		int skip;
		const char *more, *words;
	} cases[] = {
		{-1, "YWI 258\n", "tiktoken.model: line 259: 'YWI' is not base64"},
		{-1, "YW%= 258\n", "line 259: 'YW%=' is not base64"},
		{-1, "YWJ= 258\n", "line 259: 'YWJ=' is not base64"},
		{-1, "=WI= 258\n", "line 259: '=WI=' is not base64"},
		{-1, "YWI=\n", "line 259: expected base64, a space and a rank, found 'YWI='"},
		{-1, "YWI= x\n", "line 259: expected base64, a space and a rank"},
		{-1, "YWI= 9999999999999999999999\n", "line 259: expected base64, a space and a rank"},
		{-1, "YWI= -1\n", "line 259: the rank -1 is beyond"},
		{-1, "YWI= 257\n", "line 259: the rank 257 is there twice"},
		{-1, "YQ== 258\n", "line 259: the piece 'YQ==' has the rank 97 already"},
		{-1, "\n\nYWI= 260\n", "line 261: the rank 260 is there, but not 258"},
		{-1, "YWI= 300\n", "line 259: the rank 300 is beyond the number of lines"},
		{0, "YWI= 0\n", "no piece is the byte 0x00 alone"},
	};
	struct moe_buf line = {0};

	put("tokenizer_config.json", good_config, strlen(good_config));
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		put_model(cases[i].skip, cases[i].more, strlen(cases[i].more));
		refused(cases[i].words);
	}
	put("tiktoken.model", "\n", 1);
	refused("tiktoken.model: has no pieces");
	/* A line of a megabyte. */
	while (line.n < 1 << 20)
		moe_buf_adds(&line, "YWFh");
	moe_buf_adds(&line, " 258\n");
	put_model(-1, line.p, line.n);
	refused("line 259: 1048576 characters of base64, at most 2048");
	moe_buf_free(&line);
}

static void test_config(void)
{
	static const struct {
		const char *config, *words;
	} cases[] = {
		{"{}", "tokenizer_class: '(nothing)'"},
		{"[]", "an object is expected"},
		{"{\"tokenizer_class\":\"QWenTokenizer\"}", "tokenizer_class: 'QWenTokenizer' does not say"},
		{"{\"tokenizer_class\":\"TikTokenTokenizer\"}", "added_tokens_decoder: expected the special tokens"},
#define NAMED(text) "{\"tokenizer_class\":\"TikTokenTokenizer\",\"added_tokens_decoder\":{" text "}}"
		{NAMED("\"7\":{\"content\":\"x\"}"), "added_tokens_decoder.7: expected an id behind the 258 pieces"},
		{NAMED("\"x\":{\"content\":\"x\"}"), "added_tokens_decoder.x: expected an id"},
		{NAMED("\"2147483647\":{\"content\":\"x\"}"), "added_tokens_decoder.2147483647: expected an id"},
		{NAMED("\"258\":3"), "added_tokens_decoder.258: an object is expected"},
		{NAMED("\"258\":{}"), "added_tokens_decoder.258.content: a string is expected"},
		{NAMED("\"258\":{\"content\":\"\"}"), "added_tokens_decoder.258.content: '' is empty"},
		{NAMED("\"258\":{\"content\":\"x\"},\"259\":{\"content\":\"x\"}"),
		 "'x' is the content of another id too"},
		{NAMED("\"258\":{\"content\":\"<|reserved_token_259|>\"}"),
		 "'<|reserved_token_259|>' is the content of"},
	};
	char path[4200];

	put_model(-1, "", 0);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		put("tokenizer_config.json", cases[i].config, strlen(cases[i].config));
		refused(cases[i].words);
	}
	snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
	remove(path);
	refused("tiktoken.model: is not there: it names the special tokens");
}

static bool encodes(const struct moe_tokenizer *tok, const char *text, const int32_t *want, size_t n)
{
	struct moe_ids ids = {0};
	struct moe_err err = {0};
	const bool good = !moe_tokenizer_encode(tok, text, strlen(text), &ids, &err) && ids.n == n &&
	                  memcmp(ids.ids, want, n * sizeof *want) == 0;

	moe_ids_free(&ids);
	return good;
}

static void test_specials(void)
{
	struct moe_tokenizer *tok = NULL;
	struct moe_buf text = {0};
	struct moe_err err = {0};

	put_model(-1, "", 0);
	put("tokenizer_config.json", good_config, strlen(good_config));
	if (!ok(!moe_tokenizer_load(&tok, dir, &err), "a small one is read: %s", err.text))
		return;
	is_i64(moe_tokenizer_n_ids(tok), 601, "ids end with the last named");
	is_i64(moe_tokenizer_bos_id(tok), 258, "BOS has its id");
	ok(!moe_tokenizer_add_bos(tok) && moe_tokenizer_is_special(tok, 259) && !moe_tokenizer_is_special(tok, 260),
	   "what is special is known");
	ok(encodes(tok, "[BOS]aaaa<|reserved_token_513|>", (const int32_t[]){258, 256, 256, 513}, 4),
	   "names become ids, pairs merge by rank");
	ok(encodes(tok, "aaaaa", (const int32_t[]){256, 257}, 2), "of equal pairs the leftmost first");
	ok(encodes(tok, "<|reserved_token_514|>a", NULL, 0) == false, "there are 256 reserved names");
	ok(!moe_tokenizer_decode(tok, (const int32_t[]){260, 0xc3, 0xa9}, 3, false, &text, &err),
	   "ids are decoded: %s", err.text);
	is_str(text.p, "caf\u00e9\u00e9", "a name that is not ASCII is its bytes");
	moe_buf_free(&text);
	moe_tokenizer_free(tok);
}

/* Two megabytes of one letter. */
static void test_long(void)
{
	const size_t n = 2 << 20;
	char *text = malloc(n);
	struct moe_tokenizer *tok = NULL;
	struct moe_ids ids = {0};
	struct moe_err err = {0};

	memset(text, 'a', n);
	if (ok(!moe_tokenizer_load(&tok, dir, &err), "read again: %s", err.text) &&
	    ok(!moe_tokenizer_encode(tok, text, n, &ids, &err), "two megabytes: %s", err.text))
		is_i64((int64_t)ids.n, (int64_t)n / 2, "of one letter are pairs");
	moe_tokenizer_free(tok);
	moe_ids_free(&ids);
	free(text);
}

int main(void)
{
	const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";

	snprintf(dir, sizeof dir, "%s/moe-tiktoken-XXXXXX", tmp);
	if (!ok(mkdtemp(dir) != NULL, "there is a folder"))
		return done();
	test_model();
	test_config();
	test_specials();
	test_long();
	for (int i = 0; i < 2; i++) {
		char path[4200];
		snprintf(path, sizeof path, "%s/%s", dir, i ? "tiktoken.model" : "tokenizer_config.json");
		remove(path);
	}
	remove(dir);
	return done();
}
