/* The pool and the pipe: everything once, in order, and the earliest failure whatever the number of threads. */
#include "base/pool.h"

#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "../tap.h"
#include "base/cores.h"
#include "base/rng.h"

#define N 10000

struct range_test {
	_Atomic int n_seen[N];
	_Atomic int64_t by_thread[16];
	int64_t grain;
	int n_threads;
	_Atomic bool bad;
	bool slow;
};

static void count(void *arg, int64_t begin, int64_t end, int thread)
{
	struct range_test *t = arg;

	if (begin < 0 || end > N || begin >= end || end - begin > t->grain || thread < 0 || thread >= t->n_threads)
		t->bad = true;
	for (int64_t i = begin; i < end; i++)
		t->n_seen[i]++;
	t->by_thread[thread] += end - begin;
	/* One very long piece: the others must not wait for it. */
	if (t->slow && begin == 0)
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
}

static void test_for(int n_threads)
{
	static const int64_t grains[] = {1, 7, 64, N - 1, N, N + 1};
	struct moe_pool *pool = NULL;
	struct moe_err err = {0};

	ok(!moe_pool_new(&pool, n_threads, &err), "a pool of %d", n_threads);
	is_i64(moe_pool_threads(pool), n_threads, "counts its threads");
	for (size_t g = 0; g < sizeof grains / sizeof *grains; g++) {
		static struct range_test t;
		int wrong = 0;

		t = (struct range_test){.grain = grains[g], .n_threads = n_threads};
		for (int again = 0; again < 50; again++)
			moe_pool_for(pool, N, grains[g], count, &t);
		for (int i = 0; i < N; i++)
			wrong += t.n_seen[i] != 50;
		ok(wrong == 0 && !t.bad, "grain %d: every index once a call", (int)grains[g]);
	}
	moe_pool_for(pool, 0, 1, count, NULL);
	moe_pool_for(pool, -5, 1, count, NULL);
	ok(true, "an empty range calls nothing");
	moe_pool_free(pool);
}

static void test_dynamic(void)
{
	static struct range_test t;
	struct moe_pool *pool = NULL;
	struct moe_err err = {0};
	int64_t most = 0;

	t = (struct range_test){.grain = 10, .n_threads = 4, .slow = true};
	ok(!moe_pool_new(&pool, 4, &err), "a pool");
	moe_pool_for(pool, N, 10, count, &t);
	for (int i = 0; i < 4; i++)
		most = t.by_thread[i] > most ? t.by_thread[i] : most;
	ok(most > N / 4, "while one is held up others take more than their share");
	moe_pool_free(pool);
	moe_pool_free(NULL);
	is_i64(moe_pool_threads(NULL), 1, "no pool is one thread");
}

/* Many short jobs with pauses, so that workers are met spinning, falling asleep and asleep. */
static void test_wakeups(void)
{
	static struct range_test t;
	struct moe_pool *pool = NULL;
	struct moe_err err = {0};
	int wrong = 0;

	t = (struct range_test){.grain = 1, .n_threads = 3};
	ok(!moe_pool_new(&pool, 3, &err), "a pool");
	for (int i = 0; i < 2000; i++) {
		moe_pool_for(pool, 5, 1, count, &t);
		if (i % 3 == 0)
			nanosleep(&(struct timespec){.tv_nsec = (i % 40) * 1000}, NULL);
	}
	for (int i = 0; i < 5; i++)
		wrong += t.n_seen[i] != 2000;
	is_i64(wrong, 0, "2000 short jobs, none lost");
	moe_pool_free(pool);
}

struct pipe_test {
	int n_items, n_slots;
	int fail_read, fail_work, fail_write, fail_late;   /* items that fail, or -1 */
	int n_read, n_written;
	int slots[8];          /* the item in each */
	bool in_order;
	_Atomic int n_busy[8];
	_Atomic bool clash;
	_Atomic int reading, writing;
};

static void nap(int item)
{
	nanosleep(&(struct timespec){.tv_nsec = (long)(moe_rng_mix((uint64_t)item) % 200) * 1000}, NULL);
}

static enum moe_status read_item(void *arg, int slot, int *end, struct moe_err *err)
{
	struct pipe_test *t = arg;

	if (t->reading++ || t->n_busy[slot])
		t->clash = true;
	*end = t->n_read == t->n_items;
	t->slots[slot] = t->n_read;
	t->reading--;
	if (t->n_read == t->fail_read)
		return moe_err_set(err, MOE_EIO, "read %d", t->n_read);
	t->n_read += !*end;
	t->n_busy[slot] = !*end;
	return MOE_OK;
}

static enum moe_status work_item(void *arg, int slot, struct moe_err *err)
{
	struct pipe_test *t = arg;
	int item = t->slots[slot];

