/* Reading tokenizers that are wrong, text that is not UTF-8, round trips, and text given out while it comes. */
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "base/file.h"
#include "base/rng.h"
#include "text/tokenizer.h"

static const char *top(void)
{
	return getenv("MOE_TOP") ? getenv("MOE_TOP") : ".";
}

static struct moe_tokenizer *load_sample(void)
{
	struct moe_tokenizer *tok = NULL;
	struct moe_err err = {0};
	char dir[4096];

	snprintf(dir, sizeof dir, "%s/share/models/tiny-v3", top());
	ok(!moe_tokenizer_load(&tok, dir, &err), "%s is read: %s", dir, err.text);
	return tok;
}

/* Ids of a text, and its text again, whole and one id at a time. */
static bool round_trip(const struct moe_tokenizer *tok, const char *text, size_t n, const char *wanted, size_t n_wanted)
{
	struct moe_ids ids = {0};
	struct moe_buf whole = {0}, stream = {0};
	struct moe_detok *detok = NULL;
	struct moe_err err = {0};
	enum moe_status status = moe_tokenizer_encode(tok, text, n, &ids, &err);
	bool same;

	if (!status)
		status = moe_tokenizer_decode(tok, ids.ids, ids.n, false, &whole, &err);
	if (!status)
		status = moe_detok_new(&detok, tok, false, &err);
	for (size_t i = 0; i < ids.n && !status; i++)
		status = moe_detok_add(detok, ids.ids[i], &stream, &err);
	if (!status)
		status = moe_detok_finish(detok, &stream, &err);
	if (status)
		printf("# %s\n", err.text);
	same = !status && whole.n == n_wanted && stream.n == n_wanted &&
	       (n_wanted == 0 || (memcmp(whole.p, wanted, n_wanted) == 0 && memcmp(stream.p, wanted, n_wanted) == 0));
	moe_detok_free(detok);
	moe_buf_free(&whole);
	moe_buf_free(&stream);
	moe_ids_free(&ids);
	return same;
}

static void test_texts(const struct moe_tokenizer *tok)
{
	static const char *const names[] = {"prose", "tech", "code", "zh", "de"};
	char path[4096];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct moe_buf text = {0};
		struct moe_err err = {0};
		struct moe_ids ids = {0};
		struct moe_str bytes;
		size_t n_bytes = 0;

		snprintf(path, sizeof path, "%s/share/text/%s.txt", top(), names[i]);
		if (!ok(!moe_read_all(path, 0, &text, &err), "%s is there", path))
			continue;
		ok(round_trip(tok, text.p, text.n, text.p, text.n), "%s comes back byte for byte", names[i]);
		ok(!moe_tokenizer_encode(tok, text.p, text.n, &ids, &err), "%s has ids", names[i]);
		for (size_t k = 0; k < ids.n; k++)
			n_bytes += moe_tokenizer_bytes(tok, ids.ids[k], &bytes) ? bytes.n : 0;
		is_i64((int64_t)n_bytes, (int64_t)text.n, "the bytes of the tokens of %s are its bytes", names[i]);
		moe_buf_free(&text);
		moe_ids_free(&ids);
	}
}

