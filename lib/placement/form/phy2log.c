/* The expert of every slot, [layers, slots], as a NumPy array. */
#include "placement/form.h"
#include "placement/slots.h"

static enum moe_status read_form(struct moe_slots *out, const char *path, struct moe_watch *watch, struct moe_err *err)
{
	struct moe_ints ints;
	enum moe_status status = moe_ints_read_npy(&ints, path, 2, watch, err);

	if (!status)
		status = moe_slots_of_experts(out, &ints, path, err);
	moe_ints_free(&ints);
	return status;
}

static enum moe_status write_form(const struct moe_slots *slots, struct moe_buf *out, struct moe_err *err)
{
	struct moe_ints ints;
	enum moe_status status = moe_slots_experts(slots, &ints, err);

	if (!status)
		status = moe_ints_write_npy(&ints, out, err);
	moe_ints_free(&ints);
	return status;
}

const struct moe_plan_form moe_form_phy2log = {
	.name = "phy2log",
	.help = "NumPy array [layers, slots]: the expert of every slot",
	.source = "DeepSeek EPLB; NumPy",
	.binary = true,
	.read = read_form,
	.write = write_form,
};
