/* Threads that claim pieces of a range from a counter. One word, the gate, says which job is open and how many
 * workers are inside, so a worker that wakes too late finds the gate shut and the caller never waits for sleepers. */
#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/cores.h"

/* gate: job number << 32 | open << 31 | workers inside */
#define GATE_OPEN (UINT64_C(1) << 31)
#define GATE_INSIDE (GATE_OPEN - 1)
#define GATE_JOB(gate) ((gate) >> 32)
#define SPIN_NS 20000
#define MAX_THREADS 4096

struct moe_pool {
	int n_threads;               /* the caller's included */
	pthread_t *threads;          /* [n_threads - 1] */
	int n_started;
	pthread_mutex_t callers;     /* one moe_pool_for at a time */
	pthread_mutex_t mutex;       /* for the two conditions */
	pthread_cond_t opened, emptied;
	_Atomic uint64_t gate;
	_Atomic int n_sleeping;
	_Atomic bool caller_sleeps, quit;
	/* The open job. */
	void (*fn)(void *arg, int64_t begin, int64_t end, int thread);
	void *arg;
	int64_t n, grain;
	_Atomic int64_t next;        /* first index nobody claimed */
};

struct worker {
	struct moe_pool *pool;
	int index;
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A new job, or the end. */
static bool is_called(struct moe_pool *pool, uint64_t seen)
{
	uint64_t gate = pool->gate;
	return pool->quit || ((gate & GATE_OPEN) && GATE_JOB(gate) != seen);
}

static bool is_empty(struct moe_pool *pool, uint64_t unused)
{
	(void)unused;
	return (pool->gate & (GATE_OPEN | GATE_INSIDE)) == 0;
}

static bool spin_until(struct moe_pool *pool, bool (*ready)(struct moe_pool *, uint64_t), uint64_t seen)
{
	int64_t until = now_ns() + SPIN_NS;

	do {
		for (int i = 0; i < 32; i++) {
			if (ready(pool, seen))
				return true;
			relax();
		}
	} while (now_ns() < until);
	return false;
}

static void run_pieces(struct moe_pool *pool, int thread)
{
	int64_t n = pool->n, grain = pool->grain;

	for (;;) {
		int64_t begin = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);

		if (begin >= (n - 1) / grain + 1)
			return;
		begin *= grain;
		pool->fn(pool->arg, begin, n - begin < grain ? n : begin + grain, thread);
	}
}

static void wait_for_call(struct moe_pool *pool, uint64_t seen)
{
	if (spin_until(pool, is_called, seen))
		return;
	pthread_mutex_lock(&pool->mutex);
	pool->n_sleeping++;
	while (!is_called(pool, seen))
		pthread_cond_wait(&pool->opened, &pool->mutex);
	pool->n_sleeping--;
	pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *arg)
{
	struct worker self = *(struct worker *)arg;
	struct moe_pool *pool = self.pool;
	uint64_t gate, seen = 0;

	free(arg);
	for (;;) {
		wait_for_call(pool, seen);
		if (pool->quit)
			return NULL;
		gate = pool->gate;
		if (!(gate & GATE_OPEN) || !atomic_compare_exchange_strong(&pool->gate, &gate, gate + 1))
			continue;
		seen = GATE_JOB(gate);
		run_pieces(pool, self.index);
		gate = atomic_fetch_sub(&pool->gate, 1) - 1;
		if ((gate & (GATE_OPEN | GATE_INSIDE)) == 0 && pool->caller_sleeps) {
			pthread_mutex_lock(&pool->mutex);
			pthread_cond_signal(&pool->emptied);
			pthread_mutex_unlock(&pool->mutex);
		}
	}
}

static void wake_all(struct moe_pool *pool)
{
	if (pool->n_sleeping == 0)
		return;
	pthread_mutex_lock(&pool->mutex);
	pthread_cond_broadcast(&pool->opened);
	pthread_mutex_unlock(&pool->mutex);
}

