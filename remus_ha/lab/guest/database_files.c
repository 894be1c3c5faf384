/* The files: each is either as it was or as it was last said to be saved, whatever happens. */
#define _GNU_SOURCE
#include "database.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LONGEST_NAME = 63 };

/* No file of a client begins with a dot. */
static const char half[] = ".half";
static int files;

void open_files(const char *directory)
{
    char path[PATH + 16];
    snprintf(path, sizeof path, "%s/files", directory);
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        die(path);
    files = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int above = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (files < 0 || above < 0 || fsync(above) != 0)
        die(path);
    close(above);
}

static bool take_name(char *name, const char *given, size_t length)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-_.";
    if (length < 1 || length > LONGEST_NAME || *given == '.' || strspn(given, letters) < length)
        return false;
    memcpy(name, given, length);
    name[length] = 0;
    return true;
}

static bool write_half(const char *text)
{
    ssize_t size = strlen(text);
    int fd = openat(files, half, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return false;
    errno = EIO;
    bool done = write(fd, text, size) == size && fsync(fd) == 0;
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

int save_answer(const char *given, size_t length, const char *text, char *answer, size_t size)
{
    char name[LONGEST_NAME + 1];
    if (!take_name(name, given, length))
        return snprintf(answer, size, "error name\n");
    if (!write_half(text) || renameat(files, half, files, name) != 0 || fsync(files) != 0)
        return snprintf(answer, size, "error %s\n", strerror(errno));
    return snprintf(answer, size, "saved %s\n", name);
}

int file_answer(const char *given, size_t length, char *answer, size_t size)
{
    char name[LONGEST_NAME + 1], text[LINE + 1];
    if (!take_name(name, given, length))
        return snprintf(answer, size, "error name\n");
    int fd = openat(files, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return snprintf(answer, size, "absent\n");
    ssize_t got = fd < 0 ? -1 : read(fd, text, LINE);
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (got < 0)
        return snprintf(answer, size, "error %s\n", strerror(error));
    text[got] = 0;
    return snprintf(answer, size, "%s\n", text);
}
