/* Tokenizers as SentencePiece makes them: damaged ones are refused with a sentence, hostile texts take time and memory
 * that grow with their length. What ids and texts they give is in test_text_golden.c. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../tap.h"
#include "text/tokenizer.h"

#define UNIGRAM(vocab, more) "\"model\":{\"type\":\"Unigram\",\"vocab\":" vocab more "}"
#define GOOD UNIGRAM("[[\"<unk>\",0],[\"a\",-1],[\"b\",-2],[\"ab\",-2.5],[\"\xE2\x96\x81\",-3]]", ",\"unk_id\":0")
#define NORMALIZER(type, more) ",\"normalizer\":{\"type\":\"" type "\"" more "}"
#define PRE(type, more) ",\"pre_tokenizer\":{\"type\":\"" type "\"" more "}"
#define A_64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define GROW(kind) "{\"type\":\"Replace\",\"pattern\":{\"" kind "\":\"a\"},\"content\":\"" A_64 "\"}"
#define MAP(base64) NORMALIZER("Precompiled", ",\"precompiled_charsmap\":\"" base64 "\"")

static struct moe_tokenizer *parse(const char *json, size_t n)
{
	struct moe_tokenizer *tok = NULL;
	struct moe_err err = {0};

	ok(!moe_tokenizer_parse(&tok, json, n, NULL, 0, "t.json", &err), "is read: %s", err.text);
	return tok;
}

static void test_refused(void)
{
	static const struct {
		const char *json, *words;
	} cases[] = {
		{"{" UNIGRAM("[]", "") "}", "t.json: model.vocab: a list of pieces that is not empty"},
		{"{" UNIGRAM("{\"a\":0}", "") "}", "model.vocab: a list of pieces"},
		{"{" UNIGRAM("[[\"a\",0],[\"b\"]]", "") "}", "model.vocab[1]: a piece and its score"},
		{"{" UNIGRAM("[[\"a\",\"b\"]]", "") "}", "model.vocab[0]: a piece and its score"},
		{"{" UNIGRAM("[[7,0]]", "") "}", "model.vocab[0]: a piece and its score"},
		{"{" UNIGRAM("[[\"a\",1e999]]", "") "}", "t.json: "},
		{"{" UNIGRAM("[[\"a\",0]]", ",\"unk_id\":1") "}", "model.unk_id: a number below the 1 pieces"},
		{"{" UNIGRAM("[[\"a\",0]]", ",\"unk_id\":-1") "}", "model.unk_id: a number below"},
		{"{" UNIGRAM("[[\"a\",0]]", ",\"unk_id\":0.5") "}", "model.unk_id: a number below"},
		{"{" UNIGRAM("[[\"a\",0]]", ",\"byte_fallback\":3") "}",
		 "t.json: model: 'byte_fallback' should be true or false"},
		{"{" GOOD ",\"added_tokens\":[{\"id\":3,\"content\":\"x\"}]}", "the id 3 is both 'ab' and 'x'"},
		{"{" GOOD ",\"added_tokens\":[{\"id\":9,\"content\":\"a\"}]}", "'a' has the id 9 there and 1"},
		{"{" GOOD MAP("AAAA*AAA") "}", "normalizer.precompiled_charsmap: not base64 at character 4"},
		{"{" GOOD MAP("AAAAA") "}", "precompiled_charsmap: base64 of 5 characters"},
		{"{" GOOD MAP("") "}", "precompiled_charsmap: 0 bytes that begin with a trie of 0 bytes"},
		{"{" GOOD MAP("AAAAAAAA") "}", "precompiled_charsmap: 6 bytes that begin with a trie of 0 bytes"},
		{"{" GOOD MAP("/////wAA") "}", "precompiled_charsmap: 6 bytes that begin with a trie of 4294967295"},
		{"{" GOOD MAP("BAAAAAAAAAA=") "}", "precompiled_charsmap: unit 0 leads outside of the 1 units"},
		{"{" GOOD MAP("BAAAAAEAAIA=") "}", "unit 0 says that a replacement begins at byte 1 of 0"},
		{"{" GOOD MAP("BAAAAAAAAID/AA==") "}", "the replacements are not UTF-8 at byte 0"},
		{"{" GOOD MAP("BAAAAAAAAIBh") "}", "the last replacement does not end"},
		{"{" GOOD NORMALIZER("Precompiled", "") "}", "normalizer.precompiled_charsmap: a string is expected"},
		{"{" GOOD NORMALIZER("Strip", ",\"strip_left\":1") "}",
		 "t.json: normalizer: 'strip_left' should be true or false"},
		{"{" GOOD PRE("Metaspace", "") "}", "pre_tokenizer.replacement: a string is expected"},
		{"{" GOOD PRE("Metaspace", ",\"replacement\":\"ab\"") "}", "replacement: one character is expected"},
		{"{" GOOD PRE("Metaspace", ",\"replacement\":\"_\",\"prepend_scheme\":\"last\"") "}",
		 "prepend_scheme: 'last' is not one of always, first, never"},
		{"{" GOOD PRE("Metaspace", ",\"replacement\":\"_\",\"prepend_scheme\":\"first\","
		                           "\"add_prefix_space\":false") "}",
		 "add_prefix_space is false and prepend_scheme 'first'"},
		{"{" GOOD PRE("Punctuation", ",\"behavior\":\"Gone\"") "}", "behavior: 'Gone' is not one of Isolated"},
		{"{" GOOD PRE("CharDelimiterSplit", ",\"delimiter\":\"\"") "}", "delimiter: one character is expected"},
		{"{" GOOD PRE("Split", ",\"pattern\":{\"String\":\"a\"}") "}", "pre_tokenizer.behavior: is missing"},
		{"{" GOOD ",\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"x\"}}",
		 "decoder.prepend_scheme: 'x'"},
		{"{" GOOD ",\"decoder\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},\"content\":\"\"}}",
		 "decoder.pattern: a group without its ')'"},
		{"{" GOOD ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
		 GROW("String") "," GROW("Regex") "," GROW("String") "," GROW("String") "," GROW("String") "]}}",
		 "t.json: decoder: makes too many bytes of the token 1"},
		{"{" GOOD ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
		 GROW("Regex") "," GROW("Regex") "," GROW("Regex") "," GROW("Regex") "," GROW("Regex") "]}}",
		 "t.json: decoder: makes too many bytes of the token 1"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct moe_tokenizer *tok = NULL;
		struct moe_err err = {0};

		ok(moe_tokenizer_parse(&tok, cases[i].json, strlen(cases[i].json), NULL, 0, "t.json",
		                       &err) == MOE_EFORMAT && !tok, "refused: %s", cases[i].words);
		is_like(err.text, cases[i].words, "and the sentence names it");
	}
}

/* Every beginning of a good file is refused or, if it is the whole, read. */
static void test_cut(void)
{
	static const char json[] = "{" GOOD MAP("BAAAAAAAAIAA") PRE("Metaspace", ",\"replacement\":\"_\"") "}";
	size_t n_read = 0;

	for (size_t n = 0; n <= strlen(json); n++) {
		struct moe_tokenizer *tok = NULL;
		n_read += !moe_tokenizer_parse(&tok, json, n, NULL, 0, "t.json", NULL);
		moe_tokenizer_free(tok);
	}
	is_i64((int64_t)n_read, 1, "a file cut anywhere is refused");
}

