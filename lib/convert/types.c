/* --type and --type-map: which storage type each role and each tensor gets. */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/table.h"
#include "convert/convert.h"

static const struct moe_codec *codec_named(struct moe_str name)
{
	for (size_t i = 0; moe_codec_at(i); i++)
		if (moe_str_eq(name, moe_codec_at(i)->name))
			return moe_codec_at(i);
	return NULL;
}

bool moe_type_writable(const struct moe_codec *codec)
{
	return codec->encode && codec->is_float && (!codec->scaled || codec->largest > 0);
}

/* The types that can be asked for, " f32 f16 ...". */
static const char *writable(char *text, size_t n)
{
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; moe_codec_at(i); i++) {
		const struct moe_codec *codec = moe_codec_at(i);
		if (moe_type_writable(codec) && at + strlen(codec->name) + 2 < n)
			at += (size_t)snprintf(text + at, n - at, " %s", codec->name);
	}
	return text;
}

static enum moe_status one_rule(struct moe_type_rules *rules, struct moe_str role, struct moe_str type,
                                struct moe_err *err)
{
	const struct moe_codec *codec = codec_named(type), **slot = NULL;
	char known[256];

	if (!codec || !moe_type_writable(codec))
		return moe_err_set(err, MOE_EUSAGE, "--type: '%.*s' is not a type that can be written; there are%s",
		                   (int)(type.n < 64 ? type.n : 64), type.p, writable(known, sizeof known));
	if (moe_str_eq(role, "*"))
		slot = &rules->rest;
	for (int r = 0; r < MOE_N_ROLES && !slot; r++)
		if (moe_str_eq(role, moe_role_name((enum moe_role)r)))
			slot = &rules->role[r];
	if (!slot)
		return moe_err_set(err, MOE_EUSAGE, "--type: '%.*s' is not a role; there are embed head attn dense "
		                   "exps shared router norm mtp and *", (int)(role.n < 64 ? role.n : 64), role.p);
	if (*slot)
		return moe_err_set(err, MOE_EUSAGE, "--type: the role %.*s is given twice", (int)role.n, role.p);
	*slot = codec;
	return MOE_OK;
}

enum moe_status moe_type_rules_parse(struct moe_type_rules *rules, const char *text, struct moe_err *err)
{
	struct moe_str rest = moe_str_of(text), item;
	enum moe_status st = MOE_OK;

	*rules = (struct moe_type_rules){0};
	if (!rest.n)
		return moe_err_set(err, MOE_EUSAGE, "--type: expected a type or role=type, found nothing");
	while (!st && moe_str_next(&rest, ',', &item)) {
		const char *equals = memchr(item.p, '=', item.n);
		struct moe_str role = {"*", 1}, type = item;

		if (equals) {
			role = (struct moe_str){item.p, (size_t)(equals - item.p)};
			type = (struct moe_str){equals + 1, item.n - role.n - 1};
		}
		st = one_rule(rules, role, type, err);
	}
	return st;
}

enum moe_status moe_type_rules_map(struct moe_type_rules *rules, const char *path, struct moe_err *err)
{
	struct moe_table *table;
	char known[256];
	int c_name = 0, c_type = 0;
	enum moe_status st = moe_table_read(&table, path, err);

	if (st)
		return st;
	st = moe_table_need(table, "pattern", &c_name, err);
	if (!st)
		st = moe_table_need(table, "type", &c_type, err);
	const int64_t n = st ? 0 : moe_table_rows(table);
	rules->map = path;
	if (!st) {
		rules->patterns = calloc((size_t)n + 1, sizeof *rules->patterns);
		if (!rules->patterns)
			st = moe_err_nomem(err, (size_t)n * sizeof *rules->patterns, "patterns");
	}
	for (int64_t i = 0; i < n && !st; i++) {
		const struct moe_str name = moe_table_str(table, i, c_name), type = moe_table_str(table, i, c_type);
		struct moe_type_pattern *p = &rules->patterns[rules->n_patterns];

		*p = (struct moe_type_pattern){ .codec = codec_named(type), .line = moe_table_line(table, i) };
		if (!p->codec || !moe_type_writable(p->codec)) {
			st = moe_err_set(err, MOE_EUSAGE,
			                 "%s: line %lld: '%.*s' is not a type that can be written; there are%s", path,
			                 p->line, (int)(type.n < 64 ? type.n : 64), type.p,
			                 writable(known, sizeof known));
			break;
		}
		p->name = strndup(name.p, name.n);
		if (!p->name)
			st = moe_err_nomem(err, name.n, "a pattern");
		rules->n_patterns += !st;
	}
	moe_table_free(table);
	return st;
}

void moe_type_rules_free(struct moe_type_rules *rules)
{
	for (size_t i = 0; i < rules->n_patterns; i++)
		free(rules->patterns[i].name);
	free(rules->patterns);
	rules->patterns = NULL;
	rules->n_patterns = 0;
}

const struct moe_codec *moe_type_rules_find(const struct moe_type_rules *rules, const char *name)
{
	for (size_t i = 0; i < rules->n_patterns; i++)
		if (!fnmatch(rules->patterns[i].name, name, 0))
			return rules->patterns[i].codec;
	return NULL;
}

bool moe_type_rules_scaled(const struct moe_type_rules *rules)
{
	bool scaled = rules->rest && rules->rest->scaled;

	for (int r = 0; r < MOE_N_ROLES; r++)
		scaled |= rules->role[r] && rules->role[r]->scaled;
	for (size_t i = 0; i < rules->n_patterns; i++)
		scaled |= rules->patterns[i].codec->scaled;
	return scaled;
}

bool moe_type_quantised(const struct moe_codec *codec)
{
	return codec->scaled || codec->block_elems > 1 || (codec->is_float && codec->block_bytes < 2);
}

const struct moe_codec *moe_type_rules_quantised(const struct moe_type_rules *rules)
{
	for (int r = 0; r < MOE_N_ROLES; r++)
		if (rules->role[r] && moe_type_quantised(rules->role[r]))
			return rules->role[r];
	for (size_t i = 0; i < rules->n_patterns; i++)
		if (moe_type_quantised(rules->patterns[i].codec))
			return rules->patterns[i].codec;
	return rules->rest && moe_type_quantised(rules->rest) ? rules->rest : NULL;
}
