/* How long completed writes took: 16 buckets for each power of two, so within 7 %. */
#include "disks.h"

#include <stdio.h>
#include <string.h>

enum { FINE = 16, BUCKETS = 61 * FINE };

static struct { uint32_t bucket[BUCKETS]; uint64_t count, max_us; } latency;

static int bucket_of(uint64_t us)
{
    if (us < FINE)
        return us;
    int power = 63 - __builtin_clzll(us);
    return (power - 3) * FINE + (int)(us >> (power - 4) & (FINE - 1));
}

/* The largest time of a bucket. */
static uint64_t edge_us(int bucket)
{
    if (bucket < FINE)
        return bucket;
    int power = bucket / FINE + 3;
    return ((uint64_t)(bucket % FINE + FINE + 1) << (power - 4)) - 1;
}

void note_latency(uint64_t us)
{
    latency.bucket[bucket_of(us)]++;
    latency.count++;
    if (us > latency.max_us)
        latency.max_us = us;
}

void reset_latency(void)
{
    memset(&latency, 0, sizeof latency);
}

static uint64_t percentile_us(unsigned percent)
{
    uint64_t seen = 0, wanted = (latency.count * percent + 99) / 100;
    for (int i = 0; i < BUCKETS && latency.count; i++) {
        seen += latency.bucket[i];
        if (seen >= wanted)
            return edge_us(i) < latency.max_us ? edge_us(i) : latency.max_us;
    }
    return 0;
}

int latency_answer(char *answer, size_t size)
{
    return snprintf(answer, size, "count %llu p50_us %llu p95_us %llu max_us %llu\n",
                    (unsigned long long)latency.count, (unsigned long long)percentile_us(50),
                    (unsigned long long)percentile_us(95), (unsigned long long)latency.max_us);
}