void moe_pool_for(struct moe_pool *pool, int64_t n, int64_t grain,
                  void (*fn)(void *arg, int64_t begin, int64_t end, int thread), void *arg)
{
	if (n <= 0)
		return;
	if (grain < 1)
		grain = 1;
	if (!pool || pool->n_threads == 1 || n <= grain) {
		if (pool)
			pthread_mutex_lock(&pool->callers);
		for (int64_t begin = 0; begin < n; begin += grain < n - begin ? grain : n - begin)
			fn(arg, begin, n - begin < grain ? n : begin + grain, 0);
		if (pool)
			pthread_mutex_unlock(&pool->callers);
		return;
	}
	pthread_mutex_lock(&pool->callers);
	pool->fn = fn;
	pool->arg = arg;
	pool->n = n;
	pool->grain = grain;
	pool->next = 0;
	pool->gate = (GATE_JOB(pool->gate) + 1) << 32 | GATE_OPEN;
	wake_all(pool);
	run_pieces(pool, 0);
	/* Nothing is left to claim: shut the gate, and wait for those inside. */
	atomic_fetch_and(&pool->gate, ~GATE_OPEN);
	if (!spin_until(pool, is_empty, 0)) {
		pthread_mutex_lock(&pool->mutex);
		pool->caller_sleeps = true;
		while (!is_empty(pool, 0))
			pthread_cond_wait(&pool->emptied, &pool->mutex);
		pool->caller_sleeps = false;
		pthread_mutex_unlock(&pool->mutex);
	}
	pthread_mutex_unlock(&pool->callers);
}

/* Signals sent to the process belong to the program's own threads; faults belong to whoever causes them. */
static int start_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
	sigset_t all, old;
	int failed;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	failed = pthread_create(thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return failed;
}

enum moe_status moe_pool_new(struct moe_pool **out, int n_threads, struct moe_err *err)
{
	struct moe_pool *pool;
	enum moe_status status = MOE_OK;

	if (n_threads == 0)
		n_threads = moe_core_count();
	if (n_threads < 1 || n_threads > MAX_THREADS)
		return moe_err_set(err, MOE_EUSAGE, "%d threads are out of range 1..%d", n_threads, MAX_THREADS);
	pool = calloc(1, sizeof *pool);
	if (pool)
		pool->threads = calloc((size_t)n_threads, sizeof *pool->threads);
	if (!pool || !pool->threads) {
		free(pool);
		return moe_err_nomem(err, (size_t)n_threads * sizeof *pool->threads, "threads");
	}
	pool->n_threads = n_threads;
	pthread_mutex_init(&pool->callers, NULL);
	pthread_mutex_init(&pool->mutex, NULL);
	pthread_cond_init(&pool->opened, NULL);
	pthread_cond_init(&pool->emptied, NULL);
	while (!status && pool->n_started < n_threads - 1) {
		struct worker *worker = malloc(sizeof *worker);

		if (!worker) {
			status = moe_err_nomem(err, sizeof *worker, "a thread");
			break;
		}
		*worker = (struct worker){pool, pool->n_started + 1};
		errno = start_thread(&pool->threads[pool->n_started], worker_main, worker);
		if (errno) {
			status = moe_err_sys(err, "cannot start thread %d of %d", pool->n_started + 2, n_threads);
			free(worker);
		} else {
			pool->n_started++;
		}
	}
	if (status) {
		moe_pool_free(pool);
		return status;
	}
	*out = pool;
	return MOE_OK;
}

void moe_pool_free(struct moe_pool *pool)
{
	if (!pool)
		return;
	pool->quit = true;
	wake_all(pool);
	for (int i = 0; i < pool->n_started; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->opened);
	pthread_cond_destroy(&pool->emptied);
	pthread_mutex_destroy(&pool->mutex);
	pthread_mutex_destroy(&pool->callers);
	free(pool->threads);
	free(pool);
}

int moe_pool_threads(const struct moe_pool *pool) { return pool ? pool->n_threads : 1; }

/* A flow under way. Items are numbered in the order of reading; item i lives in slot i % n_slots. */
struct flow {
	const struct moe_pipe *pipe;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	int max_working, n_working;
	bool reading, writing;
	int64_t n_read, n_taken, n_written;   /* items read, given to work, written */
	int64_t end;                          /* items from here on do not exist, or follow a failure */
	bool *worked;                         /* [n_slots] */
	enum moe_status status;
	struct moe_err err;
};

/* A failure at an earlier item replaces that of a later one, so what is reported does not depend on timing. */
static void end_flow(struct flow *flow, int64_t item, enum moe_status status, const struct moe_err *err)
{
	if (item >= flow->end)
		return;
	flow->end = item;
	flow->status = status;
	flow->err = *err;
}

