/* tiktoken.model of Kimi and Moonlight: a line of base64 and a rank for each piece of bytes; the rank is the id, and of
 * two neighbours those merge whose concatenation has the lowest. What divides text goes with the class that
 * tokenizer_config.json names, and its added_tokens_decoder names the special tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/bytechar.h"
#include "text/pre.h"
#include "text/source.h"
#include "text/utf8.h"

enum {
	MAX_FILE = 1 << 27,     /* bytes; the largest known has 3 million */
	MAX_PIECE = 2048,       /* bytes */
	N_RESERVED = 256,       /* ids behind the pieces that are special tokens, named or not */
};

/* The class that is known, and what divides its text. */
#define CLASS "TikTokenTokenizer"
#define PRE "kimi-k2"

/* -- the file ----------------------------------------------------------------------------------------------------- */

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Whole groups of four, the last one filled with "=" and without stray bits. out has room for MAX_PIECE. */
static bool decode_base64(struct moe_str in, uint8_t *out, size_t *n)
{
	*n = 0;
	if (in.n == 0 || in.n % 4 || in.n / 4 * 3 > MAX_PIECE)
		return false;
	for (size_t i = 0; i < in.n; i += 4) {
		const int n_fill = i + 4 < in.n || in.p[i + 3] != '=' ? 0 : in.p[i + 2] != '=' ? 1 : 2;
		uint32_t bits = 0;

		for (size_t k = 0; k < 4; k++) {
			const int value = k < 4 - (size_t)n_fill ? base64_value(in.p[i + k]) : 0;
			if (value < 0)
				return false;
			bits = bits << 6 | (uint32_t)value;
		}
		if (n_fill && bits & (n_fill == 1 ? 0xff : 0xffff))
			return false;
		for (int k = 0; k < 3 - n_fill; k++)
			out[(*n)++] = (uint8_t)(bits >> (16 - 8 * k));
	}
	return true;
}

/* The pieces so far, as visible characters. */
struct pieces {
	const char *name;
	json_t *vocab;        /* piece: rank */
	uint8_t *taken;       /* [cap] which ranks are there */
	size_t cap;
	int64_t n, top;       /* top: the largest rank, and its line */
	size_t top_line;
	bool single[256];     /* bytes that are a piece */
};

static enum moe_status take_rank(struct pieces *pc, int64_t rank, size_t line, struct moe_err *err)
{
	if (rank < 0 || (size_t)rank >= pc->cap)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: line %zu: the rank %lld is beyond the number of lines, so ranks below it are "
		                   "missing", pc->name, line, (long long)rank);
	if (pc->taken[rank])
		return moe_err_set(err, MOE_EFORMAT, "%s: line %zu: the rank %lld is there twice", pc->name, line,
		                   (long long)rank);
	pc->taken[rank] = 1;
	pc->n++;
	if (rank >= pc->top) {
		pc->top = rank;
		pc->top_line = line;
	}
	return MOE_OK;
}

static enum moe_status take_line(struct pieces *pc, struct moe_str text, size_t line, struct moe_err *err)
{
	const char *space = memchr(text.p, ' ', text.n);
	const struct moe_str code = {text.p, space ? (size_t)(space - text.p) : text.n};
	uint8_t bytes[MAX_PIECE];
	char mapped[2 * MAX_PIECE + 1], *end = mapped;
	const json_t *there;
	size_t n = 0;
	int64_t rank;
	enum moe_status status;

	if (!space || !moe_parse_i64((struct moe_str){space + 1, text.n - code.n - 1}, &rank))
		return moe_err_set(err, MOE_EFORMAT, "%s: line %zu: expected base64, a space and a rank, found '%.*s'",
		                   pc->name, line, (int)(text.n < 60 ? text.n : 60), text.p);
	if (code.n > MAX_PIECE)
		return moe_err_set(err, MOE_EFORMAT, "%s: line %zu: %zu characters of base64, at most %d are supported",
		                   pc->name, line, code.n, MAX_PIECE);
	if (!decode_base64(code, bytes, &n))
		return moe_err_set(err, MOE_EFORMAT, "%s: line %zu: '%.*s' is not base64", pc->name, line,
		                   (int)(code.n < 60 ? code.n : 60), code.p);
	for (size_t i = 0; i < n; i++)
		end += moe_utf8_put((uint8_t *)end, moe_bytechar(bytes[i]));
	*end = '\0';
	there = json_object_get(pc->vocab, mapped);
	if (there)
		return moe_err_set(err, MOE_EFORMAT, "%s: line %zu: the piece '%.*s' has the rank %lld already",
		                   pc->name, line, (int)(code.n < 60 ? code.n : 60), code.p,
		                   (long long)json_integer_value(there));
	status = take_rank(pc, rank, line, err);
	if (!status && json_object_set_new_nocheck(pc->vocab, mapped, json_integer(rank)))
		status = moe_err_nomem(err, n, "a vocabulary");
	if (n == 1)
		pc->single[bytes[0]] = true;
	return status;
}

