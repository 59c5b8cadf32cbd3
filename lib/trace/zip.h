/* Zip archives, as far as .npz and .pt need them: members that are stored or deflated, each checked by its CRC. */
#ifndef MOE_TRACE_ZIP_H
#define MOE_TRACE_ZIP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/file.h"

struct moe_zip_member {
	const char *name;
	size_t offset, n_packed, n_bytes;   /* offset: of its packed bytes */
	uint32_t crc;
	bool deflated;
	const uint8_t *bytes;   /* once read */
};

/* A view of a mapping, which must outlive it. Zero-initialise; moe_zip_close frees. */
struct moe_zip {
	const struct moe_map *map;
	struct moe_arena arena;   /* names, and what was unpacked */
	struct moe_zip_member *members;   /* [n_members] in the order of the directory */
	size_t n_members;
	struct moe_zip_member **by_name;  /* [n_members] */
};

/* Reads the directory. Members that overlap each other, lie outside the file, or are called otherwise in front of their
 * bytes than in the directory, or like another one, are refused; so are encryption, other compressions, and archives of
 * several disks. */
MOE_MUST_USE enum moe_status moe_zip_open(struct moe_zip *zip, const struct moe_map *map, struct moe_err *err);
void moe_zip_close(struct moe_zip *zip);

struct moe_zip_member *moe_zip_find(const struct moe_zip *zip, const char *name);   /* or NULL */
/* *out [member->n_bytes]: a view until moe_zip_close. Memory grows with the bytes that really come. */
MOE_MUST_USE enum moe_status moe_zip_read(struct moe_zip *zip, struct moe_zip_member *member, const uint8_t **out,
                                          struct moe_err *err);

#endif
