/* File systems without locks, or with files that another machine removed: preloaded, `flock` fails with FLOCK_ERRNO,
   the first FLOCK_TIMES times (by default always). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

static int calls = 0;

int flock(int file, int operation) {
    const char *error = getenv("FLOCK_ERRNO"), *times = getenv("FLOCK_TIMES");
    if (error && (!times || calls++ < atoi(times))) {
        errno = atoi(error);
        return -1;
    }
    int (*real)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    return real(file, operation);
}
