/* The formats of other tools there are. */
#include <string.h>

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

const struct moe_import *moe_import_by_name(const char *name)
{
	for (size_t i = 0; moe_import_at(i); i++)
		if (strcmp(moe_import_at(i)->name, name) == 0)
			return moe_import_at(i);
	return NULL;
}
