// The thread pool: one for the process, and the processors that it may use.
#ifndef LACUNA_POOL_H
#define LACUNA_POOL_H

// Calls body(context, item) once for every item in 0..<items, on the calling thread and the pool's workers, and
// returns when all calls have finished. Items are claimed one at a time, so they may be of unequal cost. A call from
// inside a body, or while another thread is using the pool, runs serially in the caller. Completion counts items, not
// threads: a worker that the operating system has not scheduled is never waited for, and one that it stopped in the midst
// of an item is not given others for a while.
void lk_pool_run(long items, void (*body)(void *context, long item), void *context);

// Number of threads a loop may use, the caller included. The default is the number of processors this process may
// run on: those of its affinity, and on Linux no more than the quota of its control groups allows.
int lk_pool_threads(void);
void lk_pool_set_threads(int threads);

// The processors that control groups of either version allow, rounded down, at least 1: of the groups in a file like
// /proc/self/cgroup, mounted like /sys/fs/cgroup. 0 where there is no quota.
int lk_quota(const char *groups, const char *mount);

// Gives memory that was allocated and freed in small pieces back to the system, where the allocator can.
void lk_return_unused(void);

#endif
