/* Tokenizers that are no tokenizer.json, from hostile bytes: what stands before the first line of "--" is
 * tokenizer_config.json, behind it tiktoken.model; bytes without such a line are the keys of a GGUF file as JSON.
 * What is accepted must encode any text, and decode it without error. */
#include "fuzz.h"

#include "base/json.h"
#include "text/chat.h"
#include "text/tokenizer.h"

static void use(const struct moe_tokenizer *tok, const char *text, size_t n)
{
	struct moe_ids ids = {0};
	struct moe_buf back = {0};
	const struct moe_chat_form *form;

	if (!moe_tokenizer_encode(tok, text, n, &ids, NULL)) {
		for (size_t i = 0; i < ids.n; i++)
			if (ids.ids[i] < 0 || ids.ids[i] >= moe_tokenizer_n_ids(tok)) abort();
		if (moe_tokenizer_decode(tok, ids.ids, ids.n, false, &back, NULL)) abort();
	}
	back.n = 0;
	if (!moe_chat_choose(&form, tok, "", NULL) || !moe_chat_choose(&form, tok, "mixtral_v1", NULL))
		(void)!moe_chat_write(form, tok, "x", (struct moe_str){text, n}, &back, NULL);
	moe_ids_free(&ids);
	moe_buf_free(&back);
}

static void fuzz_one(const uint8_t *data, size_t n)
{
	static const char text[] = "static int x = 10; \xc3\xa4\xe4\xb8\xad\xff\n\n  end <s> a\xcc\x81\xcc\xa7 [BOS]";
	char path[] = "x";
	struct moe_ckpt ckpt = {.format = moe_format_by_name("gguf"), .path = path};
	const uint8_t *line = memmem(data, n, "\n--\n", 4);
	struct moe_companion files[] = {
		{"tiktoken.model", line ? line + 4 : data, line ? n - (size_t)(line + 4 - data) : 0},
		{"tokenizer_config.json", data, line ? (size_t)(line - data) : 0},
	};
	struct moe_tokenizer *tok;

	if (line) {
		ckpt.companions = files;
		ckpt.n_companions = 2;
	} else if (moe_json_parse(&ckpt.metadata, data, n, "keys", NULL) || !json_is_object(ckpt.metadata)) {
		json_decref(ckpt.metadata);
		return;
	}
	if (!moe_tokenizer_open(&tok, &ckpt, NULL)) {
		use(tok, text, sizeof text - 1);
		use(tok, (const char *)data, n < 4096 ? n : 4096);
		moe_tokenizer_free(tok);
	}
	json_decref(ckpt.metadata);
}