static enum moe_status read_pieces(struct pieces *pc, const struct moe_text_file *file, struct moe_err *err)
{
	struct moe_str rest = {file->p, file->n}, text;
	enum moe_status status = MOE_OK;

	if (file->n > MAX_FILE)
		return moe_err_set(err, MOE_EFORMAT, "%s: %zu bytes, at most %d are supported", pc->name, file->n,
		                   MAX_FILE);
	pc->cap = 1;
	for (size_t i = 0; i < file->n; i++)
		pc->cap += file->p[i] == '\n';
	pc->vocab = json_object();
	pc->taken = calloc(pc->cap, 1);
	if (!pc->vocab || !pc->taken)
		return moe_err_nomem(err, pc->cap, "a vocabulary");
	for (size_t line = 1; !status && moe_str_next(&rest, '\n', &text); line++) {
		if (text.n > 0 && text.p[text.n - 1] == '\r')
			text.n--;
		if (text.n > 0)
			status = take_line(pc, text, line, err);
	}
	if (status)
		return status;
	if (pc->n == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: has no pieces", pc->name);
	if (pc->top + 1 != pc->n) {
		const uint8_t *gap = memchr(pc->taken, 0, (size_t)pc->top);
		return moe_err_set(err, MOE_EFORMAT, "%s: line %zu: the rank %lld is there, but not %lld", pc->name,
		                   pc->top_line, (long long)pc->top, gap ? (long long)(gap - pc->taken) : 0LL);
	}
	for (int b = 0; b < 256; b++) {
		if (!pc->single[b])
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: no piece is the byte 0x%02x alone, so a text with it has no tokens",
			                   pc->name, (unsigned)b);
	}
	return MOE_OK;
}

/* -- special tokens ----------------------------------------------------------------------------------------------- */

static enum moe_status add_special(struct moe_tokenizer *tok, int32_t id, const char *content, size_t n, bool special,
                                   struct moe_err *err)
{
	const struct moe_added_token token = {.id = id, .content = {content, n}, .special = special};

	return moe_tokenizer_add_token(tok, &token, err);
}

/* added_tokens_decoder: {"163584": {"content": "[BOS]", ..}, ..}. named [N_RESERVED]: ids behind the pieces. seen gets
 * the contents as keys. */
static enum moe_status read_named(struct moe_tokenizer *tok, const json_t *config, int64_t n_pieces, bool *named,
                                  json_t *seen, const char *where, struct moe_err *err)
{
	const json_t *list = json_object_get(config, "added_tokens_decoder"), *obj;
	const char *key;
	enum moe_status status = MOE_OK;

	if (!json_is_object(list) || json_object_size(list) == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: added_tokens_decoder: expected the special tokens by id",
		                   where);
	json_object_foreach((json_t *)list, key, obj) {
		char path[512];
		struct moe_str content = {NULL, 0};
		bool special = true;
		int64_t id;

		snprintf(path, sizeof path, "%.400s: added_tokens_decoder.%.40s", where, key);
		if (!json_is_object(obj))
			return moe_err_set(err, MOE_EFORMAT, "%s: an object is expected", path);
		if (!moe_parse_i64(moe_str_of(key), &id) || id < n_pieces || id > INT32_MAX - 1)
			return moe_err_set(err, MOE_EFORMAT, "%s: expected an id behind the %lld pieces of %.300s",
			                   path, (long long)n_pieces, tok->name);
		status = moe_stage_str(obj, "content", path, &content, err);
		if (!status)
			status = moe_json_bool(obj, "special", path, &special, err);
		if (!status && (content.n == 0 || json_object_getn(seen, content.p, content.n)))
			status = moe_err_set(err, MOE_EFORMAT, "%s.content: '%.100s' is %s", path, content.p,
			                     content.n ? "the content of another id too" : "empty");
		if (!status && json_object_setn_new_nocheck(seen, content.p, content.n, json_true()))
			status = moe_err_nomem(err, content.n, "special tokens");
		if (!status)
			status = add_special(tok, (int32_t)id, content.p, content.n, special, err);
		if (status)
			return status;
		if (id - n_pieces < N_RESERVED)
			named[id - n_pieces] = true;
	}
	return MOE_OK;
}

