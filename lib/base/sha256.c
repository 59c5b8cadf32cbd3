/* SHA-256 through libnettle, where the build found it. */
#include "base/sha256.h"

#include <stdlib.h>

#ifdef MOE_HAVE_NETTLE

#include <nettle/sha2.h>

struct moe_sha256 {
	struct sha256_ctx ctx;
};

enum moe_status moe_sha256_check(struct moe_err *err)
{
	(void)err;
	return MOE_OK;
}

struct moe_sha256 *moe_sha256_new(void)
{
	struct moe_sha256 *sha = malloc(sizeof *sha);

	if (sha)
		sha256_init(&sha->ctx);
	return sha;
}

void moe_sha256_add(struct moe_sha256 *sha, const void *bytes, size_t n_bytes)
{
	if (n_bytes > 0)
		sha256_update(&sha->ctx, n_bytes, bytes);
}

void moe_sha256_text(struct moe_sha256 *sha, char out[65])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t digest[SHA256_DIGEST_SIZE];

	sha256_digest(&sha->ctx, sizeof digest, digest);
	for (size_t i = 0; i < sizeof digest; i++) {
		out[2 * i] = digits[digest[i] >> 4];
		out[2 * i + 1] = digits[digest[i] & 15];
	}
	out[64] = '\0';
}

void moe_sha256_free(struct moe_sha256 *sha) { free(sha); }

#else

enum moe_status moe_sha256_check(struct moe_err *err)
{
	return moe_err_set(err, MOE_EUSAGE, "SHA-256: this program was built without libnettle");
}

struct moe_sha256 *moe_sha256_new(void) { return NULL; }

void moe_sha256_add(struct moe_sha256 *sha, const void *bytes, size_t n_bytes)
{
	(void)sha;
	(void)bytes;
	(void)n_bytes;
}

void moe_sha256_text(struct moe_sha256 *sha, char out[65])
{
	(void)sha;
	out[0] = '\0';
}

void moe_sha256_free(struct moe_sha256 *sha) { (void)sha; }

#endif
