/* Makes a tokenizer of what a source of source/ reads, and says what is known of it. */
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "text/bytechar.h"
#include "text/source.h"
#include "text/utf8.h"

#define X(n) extern const struct moe_text_source moe_text_source_##n;
#include "gen/text_source.h"
#undef X

#define X(n) &moe_text_source_##n,
static const struct moe_text_source *const sources[] = {
#include "gen/text_source.h"
	NULL
};
#undef X

enum {
	MAX_FILE = 1 << 27,    /* bytes of tokenizer.json; the largest known has 33 million */
	MAX_CHAIN = 64,        /* decoders */
};

/* -- making ------------------------------------------------------------------------------------------------------- */

enum moe_status moe_tokenizer_identify(struct moe_tokenizer *tok, const struct moe_text_file *file,
                                       struct moe_err *err)
{
	struct moe_hash *hash = moe_hash_new();

	tok->name = strdup(file->name);
	if (!hash || !tok->name) {
		moe_hash_free(hash);
		return moe_err_nomem(err, 0, "a tokenizer");
	}
	moe_hash_add(hash, file->p, file->n);
	moe_hash_text(hash, tok->hash);
	moe_hash_free(hash);
	return MOE_OK;
}

enum moe_status moe_tokenizer_add_token(struct moe_tokenizer *tok, const struct moe_added_token *token,
                                        struct moe_err *err)
{
	if (tok->n_added == tok->cap_added) {
		size_t cap = tok->cap_added ? 2 * tok->cap_added : 64;
		struct moe_added_token *grown = realloc(tok->added, cap * sizeof *grown);
		if (!grown)
			return moe_err_nomem(err, cap * sizeof *grown, "added tokens");
		tok->added = grown;
		tok->cap_added = cap;
	}
	tok->added[tok->n_added++] = *token;
	moe_buf_add(&tok->content, token->content.p, token->content.n);
	return moe_buf_check(&tok->content, err);
}

/* The buffer does not grow any more: the added tokens' texts become views of it. */
static void place_contents(struct moe_tokenizer *tok)
{
	const char *at = tok->content.p ? tok->content.p : "";

	for (size_t i = 0; i < tok->n_added; i++) {
		tok->added[i].content.p = at;
		at += tok->added[i].content.n;
	}
}

/* A character of what an added token decodes to: itself, or its bytes as the visible characters that stand for them. */
static void add_shown(struct moe_tokenizer *tok, uint32_t code)
{
	uint8_t utf8[4], mapped[4];
	const size_t n = moe_utf8_put(utf8, code);

	if (!tok->added_as_bytes)
		moe_buf_add(&tok->shown, utf8, n);
	for (size_t i = 0; i < n && tok->added_as_bytes; i++)
		moe_buf_add(&tok->shown, mapped, moe_utf8_put(mapped, moe_bytechar(utf8[i])));
}

static bool is_written(const struct moe_codes *codes, struct moe_str text)
{
	size_t at = 0, used;

	for (size_t i = 0; i < codes->n; i++, at += used ? used : text.n - at) {
		if (at == text.n || moe_utf8_take((const uint8_t *)text.p + at, text.n - at, &used) != codes->p[i])
			return false;
	}
	return at == text.n;
}

/* The added tokens into the set for their pass; those of the second are looked for in normalised text, so they are
 * normalised themselves. */
static enum moe_status build_sets(struct moe_tokenizer *tok, struct moe_err *err)
{
	struct moe_codes codes = {0};
	const char *at;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < tok->n_added && !status; i++) {
		struct moe_added_token *added = &tok->added[i];
		struct moe_added_set **set = added->normalized ? &tok->normal : &tok->raw;

		codes.n = 0;
		status = moe_codes_add_utf8(&codes, added->content.p, added->content.n, err);
		if (!status && added->normalized)
			status = moe_normalize(&tok->normalizer, &codes, 64 * codes.n + 256, err);
		added->altered = !is_written(&codes, added->content);
		if (!status && !*set)
			status = moe_added_set_new(set, tok->added, err);
		if (!status)
			status = moe_added_set_add(*set, codes.p, codes.n, (int32_t)i, err);
		added->shown.n = tok->shown.n;
		for (size_t k = 0; k < codes.n; k++)
			add_shown(tok, codes.p[k]);
		added->shown.n = tok->shown.n - added->shown.n;
	}
	status = status ? status : moe_buf_check(&tok->shown, err);
	at = tok->shown.p ? tok->shown.p : "";
	for (size_t i = 0; i < tok->n_added && !status; i++) {
		tok->added[i].shown.p = at;
		at += tok->added[i].shown.n;
	}
	moe_codes_free(&codes);
	return status;
}

