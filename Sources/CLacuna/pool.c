#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "lacuna_pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#define RELAX() _mm_pause()
#elif defined(__aarch64__)
#define RELAX() __asm__ volatile("yield")
#else
#define RELAX() ((void)0)
#endif

enum { MAX_THREADS = 256, SPINS = 1000, YIELDS = 50 };

// A thread that is stopped in the midst of an item is waited for until the system lets it run again, milliseconds as a
// rule: where others use a processor too, two threads can be slower than one. The caller notices by the processor time that
// a worker it waits for does not get, and leaves out as many workers as that for FIRST_REST, doubled at every time up to
// LAST_REST if it happens as soon as they are back.
enum { NOTICE = 100000, FIRST_REST = 50000000, LAST_REST = 1600000000 };  // ns

typedef void body_fn(void *, long);

// The job in progress. `ticket` packs the job's number (high half) and the items not yet claimed (low half), so that
// one compare-and-swap both claims an item and proves that body and context, read just before, belong to that job.
static _Atomic(uint64_t) ticket;
static _Atomic(body_fn *) job_body;
static _Atomic(void *) job_context;
static _Atomic(long) completed;

static pthread_mutex_t caller_lock = PTHREAD_MUTEX_INITIALIZER;  // held by the thread whose job is running
static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static atomic_int sleepers;
static atomic_int wanted_threads;  // 0 until first asked for
static int started_workers;        // guarded by caller_lock
static pthread_t threads_of[MAX_THREADS];   // of the workers; guarded by caller_lock
static atomic_int busy[MAX_THREADS];        // whether a worker has an item
static atomic_int withdrawn;                // workers left out
static int64_t back_at, rest = FIRST_REST;  // until when, and for how long next time; guarded by caller_lock
static _Thread_local int inside;

static int claim_and_run(void) {
  uint64_t seen = atomic_load_explicit(&ticket, memory_order_acquire);
  while ((uint32_t)seen != 0) {
    body_fn *body = atomic_load_explicit(&job_body, memory_order_relaxed);
    void *context = atomic_load_explicit(&job_context, memory_order_relaxed);
    if (atomic_compare_exchange_weak_explicit(&ticket, &seen, seen - 1, memory_order_acq_rel, memory_order_acquire)) {
      body(context, (long)(uint32_t)seen - 1);
      atomic_fetch_add_explicit(&completed, 1, memory_order_release);
      return 1;
    }
  }
  return 0;
}

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

// The processor time that a worker has had, or -1.
static int64_t processor_time(int index) {
#if defined(__linux__)
  clockid_t clock;
  struct timespec t;
  if (pthread_getcpuclockid(threads_of[index], &clock) == 0 && clock_gettime(clock, &t) == 0)
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
#else
  (void)index;
#endif
  return -1;
}

static void *worker(void *argument) {
  int index = (int)(intptr_t)argument;  // 1-based: the caller is thread 0
  inside = 1;
  int idle = 0;
  for (;;) {
    int active = index < atomic_load_explicit(&wanted_threads, memory_order_relaxed) - atomic_load(&withdrawn);
    if (active && (uint32_t)atomic_load_explicit(&ticket, memory_order_relaxed) != 0) {
      atomic_store_explicit(&busy[index], 1, memory_order_relaxed);
      const int ran = claim_and_run();
      atomic_store_explicit(&busy[index], 0, memory_order_relaxed);
      if (ran) {
        idle = 0;
        continue;
      }
    }
    if (active && ++idle < SPINS) {
      RELAX();
    } else if (active && idle < SPINS + YIELDS) {
      sched_yield();
    } else {
      pthread_mutex_lock(&sleep_lock);
      atomic_fetch_add(&sleepers, 1);
      while ((uint32_t)atomic_load(&ticket) == 0 || index >= atomic_load(&wanted_threads) - atomic_load(&withdrawn))
        pthread_cond_wait(&wake, &sleep_lock);
      atomic_fetch_sub(&sleepers, 1);
      pthread_mutex_unlock(&sleep_lock);
      idle = 0;
    }
  }
  return 0;
}

