/* What the parts of the standard guest's disk program share; disks.c says what it does.
 *
 * A disk is laid out as: saved records (1 MiB), the area that all its writers share (256 KiB),
 * then one area for each of its writers. Every area begins on a page, and every area is written
 * in one way only, past the page cache or through it: the two in one page would lose writes
 * without any fault of the disk.
 *
 * Writes are numbered by one counter for all writers. A number is also the time at which its
 * write began: a write that completed when the counter stood at T came before every write with
 * a number above T. For each sector the memory holds the writes that it may show: the last
 * completed one and, in the shared area, those that were under way together with it.
 */
#ifndef DISKS_H
#define DISKS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    DISKS_PORT = 7779,
    SECTOR = 512,
    PAGE = 4096,
    MAX_DISKS = 8,
    MAX_WRITERS = 16,
    SAVED_BYTES = 1 << 20,
    SHARED_BYTES = 256 << 10,
    SMALL_BYTES = 64 << 10,
    LARGEST_BYTES = 1 << 20,
    LINE = 512,
    PATH = 256,
    ANSWER = 2048,
};

/* In place of a number: a write failed here, so any that was begun may be seen. */
#define UNSURE UINT32_MAX

struct slot { uint32_t number, done_at; };

/* Sectors with one slot for each writer of the area, those from first_writer in steps. */
struct area {
    int disk, first_writer, step, writers;
    uint64_t offset;
    uint32_t sectors;
    struct slot *slots;
};

/* One write; number 0 is none. */
struct span { const struct area *area; uint32_t number, first, count; };

struct disk {
    char path[PATH], name[16];
    uint64_t bytes;
    int fd; /* O_DSYNC, and O_DIRECT where the disk can do that */
    bool direct;
    struct area shared;
};

struct writer {
    int id, fd;
    bool sync_after;
    uint64_t due_us;
    uint32_t completed;
    struct span flight, last;
    struct area own;
    uint8_t *buffer;
    pthread_t thread;
};

/* Guarded by lock, which is never held over a disk's input or output. */
struct state {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t run, kib_s, area_kib, bytes, completed, errors;
    uint32_t number, saved, saving;
    int last_error, disk_count, writer_count, pauses;
    bool running;
    struct disk disks[MAX_DISKS];
    struct writer writers[MAX_WRITERS];
};

extern struct state state;

/* disks_write.c */
void die(const char *what);
void lock_state(void);
void unlock_state(void);
uint64_t monotonic_us(void);
void wait_until(uint64_t us);
void *aligned(size_t bytes);
void start_thread(pthread_t *thread, void *(*body)(void *), void *argument);
void lay_out(void);
void start_writers(void);
void set_running(bool running);
bool forget_above(uint32_t number);
int slot_of(const struct area *area, uint32_t writer);
int flights(struct span *spans);

/* disks_sector.c: what a written sector holds, by run, writer, number and place. */
enum kind { BLANK, OURS, FOREIGN, GARBAGE };
struct found { enum kind kind; uint32_t writer, number; };
uint64_t mix(uint64_t value);
void fill_sectors(uint8_t *at, const struct span *span, uint32_t writer);
struct found look_at(const uint8_t *at, const struct area *area, uint32_t index);
bool is_blank(const uint8_t *at);

/* disks_latency.c */
void note_latency(uint64_t us);
void reset_latency(void);
int latency_answer(char *answer, size_t size);

/* disks_saved.c */
enum { MOST_SAVED = SAVED_BYTES / SECTOR };
enum record { NO_RECORD, RECORD, BROKEN_RECORD };
enum record record_at(const uint8_t *at, uint32_t number);
void find_saved(void);
int save_answer(const char *text, char *answer, size_t size);
int saved_answer(const char *number, char *answer, size_t size);

/* disks_verify.c */
ssize_t read_disk(const struct disk *disk, void *at, size_t size, uint64_t offset);
int verify_answer(const char *wait_ms, char *answer, size_t size);

/* disks_serve.c: calls answer_command for each line; one that is_slow has a thread to itself. */
int answer_command(const char *line, char *answer, size_t size);
bool is_slow(const char *line);
void open_servers(void);
_Noreturn void serve(void);

#endif
