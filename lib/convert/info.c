/* The object behind --info. */
#include <string.h>

#include "base/json.h"
#include "convert/info.h"
#include "model/names.h"

static bool put(json_t *to, const char *key, json_t *value) { return !json_object_set_new(to, key, value); }

static bool put_int(json_t *to, const char *key, int64_t value) { return put(to, key, json_integer(value)); }

/* A count that may pass 2^63 as a real, else as a whole number. */
static bool put_count(json_t *to, const char *key, double value)
{
	return put(to, key, value < 0x1p62 ? json_integer((json_int_t)value) : json_real(value));
}

static bool put_model(json_t *info, const struct moe_config *c)
{
	json_t *with_experts = json_array();
	int32_t n_moe = 0;
	bool ok = with_experts;

	for (int32_t l = 0; l < c->n_layers; l++) {
		if (c->layers[l].ffn != MOE_FFN_MOE)
			continue;
		n_moe++;
		ok = !json_array_append_new(with_experts, json_integer(l)) && ok;
	}
	ok = put(info, "family", json_string(c->family->name)) && ok;
	ok = put(info, "architecture", json_string(c->architecture)) && ok;
	ok = put_int(info, "layers", c->n_layers) && ok;
	ok = put_int(info, "moe_layers", n_moe) && ok;
	ok = put_int(info, "mtp_layers", c->n_mtp_layers) && ok;
	ok = put_int(info, "encoder_layers", c->n_encoder_layers) && ok;
	ok = put(info, "layers_with_experts", with_experts) && ok;
	ok = put_int(info, "hidden_size", c->hidden_size) && ok;
	ok = put_int(info, "heads", c->n_heads) && ok;
	ok = put_int(info, "vocab_size", c->vocab_size) && ok;
	ok = put(info, "max_positions",
	         c->max_positions < INT32_MAX ? json_integer(c->max_positions) : json_null()) && ok;
	ok = put_int(info, "experts", c->n_experts) && ok;
	ok = put_int(info, "experts_per_token", c->router.top_k) && ok;
	ok = put_int(info, "shared_experts", c->n_shared_experts) && ok;
	ok = put_int(info, "expert_width", c->moe_intermediate_size) && ok;
	ok = put(info, "stacked", json_boolean(moe_names_stacked(c))) && ok;
	ok = put(info, "policy", *c->router.policy ? json_string(c->router.policy) : json_null()) && ok;
	ok = put_int(info, "groups", c->router.n_groups) && ok;
	ok = put_int(info, "top_groups", c->router.top_groups) && ok;
	ok = put(info, "scale", json_real(c->router.scale)) && ok;
	ok = put(info, "normalize", json_boolean(c->router.normalize)) && ok;
	return put(info, "capacity", c->router.capacity ? json_integer(c->router.capacity) : json_null()) && ok;
}

static bool put_account(json_t *info, const struct moe_account *a)
{
	json_t *roles = json_object();
	bool ok = roles;

	ok = put(info, "combinations", json_string(a->combinations)) && ok;
	ok = put_int(info, "parameters", a->total) && ok;
	ok = put_int(info, "parameters_mtp_unique", a->mtp_unique) && ok;
	ok = put_int(info, "parameters_mtp_stored", a->mtp_stored) && ok;
	ok = put_int(info, "parameters_stored", a->total + a->mtp_stored) && ok;
	ok = put_int(info, "activated", a->activated) && ok;
	ok = put_int(info, "activated_no_embed", a->activated_no_embed) && ok;
	ok = put_int(info, "activated_no_both", a->activated_no_both) && ok;
	for (int role = 0; ok && role < MOE_N_ROLES; role++)
		ok = put_int(roles, moe_role_name((enum moe_role)role), a->by_role[role]);
	ok = put(info, "parameters_by_role", roles) && ok;
	ok = put_int(info, "tensors", a->n_tensors) && ok;
	ok = put(info, "bytes", a->n_bytes ? json_integer(a->n_bytes) : json_null()) && ok;
	ok = put_count(info, "flops_token", a->flops_token) && ok;
	ok = put_count(info, "flops_4k", a->flops_4k) && ok;
	ok = put_int(info, "cache_elems_token", a->cache_elems_token) && ok;
	return put_int(info, "cache_bytes_token", 2 * a->cache_elems_token) && ok;
}

static bool add_to(json_t *object, const char *key, size_t n)
{
	return put_int(object, key, json_integer_value(json_object_get(object, key)) + (int64_t)n);
}

static bool put_stored(json_t *info, const struct moe_config *c, const struct moe_ckpt *ckpt)
{
	json_t *roles = json_object(), *types = json_object();
	size_t total = 0;
	bool ok = roles && types;

	for (int role = 0; ok && role < MOE_N_ROLES; role++)   /* in this order */
		ok = put_int(roles, moe_role_name((enum moe_role)role), 0);
	for (size_t i = 0; ok && i < ckpt->n_tensors; i++) {
		const struct moe_tensor *t = &ckpt->tensors[i];
		struct moe_tensor_id id;
		const bool known = moe_names_parse(c, ckpt->format->naming, t->name, &id);

		total += t->n_bytes;
		ok = add_to(roles, known ? moe_role_name(moe_id_role(c, &id)) : "other", t->n_bytes) &&
		     add_to(types, t->codec->name, t->n_bytes);
	}
	ok = put(info, "format", json_string(ckpt->format->name)) && ok;
	ok = put_int(info, "files", ckpt->n_files) && ok;
	ok = put_int(info, "stored_tensors", (int64_t)ckpt->n_tensors) && ok;
	ok = put_int(info, "stored_bytes", (int64_t)total) && ok;
	ok = put(info, "stored_bytes_by_role", roles) && ok;
	return put(info, "stored_bytes_by_type", types) && ok;
}

/* A path, with U+FFFD for what is not UTF-8. */
static json_t *name_of(const char *path)
{
	struct moe_buf quoted = {0};
	json_t *name;

	moe_json_quote(&quoted, path, strlen(path));
	name = quoted.failed ? NULL : json_loadb(quoted.p, quoted.n, JSON_DECODE_ANY, NULL);
	moe_buf_free(&quoted);
	return name;
}

enum moe_status moe_info(json_t **out, const struct moe_config *config, const struct moe_ckpt *ckpt, const char *path,
                         struct moe_err *err)
{
	struct moe_account account;
	enum moe_status st = moe_account_of(config, &account, err);
	json_t *info = st ? NULL : json_object();

	if (st)
		return err ? moe_err_set(err, st, "%s: %s", path, err->text) : st;
	bool ok = info && put(info, "path", name_of(path));
	ok = ok && put_model(info, config) && put_account(info, &account);
	if (ok && ckpt && ckpt->n_tensors)
		ok = put_stored(info, config, ckpt);
	if (!ok) {
		json_decref(info);
		return moe_err_nomem(err, 4096, "the report");
	}
	*out = info;
	return MOE_OK;
}
