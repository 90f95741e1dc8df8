/* A wall clock that is wrong by the seconds that stand in the file WRONG_CLOCK names. Monotonic time stays true. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long *wrong_s;
__attribute__((constructor)) static void begin(void) {
    int fd = open(getenv("WRONG_CLOCK"), O_RDONLY | O_CLOEXEC);
    if (fd >= 0) wrong_s = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
    if (wrong_s == MAP_FAILED) wrong_s = 0;
}
int clock_gettime(clockid_t id, struct timespec *at) {
    int done = syscall(SYS_clock_gettime, id, at);
    if (!done && wrong_s && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += *wrong_s;
    return done;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
