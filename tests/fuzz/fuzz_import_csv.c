/* Any bytes as a file of --from csv. */
#include "import.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	import_bytes("csv", data, n, 64);
}
