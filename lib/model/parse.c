/* Pieces of config.json that families of different shape spell alike. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/parse.h"

enum moe_status moe_parse_numbers(struct moe_config *c, const json_t *json, const char *where,
                                  const struct moe_number *numbers, struct moe_err *err)
{
	enum moe_status st = MOE_OK;

	for (const struct moe_number *n = numbers; !st && n->key; n++)
		st = moe_json_i32(json, n->key, where, n->min, n->max, (int32_t *)((char *)c + n->offset), err);
	return st;
}

enum moe_status moe_parse_word(const json_t *json, const char *key, const char *where, const char *const *allowed,
                             const char *absent, const char **found, struct moe_err *err)
{
	const char *word = absent;
	enum moe_status st = moe_json_str(json, key, where, &word, err);

	if (st)
		return st;
	for (size_t i = 0; allowed[i]; i++)
		if (!strcmp(word, allowed[i])) {
			*found = allowed[i];
			return MOE_OK;
		}
	return moe_err_set(err, MOE_EFORMAT, "%s: %s: expected \"%s\"%s%s%s, found \"%.64s\"", where, key, allowed[0],
	                   allowed[1] ? " or \"" : "", allowed[1] ? allowed[1] : "", allowed[1] ? "\"" : "", word);
}

enum moe_status moe_parse_layer_word(const json_t *json, const char *key, const char *where, int32_t n_layers,
                                     int32_t l, const char *const words[2], bool *second, struct moe_err *err)
{
	const json_t *list = json_object_get(json, key);
	const char *word;

	if (!list || json_is_null(list))
		return MOE_OK;
	if (!json_is_array(list) || json_array_size(list) != (size_t)n_layers)
		return moe_json_refuse(err, list, where, "%s: expected a list of %d words, one for each layer", key,
		                       n_layers);
	word = moe_json_word(json_array_get(list, (size_t)l));
	if (!word || (strcmp(word, words[0]) && strcmp(word, words[1])))
		return moe_json_refuse(err, json_array_get(list, (size_t)l), where, "%s: layer %d: expected \"%s\" or "
		                       "\"%s\"", key, l, words[0], words[1]);
	*second = !strcmp(word, words[1]);
	return MOE_OK;
}

enum moe_status moe_parse_uniform(const json_t *json, const char *key, const char *where, int32_t n_layers, int32_t min,
                                  int32_t max, int32_t *out, struct moe_err *err)
{
	const json_t *list = json_object_get(json, key);

	if (!json_is_array(list))
		return moe_json_i32(json, key, where, min, max, out, err);
	if (json_array_size(list) != (size_t)n_layers)
		return moe_json_refuse(err, list, where, "%s: expected a number or a list of %d, one for each layer",
		                       key, n_layers);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		const json_int_t value = json_integer_value(item);

		if (!json_is_integer(item) || value < min || value > max)
			return moe_json_refuse(err, item, where, "%s: layer %zu: expected a whole number from %d to %d",
			                       key, i, min, max);
		if (value != json_integer_value(json_array_get(list, 0)))
			return moe_err_set(err, MOE_EFORMAT, "%s: %s: expected the same number in every layer, found "
			                   "%lld in layer %zu", where, key, (long long)value, i);
		*out = (int32_t)value;
	}
	return MOE_OK;
}

enum moe_status moe_parse_range(double value, double min, double max, const char *where, const char *key,
                                 struct moe_err *err)
{
	if (isfinite(value) && value >= min && value <= max)
		return MOE_OK;
	return moe_err_set(err, MOE_EFORMAT, "%s: %s: expected a number from %g to %g, found %g", where, key, min, max,
	                   value);
}

static enum moe_status parse_yarn(struct moe_rope *rope, const json_t *scaling, const char *where, struct moe_err *err)
{
	const struct {
		const char *key;
		double *value;
		double absent, min, max;
	} fields[] = {
		{"factor", &rope->factor, 0, 1e-6, 1e9},
		{"beta_fast", &rope->beta_fast, 32, 1e-6, 1e9},
		{"beta_slow", &rope->beta_slow, 1, 1e-6, 1e9},
		{"mscale", &rope->mscale, 1, 0, 1e3},
		{"mscale_all_dim", &rope->mscale_all_dim, 0, 0, 1e3},
	};
	enum moe_status st = MOE_OK;

	if (!moe_json_has(scaling, "factor"))
		return moe_err_set(err, MOE_EFORMAT, "%s: yarn: the key factor is missing", where);
	for (size_t i = 0; !st && i < sizeof fields / sizeof fields[0]; i++) {
		*fields[i].value = fields[i].absent;
		st = moe_json_f64(scaling, fields[i].key, where, fields[i].value, err);
		if (!st)
			st = moe_parse_range(*fields[i].value, fields[i].min, fields[i].max, where, fields[i].key, err);
	}
	if (!st && moe_json_has(scaling, "truncate")) {
		bool truncated = true;
		st = moe_json_bool(scaling, "truncate", where, &truncated, err);
		rope->untruncated = !truncated;
	}
	rope->yarn = true;
	rope->original_positions = 4096;
	if (!st)
		st = moe_json_i32(scaling, "original_max_position_embeddings", where, 1, INT32_MAX,
		                  &rope->original_positions, err);
	return st;
}

static enum moe_status parse_llama3(struct moe_rope *rope, const json_t *scaling, const char *where,
                                    struct moe_err *err)
{
	const struct {
		const char *key;
		double *value;
	} fields[] = {
		{"factor", &rope->factor},
		{"low_freq_factor", &rope->low_freq_factor},
		{"high_freq_factor", &rope->high_freq_factor},
	};
	enum moe_status st = MOE_OK;

	for (size_t i = 0; !st && i < sizeof fields / sizeof fields[0]; i++) {
		if (!moe_json_has(scaling, fields[i].key))
			return moe_err_set(err, MOE_EFORMAT, "%s: llama3: the key %s is missing", where, fields[i].key);
		st = moe_json_f64(scaling, fields[i].key, where, fields[i].value, err);
		if (!st)
			st = moe_parse_range(*fields[i].value, 1e-6, 1e9, where, fields[i].key, err);
	}
	if (!st)
		st = moe_parse_range(rope->low_freq_factor, 1e-6, rope->high_freq_factor, where, "low_freq_factor",
		                     err);
	if (!st)
		st = moe_json_i32(scaling, "original_max_position_embeddings", where, 1, INT32_MAX,
		                  &rope->original_positions, err);
	if (!st && rope->original_positions == 0)
		st = moe_err_set(err, MOE_EFORMAT, "%s: llama3: the key original_max_position_embeddings is missing",
		                 where);
	rope->llama3 = true;
	return st;
}

/* One list of factors, one for each pair of rotated dimensions. */
static enum moe_status parse_factors(const struct moe_rope *rope, const json_t *scaling, const char *key,
                                     const char *where, double *out, struct moe_err *err)
{
	const json_t *list = json_object_get(scaling, key);
	const size_t n = (size_t)rope->n_dims / 2;

	if (!json_is_array(list) || json_array_size(list) != n)
		return moe_err_set(err, MOE_EFORMAT, "%s: longrope: %s: expected a list of %zu numbers, found %zu",
		                   where, key, n, json_array_size(list));
	for (size_t i = 0; i < n; i++) {
		enum moe_status st = moe_parse_range(json_is_number(json_array_get(list, i)) ?
		                                     json_number_value(json_array_get(list, i)) : NAN, 1e-6, 1e9, where,
		                                     key, err);
		if (st)
			return st;
		out[i] = json_number_value(json_array_get(list, i));
	}
	return MOE_OK;
}

