/* Zip archives (PKWARE's APPNOTE 6.3): the directory at the end, its ZIP64 form, and members of method 0 and 8. Sizes
 * are the directory's; of the header in front of a member, which may leave them to a record behind it, only the name
 * and the lengths count. */
#include "trace/zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/bytes.h"

#define END_SIGNATURE 0x06054b50u
#define END64_SIGNATURE 0x06064b50u
#define LOCATOR_SIGNATURE 0x07064b50u
#define ENTRY_SIGNATURE 0x02014b50u
#define LOCAL_SIGNATURE 0x04034b50u

enum { N_END = 22, N_END64 = 56, N_LOCATOR = 20, N_ENTRY = 46, N_LOCAL = 30, MAX_COMMENT = 65535, MAX_RATIO = 1032 };

static enum moe_status refuse(const struct moe_zip *zip, const char *what, struct moe_err *err)
{
	return moe_err_set(err, MOE_EFORMAT, "%s: not a zip archive this program can read: %s", zip->map->path, what);
}

/* Where the directory is. */
struct directory {
	uint64_t offset, n_bytes, n_entries;
};

static enum moe_status find_directory(const struct moe_zip *zip, struct directory *dir, struct moe_err *err)
{
	const uint8_t *const data = zip->map->data;
	const size_t n = zip->map->n_bytes;
	if (n < N_END)
		return refuse(zip, "it is too short", err);
	size_t at = n - N_END;
	const size_t least = at > MAX_COMMENT ? at - MAX_COMMENT : 0;
	while (moe_load_u32(data + at) != END_SIGNATURE || moe_load_u16(data + at + 20) != n - at - N_END) {
		if (at == least)
			return refuse(zip, "no end of a directory is where it should be", err);
		at--;
	}
	const uint8_t *end = data + at;
	if (moe_load_u16(end + 4) != 0 || moe_load_u16(end + 6) != 0 || moe_load_u16(end + 8) != moe_load_u16(end + 10))
		return refuse(zip, "it is one of several disks", err);
	*dir = (struct directory) { moe_load_u32(end + 16), moe_load_u32(end + 12), moe_load_u16(end + 10) };
	size_t limit = at;
	if (at >= N_LOCATOR && moe_load_u32(end - N_LOCATOR) == LOCATOR_SIGNATURE) {
		const uint64_t at64 = moe_load_u64(end - N_LOCATOR + 8);
		if (at64 > at - N_LOCATOR || at - N_LOCATOR - at64 < N_END64 ||
		    moe_load_u32(data + at64) != END64_SIGNATURE)
			return refuse(zip, "the 64-bit end of its directory is not where it should be", err);
		*dir = (struct directory) { moe_load_u64(data + at64 + 48), moe_load_u64(data + at64 + 40),
			                    moe_load_u64(data + at64 + 32) };
		limit = (size_t)at64;
	}
	if (dir->offset > limit || dir->n_bytes != limit - dir->offset || dir->n_entries > dir->n_bytes / N_ENTRY)
		return refuse(zip, "its directory does not lie in front of its end", err);
	return MOE_OK;
}

/* The numbers that did not fit in 32 bits, from the extra field of an entry. */
static bool read_extra64(const uint8_t *extra, size_t n, uint64_t *unpacked, uint64_t *packed, uint64_t *offset)
{
	while (n >= 4) {
		size_t n_field = moe_load_u16(extra + 2);
		if (n_field > n - 4)
			return false;
		if (moe_load_u16(extra) == 1) {
			uint64_t *const numbers[] = { unpacked, packed, offset };
			const uint8_t *p = extra + 4;
			for (int i = 0; i < 3; i++) {
				if (*numbers[i] != UINT32_MAX)
					continue;
				if (n_field < 8)
					return false;
				*numbers[i] = moe_load_u64(p);
				p += 8;
				n_field -= 8;
			}
			return true;
		}
		extra += 4 + n_field;
		n -= 4 + n_field;
	}
	return *unpacked != UINT32_MAX && *packed != UINT32_MAX && *offset != UINT32_MAX;
}

