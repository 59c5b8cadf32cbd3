/* The importers there are. */
#include "trace/trace.h"

#define X(name) extern const struct moe_import moe_import_##name;
#include "gen/trace_format.h"
#undef X

const struct moe_import *moe_import_at(size_t i)
{
	static const struct moe_import *const table[] = {
#define X(name) &moe_import_##name,
#include "gen/trace_format.h"
#undef X
		NULL,
	};
	return i < sizeof table / sizeof *table ? table[i] : NULL;
}
