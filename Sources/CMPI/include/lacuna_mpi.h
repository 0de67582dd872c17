// What is needed of MPI, behind functions that need none of its headers. Built only with the package trait MPI; without it this module
// is empty.
#ifndef LACUNA_MPI_H
#define LACUNA_MPI_H

enum { LMPI_OK = 0, LMPI_FAILED = 1, LMPI_THREADS = 2 };

// Begins, once in a process: calls may then come from any thread, one at a time. A program that mpirun has not started is
// alone.
int lmpi_begin(int *rank, int *count);
// Tells each process how many bytes it will get, and learns how many each will send.
int lmpi_sizes(const long *sent, long *received);
// Sends sent[i] bytes from pieces[i] to process i, and receives received[i] bytes from it into targets[i].
int lmpi_exchange(
    int rank, int count, const void *const *pieces, const long *sent, void *const *targets, const long *received);
// Ends, when all processes have come here.
int lmpi_end(void);

#endif
