/* Ids to text, one at a time: each token runs through the decoders, which hold back what is not yet certain. */
#include <stdlib.h>
#include <string.h>

#include "text/parts.h"
#include "text/tokenizer.h"

struct moe_detok {
	const struct moe_tokenizer *tok;
	bool skip_special, begun;
	struct moe_decode_link *links;   /* [tok->n_chain + 1] */
	char *states;                    /* [n_state_bytes] */
	size_t n_state_bytes;
};

static size_t state_size(const struct moe_decoder *kind)
{
	return (kind->state_bytes + 15) / 16 * 16;
}

enum moe_status moe_detok_new(struct moe_detok **out, const struct moe_tokenizer *tok, bool skip_special,
                              struct moe_err *err)
{
	struct moe_detok *dt = calloc(1, sizeof *dt);
	size_t at = 0;

	*out = NULL;
	if (!dt)
		return moe_err_nomem(err, sizeof *dt, "a decoder");
	dt->tok = tok;
	dt->skip_special = skip_special;
	for (size_t i = 0; i < tok->n_chain; i++)
		dt->n_state_bytes += state_size((const struct moe_decoder *)tok->chain[i]->part);
	dt->links = calloc(tok->n_chain + 1, sizeof *dt->links);
	dt->states = calloc(1, dt->n_state_bytes + 1);
	if (!dt->links || !dt->states) {
		moe_detok_free(dt);
		return moe_err_nomem(err, dt->n_state_bytes, "a decoder");
	}
	for (size_t i = 0; i < tok->n_chain; i++) {
		const struct moe_decoder *kind = (const struct moe_decoder *)tok->chain[i]->part;
		dt->links[i] = (struct moe_decode_link){kind, tok->chain[i]->self, dt->states + at, &dt->links[i + 1],
		                                        NULL};
		at += state_size(kind);
	}
	*out = dt;
	return MOE_OK;
}

enum moe_status moe_detok_add(struct moe_detok *detok, int32_t id, struct moe_buf *text, struct moe_err *err)
{
	const struct moe_tokenizer *tok = detok->tok;
	const struct moe_token *token = moe_token_of(tok, id);

	if (!token)
		return moe_err_set(err, MOE_EFORMAT, "%s: no token has the id %d (ids are below %d)", tok->name,
		                   (int)id, (int)moe_tokenizer_n_ids(tok));
	if (detok->skip_special && token->special)
		return MOE_OK;
	detok->links[tok->n_chain].out = text;
	/* Without a decoder the reference writes tokens as words. */
	if (!tok->decoder.part && detok->begun)
		moe_buf_addc(text, ' ');
	detok->begun = true;
	return moe_tokenizer_blame(tok, moe_decode_emit(detok->links, token->text, true, err), err);
}

enum moe_status moe_detok_finish(struct moe_detok *detok, struct moe_buf *text, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	detok->links[detok->tok->n_chain].out = text;
	for (size_t i = 0; i < detok->tok->n_chain; i++) {
		struct moe_decode_link *link = &detok->links[i];
		enum moe_status s = link->kind->finish ? link->kind->finish(link, status ? NULL : err) : MOE_OK;
		status = status ? status : s;
	}
	memset(detok->states, 0, detok->n_state_bytes);
	detok->begun = false;
	return status;
}

void moe_detok_free(struct moe_detok *detok)
{
	struct moe_buf rest = {0};

	if (!detok)
		return;
	/* Decoders give up what they hold when a text ends. */
	if (detok->links && detok->states)
		(void)!moe_detok_finish(detok, &rest, NULL);
	moe_buf_free(&rest);
	free(detok->links);
	free(detok->states);
	free(detok);
}

enum moe_status moe_tokenizer_decode(const struct moe_tokenizer *tok, const int32_t *ids, size_t n, bool skip_special,
                                     struct moe_buf *text, struct moe_err *err)
{
	struct moe_detok *detok;
	enum moe_status status = moe_detok_new(&detok, tok, skip_special, err);

	for (size_t i = 0; i < n && !status; i++)
		status = moe_detok_add(detok, ids[i], text, err);
	if (!status)
		status = moe_detok_finish(detok, text, err);
	moe_detok_free(detok);
	return status;
}
