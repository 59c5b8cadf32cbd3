/* Tokenizers in the keys of a GGUF file: what is refused and how, what the types of tokens become, and that a
 * directory and the file made of it give the same ids. */
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer.h"

/* A byte-level vocabulary of nine. */
static const char keys[] =
	"{\"tokenizer.ggml.model\":{\"type\":\"string\",\"value\":\"gpt2\"},"
	"\"tokenizer.ggml.pre\":{\"type\":\"string\",\"value\":\"llama-bpe\"},"
	"\"tokenizer.ggml.tokens\":{\"type\":\"array\",\"of\":\"string\","
	"\"value\":[\"a\",\"b\",\"ab\",\"<s>\",\"<u>\",\"[PAD5]\",\"\",\"\u0120\",\"[PAD8]\"]},"
	"\"tokenizer.ggml.token_type\":{\"type\":\"array\",\"of\":\"i32\",\"value\":[1,1,1,3,4,5,3,1,5]},"
	"\"tokenizer.ggml.merges\":{\"type\":\"array\",\"of\":\"string\",\"value\":[\"a b\"]},"
	"\"tokenizer.ggml.bos_token_id\":{\"type\":\"u32\",\"value\":3}}";

/* The keys above, with some put in their place (null: taken away). */
static enum moe_status open_keys(struct moe_tokenizer **tok, const char *changes, struct moe_err *err)
{
	char path[] = "x.gguf";
	struct moe_ckpt ckpt = {.format = moe_format_by_name("gguf"), .path = path};
	json_t *change, *value;
	const char *key;
	enum moe_status status;

	if (moe_json_parse(&ckpt.metadata, keys, strlen(keys), "keys", err) ||
	    moe_json_parse(&change, changes, strlen(changes), "changes", err))
		return MOE_EIO;
	json_object_foreach(change, key, value) {
		if (json_is_null(value))
			json_object_del(ckpt.metadata, key);
		else
			json_object_set(ckpt.metadata, key, value);
	}
	status = moe_tokenizer_open(tok, &ckpt, err);
	json_decref(change);
	json_decref(ckpt.metadata);
	return status;
}

#define G "\"tokenizer.ggml."
#define TEXT(key, text) G key "\":{\"type\":\"string\",\"value\":\"" text "\"}"
#define LIST(key, list) G key "\":{\"type\":\"array\",\"value\":[" list "]}"
#define NUMBER(key, number) G key "\":{\"type\":\"u32\",\"value\":" number "}"
#define LLAMA TEXT("model", "llama")
#define SCORES LIST("scores", "-1,-2,-2.5,0,0,0,0,-3,0")
#define T5 TEXT("model", "t5") "," LIST("merges", "") "," NUMBER("eos_token_id", "3")

