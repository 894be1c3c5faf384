/* The writers, and the memory of what they have written. */
#define _GNU_SOURCE
#include "device.h"
#include "disks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    STACK_BYTES = 128 << 10,
    LEAST_AREA = 64 << 10,
    SHARED_ONE_IN = 8,
    AFTER_ERROR_US = 100000,
};

static uint8_t *large;
static bool large_taken;

void die(const char *what)
{
    fprintf(stderr, "disks: %s: %s\n", what, strerror(errno));
    exit(1);
}

void lock_state(void)
{
    pthread_mutex_lock(&state.lock);
}

void unlock_state(void)
{
    pthread_mutex_unlock(&state.lock);
}

static uint64_t clock_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

uint64_t monotonic_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

/* Until state.changed or that time; the lock is held. */
void wait_until(uint64_t us)
{
    struct timespec t = { us / 1000000, us % 1000000 * 1000 };
    pthread_cond_timedwait(&state.changed, &state.lock, &t);
}

void *aligned(size_t bytes)
{
    void *memory = NULL;
    if ((errno = posix_memalign(&memory, PAGE, bytes)) != 0)
        die("memory");
    memset(memory, 0, bytes);
    return memory;
}

void start_thread(pthread_t *thread, void *(*body)(void *), void *argument)
{
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK_BYTES);
    errno = pthread_create(thread, &small, body, argument);
    if (errno != 0)
        die("thread");
    pthread_attr_destroy(&small);
}

/* ---- disks and areas ----------------------------------------------------------------- */

static int open_or_die(const char *path, int flags)
{
    int fd = open_device(path, flags);
    if (fd < 0)
        die(path);
    return fd;
}

/* A disk that can only be read has no writers, and no other disk of the guest has any then. */
static int open_either_way(const char *path, int flags)
{
    int fd = open_device(path, O_RDWR | flags);
    if (fd >= 0 || (errno != EROFS && errno != EACCES))
        return fd;
    state.writer_count = 0;
    return open_device(path, O_RDONLY | flags);
}

static void open_disk(struct disk *disk)
{
    disk->fd = open_either_way(disk->path, O_DSYNC | O_DIRECT);
    disk->direct = disk->fd >= 0;
    if (!disk->direct && errno == EINVAL)
        disk->fd = open_either_way(disk->path, O_DSYNC);
    if (disk->fd < 0)
        die(disk->path);
    off_t end = lseek(disk->fd, 0, SEEK_END);
    if (end < 0)
        die(disk->path);
    disk->bytes = end;
}

static struct area make_area(int disk, uint64_t offset, uint64_t bytes, int first, int writers)
{
    struct area area = { .disk = disk, .offset = offset, .sectors = bytes / SECTOR,
                         .first_writer = first, .step = state.disk_count, .writers = writers };
    area.slots = calloc((size_t)area.sectors * writers, sizeof *area.slots);
    if (!area.slots)
        die("memory");
    return area;
}

/* Each disk has all three ways of writing, as far as it has writers. */
static void open_writer(struct writer *writer, const struct disk *disk, int way)
{
    static const int flags[] = { O_DSYNC, O_DSYNC | O_DIRECT, 0 };
    writer->sync_after = flags[way] == 0;
    writer->fd = open_or_die(disk->path, O_RDWR | (disk->direct ? flags[way]
                                                                : flags[way] & ~O_DIRECT));
    writer->buffer = aligned(SMALL_BYTES);
}