static void check_ids(const struct moe_tokenizer *tok, const char *text, const char *want)
{
	struct moe_ids ids = {0};
	struct moe_err err = {0};
	char found[256] = "";
	size_t n = 0;

	ok(!moe_tokenizer_encode(tok, text, strlen(text), &ids, &err), "'%s' has ids: %s", text, err.text);
	for (size_t i = 0; i < ids.n && n < sizeof found - 12; i++)
		n += (size_t)snprintf(found + n, sizeof found - n, "%s%d", i ? " " : "", ids.ids[i]);
	is_str(found, want, "of '%s'", text);
	moe_ids_free(&ids);
}

static void test_unknown(void)
{
	static const char json[] = "{" GOOD "}";
	static const char none[] = "{" UNIGRAM("[[\"a\",-1]]", "") "}";
	static const char legacy[] = "{" GOOD PRE("Metaspace",
		",\"replacement\":\"b\",\"add_prefix_space\":false,\"split\":false") "}";
	struct moe_tokenizer *tok = parse(json, strlen(json));
	struct moe_ids ids = {0};
	struct moe_err err = {0};

	check_ids(tok, "abxyb<unk>za", "3 0 2 0 1");
	moe_tokenizer_free(tok);
	tok = parse(none, strlen(none));
	ok(moe_tokenizer_encode(tok, "ab", 2, &ids, &err) == MOE_EFORMAT, "an unknown character without unk_id");
	is_like(err.text, "has no token for the character 'b', nor an unk_id", "with a sentence");
	moe_tokenizer_free(tok);
	tok = parse(legacy, strlen(legacy));
	check_ids(tok, "a a", "3 1");
	moe_tokenizer_free(tok);
	moe_ids_free(&ids);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Seconds for n bytes of a unit. */
static double encode_long(const struct moe_tokenizer *tok, const char *unit, size_t n)
{
	struct moe_ids ids = {0};
	struct moe_err err = {0};
	char *text = malloc(n);
	double from = seconds();

	for (size_t i = 0; i < n; i++)
		text[i] = unit[i % strlen(unit)];
	ok(!moe_tokenizer_encode(tok, text, n, &ids, &err) && ids.n > 0, "%zu bytes of '%s': %s", n, unit, err.text);
	free(text);
	moe_ids_free(&ids);
	return seconds() - from;
}

/* Four times the length takes four times as long, not sixteen; doubled for a clock that is not exact. */
static void test_linear(void)
{
	static const char unigram[] = "{" GOOD "}";
	static const char bpe[] = "{\"model\":{\"type\":\"BPE\","
		"\"vocab\":{\"a\":0,\"b\":1,\"aa\":2,\"aaaa\":3,\"ba\":4},"
		"\"merges\":[\"a a\",\"aa aa\",\"b a\"]}}";
	static const char *const units[] = {"a", "ab", "abbb", "aaaaaaab"};
	struct moe_tokenizer *toks[] = {parse(unigram, strlen(unigram)), parse(bpe, strlen(bpe))};

	for (size_t t = 0; t < 2; t++) {
		for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
			double few = encode_long(toks[t], units[i], 200000);
			double many = encode_long(toks[t], units[i], 800000);
			ok(many < 8 * few + 0.1, "time is linear: %.3f s, %.3f s", few, many);
		}
		moe_tokenizer_free(toks[t]);
	}
}

