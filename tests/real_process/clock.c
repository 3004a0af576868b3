/* Sets the wall clock of the process back an hour from the moment on at which the file SELVEDGE_TEST_CLOCK is there.
   LD_PRELOAD puts it before the C library's own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static const char *file;

__attribute__((constructor)) static void begin(void) {
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    file = getenv("SELVEDGE_TEST_CLOCK");
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!real_clock_gettime) {
        begin();
    }
    int result = real_clock_gettime(clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && file && access(file, F_OK) == 0) {
        time->tv_sec -= 3600;
    }
    return result;
}
