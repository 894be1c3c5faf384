/* Saved records: a line of text each, one sector each, numbered from 1, at the first disk's begin.
 *
 * An answer "saved N" is given when record N is on the disk, never before. Records outlive the
 * program: the next one goes on after the last that it finds.
 */
#include "disks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 'R','H','A','S','A','V','E','1' */
#define MAGIC 0x3145564153414852ull

struct saved { uint64_t magic, number, sum; char text[SECTOR - 24]; };
_Static_assert(sizeof(struct saved) == SECTOR, "a sector");

/* Held over the write: records are written one after the other. */
static pthread_mutex_t saving = PTHREAD_MUTEX_INITIALIZER;

static uint64_t sum_of(const struct saved *record)
{
    uint64_t sum = mix(record->number);
    for (size_t i = 0; i < sizeof record->text; i++)
        sum = mix(sum ^ (uint8_t)record->text[i]);
    return sum;
}

enum record record_at(const uint8_t *at, uint32_t number)
{
    struct saved record;
    memcpy(&record, at, sizeof record);
    if (is_blank(at))
        return NO_RECORD;
    bool whole = record.magic == MAGIC && record.sum == sum_of(&record)
        && record.number == number && record.text[sizeof record.text - 1] == 0;
    return whole ? RECORD : BROKEN_RECORD;
}

/* Before the program serves. */
void find_saved(void)
{
    uint8_t *all = aligned(SAVED_BYTES);
    if (read_disk(&state.disks[0], all, SAVED_BYTES, 0) != SAVED_BYTES)
        die(state.disks[0].path);
    for (uint32_t number = 1; number <= MOST_SAVED; number++)
        if (record_at(all + (size_t)(number - 1) * SECTOR, number) == RECORD)
            state.saved = state.saving = number;
    free(all);
}

static bool write_record(uint32_t number, const char *text)
{
    struct saved *record = aligned(SECTOR);
    record->magic = MAGIC;
    record->number = number;
    snprintf(record->text, sizeof record->text, "%s", text);
    record->sum = sum_of(record);
    ssize_t put = pwrite(state.disks[0].fd, record, SECTOR, (uint64_t)(number - 1) * SECTOR);
    free(record);
    return put == SECTOR;
}

int save_answer(const char *text, char *answer, size_t size)
{
    if (!*text || strlen(text) >= sizeof((struct saved *)0)->text)
        return snprintf(answer, size, "error syntax\n");
    pthread_mutex_lock(&saving);
    lock_state();
    uint32_t number = state.saved + 1;
    if (number <= MOST_SAVED)
        state.saving = number;
    unlock_state();
    bool done = number <= MOST_SAVED && write_record(number, text);
    lock_state();
    if (done)
        state.saved = number;
    unlock_state();
    pthread_mutex_unlock(&saving);
    if (done)
        return snprintf(answer, size, "saved %u\n", number);
    return snprintf(answer, size, number <= MOST_SAVED ? "error io\n" : "error full\n");
}

int saved_answer(const char *word, char *answer, size_t size)
{
    uint32_t number = strtoul(word, NULL, 10);
    if (number < 1 || number > MOST_SAVED)
        return snprintf(answer, size, "error number\n");
    struct saved *record = aligned(SECTOR);
    ssize_t got = read_disk(&state.disks[0], record, SECTOR, (uint64_t)(number - 1) * SECTOR);
    int length;
    if (got != SECTOR)
        length = snprintf(answer, size, "error io\n");
    else if (record_at((uint8_t *)record, number) != RECORD)
        length = snprintf(answer, size, "error absent\n");
    else
        length = snprintf(answer, size, "saved %u %s\n", number, record->text);
    free(record);
    return length;
}
