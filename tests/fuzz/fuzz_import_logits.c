/* Any bytes as a file of --from logits. */
#include "import.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	import_bytes("logits", data, n, 0);
}
