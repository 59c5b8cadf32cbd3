/* The slots of every expert, [layers, experts, most copies], -1 behind the last, as a NumPy array. */
#include "placement/form.h"
#include "placement/slots.h"

static enum moe_status read_form(struct moe_slots *out, const char *path, struct moe_watch *watch, struct moe_err *err)
{
	struct moe_ints ints;
	enum moe_status status = moe_ints_read_npy(&ints, path, 3, watch, err);

	if (!status)
		status = moe_slots_of_copies(out, &ints, path, err);
	moe_ints_free(&ints);
	return status;
}

static enum moe_status write_form(const struct moe_slots *slots, struct moe_buf *out, struct moe_err *err)
{
	struct moe_ints ints;
	enum moe_status status = moe_slots_copies(slots, &ints, err);

	if (!status)
		status = moe_ints_write_npy(&ints, out, err);
	moe_ints_free(&ints);
	return status;
}

const struct moe_plan_form moe_form_log2phy = {
	.name = "log2phy",
	.help = "NumPy array [layers, experts, copies]: the slots of every expert, -1 behind the last",
	.source = "DeepSeek EPLB; NumPy",
	.binary = true,
	.read = read_form,
	.write = write_form,
};
