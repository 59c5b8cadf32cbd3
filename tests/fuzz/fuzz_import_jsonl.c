/* Any bytes as a file of --from jsonl. */
#include "import.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	import_bytes("jsonl", data, n, 64);
}
