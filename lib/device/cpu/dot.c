/* The table of instruction sets and the choice among them. */
#include "device/cpu/dot.h"

#include <stdlib.h>
#include <string.h>

#define X(name) extern const struct moe_dot moe_dot_##name;
#include "gen/device_cpu_dot.h"
#undef X

static const struct moe_dot *const dots[] = {
#define X(name) &moe_dot_##name,
#include "gen/device_cpu_dot.h"
#undef X
};

const struct moe_dot *moe_dot_at(size_t i) { return i < sizeof dots / sizeof *dots ? dots[i] : NULL; }

const struct moe_dot *moe_dot_best(void)
{
	const char *limit = getenv("MOE_CPU");
	int most = 1000000;
	for (size_t i = 0; limit && moe_dot_at(i); i++)
		if (strcmp(dots[i]->name, limit) == 0)
			most = dots[i]->rank;
	const struct moe_dot *best = NULL;
	for (size_t i = 0; moe_dot_at(i); i++)
		if (dots[i]->rank <= most && (!best || dots[i]->rank > best->rank) && dots[i]->usable())
			best = dots[i];
	return best;
}
