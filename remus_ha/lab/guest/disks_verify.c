/* Compares the disks, sector by sector, with the memory of what was written to them.
 *
 * missing  a completed write is not there, but an older one or nothing at all
 * later    a write that this memory never began, or never began at that place
 * corrupt  what nobody wrote
 * unread   the disk gave no answer
 */
#define _GNU_SOURCE
#include "disks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum verdict { NOTHING, RIGHT, MISSING, LATER, CORRUPT, UNREAD, DOUBTFUL, TORN, VERDICTS };
enum { CHUNK = 64 << 10, DEFAULT_WAIT_MS = 5000 };

static const char *const names[VERDICTS] = { "blank",   "checked", "missing", "later",
                                             "corrupt", "unread",  "unsure",  "torn" };

/* One verification; flight is what was under way when it began, and nothing begins during it. */
struct check {
    uint64_t counts[MAX_DISKS][VERDICTS];
    struct span flight[MAX_WRITERS];
    int flights;
    uint32_t saved, saving;
    char first[128];
};

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* From the disk itself, whatever the page cache holds. */
ssize_t read_disk(const struct disk *disk, void *at, size_t size, uint64_t offset)
{
    if (!disk->direct && (fdatasync(disk->fd) != 0
                          || posix_fadvise(disk->fd, offset, size, POSIX_FADV_DONTNEED) != 0))
        return -1;
    return pread(disk->fd, at, size, offset);
}

static uint32_t flight_at(const struct check *check, const struct area *area, uint32_t index)
{
    for (int i = 0; i < check->flights; i++) {
        const struct span *span = &check->flight[i];
        if (span->area == area && index - span->first < span->count)
            return span->number;
    }
    return 0;
}

/* The newest number that the sector must show at least; right when it shows a possible one. */
static uint32_t expected(const struct area *area, uint32_t index, const struct found *found,
                         bool *unsure, bool *right)
{
    const struct slot *slots = area->slots + (size_t)index * area->writers;
    int own = found->kind == OURS ? slot_of(area, found->writer) : -1;
    uint32_t newest = 0;
    for (int i = 0; i < area->writers; i++) {
        *unsure |= slots[i].number == UNSURE;
        *right |= i == own && slots[i].number == found->number;
        if (slots[i].number != UNSURE && slots[i].number > newest)
            newest = slots[i].number;
    }
    return newest;
}

static enum verdict judge(const struct check *check, const struct area *area, uint32_t index,
                          const struct found *found, uint32_t *wanted)
{
    uint32_t flight = flight_at(check, area, index);
    bool unsure = false, right = false;
    *wanted = expected(area, index, found, &unsure, &right);
    if (found->kind == OURS) {
        if (slot_of(area, found->writer) < 0)
            return CORRUPT;
        if (found->number > state.number)
            return LATER;
        if (right)
            return RIGHT;
        if (unsure || found->number == flight)
            return unsure ? DOUBTFUL : NOTHING;
        return found->number > *wanted ? LATER : MISSING;
    }
    if (unsure)
        return DOUBTFUL;
    if (*wanted == 0)
        return NOTHING;
    if (found->kind == GARBAGE)
        return flight ? TORN : CORRUPT;
    return MISSING;
}

static void note(struct check *check, int disk, enum verdict verdict, uint64_t sector,
                 uint32_t wanted, uint32_t seen)
{
    check->counts[disk][verdict]++;
    bool bad = verdict == MISSING || verdict == LATER || verdict == CORRUPT || verdict == UNREAD;
    if (bad && !check->first[0])
        snprintf(check->first, sizeof check->first, "%s:%llu:%s:wanted=%u:seen=%u",
                 state.disks[disk].name, (unsigned long long)sector, names[verdict], wanted, seen);
}

static void check_sectors(struct check *check, const struct area *area, const uint8_t *at,
                          uint32_t from, uint32_t count)
{
    for (uint32_t i = from; i < from + count; i++) {
        struct found found = look_at(at + (size_t)(i - from) * SECTOR, area, i);
        uint32_t wanted = 0;
        lock_state();
        enum verdict verdict = judge(check, area, i, &found, &wanted);
        unlock_state();
        note(check, area->disk, verdict, area->offset / SECTOR + i, wanted, found.number);
    }
}

