/* A disk's node appears some time after its driver: its directory's events tell. */
#define _GNU_SOURCE
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

enum { PATH = 256, WAIT_MS = 60000 };

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int watch_directory(const char *path)
{
    char directory[PATH];
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    snprintf(directory, sizeof directory, "%s", path);
    *strrchr(directory, '/') = 0;
    if (watch >= 0)
        inotify_add_watch(watch, directory[0] ? directory : "/", IN_CREATE | IN_ATTRIB);
    return watch;
}

static int wait_event(int watch, int64_t left_ms)
{
    char events[4096];
    struct pollfd ready = { .fd = watch, .events = POLLIN };
    int got = left_ms > 0 ? poll(&ready, 1, (int)left_ms) : 0;
    if (got == 0)
        errno = ETIMEDOUT;
    while (got > 0 && read(watch, events, sizeof events) > 0)
        ;
    return got;
}

int open_device(const char *path, int flags)
{
    int64_t end = now_ms() + WAIT_MS;
    int watch = watch_directory(path), fd;
    while ((fd = open(path, flags | O_CLOEXEC)) < 0 && (errno == ENOENT || errno == ENXIO))
        if (wait_event(watch, end - now_ms()) <= 0)
            break;
    int error = errno;
    close(watch);
    errno = error;
    return fd;
}
