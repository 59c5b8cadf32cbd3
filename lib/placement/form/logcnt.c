/* How many copies every expert has, [layers, experts], as a NumPy array; that does not say where they are. */
#include "placement/form.h"
#include "placement/slots.h"

static enum moe_status write_form(const struct moe_slots *slots, struct moe_buf *out, struct moe_err *err)
{
	struct moe_ints ints;
	enum moe_status status = moe_slots_numbers(slots, &ints, err);

	if (!status)
		status = moe_ints_write_npy(&ints, out, err);
	moe_ints_free(&ints);
	return status;
}

const struct moe_plan_form moe_form_logcnt = {
	.name = "logcnt",
	.help = "NumPy array [layers, experts]: how many copies every expert has; only written",
	.source = "DeepSeek EPLB; NumPy",
	.binary = true,
	.write = write_form,
};
