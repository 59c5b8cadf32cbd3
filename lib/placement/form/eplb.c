/* What DeepSeek's balancer returns, as an object of nested lists: phy2log [layers, slots], the expert of every slot;
 * log2phy [layers, experts, most copies], the slots of every expert, -1 behind the last; logcnt [layers, experts]. */
#include "placement/form.h"
#include "placement/slots.h"

static const struct moe_slots_keys keys = { "phy2log", "log2phy", "logcnt" };

static enum moe_status read_form(struct moe_slots *out, const char *path, struct moe_watch *watch, struct moe_err *err)
{
	(void)watch;
	return moe_slots_read_json(out, path, &keys, err);
}

static enum moe_status write_form(const struct moe_slots *slots, struct moe_buf *out, struct moe_err *err)
{
	return moe_slots_write_json(slots, &keys, out, err);
}

const struct moe_plan_form moe_form_eplb = {
	.name = "eplb",
	.help = "JSON of phy2log, log2phy and logcnt; phy2log or log2phy is enough to read",
	.source = "DeepSeek EPLB",
	.read = read_form,
	.write = write_form,
};
