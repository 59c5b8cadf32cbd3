/* Any bytes as a file of --from pt. */
#include "import.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	import_bytes("pt", data, n, 64);
}
