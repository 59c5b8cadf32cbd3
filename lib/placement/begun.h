/* Work on a directory that a later run goes on with: `DIR.partial`, what is done of it, and `DIR.journal`, a line that
 * says what it is of, locked while a run is at it. Neither stays when all is done. Private to this folder. */
#ifndef MOE_PLACEMENT_BEGUN_H
#define MOE_PLACEMENT_BEGUN_H

#include "base/err.h"
#include "base/file.h"
#include "placement/layout.h"

struct moe_begun {
	char *journal, *partial;   /* paths */
	int fd;                    /* of the journal; -1: not open */
};

/* Locks the journal of `dir` and makes it one of `work`, 32 hex digits. What an earlier run of other work left is
 * MOE_EUSAGE, or removed with MOE_OUT_FORCE. Free it whatever comes back. */
MOE_MUST_USE enum moe_status moe_begun_open(struct moe_begun *begun, const char *dir, const char *work, unsigned flags,
                                            struct moe_err *err);
/* All is done: removes the journal, and what is left of the partial directory. */
void moe_begun_finish(struct moe_begun *begun);
void moe_begun_free(struct moe_begun *begun);
/* What the work of sharding is: the program, plan and model, and the source's files by name, size and time. */
MOE_MUST_USE enum moe_status moe_begun_work(const struct moe_layout *layout, char work[33], struct moe_err *err);

#endif
