/* lab-wake: what makes a host that was restored from a frozen state a freshly booted one.
 *
 * Reads the time of day (seconds since 1970, with a fraction) as its only argument and 64 random
 * bytes from standard input: sets the clock, seeds the kernel's random numbers, gives the host
 * a boot id of its own, and mounts its data disk: only now, as the frozen state is older than
 * what is on it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SEED = 64 };

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int set_time(const char *text)
{
    double seconds = atof(text);
    struct timespec now = { (time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9) };
    return clock_settime(CLOCK_REALTIME, &now);
}

static int seed(void)
{
    struct { struct rand_pool_info head; unsigned char bytes[SEED]; } pool;
    int fd = open("/dev/urandom", O_WRONLY);
    pool.head.entropy_count = SEED * 8;
    pool.head.buf_size = SEED;
    if (fd < 0 || read(0, pool.head.buf, SEED) != SEED)
        return -1;
    return ioctl(fd, RNDADDENTROPY, &pool) || ioctl(fd, RNDRESEEDCRNG) ? -1 : 0;
}

static int renew_boot_id(void)
{
    char uuid[64];
    int from = open("/proc/sys/kernel/random/uuid", O_RDONLY);
    int to = open("/run/lab-boot-id", O_WRONLY | O_CREAT | O_TRUNC, 0444);
    ssize_t size = read(from, uuid, sizeof uuid);
    if (size <= 0 || write(to, uuid, size) != size)
        return -1;
    return mount("/run/lab-boot-id", "/proc/sys/kernel/random/boot_id", NULL, MS_BIND, NULL);
}

static int mount_data(void)
{
    if (mount("/dev/vdb", "/srv", "ext4", MS_NOATIME, NULL) != 0)
        return -1;
    // Every host can be a guest's backup: its images' directory has to be there.
    return mkdir("/srv/guests", 0755) == 0 || errno == EEXIST ? 0 : -1;
}

int main(int count, char **words)
{
    if (count != 2)
        return 2;
    if (set_time(words[1]) != 0)
        return fail("time");
    if (seed() != 0)
        return fail("seed");
    if (renew_boot_id() != 0)
        return fail("boot id");
    if (mount_data() != 0)
        return fail("data disk");
    return 0;
}
