/* tokenizer.json from hostile bytes; what is accepted must encode and decode. */
#include "fuzz.h"

#include "text/tokenizer.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	static const char text[] = "static int x = 10; \xc3\xa4\xe4\xb8\xad\xff\n\n  end";
	struct moe_err err = {0};
	struct moe_tokenizer *tok;
	struct moe_ids ids = {0};
	struct moe_buf out = {0};

	if (moe_tokenizer_parse(&tok, data, n, NULL, 0, "tokenizer.json", &err))
		return;
	if (!moe_tokenizer_encode(tok, text, sizeof text - 1, &ids, &err) &&
	    moe_tokenizer_decode(tok, ids.ids, ids.n, false, &out, &err))
		err = (struct moe_err){0};
	moe_buf_free(&out);
	moe_ids_free(&ids);
	moe_tokenizer_free(tok);
}
