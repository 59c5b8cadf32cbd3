/* Slots counted over all ranks, which is how other programs name places: slot s of S is on rank s / (S / ranks).
 * Private to this folder. */
#ifndef MOE_PLACEMENT_SLOTS_H
#define MOE_PLACEMENT_SLOTS_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "trace/arrays.h"

struct moe_slots {
	int32_t n_layers, n_slots, n_experts;
	int32_t n_ranks;       /* 0: not known */
	int32_t *experts;      /* [n_layers][n_slots] */
	int32_t *replicas;     /* [n_layers][n_slots] which copy of the expert, or NULL: not known */
};

void moe_slots_free(struct moe_slots *slots);   /* leaves it zero */

/* Whole numbers of one to three dimensions. */
struct moe_ints {
	int32_t n_dims;
	int64_t dims[3];
	int64_t *v;
};
void moe_ints_free(struct moe_ints *ints);
/* From nested lists, of equal lengths in each dimension. `where` ("map.json: phy2log") begins every sentence. */
MOE_MUST_USE enum moe_status moe_ints_json(struct moe_ints *out, const json_t *value, int32_t n_dims, const char *where,
                                           struct moe_err *err);
MOE_MUST_USE enum moe_status moe_ints_array(struct moe_ints *out, const struct moe_array *array, int32_t n_dims,
                                            const char *where, struct moe_err *err);

/* Slots from [layers][slots] experts. n_experts is one more than the largest. */
MOE_MUST_USE enum moe_status moe_slots_of_experts(struct moe_slots *out, const struct moe_ints *experts,
                                                  const char *where, struct moe_err *err);
/* From [layers][experts][copies] slots, -1 behind the last copy of each. out may hold slots already, and must then be
 * the same; its replicas are set. */
MOE_MUST_USE enum moe_status moe_slots_of_copies(struct moe_slots *out, const struct moe_ints *copies,
                                                 const char *where, struct moe_err *err);
/* Are [layers][experts] numbers of copies those of the slots? */
MOE_MUST_USE enum moe_status moe_slots_check_numbers(const struct moe_slots *slots, const struct moe_ints *numbers,
                                                     const char *where, struct moe_err *err);
/* The same in the other direction; of a plan's slots, whose replicas are known. */
MOE_MUST_USE enum moe_status moe_slots_experts(const struct moe_slots *slots, struct moe_ints *experts,
                                               struct moe_err *err);
MOE_MUST_USE enum moe_status moe_slots_copies(const struct moe_slots *slots, struct moe_ints *copies,
                                              struct moe_err *err);
MOE_MUST_USE enum moe_status moe_slots_numbers(const struct moe_slots *slots, struct moe_ints *numbers,
                                               struct moe_err *err);

/* The three as an object of nested lists, under these keys; a NULL key is left out. */
struct moe_slots_keys {
	const char *experts, *copies, *numbers;
};
/* Needs the first or the second of them; the others must agree. */
MOE_MUST_USE enum moe_status moe_slots_read_json(struct moe_slots *out, const char *path,
                                                 const struct moe_slots_keys *keys, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_slots_write_json(const struct moe_slots *slots, const struct moe_slots_keys *keys,
                                                  struct moe_buf *out, struct moe_err *err);

/* One array of int64 as a .npy file, and any integers of one back. */
MOE_MUST_USE enum moe_status moe_ints_read_npy(struct moe_ints *out, const char *path, int32_t n_dims,
                                               struct moe_watch *watch, struct moe_err *err);
MOE_MUST_USE enum moe_status moe_ints_write_npy(const struct moe_ints *ints, struct moe_buf *out, struct moe_err *err);

#define MOE_FORM_MAX_BYTES ((size_t)256 << 20)   /* of a file of text */

#endif
