/* A written sector tells who wrote it, and nothing in it is left to chance. */
#include "disks.h"

#include <string.h>

/* 'R','H','A','D','S','E','C','1' */
#define MAGIC 0x3143455344414852ull

struct sector {
    uint64_t magic, run, place;
    uint32_t writer, number;
    uint64_t fill[60];
};
_Static_assert(sizeof(struct sector) == SECTOR, "a sector");

/* The finaliser of splitmix64. */
uint64_t mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15ull;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ value >> 27) * 0x94d049bb133111ebull;
    return value ^ value >> 31;
}

static uint64_t place_of(const struct area *area, uint32_t index)
{
    return (uint64_t)area->disk << 48 | (area->offset / SECTOR + index);
}

/* The fill depends on the whole head, so it is the head's checksum as well. */
static void make(struct sector *at, uint64_t run, uint64_t place, uint32_t writer, uint32_t number)
{
    *at = (struct sector){ .magic = MAGIC, .run = run, .place = place, .writer = writer,
                           .number = number };
    uint64_t seed = mix(mix(mix(run) ^ place) ^ ((uint64_t)writer << 32 | number));
    for (size_t i = 0; i < sizeof at->fill / sizeof *at->fill; i++)
        at->fill[i] = mix(seed + i);
}

void fill_sectors(uint8_t *at, const struct span *span, uint32_t writer)
{
    for (uint32_t i = 0; i < span->count; i++)
        make((struct sector *)(at + (size_t)i * SECTOR), state.run,
             place_of(span->area, span->first + i), writer, span->number);
}

bool is_blank(const uint8_t *at)
{
    static const uint8_t zeros[SECTOR];
    return memcmp(at, zeros, SECTOR) == 0;
}

struct found look_at(const uint8_t *at, const struct area *area, uint32_t index)
{
    struct sector seen, right;
    memcpy(&seen, at, sizeof seen);
    if (seen.magic != MAGIC)
        return (struct found){ .kind = is_blank(at) ? BLANK : GARBAGE };
    make(&right, seen.run, place_of(area, index), seen.writer, seen.number);
    if (memcmp(&seen, &right, sizeof right) != 0)
        return (struct found){ .kind = GARBAGE };
    return (struct found){ seen.run == state.run ? OURS : FOREIGN, seen.writer, seen.number };
}
