/* Cutting text into windows, and reading lines of ids. */
#include "eval/sequences.h"

#include <stdlib.h>
#include <string.h>

static enum moe_status add(struct moe_sequences *seqs, const struct moe_sequence *seq, struct moe_err *err)
{
	if (seqs->n == seqs->cap) {
		const int64_t cap = seqs->cap ? 2 * seqs->cap : 64;
		void *items = realloc(seqs->items, (size_t)cap * sizeof *seqs->items);
		if (!items)
			return moe_err_nomem(err, (size_t)cap * sizeof *seqs->items, "the list of sequences");
		seqs->items = items;
		seqs->cap = cap;
	}
	seqs->items[seqs->n++] = *seq;
	return MOE_OK;
}

static enum moe_status copy_source(struct moe_sequences *seqs, const char *source, const char **out,
                                   struct moe_err *err)
{
	*out = moe_arena_strndup(&seqs->arena, source, strlen(source));
	return *out ? MOE_OK : moe_err_nomem(err, strlen(source) + 1, "a label");
}

/* BOS, the ids before the window, the window: ids [from, end), of which those from `begin` on are scored. */
static enum moe_status add_window(struct moe_sequences *seqs, const struct moe_windows *w, const char *source,
                                  const int32_t *ids, int64_t from, int64_t begin, int64_t end, struct moe_err *err)
{
	const int64_t n_bos = w->bos_id >= 0 ? 1 : 0, n = n_bos + end - from;
	int32_t *tokens = MOE_NEW(&seqs->arena, int32_t, (size_t)n);
	if (!tokens)
		return moe_err_nomem(err, (size_t)n * sizeof *tokens, "a window");
	if (n_bos)
		tokens[0] = w->bos_id;
	if (end > from)
		memcpy(tokens + n_bos, ids + from, (size_t)(end - from) * sizeof *tokens);
	const int64_t given = n_bos + begin - from;
	const struct moe_sequence seq = { .source = source, .tokens = tokens, .n_tokens = n,
		                          .n_given = given > 0 ? given : 1 };
	return add(seqs, &seq, err);
}

enum moe_status moe_sequences_add_text(struct moe_sequences *seqs, const struct moe_tokenizer *tokenizer,
                                       const struct moe_windows *w, const char *source, const char *text,
                                       size_t n_bytes, struct moe_err *err)
{
	struct moe_ids ids = { 0 };
	const char *label = NULL;
	enum moe_status status = moe_tokenizer_encode(tokenizer, text, n_bytes, &ids, err);
	if (!status)
		status = copy_source(seqs, source, &label, err);
	const int64_t n = (int64_t)ids.n, window = w->window > 0 ? w->window : n;
	for (int64_t begin = 0; begin < n && !status; begin += window) {
		const int64_t end = n - begin < window ? n : begin + window;
		const int64_t from = begin > w->overlap ? begin - w->overlap : 0;
		status = add_window(seqs, w, label, ids.ids, from, begin, end, err);
	}
	if (!status && n == 0 && w->window == 0 && w->bos_id >= 0) {
		status = add_window(seqs, w, label, ids.ids, 0, 0, 0, err);
	} else if (!status && n == 0) {
		const struct moe_sequence nothing = { .source = label, .n_given = 1 };
		status = add(seqs, &nothing, err);
	}
	moe_ids_free(&ids);
	return status;
}

