/* A fuzzer of one parser: the .c file defines fuzz_one(), and includes this once.
 *
 * Built with -DMOE_FUZZER it is a libFuzzer target. Otherwise main() replays every file of the folder MOE_TEST_CORPUS,
 * and of each a number of seeded variants: cut, bits flipped, bytes set to extremes, stretches repeated. A sanitizer, a
 * crash or an assertion is what fails; a parser that refuses its input is right. */
#ifndef MOE_TESTS_FUZZ_H
#define MOE_TESTS_FUZZ_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void fuzz_one(const uint8_t *data, size_t n);

/* The bytes as a file of their own, for parsers that take a path; *fd is closed by the caller. */
__attribute__((unused))
static const char *fuzz_file(const uint8_t *data, size_t n, char path[64], int *fd)
{
	*fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (*fd < 0 || write(*fd, data, n) != (ssize_t)n)
		abort();
	lseek(*fd, 0, SEEK_SET);
	snprintf(path, 64, "/proc/self/fd/%d", *fd);
	return path;
}

#ifdef MOE_FUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	fuzz_one(data, n);
	return 0;
}

#else

#include <dirent.h>

#include "../tap.h"
#include "base/rng.h"

enum { FUZZ_VARIANTS = 300, FUZZ_LIMIT = 1 << 20 };

/* Variant `v` of a seed, in place; returns its length, at most twice the seed's. */
static size_t fuzz_vary(uint8_t *bytes, size_t n, uint64_t v)
{
	static const uint8_t extremes[] = {0x00, 0x01, 0x7f, 0x80, 0xff, '"', '{', '[', '-', '9', '\t', '\n'};
	uint64_t draw = 0;
	size_t n_edits = 1 + moe_rng_u64(v, 0, draw++) % 8;

	for (size_t i = 0; i < n_edits && n > 0; i++) {
		uint64_t what = moe_rng_u64(v, 1, draw), where = moe_rng_u64(v, 2, draw) % n;
		uint64_t much = moe_rng_u64(v, 3, draw++);

		/* Headers are where parsers decide: half of the edits go to the first bytes. */
		if (what & 16)
			where %= 64;
		if (where >= n)
			where = n - 1;
		switch (what % 8) {
		case 0:
			n = where;
			break;
		case 1:
		case 2:
			bytes[where] ^= (uint8_t)(1u << (much % 8));
			break;
		case 3:
			bytes[where] = extremes[much % sizeof extremes];
			break;
		case 4:
			for (size_t k = where; k < n && k < where + 8; k++)
				bytes[k] = extremes[much % 5];
			break;
		case 5: {
			size_t len = much % 32 + 1;

			if (where + len > n)
				len = n - where;
			memmove(bytes + where, bytes + where + len, n - where - len);
			n -= len;
			break;
		}
		case 6:
			bytes[where] = (uint8_t)(bytes[where] + (much & 1 ? 1 : 255));
			break;
		default:
			memmove(bytes + where, bytes + much % n, n - (where > much % n ? where : much % n));
		}
	}
	return n;
}

static void fuzz_replay(const char *path, const char *name)
{
	uint8_t *seed = malloc(FUZZ_LIMIT), *bytes;
	FILE *f = fopen(path, "rb");
	size_t n = f && seed ? fread(seed, 1, FUZZ_LIMIT, f) : 0;

	if (!ok(f && n < FUZZ_LIMIT, "%s: read", name)) {
		free(seed);
		if (f)
			fclose(f);
		return;
	}
	fclose(f);
	fuzz_one(seed, n);
	for (uint64_t v = 0; v < FUZZ_VARIANTS; v++) {
		size_t m;

		/* Exactly as large as the input, so that a sanitizer sees the first byte past it. */
		bytes = malloc(n ? n : 1);
		memcpy(bytes, seed, n);
		m = fuzz_vary(bytes, n, v);
		bytes = realloc(bytes, m ? m : 1);
		fuzz_one(bytes, m);
		free(bytes);
	}
	ok(true, "%s and %d variants of it", name, FUZZ_VARIANTS);
	free(seed);
}

int main(void)
{
	const char *folder = getenv("MOE_TEST_CORPUS");
	struct dirent **list;
	int n = folder ? scandir(folder, &list, NULL, alphasort) : -1, n_files = 0;
	char path[4096];

	for (int i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.') {
			snprintf(path, sizeof path, "%s/%s", folder, list[i]->d_name);
			fuzz_replay(path, list[i]->d_name);
			n_files++;
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	ok(n_files > 0, "a corpus in %s", folder ? folder : "(MOE_TEST_CORPUS is not set)");
	return done();
}

#endif
#endif
