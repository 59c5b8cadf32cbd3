/* What models of byte pair encoding share, whatever says which pairs merge. Indoors of the text folder. */
#ifndef MOE_TEXT_BPE_H
#define MOE_TEXT_BPE_H

#include <jansson.h>

#include "text/merge.h"
#include "text/seams.h"
#include "text/stage.h"

struct moe_bpe_entry {
	const char *text;
	uint32_t n_bytes;
	int32_t id;
};

struct moe_bpe {
	char *blob;              /* the text of all entries */
	struct moe_bpe_entry *entries;   /* [n] */
	size_t n;
	uint32_t *slots;         /* [slot_mask + 1] index into entries + 1; 0: empty */
	size_t slot_mask;
	size_t longest;          /* bytes of an entry */
	struct moe_merges merges;
	struct moe_seams seams;  /* where merges join, if has_seams; otherwise they may anywhere */
	bool has_seams;
	int32_t ascii_ids[128];  /* of characters; -1: none */
	int32_t byte_ids[256];   /* of the visible character of a byte; -1: none */
	int32_t code_ids[256];   /* of <0xHH>; -1: none */
	int32_t unk_id;          /* -1: none */
	uint32_t unk_first, unk_last;   /* the characters that its text begins and ends with */
	bool byte_fallback, fuse_unk;
	bool ignore_merges;      /* a piece that is in the vocabulary as a whole is that token */
	bool any_merges;
};

/* blob, entries and slots, from an object piece: id. */
MOE_MUST_USE enum moe_status moe_bpe_read_vocab(struct moe_bpe *bpe, const json_t *vocab, const char *where,
                                                struct moe_err *err);
/* What is looked up once the vocabulary and unk_id are there: the ids of characters and bytes. */
void moe_bpe_settle(struct moe_bpe *bpe);
void moe_bpe_free(void *self);   /* NULL is fine */

/* As in struct moe_text_model; self is a struct moe_bpe. */
size_t moe_bpe_n_pieces(const void *self);
void moe_bpe_piece(const void *self, size_t i, int32_t *id, struct moe_str *text);
int32_t moe_bpe_find(const void *self, struct moe_str text);
void *moe_bpe_scratch_new(const void *self, size_t n_bytes);
void moe_bpe_scratch_free(void *scratch);
MOE_MUST_USE enum moe_status moe_bpe_encode(const void *self, void *scratch, struct moe_str piece, bool byte_level,
                                            struct moe_ids *ids, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_bpe_advance(const void *self, void *scratch, struct moe_str text, bool byte_level,
                                             bool begins, bool ends, size_t *n_used, struct moe_ids *ids,
                                             struct moe_err *err);

#endif
