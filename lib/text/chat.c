/* Choosing a chat form and writing it. */
#include "text/chat.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "text/parts.h"
#include "text/unicode.h"
#include "text/utf8.h"

#define X(n) extern const struct moe_chat_form moe_chat_form_##n;
#include "gen/text_chat.h"
#undef X

#define X(n) &moe_chat_form_##n,
static const struct moe_chat_form *const forms[] = {
#include "gen/text_chat.h"
	NULL
};
#undef X

const struct moe_chat_form *moe_chat_form_at(size_t i)
{
	return i < sizeof forms / sizeof *forms ? forms[i] : NULL;
}

/* -- choosing ----------------------------------------------------------------------------------------------------- */

static void list_names(char *known, size_t size)
{
	size_t n = 0;

	*known = '\0';
	for (size_t i = 0; forms[i] && n < size; i++)
		n += (size_t)snprintf(known + n, size - n, "%s%s", i ? ", " : "", forms[i]->name);
}

/* White space at the end: editors add a line feed, and tokenizer_config.json has none. */
static size_t trimmed(struct moe_str text)
{
	while (text.n > 0 && strchr(" \t\r\n", text.p[text.n - 1]) && text.p[text.n - 1])
		text.n--;
	return text.n;
}

static const struct moe_chat_form *find_template(const char *hash)
{
	for (size_t i = 0; forms[i]; i++) {
		for (const char *const *known = forms[i]->templates; *known; known++) {
			if (strcmp(*known, hash) == 0)
				return forms[i];
		}
	}
	return NULL;
}

static enum moe_status choose_by_template(const struct moe_chat_form **out, const struct moe_tokenizer *tok,
                                          struct moe_err *err)
{
	const struct moe_str text = {tok->chat_template.p, tok->chat_template.n};
	struct moe_hash *hash;
	char known[512], hex[33];

	list_names(known, sizeof known);
	if (!text.p)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: no chat template is beside it: --chat=NAME chooses a form, one of %s",
		                   tok->name, known);
	hash = moe_hash_new();
	if (!hash)
		return moe_err_nomem(err, 0, "a hash");
	moe_hash_add(hash, text.p, trimmed(text));
	moe_hash_text(hash, hex);
	moe_hash_free(hash);
	*out = find_template(hex);
	if (*out)
		return MOE_OK;
	return moe_err_set(err, MOE_EFORMAT,
	                   "%s: its chat template (%zu bytes, xxh3 %s) is none of those known to write one of the "
	                   "forms here: --chat=NAME chooses one of %s", tok->name, text.n, hex, known);
}

enum moe_status moe_chat_choose(const struct moe_chat_form **out, const struct moe_tokenizer *tok, const char *name,
                                struct moe_err *err)
{
	char known[512];

	*out = NULL;
	if (!*name)
		return choose_by_template(out, tok, err);
	for (size_t i = 0; forms[i]; i++) {
		if (strcmp(forms[i]->name, name) == 0) {
			*out = forms[i];
			return MOE_OK;
		}
	}
	list_names(known, sizeof known);
	return moe_err_set(err, MOE_EUSAGE, "--chat: '%.100s' is not one of %s", name, known);
}

/* -- writing ------------------------------------------------------------------------------------------------------ */

/* The added token of an id or, with id -1, of a text; NULL: none. */
static const struct moe_added_token *find_added(const struct moe_tokenizer *tok, int32_t id, struct moe_str text)
{
	for (size_t i = 0; i < tok->n_added; i++) {
		const struct moe_added_token *added = &tok->added[i];
		if (id >= 0 ? added->id == id
		            : added->content.n == text.n && memcmp(added->content.p, text.p, text.n) == 0)
			return added;
	}
	return NULL;
}

static enum moe_status require(const struct moe_chat_form *form, const struct moe_tokenizer *tok, const char *token,
                               int32_t *id, struct moe_err *err)
{
	const struct moe_added_token *added = find_added(tok, -1, moe_str_of(token));

	*id = added ? added->id : -1;
	return added ? MOE_OK : moe_err_set(err, MOE_EFORMAT, "%s: the chat form %s needs the token '%s', which is not "
	                                    "there", tok->name, form->name, token);
}

/* What Python's str.strip takes off. */
static bool is_strip_space(uint32_t code)
{
	return moe_unicode_is_space(code) || (code >= 0x1c && code <= 0x1f);
}

static struct moe_str strip(const char *text)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t n = strlen(text), first = 0, last = 0, used;
	bool any = false;

	for (size_t i = 0; i < n; i += used) {
		const uint32_t code = moe_utf8_take(p + i, n - i, &used);
		used = used ? used : n - i;
		if (is_strip_space(code))
			continue;
		first = any ? first : i;
		last = i + used;
		any = true;
	}
	return (struct moe_str){text + first, last - first};
}

static enum moe_status write_system(const struct moe_chat_form *form, const struct moe_tokenizer *tok,
                                    const char *system, struct moe_buf *text, struct moe_err *err)
{
	struct moe_str given;

	system = system ? system : form->default_system;
	if (!system)
		return MOE_OK;
	if (!form->system[0])
		return moe_err_set(err, MOE_EUSAGE, "%s: the chat form %s has no turn of a system (--system)",
		                   tok->name, form->name);
	given = form->trim_system ? strip(system) : moe_str_of(system);
	moe_buf_adds(text, form->system[0]);
	moe_buf_add(text, given.p, given.n);
	moe_buf_adds(text, form->system[1]);
	return MOE_OK;
}

enum moe_status moe_chat_write(const struct moe_chat_form *form, const struct moe_tokenizer *tok, const char *system,
                               struct moe_str user, struct moe_buf *text, struct moe_err *err)
{
	const struct moe_added_token *bos = form->bos ? find_added(tok, tok->bos_id, (struct moe_str){"", 0}) : NULL;
	enum moe_status status = MOE_OK;
	int32_t id;

	if (form->bos && (tok->bos_id < 0 || !bos))
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: the chat form %s begins with BOS, which the tokenizer does not have",
		                   tok->name, form->name);
	for (const char *const *token = form->tokens; *token && !status; token++)
		status = require(form, tok, *token, &id, err);
	if (status)
		return status;
	if (bos)
		moe_buf_add(text, bos->content.p, bos->content.n);
	moe_buf_adds(text, form->head ? form->head : "");
	status = write_system(form, tok, system, text, err);
	moe_buf_adds(text, form->user[0]);
	moe_buf_add(text, user.p, user.n);
	moe_buf_adds(text, form->user[1]);
	return status ? status : moe_buf_check(text, err);
}

enum moe_status moe_chat_stops(const struct moe_chat_form *form, const struct moe_tokenizer *tok, struct moe_ids *ids,
                               struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	int32_t id;

	for (const char *const *stop = form->stops; *stop && !status; stop++) {
		status = require(form, tok, *stop, &id, err);
		if (!status)
			status = moe_ids_add(ids, id, err);
	}
	return status;
}
