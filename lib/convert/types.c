/* --type: which storage type each role gets. */
#include <stdio.h>
#include <string.h>

#include "convert/convert.h"
#include "base/str.h"

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

bool moe_type_rules_scaled(const struct moe_type_rules *rules)
{
	bool scaled = rules->rest && rules->rest->scaled;

	for (int r = 0; r < MOE_N_ROLES; r++)
		scaled |= rules->role[r] && rules->role[r]->scaled;
	return scaled;
}