static int compare_tokens(const void *a, const void *b)
{
	const struct moe_token *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->added - y->added;
}

static int print_width(struct moe_str s)
{
	return (int)(s.n < 100 ? s.n : 100);
}

/* One token per id: those of the vocabulary and the added ones, which may be there too. */
static enum moe_status list_tokens(struct moe_tokenizer *tok, struct moe_err *err)
{
	const struct moe_text_model *model = (const struct moe_text_model *)tok->model.part;
	size_t n_vocab = model->n_pieces(tok->model.self), n = n_vocab + tok->n_added, kept = 0;

	tok->tokens = calloc(n + 1, sizeof *tok->tokens);
	if (!tok->tokens)
		return moe_err_nomem(err, n * sizeof *tok->tokens, "tokens");
	for (size_t i = 0; i < n_vocab; i++)
		model->piece(tok->model.self, i, &tok->tokens[i].id, &tok->tokens[i].text);
	for (size_t i = 0; i < tok->n_added; i++) {
		const struct moe_added_token *a = &tok->added[i];
		int32_t id = model->find(tok->model.self, a->content);

		tok->tokens[n_vocab + i] = (struct moe_token){
			a->id, true, a->special && !a->altered, a->content, a->shown, {0}};
		if (id >= 0 && id != a->id)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: added_tokens[%zu]: '%.*s' has the id %d there and %d in the "
			                   "vocabulary", tok->name, i, print_width(a->content), a->content.p,
			                   (int)a->id, (int)id);
	}
	qsort(tok->tokens, n, sizeof *tok->tokens, compare_tokens);
	for (size_t i = 1; i < n; i++) {
		struct moe_token *last = &tok->tokens[kept], *next = &tok->tokens[i];

		if (next->id != last->id) {
			tok->tokens[++kept] = *next;
			continue;
		}
		if (!next->added || next->text.n != last->text.n ||
		    memcmp(next->text.p, last->text.p, next->text.n) != 0)
			return moe_err_set(err, MOE_EFORMAT, "%s: the id %d is both '%.*s' and '%.*s'", tok->name,
			                   (int)next->id, print_width(last->text), last->text.p,
			                   print_width(next->text), next->text.p);
		last->added = true;
		last->special |= next->special;
		last->shown = next->shown;
	}
	tok->n_tokens = kept + 1;
	for (size_t i = 0; i < tok->n_tokens; i++) {
		struct moe_token *token = &tok->tokens[i];

		if (token->added)
			token->text = token->shown;
		else if (model->lacks_merges && model->lacks_merges(tok->model.self, token->id, token->text))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: model.merges: is empty, so that no text gives the token '%.*s': a "
			                   "vocabulary without its merges cannot encode",
			                   tok->name, print_width(token->text), token->text.p);
	}
	return MOE_OK;
}

enum moe_status moe_tokenizer_blame(const struct moe_tokenizer *tok, enum moe_status status, struct moe_err *err)
{
	const size_t n = strlen(tok->name);

	if (status == MOE_EFORMAT && err && strncmp(err->text, tok->name, n) != 0) {
		const struct moe_err unnamed = *err;
		return moe_err_set(err, status, "%s: %s", tok->name, unnamed.text);
	}
	return status;
}

