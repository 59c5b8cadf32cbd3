/* Typed GGUF keys, as moe_ckpt.metadata holds them: { "type": ..., "value": ... } under the key's name. */
#ifndef MOE_MODEL_GGUF_KEYS_H
#define MOE_MODEL_GGUF_KEYS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The value of "{arch}.{key}" (arch NULL: of "{key}"), or NULL. An array gives its first number. A view. */
const json_t *moe_gguf_key(const json_t *keys, const char *arch, const char *key);
/* The same as a whole number; `absent` where the key is missing or not one. */
int64_t moe_gguf_int(const json_t *keys, const char *arch, const char *key, int64_t absent);
double moe_gguf_f64(const json_t *keys, const char *arch, const char *key, double absent);
/* Stores a typed value, which is stolen; false when out of memory. */
bool moe_gguf_put(json_t *keys, const char *arch, const char *key, const char *type, json_t *value);
/* An f32 as the shortest decimal that names it: 1e-6 stored as f32 is read as 1e-6 again. */
double moe_gguf_f32_value(double stored);

#endif
