#include "lacuna_mpi.h"

#ifdef LACUNA_MPI

#include <mpi/mpi.h>
#include <stdlib.h>
#include <string.h>

static MPI_Comm processes;

int lmpi_begin(int *rank, int *count) {
  int has_begun = 0, level = 0;
  if (MPI_Initialized(&has_begun)) return LMPI_FAILED;
  if (!has_begun && MPI_Init_thread(0, 0, MPI_THREAD_SERIALIZED, &level)) return LMPI_FAILED;
  if (has_begun && MPI_Query_thread(&level)) return LMPI_FAILED;
  if (level < MPI_THREAD_SERIALIZED) return LMPI_THREADS;
  // A communicator of its own: the program may use MPI for other things.
  if (MPI_Comm_dup(MPI_COMM_WORLD, &processes)) return LMPI_FAILED;
  MPI_Comm_set_errhandler(processes, MPI_ERRORS_RETURN);
  return MPI_Comm_rank(processes, rank) || MPI_Comm_size(processes, count) ? LMPI_FAILED : LMPI_OK;
}

int lmpi_sizes(const long *sent, long *received) {
  return MPI_Alltoall(sent, 1, MPI_LONG, received, 1, MPI_LONG, processes) ? LMPI_FAILED : LMPI_OK;
}

// Counts of MPI are of 32 bits: longer pieces go in messages of this many bytes.
static const long message = 1L << 30;

static long messages(long bytes) { return (bytes + message - 1) / message; }

int lmpi_exchange(
    int rank, int count, const void *const *pieces, const long *sent, void *const *targets, const long *received) {
  long total = 0;
  for (int i = 0; i < count; i++) {
    if (i != rank) total += messages(sent[i]) + messages(received[i]);
  }
  MPI_Request *requests = malloc((size_t)(total > 0 ? total : 1) * sizeof *requests);
  if (!requests) return LMPI_FAILED;
  long posted = 0;
  int status = LMPI_OK;
  // Receives first, so that what arrives has a place; partners in an order that does not have all send to the same one.
  for (int step = 1; step < count && status == LMPI_OK; step++) {
    int from = (rank + count - step) % count;
    for (long at = 0; at < received[from] && status == LMPI_OK; at += message) {
      long size = received[from] - at < message ? received[from] - at : message;
      if (MPI_Irecv((char *)targets[from] + at, (int)size, MPI_BYTE, from, 0, processes, &requests[posted])) {
        status = LMPI_FAILED;
      } else {
        posted++;
      }
    }
  }
  for (int step = 1; step < count && status == LMPI_OK; step++) {
    int to = (rank + step) % count;
    for (long at = 0; at < sent[to] && status == LMPI_OK; at += message) {
      long size = sent[to] - at < message ? sent[to] - at : message;
      if (MPI_Isend((const char *)pieces[to] + at, (int)size, MPI_BYTE, to, 0, processes, &requests[posted])) {
        status = LMPI_FAILED;
      } else {
        posted++;
      }
    }
  }
  if (received[rank] > 0) memcpy(targets[rank], pieces[rank], (size_t)received[rank]);
  for (long at = 0; at < posted; at += 1 << 20) {
    int part = posted - at < 1 << 20 ? (int)(posted - at) : 1 << 20;
    if (MPI_Waitall(part, requests + at, MPI_STATUSES_IGNORE)) status = LMPI_FAILED;
  }
  free(requests);
  return status;
}

int lmpi_end(void) {
  int has_ended = 0;
  if (MPI_Finalized(&has_ended)) return LMPI_FAILED;
  if (has_ended) return LMPI_OK;
  MPI_Comm_free(&processes);
  return MPI_Finalize() ? LMPI_FAILED : LMPI_OK;
}

#endif
