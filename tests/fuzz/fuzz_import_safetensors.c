/* Any bytes as a file of --from safetensors. */
#include "import.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	import_bytes("safetensors", data, n, 64);
}
