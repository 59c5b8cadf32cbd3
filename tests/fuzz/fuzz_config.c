/* config.json from hostile bytes: parsed, and its counts taken at their word only where they are sane. */
#include "fuzz.h"

#include "base/json.h"
#include "model/account.h"
#include "model/model.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	struct moe_err err = {0};
	struct moe_config config = {0};
	json_t *json;

	if (moe_json_parse(&json, data, n, "config.json", &err))
		return;
	if (!moe_config_parse(&config, json, "config.json", &err))
		moe_config_free(&config);
	json_decref(json);
}