/* Takes the most urgent step there is, the mutex held around but not during it. False when there was none. */
static bool take_step(struct flow *flow)
{
	const struct moe_pipe *pipe = flow->pipe;
	struct moe_err err = {0};
	enum moe_status status;
	int64_t item;
	int slot, done = 0;

	if (!flow->writing && flow->n_written < flow->n_taken && flow->n_written < flow->end &&
	    flow->worked[flow->n_written % pipe->n_slots]) {
		item = flow->n_written;
		slot = (int)(item % pipe->n_slots);
		flow->writing = true;
		pthread_mutex_unlock(&flow->mutex);
		status = pipe->write(pipe->arg, slot, &err);
		pthread_mutex_lock(&flow->mutex);
		flow->writing = false;
		flow->worked[slot] = false;
		if (status)
			end_flow(flow, item, status, &err);
		else
			flow->n_written++;
		return true;
	}
	if (!flow->reading && flow->n_read < flow->end && flow->n_read - flow->n_written < pipe->n_slots) {
		item = flow->n_read;
		flow->reading = true;
		pthread_mutex_unlock(&flow->mutex);
		status = pipe->read(pipe->arg, (int)(item % pipe->n_slots), &done, &err);
		pthread_mutex_lock(&flow->mutex);
		flow->reading = false;
		if (status || done)
			end_flow(flow, item, status, &err);
		else
			flow->n_read++;
		return true;
	}
	if (flow->n_taken < flow->n_read && flow->n_taken < flow->end && flow->n_working < flow->max_working) {
		item = flow->n_taken++;
		slot = (int)(item % pipe->n_slots);
		flow->n_working++;
		pthread_mutex_unlock(&flow->mutex);
		status = pipe->work(pipe->arg, slot, &err);
		pthread_mutex_lock(&flow->mutex);
		flow->n_working--;
		if (status)
			end_flow(flow, item, status, &err);
		else
			flow->worked[slot] = true;
		return true;
	}
	return false;
}

static bool is_over(const struct flow *flow)
{
	return flow->n_written >= flow->end && flow->n_working == 0 && !flow->reading && !flow->writing;
}

static void *flow_main(void *arg)
{
	struct flow *flow = arg;

	pthread_mutex_lock(&flow->mutex);
	while (!is_over(flow)) {
		if (take_step(flow))
			pthread_cond_broadcast(&flow->changed);
		else
			pthread_cond_wait(&flow->changed, &flow->mutex);
	}
	pthread_mutex_unlock(&flow->mutex);
	return NULL;
}

static enum moe_status run_serially(const struct moe_pipe *pipe, struct moe_err *err)
{
	for (;;) {
		int done = 0;
		enum moe_status status = pipe->read(pipe->arg, 0, &done, err);

		if (status || done)
			return status;
		status = pipe->work(pipe->arg, 0, err);
		if (!status)
			status = pipe->write(pipe->arg, 0, err);
		if (status)
			return status;
	}
}

/* Threads of its own: one each for reading and writing, which mostly wait for files, beside those that work. That a
 * thread cannot be started costs speed alone, since any of them takes any step. */
enum moe_status moe_pipe_run(struct moe_pool *pool, const struct moe_pipe *pipe, struct moe_err *err)
{
	int n_threads = moe_pool_threads(pool), n_started = 0;
	struct flow flow = {.pipe = pipe, .max_working = n_threads, .end = INT64_MAX};
	pthread_t *threads;

	if (n_threads == 1 || pipe->n_slots < 2)
		return run_serially(pipe, err);
	if (n_threads > pipe->n_slots)
		n_threads = pipe->n_slots;
	threads = calloc((size_t)n_threads + 1, sizeof *threads);
	flow.worked = calloc((size_t)pipe->n_slots, sizeof *flow.worked);
	if (!threads || !flow.worked) {
		free(threads);
		free(flow.worked);
		return moe_err_nomem(err, (size_t)n_threads * sizeof *threads, "threads");
	}
	pthread_mutex_init(&flow.mutex, NULL);
	pthread_cond_init(&flow.changed, NULL);
	while (n_started < n_threads + 1 && start_thread(&threads[n_started], flow_main, &flow) == 0)
		n_started++;
	flow_main(&flow);
	for (int i = 0; i < n_started; i++)
		pthread_join(threads[i], NULL);
	pthread_mutex_destroy(&flow.mutex);
	pthread_cond_destroy(&flow.changed);
	free(threads);
	free(flow.worked);
	if (flow.status && err)
		*err = flow.err;
	return flow.status;
}
