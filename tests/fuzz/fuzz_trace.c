/* Traces from hostile bytes, read to their end. */
#include "fuzz.h"

#include "trace/trace.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	struct moe_err err = {0};
	struct moe_trace_in *in;
	const struct moe_trace_run *run;
	char path[64];
	int fd;

	fuzz_file(data, n, path, &fd);
	if (!moe_trace_open(&in, path, NULL, NULL, &err)) {
		while (!moe_trace_next(in, &run, &err) && run)
			;
		moe_trace_close(in);
	}
	close(fd);
}
