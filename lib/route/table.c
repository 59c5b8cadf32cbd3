/* Tables of hashed layers: the experts of every token id, read, or made from counts. */
#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "route/route.h"

#define TOKENS_MAX (INT64_C(1) << 31)

void moe_token_table_free(struct moe_token_table *table)
{
	free(table->experts);
	*table = (struct moe_token_table){ 0 };
}

const int32_t *moe_token_table_at(const struct moe_token_table *table, int64_t token)
{
	const int32_t *row = token >= 0 && token < table->n_tokens ? table->experts + token * table->top_k : NULL;
	return row && row[0] >= 0 ? row : NULL;
}

static enum moe_status allocate(struct moe_token_table *table, int64_t n_tokens, int32_t n_experts, int32_t top_k,
                                struct moe_err *err)
{
	const size_t n = (size_t)n_tokens * (size_t)top_k;
	*table = (struct moe_token_table){ .n_experts = n_experts, .top_k = top_k, .n_tokens = n_tokens };
	table->experts = malloc((n + 1) * sizeof *table->experts);
	if (!table->experts)
		return moe_err_nomem(err, n * sizeof *table->experts, "a table of tokens");
	for (size_t i = 0; i < n; i++)
		table->experts[i] = -1;
	return MOE_OK;
}

/* The largest token id + 1. */
static enum moe_status count_tokens(const struct moe_table *file, int column, int64_t *n_tokens, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	*n_tokens = 0;
	for (int64_t row = 0; row < moe_table_rows(file) && !status; row++) {
		int64_t token = 0;
		status = moe_table_i64(file, row, column, 0, TOKENS_MAX - 1, &token, err);
		if (token >= *n_tokens)
			*n_tokens = token + 1;
	}
	if (!status && *n_tokens == 0)
		status = moe_err_set(err, MOE_EFORMAT, "%s: the table has no rows", moe_table_name(file));
	return status;
}

/* Puts an expert at the first free place of its token. */
static enum moe_status put(struct moe_token_table *table, const struct moe_table *file, int64_t row, int64_t token,
                           int64_t expert, struct moe_err *err)
{
	int32_t *at = table->experts + token * table->top_k, i = 0;
	while (i < table->top_k && at[i] >= 0 && at[i] != expert)
		i++;
	if (i == table->top_k || at[i] == expert)
		return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: token %lld %s", moe_table_name(file),
		                   (long long)moe_table_line(file, row), (long long)token,
		                   i < table->top_k ? "has this expert already"
		                                    : "has more experts than the first one");
	at[i] = (int32_t)expert;
	return MOE_OK;
}

static enum moe_status fill(struct moe_token_table *table, const struct moe_table *file, const int columns[2],
                            int32_t n_experts, struct moe_err *err)
{
	int64_t n_tokens = 0, first = -1;
	int32_t top_k = 0;
	enum moe_status status = count_tokens(file, columns[0], &n_tokens, err);
	/* the first token tells how many experts each has */
	for (int64_t row = 0; row < moe_table_rows(file) && !status; row++) {
		int64_t token = 0;
		status = moe_table_i64(file, row, columns[0], 0, TOKENS_MAX - 1, &token, err);
		first = row ? first : token;
		top_k += token == first;
		if (top_k > n_experts)
			status = moe_err_set(err, MOE_EFORMAT, "%s: token %lld has more than the %d experts there are",
			                     moe_table_name(file), (long long)first, (int)n_experts);
	}
	if (!status)
		status = allocate(table, n_tokens, n_experts, top_k, err);
	for (int64_t row = 0; row < moe_table_rows(file) && !status; row++) {
		int64_t token = 0, expert = 0;
		status = moe_table_i64(file, row, columns[0], 0, TOKENS_MAX - 1, &token, err);
		if (!status)
			status = moe_table_i64(file, row, columns[1], 0, n_experts - 1, &expert, err);
		if (!status)
			status = put(table, file, row, token, expert, err);
	}
	for (int64_t token = 0; token < n_tokens && !status; token++) {
		const int32_t *row = table->experts + token * top_k;
		if (row[0] >= 0 && row[top_k - 1] < 0)
			status = moe_err_set(err, MOE_EFORMAT,
			                     "%s: token %lld has fewer experts than the first one: %d",
			                     moe_table_name(file), (long long)token, (int)top_k);
	}
	return status;
}