/* The ids of one line, below n_vocab where that is not 0. */
static enum moe_status parse_line(struct moe_str line, int64_t number, const char *name, int32_t n_vocab,
                                  struct moe_ids *ids, struct moe_err *err)
{
	size_t i = 0;
	while (i < line.n) {
		if (line.p[i] == ' ' || line.p[i] == '\t' || line.p[i] == '\r') {
			i++;
			continue;
		}
		size_t end = i;
		while (end < line.n && line.p[end] != ' ' && line.p[end] != '\t' && line.p[end] != '\r')
			end++;
		const struct moe_str word = { line.p + i, end - i };
		int64_t id;
		if (!moe_parse_i64(word, &id) || id < 0 || id > INT32_MAX)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: line %lld: expected decimal token ids, found '%.*s'", name,
			                   (long long)number, (int)(word.n > 40 ? 40 : word.n), word.p);
		if (n_vocab && id >= n_vocab)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: line %lld: token id %lld is outside the vocabulary of %d", name,
			                   (long long)number, (long long)id, (int)n_vocab);
		enum moe_status status = moe_ids_add(ids, (int32_t)id, err);
		if (status)
			return status;
		i = end;
	}
	return MOE_OK;
}

enum moe_status moe_sequences_add_ids(struct moe_sequences *seqs, const char *source, const char *name,
                                      int32_t n_vocab, bool encoder, const char *text, size_t n_bytes,
                                      struct moe_err *err)
{
	struct moe_str rest = { text, n_bytes }, line;
	struct moe_ids ids = { 0 };
	const char *label = NULL;
	enum moe_status status = copy_source(seqs, source, &label, err);
	for (int64_t number = 1; !status && moe_str_next(&rest, '\n', &line); number++) {
		ids.n = 0;
		struct moe_str rest_of_line = line;
		size_t n_encoder = 0;
		if (encoder && memchr(line.p, '\t', line.n)) {
			struct moe_str given;
			moe_str_next(&rest_of_line, '\t', &given);
			status = parse_line(given, number, name, n_vocab, &ids, err);
			n_encoder = ids.n;
		}
		if (!status)
			status = parse_line(rest_of_line, number, name, n_vocab, &ids, err);
		const bool two = n_encoder > 0 && ids.n > n_encoder && !memchr(rest_of_line.p, '\t', rest_of_line.n);
		if (!status && encoder && !two)
			status = moe_err_set(err, MOE_EFORMAT,
			                     "%s: line %lld: expected encoder ids, a TAB, decoder ids: the model has "
			                     "an encoder", name, (long long)number);
		if (status)
			break;
		int32_t *tokens = MOE_NEW(&seqs->arena, int32_t, ids.n);
		if (!tokens) {
			status = moe_err_nomem(err, ids.n * sizeof *tokens, "a sequence");
			break;
		}
		if (ids.n)
			memcpy(tokens, ids.ids, ids.n * sizeof *tokens);
		const struct moe_sequence seq = { .source = label, .tokens = tokens + n_encoder,
			                          .n_tokens = (int64_t)(ids.n - n_encoder), .n_given = 1,
			                          .encoder = tokens, .n_encoder = (int64_t)n_encoder };
		status = add(seqs, &seq, err);
	}
	moe_ids_free(&ids);
	return status;
}

/* The windows of a text, each behind what an encoder is given before (BOS) and before what it is given behind (EOS). */
static enum moe_status add_encoder_text(struct moe_sequences *seqs, const struct moe_inputs *in, const char *source,
                                        const char *text, size_t n_bytes, struct moe_err *err)
{
	const struct moe_windows *w = &in->windows;
	const bool eos = moe_tokenizer_add_eos(in->tokenizer);
	struct moe_ids ids = { 0 };
	const char *label = NULL;
	enum moe_status status = moe_tokenizer_encode(in->tokenizer, text, n_bytes, &ids, err);
	if (!status)
		status = copy_source(seqs, source, &label, err);
	const int64_t n = (int64_t)ids.n, window = w->window > 0 && n > 0 ? w->window : n + 1;
	for (int64_t begin = 0; (begin < n || begin == 0) && !status; begin += window) {
		const int64_t end = n - begin < window ? n : begin + window;
		const int64_t from = begin > w->overlap ? begin - w->overlap : 0, first = w->bos_id >= 0;
		int32_t *tokens = MOE_NEW(&seqs->arena, int32_t, (size_t)(end - from) + 3);
		if (!tokens) {
			status = moe_err_nomem(err, (size_t)(end - from) * sizeof *tokens, "a window");
			break;
		}
		tokens[0] = in->start_id;
		tokens[1] = w->bos_id;
		if (end > from)
			memcpy(tokens + 1 + first, ids.ids + from, (size_t)(end - from) * sizeof *tokens);
		if (eos)
			tokens[1 + first + end - from] = moe_tokenizer_eos_id(in->tokenizer);
		const struct moe_sequence seq = { .source = label, .tokens = tokens, .n_tokens = 1, .n_given = 1,
			                          .encoder = tokens + 1, .n_encoder = first + end - from + eos };
		status = add(seqs, &seq, err);
	}
	moe_ids_free(&ids);
	return status;
}

