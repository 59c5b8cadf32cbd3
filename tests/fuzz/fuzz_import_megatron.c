/* Any bytes as a file of --from megatron. */
#include "import.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	import_bytes("megatron", data, n, 64);
}
