/* What SGLang takes as --init-expert-location: an object with physical_to_logical_map, a row for every layer of the
 * model; as JSON, or as a file of torch.save. */
#include <string.h>

#include "base/file.h"
#include "placement/form.h"
#include "placement/slots.h"
#include "trace/torch.h"

static const struct moe_slots_keys keys = { "physical_to_logical_map", NULL, NULL };

static enum moe_status read_torch(struct moe_slots *out, const char *path, struct moe_err *err)
{
	struct moe_torch file;
	struct moe_ints experts = {0};
	const struct moe_array *found = NULL;
	char where[512];
	enum moe_status status = moe_torch_open(&file, path, err);

	if (status)
		return status;
	for (size_t i = 0; i < file.n_tensors; i++)
		if (!strcmp(file.tensors[i].name, keys.experts))
			found = &file.tensors[i];
	snprintf(where, sizeof where, "%.400s: %s", path, keys.experts);
	if (found)
		status = moe_ints_array(&experts, found, 2, where, err);
	else
		status = moe_err_set(err, MOE_EFORMAT, "%s: has no tensor '%s': nothing says where experts are", path,
		                     keys.experts);
	if (!status)
		status = moe_slots_of_experts(out, &experts, where, err);
	moe_ints_free(&experts);
	moe_torch_close(&file);
	return status;
}

static enum moe_status read_form(struct moe_slots *out, const char *path, struct moe_watch *watch, struct moe_err *err)
{
	struct moe_map map = {0};
	enum moe_status status = moe_map_open(&map, path, watch, err);
	const bool archive = !status && map.n_bytes >= 4 && !memcmp(map.data, "PK\3\4", 4);

	moe_map_close(&map);
	if (status)
		return status;
	return archive ? read_torch(out, path, err) : moe_slots_read_json(out, path, &keys, err);
}

static enum moe_status write_form(const struct moe_slots *slots, struct moe_buf *out, struct moe_err *err)
{
	return moe_slots_write_json(slots, &keys, out, err);
}

const struct moe_plan_form moe_form_sglang = {
	.name = "sglang",
	.help = "JSON of physical_to_logical_map, a row for every layer of the model; reads torch.save files too",
	.source = "SGLang, --init-expert-location",
	.model_layers = true,
	.read = read_form,
	.write = write_form,
};
