/* XXH3-128 through libxxhash. The text is the canonical (big-endian) form, as xxhsum -H2 prints it. */
#include "base/hash.h"

#include <stdlib.h>
#include <xxhash.h>

struct moe_hash {
	XXH3_state_t *state;
};

struct moe_hash *moe_hash_new(void)
{
	struct moe_hash *hash = calloc(1, sizeof *hash);

	if (!hash)
		return NULL;
	hash->state = XXH3_createState();
	if (!hash->state) {
		free(hash);
		return NULL;
	}
	XXH3_128bits_reset(hash->state);
	return hash;
}

void moe_hash_reset(struct moe_hash *hash) { XXH3_128bits_reset(hash->state); }

void moe_hash_add(struct moe_hash *hash, const void *bytes, size_t n_bytes)
{
	if (n_bytes > 0)
		XXH3_128bits_update(hash->state, bytes, n_bytes);
}

void moe_hash_text(const struct moe_hash *hash, char out[33])
{
	static const char digits[] = "0123456789abcdef";
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(hash->state));
	for (int i = 0; i < 16; i++) {
		out[2 * i] = digits[canonical.digest[i] >> 4];
		out[2 * i + 1] = digits[canonical.digest[i] & 15];
	}
	out[32] = '\0';
}

void moe_hash_free(struct moe_hash *hash)
{
	if (!hash)
		return;
	XXH3_freeState(hash->state);
	free(hash);
}
