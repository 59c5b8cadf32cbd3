/* Any bytes as a file of --from npz. */
#include "import.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	import_bytes("npz", data, n, 64);
}