static void test_invalid_utf8(const struct moe_tokenizer *tok)
{
	/* One replacement per maximal subpart, as Python's decoder has it. */
	static const struct {
		const char *bytes, *text;
	} cases[] = {
		{"a\x80z", "a\uFFFDz"}, {"\xC0\xAF", "\uFFFD\uFFFD"}, {"\xE0\x80\xAF", "\uFFFD\uFFFD\uFFFD"},
		{"\xE2\x82", "\uFFFD"}, {"\xE2\x82z", "\uFFFDz"}, {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
		{"\xF0\x9F\x98", "\uFFFD"}, {"\xF0\x9F\x98\xF0\x9F\x98\x80", "\uFFFD\U0001F600"},
		{"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"}, {"\xF5\xFF", "\uFFFD\uFFFD"}, {"\xC3", "\uFFFD"},
		{"\xE2\x28\xA1", "\uFFFD(\uFFFD"}, {"", ""},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		ok(round_trip(tok, cases[i].bytes, strlen(cases[i].bytes), cases[i].text, strlen(cases[i].text)),
		   "invalid bytes %zu are replaced", i);
	ok(round_trip(tok, "a\0b", 3, "a\0b", 3), "a NUL is a character");
}

/* Random ids make invalid bytes in every place; each piece given out is whole characters, and all of them together are
 * the text. */
static void test_stream(const struct moe_tokenizer *tok)
{
	bool good = true, whole_chars = true;

	for (uint64_t t = 0; t < 300; t++) {
		struct moe_buf whole = {0}, stream = {0};
		struct moe_detok *detok = NULL;
		int32_t ids[40];

		good &= !moe_detok_new(&detok, tok, t % 2, NULL);
		for (uint64_t i = 0; i < 40; i++) {
			size_t before = stream.n;
			ids[i] = (int32_t)(moe_rng_u64(5, t, i) % (t % 3 ? 260 : 4096));
			good &= !moe_detok_add(detok, ids[i], &stream, NULL);
			whole_chars &= stream.n == before || ((uint8_t)stream.p[before] & 0xC0) != 0x80;
		}
		good &= !moe_detok_finish(detok, &stream, NULL);
		good &= !moe_tokenizer_decode(tok, ids, 40, t % 2, &whole, NULL);
		good &= whole.n == stream.n && memcmp(whole.p, stream.p, whole.n) == 0;
		moe_detok_free(detok);
		moe_buf_free(&whole);
		moe_buf_free(&stream);
	}
	ok(good, "ids decoded one by one give the text of all");
	ok(whole_chars, "and only whole characters on the way");
}

static void test_long_lines(const struct moe_tokenizer *tok)
{
	static const char *const units[] = {"a", " ", "\xE4\xB8\xAD", "<", "ab1", "\xCC\x81"};
	size_t n = 2000000;
	char *text = malloc(n + 4);

	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		size_t len = strlen(units[i]), used = n / len * len;
		for (size_t k = 0; k < used; k++)
			text[k] = units[i][k % len];
		text[used] = 'x';
		ok(round_trip(tok, text, used + 1, text, used + 1), "a line of two million bytes of '%s'", units[i]);
	}
	free(text);
}

static void test_known(const struct moe_tokenizer *tok)
{
	struct moe_ids ids = {0};
	struct moe_buf text = {0};
	struct moe_err err = {0};
	struct moe_str bytes;
	int32_t bad[] = {4096, -1};

	is_i64(moe_tokenizer_n_ids(tok), 4096, "ids end below 4096");
	ok(moe_tokenizer_add_bos(tok) && !moe_tokenizer_add_eos(tok),
	   "texts begin with BOS, as tokenizer_config.json says");
	is_i64(moe_tokenizer_bos_id(tok), 0, "BOS");
	is_i64(moe_tokenizer_eos_id(tok), 1, "EOS");
	ok(moe_tokenizer_is_special(tok, 2) && !moe_tokenizer_is_special(tok, 3) &&
	   !moe_tokenizer_is_special(tok, 1 << 30),
	   "special ids");
	is_i64((int64_t)strlen(moe_tokenizer_hash(tok)), 32, "a hash of 32 digits");
	ok(!moe_tokenizer_bytes(tok, 4096, &bytes) && !moe_tokenizer_bytes(tok, -1, &bytes),
	   "no bytes without a token");
	is_i64(moe_tokenizer_find(tok, "<|pad|>", 7), 2, "an added token by name");
	is_i64(moe_tokenizer_find(tok, "<|pat|>", 7), -1, "no token by a wrong name");
	ok(!moe_tokenizer_encode(tok, "x<|end_of_sentence|>y", 21, &ids, &err) && ids.n == 3 && ids.ids[1] == 1,
	   "an added token in the text is its id");
	ok(!moe_tokenizer_decode(tok, ids.ids, ids.n, true, &text, &err), "decoded");
	is_str(text.p, "xy", "special tokens are left out on demand");
	for (int i = 0; i < 2; i++) {
		ok(moe_tokenizer_decode(tok, &bad[i], 1, false, &text, &err) == MOE_EFORMAT, "id %d is refused",
		   bad[i]);
		is_like(err.text, "tokenizer.json: no token has the id", "with a sentence");
	}
	moe_buf_free(&text);
	moe_ids_free(&ids);
}

static void test_refused(void)
{
#define MODEL(vocab, merges) "\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}"
#define SPLIT(regex, behavior) ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"}," \
	"\"behavior\":\"" behavior "\"}"
#define GOOD MODEL("{\"a\":0,\"b\":1,\"ab\":2}", "[\"a b\"]")
	static const struct {
		const char *json, *words;
	} cases[] = {
		{"", "t.json: is empty"},
		{"[]", "t.json: an object is expected"},
		{"{}", "t.json: model: an object is expected"},
		{"{\"model\":{\"type\":\"WordPiece\"}}", "t.json: model.type: 'WordPiece' is not known here, only BPE"},
		{"{\"model\":{\"vocab\":{}}}", "model.type: '(nothing)'"},
		{"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "model.merges: an array is expected"},
		{"{" MODEL("{\"a\":0,\"b\":1,\"ab\":2}", "[]") "}",
		 "model.merges: is empty, so that no text gives the token 'ab'"},
		{"{" MODEL("{}", "[]") "}", "model.vocab"},
		{"{" MODEL("{\"a\":-1}", "[]") "}", "the id of 'a'"},
		{"{" MODEL("{\"a\":2147483647}", "[]") "}", "the id of 'a'"},
		{"{" MODEL("{\"a\":1.5}", "[]") "}", "the id of 'a'"},
		{"{" MODEL("{\"a\":0,\"b\":0}", "[]") "}", "the id 0 is both"},
		{"{" MODEL("{\"a\":0,\"b\":1}", "[\"a b\"]") "}", "merges[0]: 'ab' is not in the vocabulary"},
		{"{" MODEL("{\"a\":0,\"ab\":1}", "[[\"a\",\"b\"]]") "}", "merges[0]: 'b' is not in the vocabulary"},
		{"{" MODEL("{\"a\":0}", "[\"a\"]") "}", "merges[0]: two tokens are expected"},
		{"{" MODEL("{\"a\":0}", "[\"a a a\"]") "}", "merges[0]: two tokens are expected"},
		{"{" MODEL("{\"a\":0}", "[7]") "}", "merges[0]: two tokens are expected"},
		{"{\"model\":{\"type\":\"BPE\",\"dropout\":0.5,\"vocab\":{\"a\":0},\"merges\":[]}}", "model.dropout"},
		{"{\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"w\",\"vocab\":{\"a\":0},\"merges\":[]}}",
		 "end_of_word_suffix"},
		{"{\"model\":{\"type\":\"BPE\",\"unk_token\":\"u\",\"vocab\":{\"a\":0},\"merges\":[]}}",
		 "unk_token: 'u'"},
		{"{" GOOD ",\"normalizer\":{\"type\":\"Shuffle\"}}",
		 "t.json: normalizer.type: 'Shuffle' is not known here, only Lowercase"},
		{"{" GOOD ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":["
		 "{\"type\":\"NFC\"},{\"type\":\"X\"}]}}",
		 "normalizer.normalizers[1].type: 'X'"},
		{"{" GOOD SPLIT("(", "Isolated") "}", "pre_tokenizer.pattern: a group without its ')'"},
		{"{" GOOD SPLIT("a\\\\b", "Isolated") "}", "the escape '\\b'"},
		{"{" GOOD SPLIT("\\\\p{Klingon}", "Isolated") "}", "the property 'Klingon'"},
		{"{" GOOD SPLIT("(?<=a+)b", "Isolated") "}", "does not compile"},
		{"{" GOOD SPLIT("a", "Sideways") "}", "pre_tokenizer.behavior: 'Sideways'"},
		{"{" GOOD ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\"}}",
		 "pre_tokenizer.pattern"},
		{"{" GOOD ",\"decoder\":{\"type\":\"CTC\"}}", "t.json: decoder.type: 'CTC'"},
		{"{" GOOD ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
		 "{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}]}}",
		 "decoder: ByteFallback behind Fuse"},
		{"{" GOOD ",\"post_processor\":{\"type\":\"BertProcessing\"}}",
		 "post_processor.type: 'BertProcessing'"},
		{"{" GOOD ",\"added_tokens\":[{\"id\":-1,\"content\":\"x\"}]}", "added_tokens[0]"},
		{"{" GOOD ",\"added_tokens\":[{\"content\":\"x\"}]}", "added_tokens[0].id"},
		{"{" GOOD ",\"added_tokens\":[{\"id\":3}]}", "added_tokens[0].content"},
		{"{" GOOD ",\"added_tokens\":[{\"id\":2,\"content\":\"x\"}]}", "the id 2 is both 'ab' and 'x'"},
		{"{" GOOD ",\"added_tokens\":[{\"id\":3,\"content\":\"a\"}]}", "'a' has the id 3 there and 0"},
	};
	struct moe_tokenizer *tok = NULL;
	struct moe_ids ids = {0};
	struct moe_err err = {0};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		err = (struct moe_err){0};
		ok(moe_tokenizer_parse(&tok, cases[i].json, strlen(cases[i].json), NULL, 0, "t.json",
		                       &err) == MOE_EFORMAT && !tok,
		   "refused: %s", cases[i].words);
		is_like(err.text, cases[i].words, "and the sentence names it");
	}
	ok(!moe_tokenizer_parse(&tok, "{" GOOD "}", strlen("{" GOOD "}"), NULL, 0, "t.json", &err),
	   "a small one is read");
	ok(!moe_tokenizer_encode(tok, "aab", 3, &ids, &err) && ids.n == 2 && ids.ids[0] == 0 && ids.ids[1] == 2,
	   "and merges");
	ok(moe_tokenizer_encode(tok, "abc", 3, &ids, &err) == MOE_EFORMAT, "a character without a token is refused");
	is_like(err.text, "t.json: has no token for the character 'c'", "with a sentence");
	moe_tokenizer_free(tok);
	moe_ids_free(&ids);
}

/* Characters alone, with tokens that need no merge. */
static void test_no_merges(void)
{
	static const char json[] = "{" MODEL("{\"a\":0,\"\u00e9\":1,\"<s>\":2,\"<0x0A>\":3}", "[]")
		",\"added_tokens\":[{\"id\":2,\"content\":\"<s>\"}]}";
	struct moe_tokenizer *tok = NULL;
	struct moe_err err = {0};

	ok(!moe_tokenizer_parse(&tok, json, strlen(json), NULL, 0, "t.json", &err), "no merges, none needed: %s",
	   err.text);
	moe_tokenizer_free(tok);
}

/* Five replacements of one character by a thousand. */
static void test_growth(void)
{
	struct moe_tokenizer *tok = NULL;
	struct moe_ids ids = {0};
	struct moe_err err = {0};
	struct moe_buf json = {0};

	moe_buf_adds(&json, "{" GOOD ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
	for (int i = 0; i < 5; i++) {
		moe_buf_addf(&json, "%s{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"",
		             i ? "," : "");
		for (int k = 0; k < 1000; k++)
			moe_buf_addc(&json, 'a');
		moe_buf_adds(&json, "\"}");
	}
	moe_buf_adds(&json, "]},\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true}]}");
	if (ok(!moe_tokenizer_parse(&tok, json.p, json.n, NULL, 0, "t.json", &err), "read: %s", err.text)) {
		ok(!moe_tokenizer_encode(tok, "bb<s>b", 6, &ids, &err) && ids.n == 4, "what does not grow is encoded");
		ok(moe_tokenizer_encode(tok, "aaaaaaaaaa", 10, &ids, &err) == MOE_EFORMAT, "what grows is refused");
		is_like(err.text, "t.json: normalizer: makes more than 64 characters", "with a sentence");
	}
	moe_tokenizer_free(tok);
	moe_ids_free(&ids);
	moe_buf_free(&json);
}

static void test_config(void)
{
	static const char json[] = "{" GOOD ",\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true},"
		"{\"id\":9,\"content\":\"</s>\",\"special\":true}],"
		"\"post_processor\":{\"type\":\"Sequence\",\"processors\":["
		"{\"type\":\"ByteLevel\"},{\"type\":\"TemplateProcessing\","
		"\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
		"{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[3]}}}]}}";
	static const char off[] = "{\"add_bos_token\":false,\"eos_token\":{\"content\":\"</s>\"},\"bos_token\":null}";
	static const char wrong[] = "{\"add_bos_token\":true,\"bos_token\":\"<x>\"}";
	struct moe_tokenizer *tok = NULL;
	struct moe_err err = {0};

	if (ok(!moe_tokenizer_parse(&tok, json, strlen(json), NULL, 0, "t.json", &err), "a template is read: %s",
	       err.text)) {
		ok(moe_tokenizer_add_bos(tok) && moe_tokenizer_bos_id(tok) == 3 && moe_tokenizer_eos_id(tok) == -1,
		   "BOS from the template");
		is_i64(moe_tokenizer_n_ids(tok), 10, "ids may have holes");
		ok(moe_tokenizer_is_special(tok, 9) && !moe_tokenizer_is_special(tok, 5), "and are found behind them");
	}
	moe_tokenizer_free(tok);
	if (ok(!moe_tokenizer_parse(&tok, json, strlen(json), off, strlen(off), "t.json", &err), "a config is read"))
		ok(!moe_tokenizer_add_bos(tok) && moe_tokenizer_bos_id(tok) == 3 && moe_tokenizer_eos_id(tok) == 9,
		   "the config wins over the template");
	moe_tokenizer_free(tok);
	ok(moe_tokenizer_parse(&tok, json, strlen(json), wrong, strlen(wrong), "t.json", &err) == MOE_EFORMAT,
	   "a BOS without a token is refused");
	is_like(err.text, "tokenizer_config.json beside t.json: add_bos_token is true", "with a sentence");
}

int main(void)
{
	struct moe_tokenizer *tok = load_sample();

	if (tok) {
		test_known(tok);
		test_texts(tok);
		test_invalid_utf8(tok);
		test_stream(tok);
		test_long_lines(tok);
	}
	test_refused();
	test_no_merges();
	test_growth();
	test_config();
	moe_tokenizer_free(tok);
	return done();
}
