/* The maps of vLLM's load balancer under the names it gives them: a row for every layer with experts. */
#include "placement/form.h"
#include "placement/slots.h"

static const struct moe_slots_keys keys = { "physical_to_logical_map", "logical_to_physical_map",
	                                    "logical_replica_count" };

static enum moe_status read_form(struct moe_slots *out, const char *path, struct moe_watch *watch, struct moe_err *err)
{
	(void)watch;
	return moe_slots_read_json(out, path, &keys, err);
}

static enum moe_status write_form(const struct moe_slots *slots, struct moe_buf *out, struct moe_err *err)
{
	return moe_slots_write_json(slots, &keys, out, err);
}

const struct moe_plan_form moe_form_vllm = {
	.name = "vllm",
	.help = "JSON of physical_to_logical_map, logical_to_physical_map and logical_replica_count",
	.source = "vLLM, EplbState",
	.read = read_form,
	.write = write_form,
};
