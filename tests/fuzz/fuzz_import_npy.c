/* Any bytes as a file of --from npy. */
#include "import.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	import_bytes("npy", data, n, 64);
}