/* Patterns that take exponential time are stopped; what looks like one may come to an end. */
static void test_slow_patterns(void)
{
	static const char json[] = "{" GOOD PRE("Split",
		",\"pattern\":{\"Regex\":\"%s\"},\"behavior\":\"Isolated\"") "}";
	static const struct {
		const char *pattern;
		bool stops;
	} cases[] = {{"(?:a+a+)+[bc]|c", true}, {"(?:a|a|aa)+(?:b|c)", true}, {"(?>a+)[bc]|c", false}};
	enum { N = 5000 };
	char text[N], buffer[sizeof json + 64];

	memset(text, 'a', N);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct moe_ids ids = {0};
		struct moe_err err = {0};
		struct moe_tokenizer *tok;

		snprintf(buffer, sizeof buffer, json, cases[i].pattern);
		tok = parse(buffer, strlen(buffer));
		if (!tok)
			continue;
		ok((moe_tokenizer_encode(tok, text, N, &ids, &err) == MOE_EFORMAT) == cases[i].stops,
		   "%s: whether it is stopped", cases[i].pattern);
		if (cases[i].stops)
			is_like(err.text, "t.json: pre_tokenizer.pattern: the pattern fails on a piece of 5000",
			        "with a sentence");
		else
			is_i64((int64_t)ids.n, N, "and every character has its id");
		moe_tokenizer_free(tok);
		moe_ids_free(&ids);
	}
}

/* More added tokens than any tokenizer has. */
static void test_many_added(void)
{
	enum { N = (1 << 20) + 1 };
	struct moe_buf json = {0};
	struct moe_tokenizer *tok = NULL;
	struct moe_err err = {0};

	moe_buf_adds(&json, "{" GOOD ",\"added_tokens\":[");
	for (int i = 0; i < N; i++)
		moe_buf_adds(&json, i ? ",0" : "0");
	moe_buf_adds(&json, "]}");
	ok(moe_tokenizer_parse(&tok, json.p, json.n, NULL, 0, "t.json", &err) == MOE_EFORMAT, "%d added tokens", N);
	is_like(err.text, "t.json: added_tokens: 1048577 of them, at most 1048576", "are refused with a sentence");
	moe_buf_free(&json);
}

int main(void)
{
	test_refused();
	test_cut();
	test_unknown();
	test_linear();
	test_slow_patterns();
	test_many_added();
	return done();
}