/* The header in front of a member's bytes: sets member->offset. */
static enum moe_status check_local(const struct moe_zip *zip, uint64_t offset, const uint8_t *name, size_t n_name,
                                   struct moe_zip_member *member, uint64_t dir_offset, struct moe_err *err)
{
	const uint8_t *const data = zip->map->data;
	if (offset > dir_offset || dir_offset - offset < N_LOCAL + n_name ||
	    moe_load_u32(data + offset) != LOCAL_SIGNATURE)
		return refuse(zip, "a member is not where its directory says", err);
	if (moe_load_u16(data + offset + 26) != n_name || memcmp(data + offset + N_LOCAL, name, n_name) != 0)
		return refuse(zip, "a member is called otherwise than its directory says", err);
	member->offset = (size_t)offset + N_LOCAL + n_name + moe_load_u16(data + offset + 28);
	if (member->offset > dir_offset || member->n_packed > dir_offset - member->offset)
		return refuse(zip, "a member ends behind the members", err);
	return MOE_OK;
}

static enum moe_status read_entry(struct moe_zip *zip, const uint8_t *p, size_t n, uint64_t dir_offset,
                                  struct moe_zip_member *member, size_t *n_entry, struct moe_err *err)
{
	if (n < N_ENTRY || moe_load_u32(p) != ENTRY_SIGNATURE)
		return refuse(zip, "its directory holds something else than entries", err);
	const size_t n_name = moe_load_u16(p + 28), n_extra = moe_load_u16(p + 30), n_comment = moe_load_u16(p + 32);
	const unsigned flags = moe_load_u16(p + 8), method = moe_load_u16(p + 10);
	uint64_t packed = moe_load_u32(p + 20), unpacked = moe_load_u32(p + 24), offset = moe_load_u32(p + 42);
	*n_entry = N_ENTRY + n_name + n_extra + n_comment;
	if (*n_entry > n)
		return refuse(zip, "an entry of its directory is cut short", err);
	if (flags & 0x2041)
		return refuse(zip, "it is encrypted", err);
	if (method != 0 && method != 8)
		return refuse(zip, "a member is compressed otherwise than by deflate", err);
	if (moe_load_u16(p + 34) != 0)
		return refuse(zip, "it is one of several disks", err);
	if (!read_extra64(p + N_ENTRY + n_name, n_extra, &unpacked, &packed, &offset))
		return refuse(zip, "an entry of its directory lacks its 64-bit sizes", err);
	if (memchr(p + N_ENTRY, 0, n_name))
		return refuse(zip, "the name of a member holds a NUL byte", err);
	member->name = moe_arena_strndup(&zip->arena, (const char *)p + N_ENTRY, n_name);
	if (!member->name)
		return moe_err_nomem(err, n_name, "names");
	member->crc = moe_load_u32(p + 16);
	member->deflated = method == 8;
	member->n_packed = (size_t)packed;
	member->n_bytes = (size_t)unpacked;
	if (member->deflated ? unpacked / MAX_RATIO > packed : unpacked != packed)
		return refuse(zip, "a member claims more bytes than can be in it", err);
	return check_local(zip, offset, p + N_ENTRY, n_name, member, dir_offset, err);
}

static int compare_offsets(const void *left, const void *right)
{
	const struct moe_zip_member *a = *(struct moe_zip_member *const *)left;
	const struct moe_zip_member *b = *(struct moe_zip_member *const *)right;
	return a->offset != b->offset ? (a->offset < b->offset ? -1 : 1) :
	       a->n_packed != b->n_packed ? (a->n_packed < b->n_packed ? -1 : 1) : 0;
}

static int compare_names(const void *left, const void *right)
{
	return strcmp((*(struct moe_zip_member *const *)left)->name, (*(struct moe_zip_member *const *)right)->name);
}

/* No byte belongs to two members, and no two are called the same. */
static enum moe_status check_members(struct moe_zip *zip, struct moe_err *err)
{
	struct moe_zip_member **const list = MOE_NEW(&zip->arena, struct moe_zip_member *, zip->n_members);
	if (!list)
		return moe_err_nomem(err, zip->n_members * sizeof(struct moe_zip_member *), "a directory");
	for (size_t i = 0; i < zip->n_members; i++)
		list[i] = &zip->members[i];
	zip->by_name = list;
	if (zip->n_members < 2)
		return MOE_OK;
	qsort(list, zip->n_members, sizeof(struct moe_zip_member *), compare_offsets);
	for (size_t i = 1; i < zip->n_members; i++)
		if (list[i]->offset - list[i - 1]->offset < list[i - 1]->n_packed + N_LOCAL)
			return refuse(zip, "two members share bytes", err);
	qsort(list, zip->n_members, sizeof(struct moe_zip_member *), compare_names);
	for (size_t i = 1; i < zip->n_members; i++)
		if (strcmp(list[i]->name, list[i - 1]->name) == 0)
			return refuse(zip, "two members are called the same", err);
	return MOE_OK;
}