/* Opens a table of two columns. */
static enum moe_status open_columns(struct moe_table **file, const char *path, const char *const names[2],
                                    int columns[2], struct moe_err *err)
{
	enum moe_status status = moe_table_read(file, path, err);
	for (int i = 0; i < 2 && !status; i++)
		status = moe_table_need(*file, names[i], &columns[i], err);
	return status;
}

enum moe_status moe_token_table_read(struct moe_token_table *table, const char *path, int32_t n_experts,
                                     struct moe_err *err)
{
	static const char *const names[2] = { "token", "expert" };
	struct moe_table *file = NULL;
	int columns[2];
	*table = (struct moe_token_table){ 0 };
	enum moe_status status = open_columns(&file, path, names, columns, err);
	if (!status)
		status = fill(table, file, columns, n_experts, err);
	moe_table_free(file);
	if (status)
		moe_token_table_free(table);
	return status;
}

struct counted {
	int64_t token, count;
};

static int by_count(const void *a, const void *b)
{
	const struct counted *x = a, *y = b;
	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return (x->token > y->token) - (x->token < y->token);
}

/* The k lightest of n, the lower id of equals. */
static void lightest(const int64_t *mass, int32_t n, int32_t k, int32_t *ids)
{
	int32_t found = 0;
	for (int32_t e = 0; e < n; e++) {
		if (found == k && mass[e] >= mass[ids[k - 1]])
			continue;
		int32_t at = found < k ? found++ : k - 1;
		for (; at > 0 && mass[e] < mass[ids[at - 1]]; at--)
			ids[at] = ids[at - 1];
		ids[at] = e;
	}
}

enum moe_status moe_token_table_from_counts(struct moe_token_table *table, const int64_t *counts, int64_t n_tokens,
                                            int32_t n_experts, int32_t top_k, struct moe_err *err)
{
	struct counted *sorted = malloc(((size_t)n_tokens + 1) * sizeof *sorted);
	int64_t *mass = calloc((size_t)n_experts + 1, sizeof *mass), n_known = 0;
	*table = (struct moe_token_table){ 0 };
	enum moe_status status = sorted && mass
	                             ? allocate(table, n_tokens, n_experts, top_k, err)
	                             : moe_err_nomem(err, (size_t)n_tokens * sizeof *sorted, "counts of tokens");
	for (int64_t t = 0; t < n_tokens && !status; t++)
		if (counts[t] >= 0)
			sorted[n_known++] = (struct counted){ t, counts[t] };
	if (!status)
		qsort(sorted, (size_t)n_known, sizeof *sorted, by_count);
	for (int64_t i = 0; i < n_known && !status; i++) {
		int32_t *ids = table->experts + sorted[i].token * top_k;
		lightest(mass, n_experts, top_k, ids);
		for (int32_t c = 0; c < top_k; c++)
			mass[ids[c]] += sorted[i].count;
	}
	free(sorted);
	free(mass);
	return status;
}

enum moe_status moe_token_table_balance(struct moe_token_table *table, const char *path, int32_t n_experts,
                                        int32_t top_k, struct moe_err *err)
{
	static const char *const names[2] = { "token", "count" };
	struct moe_table *file = NULL;
	int64_t *counts = NULL, n_tokens = 0;
	int columns[2];
	*table = (struct moe_token_table){ 0 };
	enum moe_status status = open_columns(&file, path, names, columns, err);
	if (!status)
		status = count_tokens(file, columns[0], &n_tokens, err);
	if (!status) {
		counts = malloc(((size_t)n_tokens + 1) * sizeof *counts);
		if (!counts)
			status = moe_err_nomem(err, (size_t)n_tokens * sizeof *counts, "counts of tokens");
	}
	for (int64_t t = 0; t < n_tokens && !status; t++)
		counts[t] = -1; /* no such token */
	for (int64_t row = 0; row < (status ? 0 : moe_table_rows(file)) && !status; row++) {
		int64_t token = 0, count = 0;
		status = moe_table_i64(file, row, columns[0], 0, TOKENS_MAX - 1, &token, err);
		if (!status)
			status = moe_table_i64(file, row, columns[1], 0, INT64_C(1) << 40, &count, err);
		if (!status && counts[token] >= 0)
			status = moe_err_set(err, MOE_EFORMAT, "%s: line %lld: token %lld stands there twice",
			                     moe_table_name(file), (long long)moe_table_line(file, row),
			                     (long long)token);
		if (!status)
			counts[token] = count;
	}
	if (!status)
		status = moe_token_table_from_counts(table, counts, n_tokens, n_experts, top_k, err);
	free(counts);
	moe_table_free(file);
	return status;
}