static void lay_out_disk(int index)
{
    struct disk *disk = &state.disks[index];
    int writers = (state.writer_count - index + state.disk_count - 1) / state.disk_count;
    uint64_t used = SAVED_BYTES + SHARED_BYTES;
    if (writers <= 0)
        return;
    uint64_t bytes = disk->bytes > used ? (disk->bytes - used) / writers : 0;
    if (bytes > state.area_kib << 10)
        bytes = state.area_kib << 10;
    bytes -= bytes % PAGE;
    errno = ENOSPC;
    if (bytes < LEAST_AREA)
        die(disk->path);
    disk->shared = make_area(index, SAVED_BYTES, SHARED_BYTES, index, writers);
    for (int i = 0; i < writers; i++, used += bytes) {
        struct writer *writer = &state.writers[index + i * state.disk_count];
        writer->id = index + i * state.disk_count;
        writer->own = make_area(index, used, bytes, writer->id, 1);
        open_writer(writer, disk, i % 3);
    }
}

void lay_out(void)
{
    for (int i = 0; i < state.disk_count; i++)
        open_disk(&state.disks[i]);
    for (int i = 0; i < state.disk_count; i++)
        lay_out_disk(i);
    large = aligned(LARGEST_BYTES);
}

int slot_of(const struct area *area, uint32_t writer)
{
    int from_first = (int)writer - area->first_writer;
    if (writer >= MAX_WRITERS || from_first < 0 || from_first % area->step != 0)
        return -1;
    return from_first / area->step < area->writers ? from_first / area->step : -1;
}

/* ---- memory (the lock is held) ------------------------------------------------------- */

/* What completed before this write began is overwritten; what ran beside it may be on top. */
static void remember(const struct span *span, uint32_t writer, uint32_t shown)
{
    const struct area *area = span->area;
    int own = slot_of(area, writer);
    for (uint32_t i = span->first; i < span->first + span->count; i++) {
        struct slot *slots = area->slots + (size_t)i * area->writers;
        for (int k = 0; k < area->writers && shown != UNSURE; k++)
            if (slots[k].done_at < span->number)
                slots[k].number = 0;
        slots[own] = (struct slot){ shown, state.number };
    }
}

static void forget_in(struct area *area, uint32_t number)
{
    for (size_t i = 0; i < (size_t)area->sectors * area->writers; i++) {
        struct slot *slot = &area->slots[i];
        if (slot->number > number)
            slot->number = UNSURE;
        if (slot->done_at > number)
            slot->done_at = number;
    }
}

int flights(struct span *spans)
{
    int count = 0;
    for (int i = 0; i < state.writer_count; i++)
        if (state.writers[i].flight.number != 0)
            spans[count++] = state.writers[i].flight;
    return count;
}

/* False when writers run: their numbers would not stay what they are. */
bool forget_above(uint32_t number)
{
    struct span spans[MAX_WRITERS];
    if (state.running || flights(spans) > 0)
        return false;
    if (number < state.number)
        state.number = number;
    for (int i = 0; i < state.disk_count; i++)
        forget_in(&state.disks[i].shared, number);
    for (int i = 0; i < state.writer_count; i++) {
        struct writer *writer = &state.writers[i];
        forget_in(&writer->own, number);
        if (writer->completed > number) {
            writer->completed = number;
            writer->last = (struct span){ 0 };
        }
    }
    return true;
}

/* ---- writing ------------------------------------------------------------------------- */

/* Mostly small: half of them up to 4 KiB, one in a hundred up to 1 MiB. */
static uint32_t choose_bytes(uint64_t luck)
{
    static const struct { unsigned percent; uint32_t from, to; } classes[] = {
        { 50, SECTOR, 4 << 10 },
        { 80, 4 << 10, 16 << 10 },
        { 95, 16 << 10, SMALL_BYTES },
        { 99, SMALL_BYTES, 256 << 10 },
        { 100, 256 << 10, LARGEST_BYTES },
    };
    unsigned percent = luck % 100, i = 0;
    while (percent >= classes[i].percent)
        i++;
    uint32_t steps = (classes[i].to - classes[i].from) / SECTOR;
    return classes[i].from + mix(luck) % (steps + 1) * SECTOR;
}

/* The clock takes part in the choice: a guest that was set back to an earlier epoch must not
 * repeat the discarded writes in the same places, which would hide that they reached the disk. */