static void test_wrong(void)
{
	static const struct {
		const char *changes, *words;
	} cases[] = {
		{"{" TEXT("model", "rwkv") "}",
		 "x.gguf: tokenizer.ggml.model: 'rwkv' is not known here, only gpt2, llama, t5"},
		{"{" G "model\":null}", "tokenizer.ggml.model: '(nothing)'"},
		{"{" NUMBER("model", "3") "}", "tokenizer.ggml.model: text is expected"},
		{"{" T5 "}", "tokenizer.ggml.scores: is not there"},
		{"{" T5 "," LIST("scores", "1") "}", "tokenizer.ggml.scores: 1 elements for 9 tokens"},
		{"{" T5 "," LIST("scores", "1,2,3,4,5,6,\"\",8,9") "}",
		 "tokenizer.ggml.scores[6]: a finite number is expected"},
		{"{" T5 "," SCORES "," NUMBER("precompiled_charsmap", "3") "}",
		 "tokenizer.ggml.precompiled_charsmap: an array is expected"},
		{"{" T5 "," SCORES "," LIST("precompiled_charsmap", "0,256") "}",
		 "tokenizer.ggml.precompiled_charsmap: bytes are expected"},
		{"{" T5 "," SCORES "," LIST("precompiled_charsmap", "9,0") "}", "precompiled_charsmap"},
		{"{" T5 "," SCORES "," NUMBER("remove_extra_whitespaces", "1") "}",
		 "tokenizer.ggml.remove_extra_whitespaces: a bool is expected"},
		{"{" TEXT("model", "t5") "," SCORES "}",
		 "tokenizer.ggml.eos_token_id: is not there, but a text is to end"},
		{"{" TEXT("pre", "default") "}", "tokenizer.ggml.pre: 'default' is not known here, only deepseek-v3, "},
		{"{" G "pre\":null}", "tokenizer.ggml.pre: is not there, so how text is divided is not known"},
		{"{" G "merges\":null}", "tokenizer.ggml.merges: is not there"},
		{"{" TEXT("merges", "a b") "}", "tokenizer.ggml.merges: an array is expected"},
		{"{" LIST("merges", "\"a b\",\"b c\"") "}", "tokenizer.ggml.merges[1]: 'c' is not in the vocabulary"},
		{"{" LIST("merges", "\"ab\"") "}", "tokenizer.ggml.merges[0]: two tokens are expected"},
		{"{" LIST("merges", "7") "}", "tokenizer.ggml.merges[0]: two tokens are expected"},
		{"{" LIST("merges", "") "," TEXT("pre", "qwen2") "}", "is empty, so that no text gives the token 'ab'"},
		{"{" G "tokens\":null}", "tokenizer.ggml.tokens: is not there"},
		{"{" LIST("tokens", "") "}", "tokenizer.ggml.tokens: is empty"},
		{"{" LIST("tokens", "\"a\",{\"hex\":\"ff\"}") "," LIST("token_type", "1,1") "}",
		 "tokenizer.ggml.tokens[1]: expected text in UTF-8"},
		{"{" LIST("tokens", "\"a\",\"b\",\"a\"") "," LIST("token_type", "1,1,1") "}",
		 "tokenizer.ggml.tokens: 'a' has the ids 0 and 2"},
		{"{" LIST("tokens", "\"\"") "," LIST("token_type", "1") "}", "no token has a text"},
		{"{" LIST("token_type", "1,1") "}", "tokenizer.ggml.token_type: 2 elements for 9 tokens"},
		{"{" G "token_type\":null}", "tokenizer.ggml.token_type: is not there"},
		{"{" LIST("token_type", "1,1,1,3,4,7,3,1,5") "}", "tokenizer.ggml.token_type[5]: expected 1 to 6"},
		{"{" LIST("token_type", "1,1,1,3,4,\"x\",3,1,5") "}", "tokenizer.ggml.token_type[5]: expected 1 to 6"},
		{"{" NUMBER("bos_token_id", "9") "}", "tokenizer.ggml.bos_token_id: expected an id below 9"},
		{"{" NUMBER("eos_token_id", "4294967295") "}", "tokenizer.ggml.eos_token_id: expected an id below 9"},
		{"{" TEXT("eos_token_id", "3") "}", "tokenizer.ggml.eos_token_id: expected an id below 9"},
		{"{" G "bos_token_id\":null}", "tokenizer.ggml.bos_token_id: is not there, but a text is to begin"},
		{"{" NUMBER("add_eos_token", "1") "}", "tokenizer.ggml.add_eos_token: a bool is expected"},
		{"{" NUMBER("add_eos_token", "true") "}",
		 "tokenizer.ggml.eos_token_id: is not there, but a text is to end"},
		{"{" LLAMA "}", "tokenizer.ggml.scores: is not there"},
		{"{" LLAMA "," LIST("scores", "1,2,3") "}", "tokenizer.ggml.scores: 3 elements for 9 tokens"},
		{"{" LLAMA "," LIST("scores", "1,2,3,4,{\"hex\":\"0000c07f\"},6,7,8,9") "}",
		 "tokenizer.ggml.scores[4]: a finite number is expected"},
		{"{" LLAMA "," LIST("scores", "1,2,3,4,5,6,7,8,9") "," NUMBER("unknown_token_id", "77") "}",
		 "tokenizer.ggml.unknown_token_id: expected an id below 9"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct moe_tokenizer *tok = NULL;
		struct moe_err err = {0};

		ok(open_keys(&tok, cases[i].changes, &err) == MOE_EFORMAT && !tok, "refused: %s", cases[i].words);
		is_like(err.text, cases[i].words, "and the sentence says so");
		moe_tokenizer_free(tok);
	}
}

static bool encodes(const struct moe_tokenizer *tok, const char *text, const int32_t *want, size_t n)
{
	struct moe_ids ids = {0};
	struct moe_err err = {0};
	const bool good = !moe_tokenizer_encode(tok, text, strlen(text), &ids, &err) && ids.n == n &&
	                  memcmp(ids.ids, want, n * sizeof *want) == 0;

	for (size_t i = 0; i < ids.n && !good; i++)
		printf("# %d\n", (int)ids.ids[i]);
	moe_ids_free(&ids);
	return good;
}

static void test_types(void)
{
	struct moe_tokenizer *tok = NULL;
	struct moe_buf text = {0};
	struct moe_err err = {0};

	if (!ok(!open_keys(&tok, "{}", &err), "the keys alone are read: %s", err.text))
		return;
	ok(moe_tokenizer_add_bos(tok) && moe_tokenizer_bos_id(tok) == 3, "this pre-tokenizer begins with BOS");
	ok(encodes(tok, "ab<s>a<u> b", (const int32_t[]){2, 3, 0, 4, 7, 1}, 6), "types 3 and 4 are cut out");
	ok(moe_tokenizer_is_special(tok, 3) && !moe_tokenizer_is_special(tok, 4), "and 3 is special");
	is_i64(moe_tokenizer_find(tok, "[PAD5]", 6), -1, "an unused token has no text");
	is_i64(moe_tokenizer_n_ids(tok), 8, "and its id is no token");
	ok(!moe_tokenizer_decode(tok, (const int32_t[]){0, 6, 7, 1}, 4, false, &text, &err), "decoded: %s", err.text);
	is_str(text.p, "a b", "an empty token is nothing");
	text.n = 0;
	ok(moe_tokenizer_decode(tok, (const int32_t[]){5}, 1, false, &text, &err) == MOE_EFORMAT, "no token 5");
	moe_buf_free(&text);
	moe_tokenizer_free(tok);
	ok(!open_keys(&tok, "{" NUMBER("add_bos_token", "false") "}", &err) && !moe_tokenizer_add_bos(tok),
	   "the key wins over the pre-tokenizer");
	moe_tokenizer_free(tok);
}

/* Unigram: "ab" and its parts, U+0120 for a piece that blanks do not become, unused tokens without a text. */
static void test_t5(void)
{
	struct moe_tokenizer *tok = NULL;
	struct moe_err err = {0};

	if (!ok(!open_keys(&tok, "{" T5 "," SCORES "," NUMBER("unknown_token_id", "4") "}", &err), "keys of t5: %s",
	        err.text))
		return;
	ok(moe_tokenizer_add_eos(tok) && moe_tokenizer_eos_id(tok) == 3, "a text ends with EOS");
	ok(encodes(tok, "ab", (const int32_t[]){4, 2}, 2), "a blank before it is no piece here");
	ok(encodes(tok, "ba", (const int32_t[]){4, 1, 0}, 3), "no merge is needed");
	moe_tokenizer_free(tok);
	ok(!open_keys(&tok, "{" T5 "," SCORES "," NUMBER("unknown_token_id", "4") ","
	              G "add_space_prefix\":{\"type\":\"bool\",\"value\":false}," G
	              "add_eos_token\":{\"type\":\"bool\",\"value\":false}}", &err), "without a blank: %s", err.text);
	ok(encodes(tok, "ab", (const int32_t[]){2}, 1) && !moe_tokenizer_add_eos(tok),
	   "nothing before, nothing behind");
	ok(encodes(tok, "  ab  ", (const int32_t[]){2}, 1), "blanks around it go");
	moe_tokenizer_free(tok);
}

/* Ids of a text by two tokenizers. */
static bool same_ids(const struct moe_tokenizer *a, const struct moe_tokenizer *b, const struct moe_buf *text)
{
	struct moe_ids x = {0}, y = {0};
	struct moe_err err = {0};
	const bool good = !moe_tokenizer_encode(a, text->p, text->n, &x, &err) &&
	                  !moe_tokenizer_encode(b, text->p, text->n, &y, &err) && x.n == y.n && x.n > 1000 &&
	                  memcmp(x.ids, y.ids, x.n * sizeof *x.ids) == 0;

	moe_ids_free(&x);
	moe_ids_free(&y);
	return good;
}

/* test_text_gguf DIR FILE TEXT...: the file's keys, whatever else it holds, against the directory. */
static void compare(char **argv, int argc)
{
	struct moe_tokenizer *of_dir = NULL, *of_file = NULL;
	struct moe_ckpt *ckpt = NULL;
	struct moe_err err = {0};

	if (ok(!moe_tokenizer_load(&of_dir, argv[1], &err) && !moe_ckpt_open(&ckpt, argv[2], NULL, &err), "opened: %s",
	       err.text)) {
		const int32_t n = ckpt->n_companions;
		ckpt->n_companions = 0;
		ok(!moe_tokenizer_open(&of_file, ckpt, &err), "%s: its keys are read: %s", argv[2], err.text);
		ckpt->n_companions = n;
	}
	for (int i = 3; i < argc && of_file; i++) {
		struct moe_buf text = {0};
		ok(!moe_read_all(argv[i], 0, &text, &err) && same_ids(of_dir, of_file, &text), "%s: the same ids",
		   argv[i]);
		moe_buf_free(&text);
	}
	if (of_file)
		ok(moe_tokenizer_bos_id(of_dir) == moe_tokenizer_bos_id(of_file) &&
		   moe_tokenizer_eos_id(of_dir) == moe_tokenizer_eos_id(of_file) &&
		   moe_tokenizer_add_bos(of_dir) == moe_tokenizer_add_bos(of_file), "the same BOS and EOS");
	moe_ckpt_close(ckpt);
	moe_tokenizer_free(of_dir);
	moe_tokenizer_free(of_file);
}

int main(int argc, char **argv)
{
	if (argc > 3) {
		compare(argv, argc);
		return done();
	}
	test_wrong();
	test_types();
	test_t5();
	return done();
}