enum moe_status moe_zip_open(struct moe_zip *zip, const struct moe_map *map, struct moe_err *err)
{
	struct directory dir = {0};
	zip->map = map;
	enum moe_status status = find_directory(zip, &dir, err);
	if (status)
		return status;
	const uint8_t *p = map->data + dir.offset;
	size_t left = (size_t)dir.n_bytes;
	zip->members = MOE_NEW(&zip->arena, struct moe_zip_member, (size_t)dir.n_entries);
	if (!zip->members)
		return moe_err_nomem(err, (size_t)dir.n_entries * sizeof *zip->members, "a directory");
	while (!status && zip->n_members < dir.n_entries) {
		size_t n_entry = 0;
		status = read_entry(zip, p, left, dir.offset, &zip->members[zip->n_members], &n_entry, err);
		if (!status)
			zip->n_members++;
		p += n_entry;
		left -= status ? 0 : n_entry;
	}
	if (!status && left)
		return refuse(zip, "its directory is longer than its entries", err);
	return status ? status : check_members(zip, err);
}

void moe_zip_close(struct moe_zip *zip)
{
	moe_arena_free(&zip->arena);
	*zip = (struct moe_zip) {0};
}

struct moe_zip_member *moe_zip_find(const struct moe_zip *zip, const char *name)
{
	size_t from = 0, to = zip->n_members;
	while (from < to) {
		const size_t middle = from + (to - from) / 2;
		const int order = strcmp(name, zip->by_name[middle]->name);
		if (order == 0)
			return zip->by_name[middle];
		*(order < 0 ? &to : &from) = order < 0 ? middle : middle + 1;
	}
	return NULL;
}

/* The deflated bytes of a member into buf, as many as there should be or fewer. */
static int unpack(const struct moe_zip *zip, const struct moe_zip_member *m, struct moe_buf *buf)
{
	z_stream z = {0};
	const uint8_t *in = zip->map->data + m->offset;
	size_t left = m->n_packed;
	int result = inflateInit2(&z, -MAX_WBITS);
	if (result != Z_OK)
		return result;
	while (result == Z_OK && buf->n <= m->n_bytes) {
		const size_t more = buf->n < 65536 ? 65536 : buf->n;
		size_t room = m->n_bytes - buf->n < more ? m->n_bytes - buf->n + 1 : more;   /* 1: to see too many */
		char *to = moe_buf_room(buf, room);
		if (!to) {
			result = Z_MEM_ERROR;
			break;
		}
		if (room > UINT32_MAX)
			room = UINT32_MAX;
		const size_t n_in = left < UINT32_MAX ? left : UINT32_MAX;
		z.next_in = (Bytef *)in;
		z.avail_in = (uInt)n_in;
		z.next_out = (Bytef *)to;
		z.avail_out = (uInt)room;
		result = inflate(&z, Z_NO_FLUSH);
		in += n_in - z.avail_in;
		left -= n_in - z.avail_in;
		buf->n += room - z.avail_out;
	}
	inflateEnd(&z);
	return result == Z_STREAM_END && left > 0 ? Z_DATA_ERROR : result;
}

enum moe_status moe_zip_read(struct moe_zip *zip, struct moe_zip_member *m, const uint8_t **out, struct moe_err *err)
{
	struct moe_buf buf = {0};
	const char *const path = zip->map->path;
	enum moe_status status = MOE_OK;
	*out = m->bytes ? m->bytes : zip->map->data + m->offset;
	if (m->bytes)
		return MOE_OK;
	if (m->deflated) {
		const int result = unpack(zip, m, &buf);
		if (result == Z_MEM_ERROR)
			status = moe_err_nomem(err, m->n_bytes, m->name);
		else if (result != Z_STREAM_END || buf.n != m->n_bytes)
			status = moe_err_set(err, MOE_EFORMAT, "%s: member %.200s: does not unpack to the %zu bytes "
			                     "its directory says", path, m->name, m->n_bytes);
	}
	if (!status && m->deflated) {
		uint8_t *copy = moe_arena_alloc(&zip->arena, m->n_bytes, 1);
		if (copy && m->n_bytes)
			memcpy(copy, buf.p, m->n_bytes);
		*out = copy;
		if (!copy)
			status = moe_err_nomem(err, m->n_bytes, m->name);
	}
	moe_buf_free(&buf);
	if (!status && crc32_z(0, *out, m->n_bytes) != m->crc)
		status = moe_err_set(err, MOE_EFORMAT, "%s: member %.200s: its CRC is not that of its bytes: it is "
		                     "damaged", path, m->name);
	if (!status)
		m->bytes = *out;
	return status;
}
