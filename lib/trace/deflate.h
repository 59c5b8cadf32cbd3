/* Raw deflate and CRC-32 of one block of data, by libdeflate where the build found it, else by zlib. */
#ifndef MOE_TRACE_DEFLATE_H
#define MOE_TRACE_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct moe_deflate;

/* The state for packing (writes) or unpacking on each of n threads; NULL when out of memory. */
struct moe_deflate *moe_deflate_new(int n, bool writes);
void moe_deflate_free(struct moe_deflate *state, int n);   /* NULL is fine */

/* Packs by the state of a thread, always at the same level. Bytes written, or 0 where they are more than cap. */
size_t moe_deflate_pack(struct moe_deflate *state, int thread, const uint8_t *data, size_t n_data, uint8_t *out,
                        size_t cap);
/* True if n_packed bytes, no fewer, unpack to n_data bytes, which is less than cap, the room in out. */
bool moe_deflate_unpack(struct moe_deflate *state, int thread, const uint8_t *packed, size_t n_packed, uint8_t *out,
                        size_t cap, size_t n_data);
uint32_t moe_deflate_crc(const uint8_t *data, size_t n);

#endif
