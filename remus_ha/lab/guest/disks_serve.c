/* Lines over TCP and UDP. A command that waits for a disk holds up its own client only: each
 * connection has a thread, and so has each slow datagram.
 */
#define _GNU_SOURCE
#include "disks.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_CLIENTS = 16 };

struct datagram { struct sockaddr_in6 peer; socklen_t peer_size; char line[LINE]; };

static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
static int clients, udp, tcp;

static bool enter(void)
{
    pthread_mutex_lock(&counting);
    bool room = clients < MAX_CLIENTS;
    clients += room;
    pthread_mutex_unlock(&counting);
    return room;
}

static void leave(void)
{
    pthread_mutex_lock(&counting);
    clients--;
    pthread_mutex_unlock(&counting);
}

static void start_client(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    start_thread(&thread, body, argument);
    pthread_detach(thread);
}

static int open_server(int type)
{
    struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(DISKS_PORT) };
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0), off = 0, on = 1;
    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (void *)&any, sizeof any) != 0)
        die("bind");
    if (type == SOCK_STREAM && listen(fd, MAX_CLIENTS) != 0)
        die("listen");
    return fd;
}

static void answer_datagram(const struct datagram *datagram)
{
    char answer[ANSWER];
    int size = answer_command(datagram->line, answer, sizeof answer);
    sendto(udp, answer, size, 0, (const void *)&datagram->peer, datagram->peer_size);
}

static void *answer_slowly(void *argument)
{
    answer_datagram(argument);
    free(argument);
    leave();
    return NULL;
}

static void hand_over(const struct datagram *datagram)
{
    struct datagram *copy = enter() ? malloc(sizeof *copy) : NULL;
    if (!copy)
        return; /* the client asks again */
    *copy = *datagram;
    start_client(answer_slowly, copy);
}

static void *serve_datagrams(void *argument)
{
    struct datagram datagram;
    for (;;) {
        datagram.peer_size = sizeof datagram.peer;
        ssize_t got = recvfrom(udp, datagram.line, LINE - 1, 0, (void *)&datagram.peer,
                               &datagram.peer_size);
        if (got < 0)
            continue;
        datagram.line[got] = 0;
        datagram.line[strcspn(datagram.line, "\n")] = 0;
        /* New guests say hello to everybody on this very port. */
        if (strncmp(datagram.line, "hello ", 6) == 0)
            continue;
        if (is_slow(datagram.line))
            hand_over(&datagram);
        else
            answer_datagram(&datagram);
    }
    return argument;
}

static bool send_all(int fd, const char *at, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += sent;
        size -= sent;
    }
    return true;
}

static bool answer_lines(int fd, char *in, size_t *used)
{
    char answer[ANSWER], *newline;
    while ((newline = memchr(in, '\n', *used))) {
        *newline = 0;
        int size = answer_command(in, answer, sizeof answer);
        if (!send_all(fd, answer, size))
            return false;
        *used -= newline + 1 - in;
        memmove(in, newline + 1, *used);
    }
    return *used < LINE;
}

static void *serve_connection(void *argument)
{
    int fd = (int)(intptr_t)argument, on = 1;
    char in[LINE];
    size_t used = 0;
    ssize_t got;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    while ((got = recv(fd, in + used, LINE - used, 0)) > 0) {
        used += got;
        if (!answer_lines(fd, in, &used))
            break;
    }
    close(fd);
    leave();
    return NULL;
}

void open_servers(void)
{
    tcp = open_server(SOCK_STREAM);
    udp = open_server(SOCK_DGRAM);
}

_Noreturn void serve(void)
{
    pthread_t thread;
    start_thread(&thread, serve_datagrams, NULL);
    for (;;) {
        int fd = accept(tcp, NULL, NULL);
        if (fd < 0)
            continue;
        if (enter())
            start_client(serve_connection, (void *)(intptr_t)fd);
        else
            close(fd);
    }
}
