/* How many cores this process may keep busy. */
#ifndef MOE_BASE_CORES_H
#define MOE_BASE_CORES_H

/* The least of: cores in the affinity mask, the cgroup's CPU quota rounded up, OMP_NUM_THREADS. At least 1. */
int moe_core_count(void);

#endif