/* Ids behind the pieces that have no name of their own have one made of the number. */
static enum moe_status read_specials(struct moe_tokenizer *tok, const json_t *config, int64_t n_pieces,
                                     const char *where, struct moe_err *err)
{
	bool named[N_RESERVED] = {0};
	json_t *seen = json_object();
	enum moe_status status = seen ? read_named(tok, config, n_pieces, named, seen, where, err)
	                              : moe_err_nomem(err, 0, "special tokens");

	for (int i = 0; i < N_RESERVED && !status; i++) {
		char name[48];
		const int n = snprintf(name, sizeof name, "<|reserved_token_%lld|>", (long long)(n_pieces + i));
		if (!named[i] && json_object_get(seen, name))
			status = moe_err_set(err, MOE_EFORMAT, "%s: '%s' is the content of another id", where, name);
		else if (!named[i])
			status = add_special(tok, (int32_t)(n_pieces + i), name, (size_t)n, true, err);
	}
	json_decref(seen);
	return status;
}

/* -- the tokenizer ------------------------------------------------------------------------------------------------ */

static enum moe_status check_class(const json_t *config, const char *where, struct moe_err *err)
{
	const char *class = NULL;
	enum moe_status status = moe_json_str(config, "tokenizer_class", where, &class, err);

	if (!status && (!class || strcmp(class, CLASS) != 0))
		status = moe_err_set(err, MOE_EFORMAT,
		                     "%s: tokenizer_class: '%.100s' does not say how text is divided for a "
		                     "tiktoken.model, only " CLASS " is known", where, class ? class : "(nothing)");
	return status;
}

static enum moe_status make_stages(struct moe_tokenizer *tok, json_t *vocab, struct moe_err *err)
{
	enum moe_status status = moe_stage_take(&tok->model, MOE_STAGE_MODEL,
	                                        json_pack("{s:s, s:b, s:O}", "type", "Ranks", "ignore_merges", 1,
	                                                  "vocab", vocab), tok->name, err);

	return status ? status : moe_tokenizer_byte_level(tok, moe_pre_by_name(PRE), err);
}

static bool is_there(const struct moe_text_files *files)
{
	return files->tiktoken.p;
}

static enum moe_status read_tiktoken(struct moe_tokenizer *tok, const struct moe_text_files *files,
                                     struct moe_err *err)
{
	struct pieces pc = {.name = files->tiktoken.name};
	json_t *config = NULL;
	char where[512];
	enum moe_status status = moe_tokenizer_identify(tok, &files->tiktoken, err);

	snprintf(where, sizeof where, "tokenizer_config.json beside %.400s", files->tiktoken.name);
	if (!status && !files->config.p)
		status = moe_err_set(err, MOE_EFORMAT, "%s: is not there: it names the special tokens", where);
	if (!status)
		status = moe_json_parse(&config, files->config.p, files->config.n, where, err);
	if (!status && !json_is_object(config))
		status = moe_err_set(err, MOE_EFORMAT, "%s: an object is expected", where);
	if (!status)
		status = check_class(config, where, err);
	if (!status)
		status = read_pieces(&pc, &files->tiktoken, err);
	if (!status)
		status = make_stages(tok, pc.vocab, err);
	tok->added_as_bytes = true;
	if (!status)
		status = read_specials(tok, config, pc.n, where, err);
	if (!status)
		status = moe_tokenizer_finish(tok, err);
	if (!status)
		status = moe_tokenizer_read_config(tok, &files->config, err);
	json_decref(config);
	json_decref(pc.vocab);
	free(pc.taken);
	return status;
}

const struct moe_text_source moe_text_source_tiktoken = {
	.needs = "tiktoken.model",
	.order = 1,
	.is_there = is_there,
	.read = read_tiktoken,
};