enum moe_status moe_sequences_add(struct moe_sequences *seqs, const char *source, const int32_t *tokens,
                                  int64_t n_tokens, int64_t n_given, struct moe_err *err)
{
	int32_t *copy = MOE_NEW(&seqs->arena, int32_t, (size_t)n_tokens);
	if (!copy)
		return moe_err_nomem(err, (size_t)n_tokens * sizeof *copy, "a sequence");
	if (n_tokens > 0)
		memcpy(copy, tokens, (size_t)n_tokens * sizeof *copy);
	const struct moe_sequence seq = { .source = source, .tokens = copy, .n_tokens = n_tokens,
		                          .n_given = n_given };
	return add(seqs, &seq, err);
}

int64_t moe_sequence_common(const struct moe_sequence *a, const struct moe_sequence *b)
{
	const int64_t n = a->n_tokens < b->n_tokens ? a->n_tokens : b->n_tokens;
	int64_t i = 0;
	while (i < n && a->tokens[i] == b->tokens[i])
		i++;
	return i;
}

/* A text as a user's turn, up to where the answer begins. */
static enum moe_status add_turn(struct moe_sequences *seqs, const struct moe_inputs *in, const char *label,
                                struct moe_str user, struct moe_err *err)
{
	const struct moe_windows whole = { .bos_id = -1 };
	struct moe_buf text = { 0 };
	enum moe_status status = moe_chat_write(in->chat, in->tokenizer, in->system, user, &text, err);
	if (!status)
		status = moe_sequences_add_text(seqs, in->tokenizer, &whole, label, text.p, text.n, err);
	moe_buf_free(&text);
	return status;
}

static enum moe_status add_any(struct moe_sequences *seqs, const struct moe_inputs *in, const char *label,
                               const char *name, const char *text, size_t n, struct moe_err *err)
{
	if (in->chat)
		return add_turn(seqs, in, label, (struct moe_str){ text, n }, err);
	if (in->tokenizer && in->encoder)
		return add_encoder_text(seqs, in, label, text, n, err);
	return in->tokenizer ? moe_sequences_add_text(seqs, in->tokenizer, &in->windows, label, text, n, err)
	                     : moe_sequences_add_ids(seqs, label, name, in->n_vocab, in->encoder, text, n, err);
}

/* A file is mapped; what is none, or says that it is empty, as those of /proc do, is read. */
static enum moe_status add_file(struct moe_sequences *seqs, const struct moe_inputs *in, const char *label,
                                const char *path, struct moe_err *err)
{
	struct moe_map map = { 0 };
	struct moe_buf text = { 0 };
	enum moe_status status = MOE_OK;
	if (strcmp(path, "-") && moe_is_file(path))
		status = moe_map_open(&map, path, in->watch, err);
	if (!status && !map.data)
		status = moe_read_all(path, 0, &text, err);
	if (!status && map.data)
		status = add_any(seqs, in, label, path, (const char *)map.data, map.n_bytes, err);
	else if (!status)
		status = add_any(seqs, in, label, strcmp(path, "-") ? path : "stdin", text.p ? text.p : "", text.n,
		                 err);
	moe_map_close(&map);
	moe_buf_free(&text);
	return status;
}

