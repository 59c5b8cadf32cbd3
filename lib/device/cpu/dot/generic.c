/* Plain C: the truth, on any machine. */
#include "device/cpu/dot.h"

#define DOT(name) generic_##name
#define DOT_TARGET
#include "device/cpu/dot_template.h"

static bool always(void) { return true; }

const struct moe_dot moe_dot_generic = {
	.name = "generic",
	.rank = 0,
	.usable = always,
	.tile = generic_tile,
	.axpy = generic_axpy,
};
