/* Reading config.json: the pieces that families share. Only model/ includes this. */
#ifndef MOE_MODEL_PARSE_H
#define MOE_MODEL_PARSE_H

#include <stddef.h>

#include "model/model.h"

/* A whole number of the config: an absent key leaves the family's default. A table ends with key NULL. */
struct moe_number {
	const char *key;
	size_t offset;      /* of an int32_t in struct moe_config */
	int32_t min, max;
};
#define MOE_NUMBER(key, field, min, max) {key, offsetof(struct moe_config, field), min, max}

MOE_MUST_USE enum moe_status moe_parse_numbers(struct moe_config *config, const json_t *json, const char *where,
                                               const struct moe_number *numbers, struct moe_err *err);
/* Fails unless the string at key is absent or one of `allowed` (NULL-terminated); *found is the one, or `absent`. */
MOE_MUST_USE enum moe_status moe_parse_word(const json_t *json, const char *key, const char *where,
                                            const char *const *allowed, const char *absent, const char **found,
                                            struct moe_err *err);
/* A list at key of n_layers words, each words[0] or words[1]: *second is whether entry l is words[1], and left as it is
 * where there is no list. */
MOE_MUST_USE enum moe_status moe_parse_layer_word(const json_t *json, const char *key, const char *where,
                                                  int32_t n_layers, int32_t l, const char *const words[2],
                                                  bool *second, struct moe_err *err);
/* A whole number at key, or a list of them, one for each layer, that are all the same. */
MOE_MUST_USE enum moe_status moe_parse_uniform(const json_t *json, const char *key, const char *where, int32_t n_layers,
                                               int32_t min, int32_t max, int32_t *out, struct moe_err *err);
/* Fails unless value is a number from min to max. */
MOE_MUST_USE enum moe_status moe_parse_range(double value, double min, double max, const char *where, const char *key,
                                             struct moe_err *err);
/* partial_rotary_factor, beside the other keys or among those of the rotation: *share of each head is rotated. Absent:
 * *share stays, and *given becomes false. */
MOE_MUST_USE enum moe_status moe_parse_share(const json_t *json, const char *where, double *share, bool *given,
                                             struct moe_err *err);
/* Theta and context scaling, from `rope_theta` and `rope_scaling` or from `rope_parameters`. config->rope.n_dims is set
 * already; width_key is the key it came from. */
MOE_MUST_USE enum moe_status moe_parse_rope(struct moe_config *config, const json_t *json, const char *where,
                                            const char *width_key, struct moe_err *err);
/* bos_token_id and eos_token_id (one, a list, null). */
MOE_MUST_USE enum moe_status moe_parse_ids(struct moe_config *config, const json_t *json, const char *where,
                                           struct moe_err *err);

/* Is top_k, which stands at `key`, from 1 to the number of experts? */
MOE_MUST_USE enum moe_status moe_parse_top_k(const struct moe_config *config, const char *key, const char *where,
                                             struct moe_err *err);
/* Are the groups possible: E divides, enough experts in the kept ones? min_group_size is what the group score needs. */
MOE_MUST_USE enum moe_status moe_parse_groups(const struct moe_config *config, const char *where,
                                                  int32_t min_group_size, struct moe_err *err);

#endif