static void check_area(struct check *check, const struct area *area, uint8_t *buffer)
{
    const struct disk *disk = &state.disks[area->disk];
    for (uint32_t i = 0, count; i < area->sectors; i += count) {
        count = area->sectors - i < CHUNK / SECTOR ? area->sectors - i : CHUNK / SECTOR;
        uint64_t offset = area->offset + (uint64_t)i * SECTOR;
        ssize_t size = (ssize_t)count * SECTOR;
        if (read_disk(disk, buffer, size, offset) == size)
            check_sectors(check, area, buffer, i, count);
        else
            for (uint32_t k = 0; k < count; k++)
                note(check, area->disk, UNREAD, offset / SECTOR + k, 0, 0);
    }
}

static enum verdict judge_record(const struct check *check, const uint8_t *at, uint32_t number)
{
    enum record found = record_at(at, number);
    if (number > check->saving)
        return found == RECORD ? LATER : NOTHING;
    if (number > check->saved)
        return DOUBTFUL;
    if (found == RECORD)
        return RIGHT;
    return found == NO_RECORD ? MISSING : CORRUPT;
}

static void check_saved(struct check *check, uint8_t *buffer)
{
    for (uint32_t i = 0; i < MOST_SAVED; i++) {
        uint32_t within = i % (CHUNK / SECTOR);
        bool failed = within == 0
            && read_disk(&state.disks[0], buffer, CHUNK, (uint64_t)i * SECTOR) != CHUNK;
        if (failed) {
            for (uint32_t k = 0; k < CHUNK / SECTOR; k++)
                note(check, 0, UNREAD, i + k, 0, 0);
            i += CHUNK / SECTOR - 1;
            continue;
        }
        const uint8_t *at = buffer + (size_t)within * SECTOR;
        note(check, 0, judge_record(check, at, i + 1), i, i + 1, 0);
    }
}

/* Lets the writers end what they have begun; one whose disk is stuck counts as in flight. */
static void hold_writers(struct check *check, uint64_t wait_ms)
{
    uint64_t end = monotonic_us() + wait_ms * 1000;
    lock_state();
    state.pauses++;
    while (flights(check->flight) > 0 && monotonic_us() < end)
        wait_until(end);
    check->flights = flights(check->flight);
    check->saved = state.saved;
    check->saving = state.saving;
    unlock_state();
}

static void release_writers(void)
{
    lock_state();
    state.pauses--;
    pthread_cond_broadcast(&state.changed);
    unlock_state();
}

static uint64_t total(const struct check *check, enum verdict verdict)
{
    uint64_t sum = 0;
    for (int i = 0; i < state.disk_count; i++)
        sum += check->counts[i][verdict];
    return sum;
}

static int report(const struct check *check, char *answer, size_t size)
{
    size_t used = snprintf(answer, size, "clean %d in_flight %d saved %u", !check->first[0],
                           check->flights, check->saved);
    for (enum verdict v = RIGHT; v < VERDICTS; v++)
        used += snprintf(answer + used, size - used, " %s %llu", names[v],
                         (unsigned long long)total(check, v));
    used += snprintf(answer + used, size - used, " first %s",
                     check->first[0] ? check->first : "-");
    for (int i = 0; i < state.disk_count; i++)
        for (enum verdict v = RIGHT; v <= UNREAD; v++)
            used += snprintf(answer + used, size - used, " %s.%s %llu", state.disks[i].name,
                             names[v], (unsigned long long)check->counts[i][v]);
    return used + snprintf(answer + used, size - used, "\n");
}

/* Counts are in sectors. Takes as long as the disks take. */
int verify_answer(const char *wait_ms, char *answer, size_t size)
{
    struct check check = { 0 };
    uint8_t *buffer = aligned(CHUNK);
    pthread_mutex_lock(&one_at_a_time);
    hold_writers(&check, *wait_ms ? strtoull(wait_ms, NULL, 10) : DEFAULT_WAIT_MS);
    check_saved(&check, buffer);
    for (int i = 0; i < state.disk_count; i++)
        check_area(&check, &state.disks[i].shared, buffer);
    for (int i = 0; i < state.writer_count; i++)
        check_area(&check, &state.writers[i].own, buffer);
    release_writers();
    pthread_mutex_unlock(&one_at_a_time);
    free(buffer);
    return report(&check, answer, size);
}