/* LongRoPE with a magnitude for each list, as PhiMoE spells it. */
static enum moe_status parse_longrope(struct moe_rope *rope, const json_t *json, const json_t *scaling,
                                      const char *where, struct moe_err *err)
{
	static const char *const lists[] = {"short_factor", "long_factor"};
	static const char *const mscales[] = {"short_mscale", "long_mscale"};
	enum moe_status st = MOE_OK;

	rope->factors = calloc((size_t)rope->n_dims, sizeof *rope->factors);
	if (!rope->factors)
		return moe_err_nomem(err, (size_t)rope->n_dims * sizeof *rope->factors, "longrope factors");
	for (int i = 0; i < 2 && !st; i++) {
		st = parse_factors(rope, scaling, lists[i], where, rope->factors + i * (rope->n_dims / 2), err);
		if (!st && !moe_json_has(scaling, mscales[i]))
			st = moe_err_set(err, MOE_EFORMAT, "%s: longrope: the key %s is missing", where, mscales[i]);
		if (!st)
			st = moe_json_f64(scaling, mscales[i], where, &rope->magnitudes[i], err);
		if (!st)
			st = moe_parse_range(rope->magnitudes[i], 1e-6, 1e6, where, mscales[i], err);
	}
	if (!st)
		st = moe_json_i32(json, "original_max_position_embeddings", where, 1, INT32_MAX,
		                  &rope->original_positions, err);
	if (!st)
		st = moe_json_i32(scaling, "original_max_position_embeddings", where, 1, INT32_MAX,
		                  &rope->original_positions, err);
	if (!st && rope->original_positions == 0)
		st = moe_err_set(err, MOE_EFORMAT,
		                 "%s: longrope: the key original_max_position_embeddings is missing", where);
	return st;
}