enum moe_status moe_sequences_read(struct moe_sequences *seqs, const struct moe_inputs *in, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	for (int i = 0; i < in->n_prompts && !status; i++) {
		char label[32] = "prompt";
		if (in->n_prompts > 1)
			snprintf(label, sizeof label, "prompt-%d", i + 1);
		status = add_any(seqs, in, label, label, in->prompts[i], strlen(in->prompts[i]), err);
	}
	char from_stdin[] = "-";
	char *const only_stdin[] = { from_stdin };
	const bool none = in->n_files == 0 && in->n_prompts == 0;
	char *const *files = none ? only_stdin : in->files;
	const int n_files = none ? 1 : in->n_files;
	const char **labels = NULL;
	if (!status)
		status = moe_source_labels(&seqs->arena, files, n_files, &labels, err);
	for (int i = 0; i < n_files && !status; i++)
		status = add_file(seqs, in, labels[i], files[i], err);
	return status;
}

enum moe_status moe_sequences_blame(const struct moe_sequences *seqs, int64_t i, const char *model,
                                    enum moe_status status, struct moe_err *err)
{
	const char *source = seqs->items[i].source;

	if (status != MOE_EFORMAT || !err)
		return status;
	return moe_err_set(err, status, "%s: %s, sequence %lld: %s", model, strcmp(source, "-") ? source : "stdin",
	                   (long long)i, err->text);
}

int64_t moe_sequences_longest(const struct moe_sequences *seqs)
{
	int64_t longest = 0;
	for (int64_t i = 0; i < seqs->n; i++)
		longest = seqs->items[i].n_tokens > longest ? seqs->items[i].n_tokens : longest;
	return longest;
}

int64_t moe_sequences_tokens(const struct moe_sequences *seqs)
{
	int64_t n = 0;
	for (int64_t i = 0; i < seqs->n; i++)
		n += seqs->items[i].n_tokens;
	return n;
}

int64_t moe_sequences_longest_encoder(const struct moe_sequences *seqs)
{
	int64_t longest = 0;
	for (int64_t i = 0; i < seqs->n; i++)
		longest = seqs->items[i].n_encoder > longest ? seqs->items[i].n_encoder : longest;
	return longest;
}

int64_t moe_sequences_encoder_tokens(const struct moe_sequences *seqs)
{
	int64_t n = 0;
	for (int64_t i = 0; i < seqs->n; i++)
		n += seqs->items[i].n_encoder;
	return n;
}

int64_t moe_sequences_all_tokens(const struct moe_sequences *seqs)
{
	return moe_sequences_encoder_tokens(seqs) + moe_sequences_tokens(seqs);
}

void moe_sequences_free(struct moe_sequences *seqs)
{
	free(seqs->items);
	moe_arena_free(&seqs->arena);
	*seqs = (struct moe_sequences){ 0 };
}

static char *short_label(struct moe_arena *arena, const char *path)
{
	const char *base = moe_path_base(path), *dot = strrchr(base, '.');
	const size_t n = dot && dot != base ? (size_t)(dot - base) : strlen(base);
	return moe_arena_strndup(arena, n ? base : path, n ? n : strlen(path));
}

enum moe_status moe_source_labels(struct moe_arena *arena, char *const *paths, int n, const char ***labels,
                                  struct moe_err *err)
{
	const char **list = MOE_NEW(arena, const char *, (size_t)n), **full = MOE_NEW(arena, const char *, (size_t)n);
	for (int i = 0; list && full && i < n; i++)
		if (!(list[i] = short_label(arena, paths[i])))
			full = NULL;
	if (!list || !full)
		return moe_err_nomem(err, (size_t)n * sizeof *list, "labels");
	/* Marked first, replaced afterwards: of two equal labels both give way. "total" is the name of a row. */
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++)
			if ((i != j && strcmp(list[i], list[j]) == 0) || strcmp(list[i], "total") == 0)
				full[i] = paths[i];
	for (int i = 0; i < n; i++)
		if (full[i])
			list[i] = full[i];
	*labels = list;
	return MOE_OK;
}