/* Unrolls sequences into tok->chain. */
static enum moe_status build_chain(struct moe_tokenizer *tok, const struct moe_stage *stage, struct moe_err *err)
{
	const struct moe_decoder *kind = (const struct moe_decoder *)stage->part;
	enum moe_status status = MOE_OK;
	size_t n = 0;

	if (kind->children) {
		const struct moe_stage *v = kind->children(stage->self, &n);
		for (size_t i = 0; i < n && !status; i++)
			status = build_chain(tok, &v[i], err);
		return status;
	}
	if (tok->n_chain == MAX_CHAIN)
		return moe_err_set(err, MOE_EFORMAT, "%s: decoder: more than %d decoders", tok->name, MAX_CHAIN);
	for (size_t i = 0; i < tok->n_chain && kind->needs_whole; i++) {
		const struct moe_decoder *before = (const struct moe_decoder *)tok->chain[i]->part;
		if (before->joins)
			return moe_err_set(err, MOE_EFORMAT, "%s: decoder: %s behind %s is not supported", tok->name,
			                   kind->part.type, before->part.type);
	}
	tok->chain[tok->n_chain++] = stage;
	return MOE_OK;
}

/* What each token stands for by itself, through all decoders, which must not make much more of them than they are. */
static enum moe_status list_bytes(struct moe_tokenizer *tok, struct moe_err *err)
{
	struct moe_buf in = {0}, out = {0};
	size_t n_most = (size_t)1 << 26, n_made = 0;
	const char *at;
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < tok->n_tokens; i++)
		n_most += MAX_CHAIN * tok->tokens[i].text.n;
	for (size_t i = 0; i < tok->n_tokens && !status; i++) {
		struct moe_token *token = &tok->tokens[i];

		in.n = 0;
		moe_buf_add(&in, token->text.p, token->text.n);
		for (size_t k = 0; k < tok->n_chain; k++) {
			const struct moe_decoder *kind =
				(const struct moe_decoder *)tok->chain[k]->part;
			struct moe_buf swap = in;
			if (!kind->bytes)
				continue;
			out.n = 0;
			kind->bytes(tok->chain[k]->self, (struct moe_str){in.p ? in.p : "", in.n}, &out);
			in = out;
			out = swap;
			n_made += in.n;
			if (n_made > n_most || (in.n > MOE_DECODED_MAX && in.n > out.n)) {
				status = moe_err_set(err, MOE_EFORMAT, "%s: decoder: makes too many bytes of the "
				                     "token %d, or of all up to it", tok->name,
				                     (int)token->id);
				break;
			}
		}
		if (status)
			break;
		token->bytes.n = in.n;
		moe_buf_add(&tok->bytes, in.p ? in.p : "", in.n);
		status = in.failed || out.failed ? moe_err_nomem(err, in.cap, "tokens")
		                                : moe_buf_check(&tok->bytes, err);
	}
	at = tok->bytes.p ? tok->bytes.p : "";
	for (size_t i = 0; i < tok->n_tokens; i++) {
		tok->tokens[i].bytes.p = at;
		at += tok->tokens[i].bytes.n;
	}
	moe_buf_free(&in);
	moe_buf_free(&out);
	return status;
}

enum moe_status moe_tokenizer_finish(struct moe_tokenizer *tok, struct moe_err *err)
{
	enum moe_status status;

	place_contents(tok);
	status = build_sets(tok, err);
	if (!status)
		status = list_tokens(tok, err);
	if (!status && tok->decoder.part) {
		tok->chain = calloc(MAX_CHAIN, sizeof *tok->chain);
		status = tok->chain ? build_chain(tok, &tok->decoder, err)
		                    : moe_err_nomem(err, MAX_CHAIN * sizeof *tok->chain, "decoders");
	}
	return status ? status : list_bytes(tok, err);
}

/* -- finding ------------------------------------------------------------------------------------------------------ */

/* NULL: there is none. */
static const struct moe_text_source *find_source(const struct moe_text_files *files)
{
	const struct moe_text_source *found = NULL;

	for (size_t i = 0; sources[i]; i++) {
		if (sources[i]->is_there(files) && (!found || sources[i]->order < found->order))
			found = sources[i];
	}
	return found;
}