/* A base stretched once for all lengths: theta alpha^(D / (D - 2)). */
static enum moe_status parse_stretched(struct moe_rope *rope, const json_t *scaling, const char *where,
                                       struct moe_err *err)
{
	double alpha = 0, factor = 1;
	enum moe_status st = moe_json_f64(scaling, "alpha", where, &alpha, err);

	if (!st && !moe_json_has(scaling, "alpha"))
		return moe_err_set(err, MOE_EFORMAT, "%s: rope scaling of type dynamic is only run with the key alpha",
		                   where);
	if (!st)
		st = moe_parse_range(alpha, 1, 1e9, where, "alpha", err);
	if (!st)
		st = moe_json_f64(scaling, "factor", where, &factor, err);
	if (!st)
		st = moe_parse_range(factor, 1, 1, where, "factor", err);
	if (!st && rope->n_dims < 4)
		return moe_err_set(err, MOE_EFORMAT, "%s: rope scaling of type dynamic: expected more than 2 rotated "
		                   "dimensions", where);
	if (!st)
		rope->theta *= pow(alpha, rope->n_dims / (rope->n_dims - 2.0));
	return st;
}

/* Newer configs keep these keys in an object of their own. */
static const char *const rope_objects[] = {"rope_scaling", "rope_parameters"};

enum moe_status moe_parse_share(const json_t *json, const char *where, double *share, bool *given, struct moe_err *err)
{
	static const char key[] = "partial_rotary_factor";
	const json_t *places[] = {json, json_object_get(json, rope_objects[0]), json_object_get(json, rope_objects[1])};
	enum moe_status st = MOE_OK;

	*given = false;
	for (size_t i = 0; i < sizeof places / sizeof *places && !st; i++) {
		double found = 0;

		if (!moe_json_has(places[i], key))
			continue;
		st = moe_json_f64(places[i], key, where, &found, err);
		if (!st)
			st = moe_parse_range(found, 1e-3, 1, where, key, err);
		if (!st && *given && found != *share)
			st = moe_err_set(err, MOE_EFORMAT, "%s: %s: found %g and, in %s, %g", where, key, *share,
			                 rope_objects[i - 1], found);
		*share = found;
		*given = true;
	}
	return st;
}

/* Are there keys of a context scaling? */
static bool says_more(const json_t *object)
{
	const size_t n_other = json_object_get(object, "rope_theta") != NULL;

	return json_object_size(object) > n_other + (json_object_get(object, "partial_rotary_factor") != NULL);
}

static bool no_scaling(const char *type) { return !strcmp(type, "none") || !strcmp(type, "default"); }

/* The type of scaling at a key, which may be said more than once. */
static enum moe_status take_type(const json_t *object, const char *key, const char *where, const char **type,
                                 struct moe_err *err)
{
	const char *found = NULL;
	enum moe_status st = moe_json_str(object, key, where, &found, err);

	if (st || !found)
		return st;
	if (strcmp(*type, "none") && strcmp(*type, found) && !(no_scaling(*type) && no_scaling(found)))
		return moe_err_set(err, MOE_EFORMAT, "%s: rope scaling is of type \"%.64s\" and, by another key, of "
		                   "\"%.64s\"", where, *type, found);
	*type = found;
	return MOE_OK;
}

/* `rope_theta` and `rope_scaling`, or both in `rope_parameters`; the type is called `type` or `rope_type`. */
enum moe_status moe_parse_rope(struct moe_config *c, const json_t *json, const char *where, const char *width_key,
                               struct moe_err *err)
{
	struct moe_rope *rope = &c->rope;
	const char *type = "none";
	const json_t *scaling = NULL;
	enum moe_status st;

