/* The header is written first, with the places of everything declared; rows follow by position. */
#include "eval/dump.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/str.h"

struct tensor {
	char *name;
	int64_t rows, cols;
	uint64_t offset; /* of its first byte behind the header */
};

struct moe_dump {
	struct moe_out *out;
	struct tensor *tensors; /* [n] */
	int64_t n, cap;
	uint64_t n_bytes; /* of all tensors */
	uint64_t n_written;
	uint64_t data; /* place of the first tensor in the file */
};

static void free_dump(struct moe_dump *dump)
{
	for (int64_t i = 0; i < dump->n; i++)
		free(dump->tensors[i].name);
	free(dump->tensors);
	free(dump);
}

enum moe_status moe_dump_open(struct moe_dump **out, const char *path, unsigned flags, struct moe_watch *watch,
                              struct moe_err *err)
{
	if (strcmp(path, "-") == 0)
		return moe_err_set(err, MOE_EUSAGE, "tensors are written by position: '-' will not do, name a file");
	struct moe_dump *dump = calloc(1, sizeof *dump);
	if (!dump)
		return moe_err_nomem(err, sizeof *dump, "a file of tensors");
	enum moe_status status = moe_out_open(&dump->out, path, flags, watch, err);
	if (status) {
		free_dump(dump);
		return status;
	}
	*out = dump;
	return MOE_OK;
}

enum moe_status moe_dump_declare(struct moe_dump *dump, const char *name, int64_t rows, int64_t cols,
                                 struct moe_err *err)
{
	size_t n_bytes;
	if (dump->n == dump->cap) {
		const int64_t cap = dump->cap ? 2 * dump->cap : 64;
		void *p = realloc(dump->tensors, (size_t)cap * sizeof *dump->tensors);
		if (!p)
			return moe_err_nomem(err, (size_t)cap * sizeof *dump->tensors, "a file of tensors");
		dump->tensors = p;
		dump->cap = cap;
	}
	if (!moe_mul_size((size_t)rows, (size_t)cols, &n_bytes) || !moe_mul_size(n_bytes, sizeof(float), &n_bytes) ||
	    !moe_add_size(dump->n_bytes, n_bytes, &n_bytes))
		return moe_err_set(err, MOE_EUSAGE, "%s: %lld x %lld numbers are too many for one file", name,
		                   (long long)rows, (long long)cols);
	char *copy = strdup(name);
	if (!copy)
		return moe_err_nomem(err, strlen(name) + 1, "a name");
	dump->tensors[dump->n++] = (struct tensor){ copy, rows, cols, dump->n_bytes };
	dump->n_bytes = n_bytes;
	return MOE_OK;
}

enum moe_status moe_dump_begin(struct moe_dump *dump, struct moe_err *err)
{
	struct moe_buf header = { 0 };
	moe_buf_adds(&header, "{");
	for (int64_t i = 0; i < dump->n; i++) {
		const struct tensor *t = &dump->tensors[i];
		const uint64_t end = t->offset + (uint64_t)t->rows * (uint64_t)t->cols * sizeof(float);
		moe_buf_adds(&header, i ? "," : "");
		moe_json_quote(&header, t->name, strlen(t->name));
		moe_buf_addf(&header, ":{\"dtype\":\"F32\",\"shape\":[%lld,%lld],\"data_offsets\":[%llu,%llu]}",
		             (long long)t->rows, (long long)t->cols, (unsigned long long)t->offset,
		             (unsigned long long)end);
	}
	moe_buf_adds(&header, "}");
	while (header.n % 8)
		moe_buf_addc(&header, ' ');
	enum moe_status status = moe_buf_check(&header, err);
	uint8_t length[8];
	moe_store_u64(length, header.n);
	dump->data = 8 + header.n;
	if (!status)
		status = moe_out_room(dump->out, dump->data + dump->n_bytes, err);
	if (!status)
		status = moe_out_pwrite(dump->out, length, sizeof length, 0, err);
	if (!status)
		status = moe_out_pwrite(dump->out, header.p, header.n, sizeof length, err);
	moe_buf_free(&header);
	return status;
}

enum moe_status moe_dump_logits(struct moe_dump *dump, const struct moe_sequences *seqs, int64_t vocab_size, bool mtp,
                                struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	char name[64];
	for (int64_t i = 0; i < seqs->n && !status; i++) {
		snprintf(name, sizeof name, "logits.%lld", (long long)i);
		status = moe_dump_declare(dump, name, seqs->items[i].n_tokens, vocab_size, err);
	}
	for (int64_t i = 0; mtp && i < seqs->n && !status; i++) {
		const int64_t n = seqs->items[i].n_tokens;
		snprintf(name, sizeof name, "mtp_logits.%lld", (long long)i);
		status = moe_dump_declare(dump, name, n > 0 ? n - 1 : 0, vocab_size, err);
	}
	return status ? status : moe_dump_begin(dump, err);
}

enum moe_status moe_dump_hidden(struct moe_dump *dump, const struct moe_sequences *seqs, int32_t n_encoder_layers,
                                int32_t n_layers, int64_t hidden_size, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	char name[64];
	for (int64_t i = 0; i < seqs->n * (n_layers + 1) && !status; i++) {
		const int64_t seq = i / (n_layers + 1);
		const struct moe_sequence *of = &seqs->items[seq];
		const bool encoder = n_encoder_layers > 0 && i % (n_layers + 1) <= n_encoder_layers;
		snprintf(name, sizeof name, "hidden.%lld.%lld", (long long)seq, (long long)(i % (n_layers + 1)));
		status = moe_dump_declare(dump, name, encoder ? of->n_encoder : of->n_tokens, hidden_size, err);
	}
	return status ? status : moe_dump_begin(dump, err);
}

int64_t moe_dump_hidden_rows(const struct moe_sequences *seqs, int32_t n_encoder_layers, int32_t n_layers)
{
	const int64_t encoder = moe_sequences_encoder_tokens(seqs), decoder = moe_sequences_tokens(seqs);
	if (n_encoder_layers == 0)
		return decoder * (n_layers + 1);
	return encoder * (n_encoder_layers + 1) + decoder * (n_layers - n_encoder_layers);
}

enum moe_status moe_dump_rows(struct moe_dump *dump, int64_t index, int64_t row, int64_t n_rows, const float *values,
                              struct moe_err *err)
{
	const struct tensor *t = &dump->tensors[index];
	const uint64_t row_bytes = (uint64_t)t->cols * sizeof *values;
	dump->n_written += (uint64_t)n_rows * row_bytes;
	return moe_out_pwrite(dump->out, values, (size_t)((uint64_t)n_rows * row_bytes),
	                      dump->data + t->offset + (uint64_t)row * row_bytes, err);
}

enum moe_status moe_dump_commit(struct moe_dump *dump, struct moe_err *err)
{
	struct moe_out *out = dump->out;
	const bool whole = dump->n_written == dump->n_bytes;
	free_dump(dump);
	if (whole)
		return moe_out_commit(out, err);
	moe_out_abort(out);
	return moe_err_set(err, MOE_EIO, "some rows were never computed: nothing is written");
}

void moe_dump_abort(struct moe_dump *dump)
{
	if (!dump)
		return;
	moe_out_abort(dump->out);
	free_dump(dump);
}
