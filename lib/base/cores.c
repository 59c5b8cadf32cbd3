/* The cores this process may use: affinity (cpusets, taskset, Slurm), cgroup quota (containers), OMP_NUM_THREADS. */
#include "base/cores.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

#define MAX_CPUS 65536

static int affinity_cores(void)
{
	long n_online = sysconf(_SC_NPROCESSORS_ONLN);

	for (int n = 1024; n <= MAX_CPUS; n *= 4) {
		cpu_set_t *set = CPU_ALLOC((size_t)n);
		size_t n_bytes = CPU_ALLOC_SIZE((size_t)n);
		int count = 0;

		if (!set)
			break;
		if (sched_getaffinity(0, n_bytes, set) == 0)
			count = CPU_COUNT_S(n_bytes, set);
		CPU_FREE(set);
		if (count > 0)
			return count;
	}
	return n_online > 0 && n_online < INT_MAX ? (int)n_online : 1;
}

/* "QUOTA PERIOD" or "max PERIOD" of one cgroup; INT_MAX where there is no limit. */
static int quota_cores(const char *cgroup)
{
	char path[4200];
	long long quota, period;
	FILE *f;
	int n_read, n = snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", cgroup);

	if (n < 0 || (size_t)n >= sizeof path)
		return INT_MAX;
	f = fopen(path, "re");
	if (!f)
		return INT_MAX;
	n_read = fscanf(f, "%lld %lld", &quota, &period);
	fclose(f);
	if (n_read != 2 || quota <= 0 || period <= 0 || quota / period >= INT_MAX - 1)
		return INT_MAX;
	return (int)((quota + period - 1) / period);
}

/* The own cgroup's limit and those of all above it hold together. */
static int cgroup_cores(void)
{
	char line[4096];
	int least = INT_MAX;
	bool found = false;
	FILE *f = fopen("/proc/self/cgroup", "re");

	if (!f)
		return INT_MAX;
	while (!found && fgets(line, sizeof line, f))
		found = strncmp(line, "0::/", 4) == 0;
	fclose(f);
	if (!found)
		return INT_MAX;
	line[strcspn(line, "\n")] = '\0';
	for (char *path = line + 3;;) {
		char *slash = strrchr(path, '/');
		int n = quota_cores(strcmp(path, "/") == 0 ? "" : path);

		least = n < least ? n : least;
		if (!slash || *path == '\0')
			return least;
		*slash = '\0';
	}
}

/* The first number of a list ("8,2"); INT_MAX where it says nothing. */
static int openmp_cores(void)
{
	const char *text = getenv("OMP_NUM_THREADS");
	struct moe_str rest, first;
	int64_t n;

	if (!text)
		return INT_MAX;
	rest = moe_str_of(text);
	if (!moe_str_next(&rest, ',', &first) || !moe_parse_i64(first, &n) || n < 1 || n > INT_MAX)
		return INT_MAX;
	return (int)n;
}

int moe_core_count(void)
{
	int n = affinity_cores(), quota = cgroup_cores(), openmp = openmp_cores();

	n = quota < n ? quota : n;
	n = openmp < n ? openmp : n;
	return n > 0 ? n : 1;
}
