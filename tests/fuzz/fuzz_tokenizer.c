/* tokenizer.json from hostile bytes; what is accepted must encode any text, and decode it alike as a whole and id by
 * id. */
#include "fuzz.h"

#include "text/tokenizer.h"

static void encode_decode(const struct moe_tokenizer *tok, const char *text, size_t n)
{
	struct moe_ids ids = {0};
	struct moe_buf whole = {0}, stream = {0};
	struct moe_detok *detok = NULL;
	struct moe_str bytes;

	if (!moe_tokenizer_encode(tok, text, n, &ids, NULL)) {
		if (moe_detok_new(&detok, tok, false, NULL) ||
		    moe_tokenizer_decode(tok, ids.ids, ids.n, false, &whole, NULL)) abort();
		for (size_t i = 0; i < ids.n; i++) {
			if (moe_detok_add(detok, ids.ids[i], &stream, NULL) ||
			    !moe_tokenizer_bytes(tok, ids.ids[i], &bytes)) abort();
		}
		if (moe_detok_finish(detok, &stream, NULL) || stream.n != whole.n ||
		    (whole.n > 0 && memcmp(stream.p, whole.p, whole.n) != 0))
			abort();
	}
	moe_detok_free(detok);
	moe_buf_free(&whole);
	moe_buf_free(&stream);
	moe_ids_free(&ids);
}

static void fuzz_one(const uint8_t *data, size_t n)
{
	static const char text[] = "static int x = 10; \xc3\xa4\xe4\xb8\xad\xff\n\n  end <s> a\xcc\x81\xcc\xa7";
	struct moe_tokenizer *tok;

	if (moe_tokenizer_parse(&tok, data, n, NULL, 0, "tokenizer.json", NULL))
		return;
	encode_decode(tok, text, sizeof text - 1);
	encode_decode(tok, (const char *)data, n < 4096 ? n : 4096);
	moe_tokenizer_free(tok);
}
