/* The only threading there is: pieces claimed dynamically, results by index, so that nothing depends on -j.
 * Waiting threads spin briefly, then sleep. */
#ifndef MOE_BASE_POOL_H
#define MOE_BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct moe_pool;

/* n_threads >= 1, the caller's own included; 0 asks for the cores this process may use (cgroup quota, cpuset,
 * OMP_NUM_THREADS). */
MOE_MUST_USE enum moe_status moe_pool_new(struct moe_pool **out, int n_threads, struct moe_err *err);
void moe_pool_free(struct moe_pool *pool);   /* NULL is fine */
int moe_pool_threads(const struct moe_pool *pool);   /* 1 for NULL */

/* Calls fn(arg, begin, end, thread) over [0, n) in pieces of `grain`; returns when all are done.
 * thread is in [0, moe_pool_threads). pool NULL runs everything in the caller. Not re-entrant from inside fn;
 * two threads that call it at once take turns. */
void moe_pool_for(struct moe_pool *pool, int64_t n, int64_t grain,
                  void (*fn)(void *arg, int64_t begin, int64_t end, int thread), void *arg);

/* read | work | write: read is called for item 0, 1, 2, ... by one thread at a time until it sets *done
 * (then slot holds no item); work runs on any thread, several items at once; write is called in the order of reading,
 * by one thread at a time. Reading, working and writing overlap. At most n_slots items are under way; `slot`
 * (0 .. n_slots-1) names the caller's buffer. The failure of the earliest item stops the flow and is returned, after
 * the items before it were written: the same whatever the number of threads. */
struct moe_pipe {
	int n_slots;
	void *arg;
	enum moe_status (*read)(void *arg, int slot, int *done, struct moe_err *err);
	enum moe_status (*work)(void *arg, int slot, struct moe_err *err);
	enum moe_status (*write)(void *arg, int slot, struct moe_err *err);
};

MOE_MUST_USE enum moe_status moe_pipe_run(struct moe_pool *pool, const struct moe_pipe *pipe, struct moe_err *err);

#endif
