/* The standard guest's database program: a file system and an SQLite database, served to clients.
 *
 *     database database=DEVICE [directory=/data]
 *     database directory=PATH
 *
 * The first one mounts the device's ext4 (made beforehand) on the directory, the second one takes
 * the directory as it is. There it keeps rows.db (WAL, synchronous=FULL) and files/. The guest's
 * whole kernel command line may come here: other words are not meant for it.
 *
 * Port 7780, TCP over IPv4; one line per command, one line for it:
 *     insert TEXT         "row N" once the row is committed
 *     row N?              its text, or "absent"
 *     count               the number of rows
 *     file NAME TEXT      "saved NAME" once the file and its name are synced
 *     file NAME?          its text, or "absent"
 *     check               "ok", or the first line of what SQLite's integrity_check finds
 * and "error WORDS" for what cannot be done. A text that reads like another answer ("absent",
 * "error ...") is refused. A file is written beside its place, synced and renamed.
 */
#define _GNU_SOURCE
#include "database.h"
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static struct { char device[PATH], directory[PATH]; } config;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

void die(const char *what)
{
    fprintf(stderr, "database: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- commands ------------------------------------------------------------------------ */

static const char *after(const char *line, const char *verb)
{
    size_t length = strlen(verb);
    return strncmp(line, verb, length) == 0 ? line + length : NULL;
}

/* The length of "WORD?", 0 for anything else. */
static size_t question(const char *words)
{
    size_t length = strcspn(words, " ?");
    return strcmp(words + length, "?") == 0 ? length : 0;
}

static int stored(const char *text)
{
    return *text && strcmp(text, "absent") != 0 && !after(text, "error ");
}

static int file_command(const char *words, char *answer, size_t size)
{
    size_t length = strcspn(words, " ");
    if (question(words) > 0)
        return file_answer(words, question(words), answer, size);
    if (words[length] != ' ' || !stored(words + length + 1))
        return snprintf(answer, size, "error syntax\n");
    return save_answer(words, length, words + length + 1, answer, size);
}

static int answer_alone(const char *line, char *answer, size_t size)
{
    const char *words;
    if ((words = after(line, "insert ")) && stored(words))
        return insert_answer(words, answer, size);
    if ((words = after(line, "row ")) && question(words) > 0)
        return row_answer(words, answer, size);
    if ((words = after(line, "file ")))
        return file_command(words, answer, size);
    if (strcmp(line, "count") == 0)
        return count_answer(answer, size);
    if (strcmp(line, "check") == 0)
        return check_answer(answer, size);
    return snprintf(answer, size, "error syntax\n");
}

int answer_command(const char *line, char *answer, size_t size)
{
    pthread_mutex_lock(&one_at_a_time);
    int used = answer_alone(line, answer, size);
    pthread_mutex_unlock(&one_at_a_time);
    return used;
}

/* ---- start --------------------------------------------------------------------------- */

/* An error of the disk must be seen, so the file system does not go on after one. */
void mount_disk(const char *device, const char *directory)
{
    char path[PATH];
    snprintf(path, sizeof path, "/dev/%.200s", device);
    int fd = open_device(path, O_RDWR);
    if (fd < 0)
        die(path);
    close(fd);
    if (mkdir(directory, 0755) != 0 && errno != EEXIST)
        die(directory);
    if (mount(path, directory, "ext4", MS_NOATIME, "errors=remount-ro") != 0)
        die(path);
}

static void read_config(int count, char **words)
{
    const char *value;
    for (int i = 1; i < count; i++) {
        if ((value = after(words[i], "database=")))
            snprintf(config.device, sizeof config.device, "%s", value);
        if ((value = after(words[i], "directory=")))
            snprintf(config.directory, sizeof config.directory, "%s", value);
    }
    if (config.device[0] && !config.directory[0])
        strcpy(config.directory, "/data");
}

int main(int count, char **words)
{
    signal(SIGPIPE, SIG_IGN);
    read_config(count, words);
    if (!config.directory[0]) {
        fprintf(stderr, "database: neither a device nor a directory is named\n");
        return 2;
    }
    if (config.device[0])
        mount_disk(config.device, config.directory);
    open_rows(config.directory);
    open_files(config.directory);
    serve();
}
