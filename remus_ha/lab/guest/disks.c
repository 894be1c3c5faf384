/* The standard guest's disk program: writes whose presence on the disks can be proved.
 *
 *     disks DISK... [writers=N] [kib_s=K] [area_kib=K]
 *
 * Writers, spread over the disks, each write to an area of their own and to the one that all of a
 * disk's writers share: checksummed writes from 512 bytes to 1 MiB, mostly small, with O_DSYNC,
 * with O_DIRECT, or buffered with fdatasync. What a sector holds follows from the writer, the
 * write's number and the place. The numbers of completed writes and of those in flight are kept
 * in memory alone: so memory and disks that belong to different moments contradict each other.
 * kib_s is the rate of all writers together, 0 as fast as it goes.
 *
 * Port 7779, TCP and UDP, IPv4 and IPv6; one line per command, one line "KEY VALUE ..." for it:
 *     stat                counters
 *     start [KIB_S]       let the writers write; stop: let them end what they have begun
 *     latency             of completed writes since the last reset; reset also forgets errors
 *     verify [WAIT_MS]    compare disks and memory, after at most that wait for what is in flight
 *     last WRITER         where the writer's last completed write is
 *     forget NUMBER       for tests: let memory be as if nothing above NUMBER had been begun
 *     save TEXT           "saved N" once record N is on the disk
 *     saved N?            "saved N TEXT", read from the disk
 * and "error WORD" for what cannot be done. An I/O error is counted, and ends nothing.
 */
#define _GNU_SOURCE
#include "disks.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct state state = { .lock = PTHREAD_MUTEX_INITIALIZER, .kib_s = 1024, .area_kib = 4096,
                       .writer_count = 8 };

/* ---- configuration ------------------------------------------------------------------- */

static bool number_of(const char *word, const char *key, uint64_t *value)
{
    size_t length = strlen(key);
    if (strncmp(word, key, length) != 0 || word[length] != '=')
        return false;
    *value = strtoull(word + length + 1, NULL, 10);
    return true;
}

static void add_disk(const char *path)
{
    if (state.disk_count == MAX_DISKS)
        return;
    struct disk *disk = &state.disks[state.disk_count++];
    snprintf(disk->path, sizeof disk->path, "%s", path);
    snprintf(disk->name, sizeof disk->name, "%.15s", strrchr(disk->path, '/') + 1);
}

/* The guest's whole kernel command line comes here: other words are not meant for us. */
static void read_config(int count, char **words)
{
    uint64_t writers = state.writer_count;
    for (int i = 1; i < count; i++) {
        number_of(words[i], "writers", &writers);
        number_of(words[i], "kib_s", &state.kib_s);
        number_of(words[i], "area_kib", &state.area_kib);
        if (words[i][0] == '/')
            add_disk(words[i]);
    }
    state.writer_count = writers > MAX_WRITERS ? MAX_WRITERS : writers;
}

/* Data of other runs may be on the disks; this one's is told by a number of its own. */
static void choose_run(void)
{
    struct timespec now;
    /* Not to wait for a guest's first random numbers, which may take long after its start. */
    if (getrandom(&state.run, sizeof state.run, GRND_INSECURE) != sizeof state.run)
        die("getrandom");
    clock_gettime(CLOCK_REALTIME, &now);
    state.run = mix(state.run ^ ((uint64_t)now.tv_sec << 32 | now.tv_nsec));
}

/* ---- commands ------------------------------------------------------------------------ */

static int stat_answer(char *answer, size_t size)
{
    struct span spans[MAX_WRITERS];
    bool direct = true;
    for (int i = 0; i < state.disk_count; i++)
        direct &= state.disks[i].direct;
    return snprintf(answer, size,
                    "running %d writers %d disks %d direct %d kib_s %llu number %u completed %llu "
                    "in_flight %d bytes %llu errors %llu last_error %d saved %u\n",
                    state.running, state.writer_count, state.disk_count, direct,
                    (unsigned long long)state.kib_s, state.number,
                    (unsigned long long)state.completed, flights(spans),
                    (unsigned long long)state.bytes, (unsigned long long)state.errors,
                    state.last_error, state.saved);
}

static int last_answer(const char *word, char *answer, size_t size)
{
    unsigned long id = strtoul(word, NULL, 10);
    if (id >= (unsigned long)state.writer_count)
        return snprintf(answer, size, "error writer\n");
    const struct writer *writer = &state.writers[id];
    const struct span *last = &writer->last;
    uint64_t offset = last->area ? last->area->offset + (uint64_t)last->first * SECTOR : 0;
    return snprintf(answer, size,
                    "writer %lu disk %s completed %u in_flight %u offset %llu bytes %u\n", id,
                    state.disks[writer->own.disk].name, writer->completed, writer->flight.number,
                    (unsigned long long)offset, last->count * SECTOR);
}

static int start_answer(const char *rate, char *answer, size_t size)
{
    if (*rate)
        state.kib_s = strtoull(rate, NULL, 10);
    set_running(true);
    return stat_answer(answer, size);
}

static int forget_answer(const char *number, char *answer, size_t size)
{
    if (!*number || !forget_above(strtoul(number, NULL, 10)))
        return snprintf(answer, size, *number ? "error running\n" : "error syntax\n");
    return stat_answer(answer, size);
}

/* The lock is held. */
static int quick_answer(const char *verb, const char *rest, char *answer, size_t size)
{
    if (strcmp(verb, "start") == 0)
        return start_answer(rest, answer, size);
    if (strcmp(verb, "latency") == 0)
        return latency_answer(answer, size);
    if (strcmp(verb, "last") == 0)
        return last_answer(rest, answer, size);
    if (strcmp(verb, "forget") == 0)
        return forget_answer(rest, answer, size);
    if (strcmp(verb, "stop") == 0) {
        set_running(false);
    } else if (strcmp(verb, "reset") == 0) {
        reset_latency();
        state.errors = state.last_error = 0;
    } else if (strcmp(verb, "stat") != 0) {
        return snprintf(answer, size, "error command\n");
    }
    return stat_answer(answer, size);
}

bool is_slow(const char *line)
{
    return strncmp(line, "verify", 6) == 0 || strncmp(line, "save", 4) == 0;
}

int answer_command(const char *line, char *answer, size_t size)
{
    char verb[16] = "";
    size_t length = strcspn(line, " ");
    if (length < sizeof verb)
        memcpy(verb, line, length);
    const char *rest = line[length] ? line + length + 1 : "";
    if (strcmp(verb, "verify") == 0)
        return verify_answer(rest, answer, size);
    if (strcmp(verb, "save") == 0)
        return save_answer(rest, answer, size);
    if (strcmp(verb, "saved") == 0)
        return saved_answer(rest, answer, size);
    lock_state();
    int used = quick_answer(verb, rest, answer, size);
    unlock_state();
    return used;
}

/* ---- start --------------------------------------------------------------------------- */

/* Waiting follows CLOCK_MONOTONIC: the time of day may jump at a restore. */
static void make_condition(void)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&state.changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

int main(int count, char **words)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    read_config(count, words);
    if (state.disk_count == 0) {
        fprintf(stderr, "disks: no disk is named\n");
        return 2;
    }
    choose_run();
    make_condition();
    lay_out();
    find_saved();
    start_writers();
    open_servers();
    printf("disks: %d disks, %d writers\n", state.disk_count, state.writer_count);
    fflush(stdout);
    serve();
}