	nap(item);
	/* The later item fails at once, the earlier one takes its time. */
	if (item == t->fail_work) {
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
		return moe_err_set(err, MOE_EFORMAT, "work %d", item);
	}
	if (item == t->fail_late)
		return moe_err_set(err, MOE_EIO, "late %d", item);
	return MOE_OK;
}

static enum moe_status write_item(void *arg, int slot, struct moe_err *err)
{
	struct pipe_test *t = arg;

	if (t->writing++ || !t->n_busy[slot])
		t->clash = true;
	t->in_order = t->in_order && t->slots[slot] == t->n_written;
	t->n_busy[slot] = 0;
	t->writing--;
	if (t->slots[slot] == t->fail_write)
		return moe_err_set(err, MOE_EIO, "write %d", t->slots[slot]);
	t->n_written++;
	return MOE_OK;
}

static enum moe_status flow(struct pipe_test *t, int n_threads, int n_slots, struct moe_err *err)
{
	struct moe_pipe pipe = {n_slots, t, read_item, work_item, write_item};
	struct moe_pool *pool = NULL;
	enum moe_status status;

	t->in_order = true;
	if (moe_pool_new(&pool, n_threads, err))
		return MOE_EUSAGE;
	status = moe_pipe_run(pool, &pipe, err);
	moe_pool_free(pool);
	ok(!t->clash && t->in_order, "%d threads, %d slots: in order, no slot shared", n_threads, n_slots);
	return status;
}

static void test_pipe(void)
{
	for (int n_threads = 1; n_threads <= 4; n_threads++)
		for (int n_slots = 1; n_slots <= 8; n_slots = n_slots * 2 + 1) {
			struct pipe_test t = {300, .fail_read = -1, .fail_work = -1, .fail_write = -1, .fail_late = -1};
			struct moe_err err = {0};

			is_i64(flow(&t, n_threads, n_slots, &err), MOE_OK, "300 items");
			is_i64(t.n_written, 300, "all written");
			t = (struct pipe_test){100, .fail_read = -1, .fail_work = 20,
			                        .fail_write = -1, .fail_late = 22};
			is_i64(flow(&t, n_threads, n_slots, &err), MOE_EFORMAT, "of two failures");
			is_str(err.text, "work 20", "the one of the earlier item");
			is_i64(t.n_written, 20, "after what was before it");
			t = (struct pipe_test){100, .fail_read = 30, .fail_work = -1,
			                        .fail_write = -1, .fail_late = -1};
			is_i64(flow(&t, n_threads, n_slots, &err), MOE_EIO, "a read that fails");
			is_str(err.text, "read 30", "is reported");
			is_i64(t.n_written, 30, "after what was before it");
			t = (struct pipe_test){100, .fail_read = 12, .fail_work = 11,
			                        .fail_write = 10, .fail_late = 9};
			is_i64(flow(&t, n_threads, n_slots, &err), MOE_EIO, "failures everywhere");
			is_str(err.text, "late 9", "the earliest");
			t = (struct pipe_test){100, .fail_read = 12, .fail_work = 11,
			                        .fail_write = 10, .fail_late = -1};
			is_i64(flow(&t, n_threads, n_slots, &err), MOE_EIO, "a write that fails");
			is_str(err.text, "write 10", "is reported");
			t = (struct pipe_test){0, .fail_read = -1, .fail_work = -1,
			                        .fail_write = -1, .fail_late = -1};
			is_i64(flow(&t, n_threads, n_slots, &err), MOE_OK, "no items at all");
		}
}

static void test_cores(void)
{
	struct moe_pool *pool = NULL;
	struct moe_err err = {0};
	cpu_set_t set, one;
	int all = moe_core_count();

	ok(all >= 1, "there is a core");
	setenv("OMP_NUM_THREADS", "1,4", 1);
	is_i64(moe_core_count(), 1, "OMP_NUM_THREADS limits");
	setenv("OMP_NUM_THREADS", "100000", 1);
	is_i64(moe_core_count(), all, "but adds nothing");
	unsetenv("OMP_NUM_THREADS");
	if (sched_getaffinity(0, sizeof set, &set) == 0) {
		CPU_ZERO(&one);
		for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
			if (CPU_ISSET(i, &set))
				CPU_SET(i, &one);
		sched_setaffinity(0, sizeof one, &one);
		is_i64(moe_core_count(), 1, "affinity limits");
		sched_setaffinity(0, sizeof set, &set);
	}
	ok(!moe_pool_new(&pool, 0, &err) && moe_pool_threads(pool) == all, "0 threads are all of them");
	moe_pool_free(pool);
	is_i64(moe_pool_new(&pool, -1, &err), MOE_EUSAGE, "-1 threads are misuse");
}

int main(void)
{
	for (int n_threads = 1; n_threads <= 5; n_threads++)
		test_for(n_threads);
	test_dynamic();
	test_wakeups();
	test_pipe();
	test_cores();
	return done();
}
