/* Lines over TCP: each connection has a thread, and waits for its own answers. */
#define _GNU_SOURCE
#include "database.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_CLIENTS = 16, STACK_BYTES = 256 << 10 };

static sem_t places;

static int open_server(void)
{
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(DATABASE_PORT) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (void *)&any, sizeof any) != 0 || listen(fd, MAX_CLIENTS) != 0)
        die("port");
    return fd;
}

/* A line that is too long, or that its client did not finish, ends the connection. */
static void answer_lines(int fd, FILE *in)
{
    char line[LINE + 1], answer[ANSWER];
    while (fgets(line, sizeof line, in)) {
        size_t length = strcspn(line, "\n");
        if (line[length] != '\n')
            return;
        line[length] = 0;
        answer_command(line, answer, sizeof answer);
        if (dprintf(fd, "%s", answer) < 0)
            return;
    }
}

static void *serve_connection(void *argument)
{
    int fd = (int)(intptr_t)argument, on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    FILE *in = fdopen(fd, "r");
    if (!in)
        die("memory");
    answer_lines(fd, in);
    fclose(in);
    sem_post(&places);
    return NULL;
}

static void start_connection(int fd)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    errno = pthread_create(&thread, &attributes, serve_connection, (void *)(intptr_t)fd);
    if (errno != 0)
        die("thread");
    pthread_attr_destroy(&attributes);
}

_Noreturn void serve(void)
{
    int server = open_server();
    sem_init(&places, 0, MAX_CLIENTS);
    printf("database: serving\n");
    fflush(stdout);
    for (;;) {
        sem_wait(&places);
        int fd = accept(server, NULL, NULL);
        if (fd >= 0)
            start_connection(fd);
        else
            sem_post(&places);
    }
}
