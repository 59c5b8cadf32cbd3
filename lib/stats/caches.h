/* Caches of experts of every size, replayed over the choices of a part.
 *
 * All choices of a token are looked up, then taken in, in the order in which they are listed. The cache is empty at the
 * start of a part and is kept from one sequence to the next. Four rules say who stays:
 *
 *	lru      the experts chosen last
 *	lfu      the experts chosen most often so far; of equals those chosen last
 *	static   those chosen most often in the first half of the part's tokens; looked up in its second half only
 *	belady   those whose next use comes first, which may leave out the expert at hand: no rule does better
 *
 * What each keeps in R places is a part of what it keeps in R + 1, so one replay tells all sizes (Mattson et al. 1970,
 * Evaluation techniques for storage hierarchies): a choice hits in every cache with at least as many places as its
 * position in the rule's list. The two rules that know the future need the sequence of choices: it is kept until the
 * part ends, one byte per choice (two with more than 256 experts, four with more than 65536), at most MOE_CACHES_MAX
 * in all layers. */
#ifndef MOE_STATS_CACHES_H
#define MOE_STATS_CACHES_H

#include <stdint.h>

#include "stats/stats.h"
#include "stats/stream.h"

#define MOE_CACHES_MAX ((size_t)4 << 30)

enum moe_cache_rule { MOE_CACHE_LRU, MOE_CACHE_LFU, MOE_CACHE_STATIC, MOE_CACHE_BELADY, MOE_CACHE_RULES };

struct moe_caches {
	uint64_t n_choices, n_late;   /* all; those that the static list was tried on */
	uint8_t *ids;                 /* owned: of the part that is under way */
	size_t n_bytes, cap_bytes;
	int32_t n_keys;               /* experts: of a layer, or of all layers together */
	int32_t unused;
	uint64_t hits[];              /* [MOE_CACHE_RULES][n_keys] by position in the rule's list */
};

/* Each layer has caches of its own; or all layers that are fed share one, and the first holds the sums. */
extern const struct moe_stream moe_stream_caches, moe_stream_caches_shared;

/* Appends a row for every number of places: resident lru lfu static belady. */
void moe_caches_put(const struct moe_counts *counts, struct moe_rows *rows);

#endif