static int processors(void) {
  long n = sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) n = CPU_COUNT(&set);
  const int quota = lk_quota("/proc/self/cgroup", "/sys/fs/cgroup");
  if (quota > 0 && quota < n) n = quota;
#endif
  return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (int)n;
}

int lk_pool_threads(void) {
  int n = atomic_load(&wanted_threads);
  if (n == 0) {
    int expected = 0;
    atomic_compare_exchange_strong(&wanted_threads, &expected, processors());
    n = atomic_load(&wanted_threads);
  }
  return n;
}

void lk_pool_set_threads(int threads) {
  atomic_store(&wanted_threads, threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads);
}

static void start_workers(int threads) {
  while (started_workers < threads - 1) {
    pthread_t *const thread = &threads_of[started_workers + 1];
    if (pthread_create(thread, 0, worker, (void *)(intptr_t)(started_workers + 1)) != 0) return;
    pthread_detach(*thread);
    started_workers++;
  }
}

int lk_pool_withdrawn(void) { return atomic_load(&withdrawn); }

// Of the workers that have an item, how many get less than half of the time that passes while the caller looks.
static int held_up(long items) {
  int64_t before[MAX_THREADS];
  int held = 0;
  for (int i = 1; i <= started_workers; i++)
    before[i] = atomic_load_explicit(&busy[i], memory_order_relaxed) ? processor_time(i) : -1;
  const int64_t start = now();
  int64_t passed;
  do {
    for (int i = 0; i < SPINS / 8; i++) RELAX();
    if (atomic_load_explicit(&completed, memory_order_acquire) >= items) return 0;
    passed = now() - start;
  } while (passed < NOTICE);
  for (int i = 1; i <= started_workers; i++)
    if (before[i] >= 0 && atomic_load_explicit(&busy[i], memory_order_relaxed) &&
        2 * (processor_time(i) - before[i]) < passed)
      held++;
  return held;
}

// Waits for the items that workers have, and looks after a while whether the system lets these run.
static void wait_for(long items) {
  int looked = 0;
  for (int spin = 0; atomic_load_explicit(&completed, memory_order_acquire) < items; spin++) {
    if (spin < SPINS) {
      RELAX();
    } else if (!looked) {
      looked = 1;
      const int held = held_up(items);
      if (held > 0) {
        const int64_t time = now();
        // Soon after they were back, they rest for longer.
        rest = back_at != 0 && time - back_at < rest ? (rest < LAST_REST ? 2 * rest : LAST_REST) : FIRST_REST;
        back_at = time + rest;
        const int most = atomic_load(&wanted_threads) - 1, sum = atomic_load(&withdrawn) + held;
        atomic_store(&withdrawn, sum < most ? sum : most);
      }
    } else {
      sched_yield();
    }
  }
}

void lk_pool_run(long items, void (*body)(void *, long), void *context) {
  if (items <= 0) return;
  int threads = lk_pool_threads();
  if (items == 1 || threads == 1 || inside || items > UINT32_MAX || pthread_mutex_trylock(&caller_lock) != 0) {
    for (long i = 0; i < items; i++) body(context, i);
    return;
  }
  inside = 1;
  if (atomic_load(&withdrawn) > 0 && now() >= back_at) atomic_store(&withdrawn, 0);
  if (threads - atomic_load(&withdrawn) <= 1) {
    for (long i = 0; i < items; i++) body(context, i);
    inside = 0;
    pthread_mutex_unlock(&caller_lock);
    return;
  }
  start_workers(threads);
  // No worker touches the previous job any more: its items had all completed before the lock was released.
  atomic_store_explicit(&job_body, body, memory_order_relaxed);
  atomic_store_explicit(&job_context, context, memory_order_relaxed);
  atomic_store_explicit(&completed, 0, memory_order_relaxed);
  uint64_t number = (atomic_load_explicit(&ticket, memory_order_relaxed) >> 32) + 1;
  atomic_store(&ticket, number << 32 | (uint64_t)items);
  if (atomic_load(&sleepers) > 0) {
    pthread_mutex_lock(&sleep_lock);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&sleep_lock);
  }
  while (claim_and_run()) {
  }
  wait_for(items);
  inside = 0;
  pthread_mutex_unlock(&caller_lock);
}