/* `where` is what has no tokenizer. */
static enum moe_status make(struct moe_tokenizer **out, const struct moe_text_files *files, const char *where,
                            struct moe_err *err)
{
	const struct moe_text_source *source = find_source(files);
	struct moe_tokenizer *tok;
	char known[256] = "";
	size_t n = 0;
	enum moe_status status;

	*out = NULL;
	for (size_t i = 0; sources[i] && n < sizeof known; i++)
		n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", sources[i]->needs);
	if (!source)
		return moe_err_set(err, MOE_EFORMAT, "%s: has no tokenizer, none of: %s", where, known);
	tok = calloc(1, sizeof *tok);
	if (!tok)
		return moe_err_nomem(err, sizeof *tok, "a tokenizer");
	tok->bos_id = tok->eos_id = -1;
	status = source->read(tok, files, err);
	if (!status)
		status = moe_tokenizer_read_chat(tok, files, err);
	if (status)
		moe_tokenizer_free(tok);
	else
		*out = tok;
	return status;
}

enum moe_status moe_tokenizer_parse(struct moe_tokenizer **out, const void *json, size_t n_json, const void *config,
                                    size_t n_config, const char *name, struct moe_err *err)
{
	const struct moe_text_files files = {.json = {name, json, n_json}, .config = {name, config, n_config}};

	return make(out, &files, name, err);
}

/* A companion under the path that messages call it by; owned by `names`. */
static bool take_companion(const struct moe_ckpt *ckpt, const char *name, struct moe_arena *names,
                           struct moe_text_file *file)
{
	const struct moe_companion *found = moe_ckpt_companion(ckpt, name);
	const size_t n = strlen(ckpt->path) + strlen(name) + 2;
	char *path = found ? MOE_NEW(names, char, n) : NULL;

	if (path)
		snprintf(path, n, "%s/%s", ckpt->path, name);
	if (found)   /* an empty one has no data, but it is there */
		*file = (struct moe_text_file){path, found->n_bytes ? (const char *)found->data : "", found->n_bytes};
	return !found || path;
}

static bool take_files(const struct moe_ckpt *ckpt, struct moe_arena *names, struct moe_text_files *files)
{
	if (ckpt->format->naming == MOE_NAMING_GGUF) {
		files->gguf = ckpt->metadata;
		files->gguf_name = ckpt->path;
	}
	return take_companion(ckpt, "tokenizer.json", names, &files->json) &&
	       take_companion(ckpt, "tiktoken.model", names, &files->tiktoken) &&
	       take_companion(ckpt, "chat_template.jinja", names, &files->chat) &&
	       take_companion(ckpt, "tokenizer_config.json", names, &files->config);
}

bool moe_tokenizer_is_in(const struct moe_ckpt *ckpt)
{
	struct moe_arena names = {0};
	struct moe_text_files files = {0};
	const bool found = take_files(ckpt, &names, &files) && find_source(&files);

	moe_arena_free(&names);
	return found;
}

enum moe_status moe_tokenizer_open(struct moe_tokenizer **out, const struct moe_ckpt *ckpt, struct moe_err *err)
{
	struct moe_arena names = {0};
	struct moe_text_files files = {0};
	enum moe_status status;

	*out = NULL;
	if (take_files(ckpt, &names, &files))
		status = make(out, &files, ckpt->path, err);
	else
		status = moe_err_nomem(err, 0, "a path");
	moe_arena_free(&names);
	return status;
}

static enum moe_status read_file(const char *dir, const char *name, struct moe_arena *names, struct moe_buf *bytes,
                                 struct moe_text_file *file, struct moe_err *err)
{
	char *joined = moe_path_join(dir, name);
	char *path = joined ? moe_arena_strndup(names, joined, strlen(joined)) : NULL;
	enum moe_status status;