static struct span choose(struct writer *writer)
{
    uint64_t luck = mix(clock_us(CLOCK_BOOTTIME) ^ (uint64_t)writer->id << 56);
    struct span span = { .area = &writer->own };
    uint32_t most = large_taken ? SMALL_BYTES : LARGEST_BYTES, bytes = choose_bytes(luck);
    if (mix(luck + 1) % SHARED_ONE_IN == 0) {
        span.area = &state.disks[writer->own.disk].shared;
        most = SMALL_BYTES;
    }
    if (most > span.area->sectors * SECTOR)
        most = span.area->sectors * SECTOR;
    span.count = (bytes < most ? bytes : most) / SECTOR;
    span.first = mix(luck + 2) % (span.area->sectors - span.count + 1);
    return span;
}

static void wait_for_turn(struct writer *writer)
{
    for (;;) {
        bool may = state.running && state.pauses == 0;
        if (may && monotonic_us() >= writer->due_us)
            return;
        if (may)
            wait_until(writer->due_us);
        else
            pthread_cond_wait(&state.changed, &state.lock);
    }
}

static struct span begin(struct writer *writer)
{
    lock_state();
    wait_for_turn(writer);
    struct span span = choose(writer);
    span.number = ++state.number;
    large_taken |= span.count * SECTOR > SMALL_BYTES;
    writer->flight = span;
    /* From now, not from the last turn: time that a suspended guest missed is not made up for. */
    writer->due_us = monotonic_us();
    if (state.kib_s)
        writer->due_us += (uint64_t)span.count * SECTOR * 1000000 * state.writer_count
                          / (state.kib_s << 10);
    unlock_state();
    return span;
}

/* 0, or the error. */
static int put(const struct writer *writer, const struct span *span)
{
    bool shared = span->area != &writer->own;
    int fd = shared ? state.disks[span->area->disk].fd : writer->fd;
    size_t size = (size_t)span->count * SECTOR;
    uint8_t *buffer = size > SMALL_BYTES ? large : writer->buffer;
    fill_sectors(buffer, span, writer->id);
    errno = 0;
    ssize_t put = pwrite(fd, buffer, size, span->area->offset + (uint64_t)span->first * SECTOR);
    if (put != (ssize_t)size)
        return errno ? errno : EIO;
    return !shared && writer->sync_after && fdatasync(fd) != 0 ? errno : 0;
}

static void finish(struct writer *writer, const struct span *span, int error, uint64_t took_us)
{
    lock_state();
    remember(span, writer->id, error ? UNSURE : span->number);
    if (error) {
        state.errors++;
        state.last_error = error;
        writer->due_us = monotonic_us() + AFTER_ERROR_US;
    } else {
        state.completed++;
        state.bytes += (uint64_t)span->count * SECTOR;
        writer->completed = span->number;
        writer->last = *span;
        note_latency(took_us);
    }
    if (span->count * SECTOR > SMALL_BYTES)
        large_taken = false;
    writer->flight.number = 0;
    if (state.pauses > 0)
        pthread_cond_broadcast(&state.changed);
    unlock_state();
}

static void *run_writer(void *argument)
{
    struct writer *writer = argument;
    for (;;) {
        struct span span = begin(writer);
        /* CLOCK_MONOTONIC would not see the time that the guest is suspended. */
        uint64_t start = clock_us(CLOCK_BOOTTIME);
        int error = put(writer, &span);
        uint64_t end = clock_us(CLOCK_BOOTTIME);
        finish(writer, &span, error, end > start ? end - start : 0);
    }
    return NULL;
}

void start_writers(void)
{
    for (int i = 0; i < state.writer_count; i++)
        start_thread(&state.writers[i].thread, run_writer, &state.writers[i]);
}

/* The lock is held. */
void set_running(bool running)
{
    state.running = running;
    for (int i = 0; i < state.writer_count; i++)
        state.writers[i].due_us = 0;
    pthread_cond_broadcast(&state.changed);
}