	st = moe_json_f64(json, "rope_theta", where, &rope->theta, err);
	for (int i = 0; i < 2 && !st; i++) {
		const json_t *object = json_object_get(json, rope_objects[i]);

		if (!object || json_is_null(object))
			continue;
		if (!json_is_object(object))
			return moe_json_refuse(err, object, where, "%s: expected an object or null", rope_objects[i]);
		if (says_more(object))
			scaling = object;
		st = moe_json_f64(object, "rope_theta", where, &rope->theta, err);
		if (!st)
			st = take_type(object, "type", where, &type, err);
		if (!st)
			st = take_type(object, "rope_type", where, &type, err);
	}
	if (!st)
		st = moe_parse_range(rope->theta, 1.0 + 1e-6, 1e15, where, "rope_theta", err);
	if (st)
		return st;
	if (rope->n_dims < 2 || rope->n_dims % 2)
		return moe_err_set(err, MOE_EFORMAT, "%s: %s: expected an even number of rotated dimensions, found %d",
		                   where, width_key, rope->n_dims);
	if (!strcmp(type, "none") && scaling)
		return moe_err_set(err, MOE_EFORMAT, "%s: rope scaling without type or rope_type: expected one beside "
		                   "the other keys", where);
	if (!strcmp(type, "yarn"))
		return parse_yarn(rope, scaling, where, err);
	if (!strcmp(type, "llama3"))
		return parse_llama3(rope, scaling, where, err);
	if (!strcmp(type, "dynamic") && rope->may_stretch)
		return parse_stretched(rope, scaling, where, err);
	if (!strcmp(type, "longrope") && rope->may_lengthen)
		return parse_longrope(rope, json, scaling, where, err);
	if (!strcmp(type, "linear")) {
		if (!moe_json_has(scaling, "factor"))
			return moe_err_set(err, MOE_EFORMAT, "%s: linear: the key factor is missing", where);
		st = moe_json_f64(scaling, "factor", where, &rope->linear, err);
		return st ? st : moe_parse_range(rope->linear, 1e-6, 1e9, where, "factor", err);
	}
	if (!no_scaling(type))
		return moe_err_set(err, MOE_EFORMAT, "%s: rope scaling of type '%.64s' is not run in this family; "
		                   "expected none, default, linear, llama3 or yarn%s%s", where, type,
		                   rope->may_lengthen ? ", or longrope" : "",
		                   rope->may_stretch ? ", or dynamic with an alpha" : "");
	return MOE_OK;
}

enum moe_status moe_parse_ids(struct moe_config *c, const json_t *json, const char *where, struct moe_err *err)
{
	const json_t *eos = json_object_get(json, "eos_token_id");
	enum moe_status st;

	if (json_object_get(json, "bos_token_id") && !moe_json_has(json, "bos_token_id"))
		c->bos_id = -1;
	st = moe_json_i32(json, "bos_token_id", where, 0, INT32_MAX, &c->bos_id, err);
	if (st || !eos)
		return st;
	c->n_eos = 0;
	if (json_is_integer(eos)) {
		st = moe_json_i32(json, "eos_token_id", where, 0, INT32_MAX, &c->eos_ids[0], err);
		c->n_eos = 1;
		return st;
	}
	const size_t max = sizeof c->eos_ids / sizeof c->eos_ids[0];
	if (!json_is_null(eos) && (!json_is_array(eos) || json_array_size(eos) > max))
		return moe_json_refuse(err, eos, where, "eos_token_id: expected a token id, or a list of at most %zu",
		                       max);
	for (size_t i = 0; i < json_array_size(eos); i++) {
		const json_t *id = json_array_get(eos, i);
		if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
			return moe_json_refuse(err, id, where, "eos_token_id: entry %zu: expected a token id", i);
		c->eos_ids[c->n_eos++] = (int32_t)json_integer_value(id);
	}
	return MOE_OK;
}

enum moe_status moe_parse_top_k(const struct moe_config *c, const char *key, const char *where, struct moe_err *err)
{
	if (c->router.top_k >= 1 && c->router.top_k <= c->n_experts)
		return MOE_OK;
	return moe_err_set(err, MOE_EFORMAT, "%s: %s: expected 1 to the %d experts, found %d", where, key, c->n_experts,
	                   c->router.top_k);
}

enum moe_status moe_parse_groups(const struct moe_config *c, const char *where, int32_t min_group_size,
                                 struct moe_err *err)
{
	const struct moe_router_spec *r = &c->router;
	const int32_t size = r->n_groups <= c->n_experts ? c->n_experts / r->n_groups : 0;

	if (size == 0 || c->n_experts % r->n_groups)
		return moe_err_set(err, MOE_EFORMAT, "%s: n_group: expected a divisor of the %d experts, found %d",
		                   where, c->n_experts, r->n_groups);
	if (r->top_groups > r->n_groups)
		return moe_err_set(err, MOE_EFORMAT, "%s: topk_group: expected at most n_group %d, found %d", where,
		                   r->n_groups, r->top_groups);
	if (r->n_groups > 1 && size < min_group_size)
		return moe_err_set(err, MOE_EFORMAT, "%s: n_group: expected groups of at least %d experts, found %d "
		                   "of %d", where, min_group_size, r->n_groups, size);
	if (r->top_k > (int64_t)size * r->top_groups)
		return moe_err_set(err, MOE_EFORMAT, "%s: num_experts_per_tok: expected at most the %d experts of the "
		                   "%d kept groups, found %d", where, size * r->top_groups, r->top_groups, r->top_k);
	return moe_parse_range(r->scale, 1e-9, 1e9, where, "routed_scaling_factor", err);
}