	free(joined);
	if (!path)
		return moe_err_nomem(err, strlen(dir), "a path");
	if (!moe_is_file(path))
		return MOE_OK;
	status = moe_read_all(path, MAX_FILE, bytes, err);
	*file = (struct moe_text_file){path, bytes->p ? bytes->p : "", bytes->n};
	return status;
}

enum moe_status moe_tokenizer_load(struct moe_tokenizer **out, const char *dir, struct moe_err *err)
{
	struct moe_text_files files = {0};
	struct moe_arena names = {0};
	const struct {
		const char *name;
		struct moe_text_file *file;
	} all[] = {{"tokenizer.json", &files.json}, {"tiktoken.model", &files.tiktoken},
	           {"tokenizer_config.json", &files.config}, {"chat_template.jinja", &files.chat}};
	struct moe_buf bytes[sizeof all / sizeof *all] = {0};
	enum moe_status status = MOE_OK;

	*out = NULL;
	for (size_t i = 0; i < sizeof all / sizeof *all && !status; i++)
		status = read_file(dir, all[i].name, &names, &bytes[i], all[i].file, err);
	if (!status)
		status = make(out, &files, dir, err);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		moe_buf_free(&bytes[i]);
	moe_arena_free(&names);
	return status;
}

void moe_tokenizer_free(struct moe_tokenizer *tok)
{
	if (!tok)
		return;
	moe_stage_free(&tok->model);
	moe_stage_free(&tok->normalizer);
	moe_stage_free(&tok->pretokenizer);
	moe_stage_free(&tok->decoder);
	moe_added_set_free(tok->raw);
	moe_added_set_free(tok->normal);
	moe_buf_free(&tok->bytes);
	moe_buf_free(&tok->content);
	moe_buf_free(&tok->shown);
	moe_buf_free(&tok->chat_template);
	free(tok->chain);
	free(tok->added);
	free(tok->tokens);
	free(tok->name);
	free(tok);
}

/* -- what is known ------------------------------------------------------------------------------------------------ */

const struct moe_token *moe_token_of(const struct moe_tokenizer *tok, int32_t id)
{
	struct moe_token key = {.id = id};
	size_t lo = 0, hi = tok->n_tokens;

	if (id >= 0 && (size_t)id < tok->n_tokens && tok->tokens[id].id == id)
		return &tok->tokens[id];
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (tok->tokens[mid].id < key.id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < tok->n_tokens && tok->tokens[lo].id == id ? &tok->tokens[lo] : NULL;
}

int32_t moe_tokenizer_n_ids(const struct moe_tokenizer *tok)
{
	return tok->tokens[tok->n_tokens - 1].id + 1;
}

bool moe_tokenizer_add_bos(const struct moe_tokenizer *tok)
{
	return tok->add_bos;
}

bool moe_tokenizer_add_eos(const struct moe_tokenizer *tok)
{
	return tok->add_eos;
}

int32_t moe_tokenizer_bos_id(const struct moe_tokenizer *tok)
{
	return tok->bos_id;
}

int32_t moe_tokenizer_eos_id(const struct moe_tokenizer *tok)
{
	return tok->eos_id;
}

int32_t moe_tokenizer_find(const struct moe_tokenizer *tok, const char *content, size_t n)
{
	const struct moe_text_model *model = (const struct moe_text_model *)tok->model.part;

	for (size_t i = 0; i < tok->n_added; i++) {
		if (tok->added[i].content.n == n && memcmp(tok->added[i].content.p, content, n) == 0)
			return tok->added[i].id;
	}
	return model->find(tok->model.self, (struct moe_str){content, n});
}

bool moe_tokenizer_bytes(const struct moe_tokenizer *tok, int32_t id, struct moe_str *bytes)
{
	const struct moe_token *token = moe_token_of(tok, id);

	if (token)
		*bytes = token->bytes;
	return token != NULL;
}

bool moe_tokenizer_is_special(const struct moe_tokenizer *tok, int32_t id)
{
	const struct moe_token *token = moe_token_of(tok, id);

	return token && token->special;
}

const char *moe_tokenizer_hash(const struct moe_tokenizer *tok)
{
	return tok->hash;
}
