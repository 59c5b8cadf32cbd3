/* What made a result, as lines of key=value. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/table.h"
#include "eval/result.h"

/* Of each file of weights, so many blocks of so many bytes, evenly spread, tell it from another of the same shape:
 * training moves every weight, and nobody wants to read a terabyte for a name. */
enum { N_BLOCKS = 64, BLOCK_BYTES = 4096 };

void moe_meta_add(struct moe_buf *meta, const char *key, const char *fmt, ...)
{
	char text[512];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	moe_buf_addf(meta, "%s=", key);
	moe_table_quote(meta, text, strlen(text));
	moe_buf_addc(meta, '\n');
}

void moe_meta_command(struct moe_buf *meta, const char *command)
{
	moe_buf_adds(meta, "command=");
	moe_table_quote(meta, command, strlen(command));
	moe_buf_addc(meta, '\n');
}

enum moe_status moe_meta_hash(struct moe_buf *meta, const char *key, const void *bytes, size_t n_bytes,
                              struct moe_err *err)
{
	struct moe_hash *hash = moe_hash_new();
	char text[33];
	if (!hash)
		return moe_err_nomem(err, 1024, "a hash");
	moe_hash_add(hash, bytes, n_bytes);
	moe_hash_text(hash, text);
	moe_hash_free(hash);
	moe_meta_add(meta, key, "xxh3:%s", text);
	return MOE_OK;
}

static void hash_samples(struct moe_hash *hash, const struct moe_map *file)
{
	const uint64_t n_bytes = file->n_bytes;
	moe_hash_add(hash, &n_bytes, sizeof n_bytes);
	if (file->n_bytes <= (size_t)N_BLOCKS * BLOCK_BYTES) {
		moe_hash_add(hash, file->data, file->n_bytes);
		return;
	}
	const size_t step = (file->n_bytes - BLOCK_BYTES) / (N_BLOCKS - 1);
	for (size_t i = 0; i < N_BLOCKS; i++)
		moe_hash_add(hash, file->data + i * step, BLOCK_BYTES);
}

enum moe_status moe_meta_model(struct moe_buf *meta, const struct moe_setup *setup, struct moe_err *err)
{
	char text[33];
	enum moe_status status = moe_ckpt_hash(setup->ckpt, false, text, err);
	struct moe_hash *hash = status ? NULL : moe_hash_new();
	if (status)
		return status;
	if (!hash)
		return moe_err_nomem(err, 1024, "a hash");
	moe_meta_add(meta, "tool", "moe-run");
	moe_meta_add(meta, "version", "%s", MOE_VERSION);
	moe_meta_add(meta, "math", "exact");
	moe_meta_add(meta, "model", "xxh3:%s", text);
	for (int32_t i = 0; i < setup->ckpt->n_files; i++)
		hash_samples(hash, &setup->ckpt->files[i]);
	moe_hash_text(hash, text);
	moe_meta_add(meta, "weights", "xxh3:%s", text);
	if (setup->tokenizer)
		moe_meta_add(meta, "tokenizer", "xxh3:%s", moe_tokenizer_hash(setup->tokenizer));
	moe_hash_free(hash);
	return MOE_OK;
}

static void hash_part(struct moe_hash *hash, const void *bytes, size_t n_bytes)
{
	const uint64_t n = n_bytes;
	moe_hash_add(hash, &n, sizeof n);
	moe_hash_add(hash, bytes, n_bytes);
}

enum moe_status moe_meta_input(struct moe_buf *meta, const struct moe_sequences *seqs, const struct moe_items *items,
                               struct moe_err *err)
{
	struct moe_hash *hash = moe_hash_new();
	char text[33];
	if (!hash)
		return moe_err_nomem(err, 1024, "a hash");
	for (int64_t i = 0; i < seqs->n; i++) {
		const struct moe_sequence *seq = &seqs->items[i];
		hash_part(hash, seq->source, strlen(seq->source));
		hash_part(hash, seq->tokens, (size_t)seq->n_tokens * sizeof *seq->tokens);
		hash_part(hash, seq->encoder, (size_t)seq->n_encoder * sizeof *seq->encoder);
		hash_part(hash, &seq->n_given, sizeof seq->n_given);
	}
	for (int64_t i = 0; items && i < items->n; i++) {
		hash_part(hash, items->items[i].name, strlen(items->items[i].name));
		hash_part(hash, &items->items[i].correct, sizeof items->items[i].correct);
		for (int64_t row = 0; row < items->items[i].n; row++) {
			const struct moe_str judged = items->rows[items->items[i].first + row].text;
			hash_part(hash, judged.p, judged.n);
		}
	}
	moe_hash_text(hash, text);
	moe_hash_free(hash);
	moe_meta_add(meta, "input", "xxh3:%s", text);
	return MOE_OK;
}
