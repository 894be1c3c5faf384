/* The standard guest's only program (PID 1): a ledger whose every answer can be checked.
 *
 * Ledger, TCP and UDP port 7777, IPv4 and IPv6, one line or datagram per request:
 *     CLIENT SEQ AMOUNT          ->  CLIENT SEQ TOTAL COUNT TICKS
 * TOTAL is the sum of the client's amounts, COUNT the number of requests applied for it, TICKS
 * the guest's own counter (100 a second). A request whose SEQ is the client's last one is
 * answered again and not applied again; an older one is dropped.
 *
 * Control, TCP and UDP port 7778, one line per command: stat, reset, gaps, dirty KIB_S [MIB],
 * chatter PER_S, welcome, shutdown, reboot, crash, exit.
 *
 * It dirties memory at a given rate, notes every gap of its own clock, and sends numbered
 * chatter: an ARP announcement, a VLAN-tagged frame and an IPv6 multicast datagram in turn, on
 * every vif. A chatter record is 24 bytes: "RHA1", kind (1 ARP, 2 VLAN, 3 multicast), vif, two
 * zero bytes, then SEQ and TICKS as 64-bit big-endian numbers.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    LEDGER_PORT = 7777,
    CONTROL_PORT = 7778,
    HELLO_PORT = 7779,
    CHATTER_PORT = 7780,
    VLAN_ID = 42,
    LOCAL_ETHERTYPE = 0x88b5,
    PAGE = 4096,
    TICK_US = 10000,
    GAP_FLOOR_US = 8000,
    MAX_GAPS = 4096,
    MAX_CLIENTS = 64,
    MAX_CONNECTIONS = 64,
    MAX_VIFS = 4,
    LINE = 256,
    OUT_BYTES = 256 * 1024,
    HELLO_US = 200000,
    HELLO_FOR_US = 120000000,
};

struct account { char client[32]; uint64_t last_seq, total, count; };
struct gap { uint64_t at_us, gap_us; };
struct connection {
    int fd;
    bool control;
    size_t in_used, out_used;
    char in[LINE];
    char *out;
};
struct vif { int index; uint8_t mac[6]; };

static struct {
    uint64_t dirty_kib_s, dirty_mib, chatter_per_s, number, vifs, loop_us;
    char name[32];
} config = {
    .dirty_kib_s = 1024, .dirty_mib = 4, .chatter_per_s = 20, .number = 50, .vifs = 1,
    .loop_us = 4000, .name = "guest",
};

static struct account accounts[MAX_CLIENTS];
static struct connection connections[MAX_CONNECTIONS];
static struct vif vifs[MAX_VIFS];
static struct gap gaps[MAX_GAPS];
static uint64_t gap_count, gap_max_us, ticks, chatter_seq, requests, dirty_debt, dirty_next;
static uint8_t *memory;
static int epoll_fd, timer_fd, packet_fd, multicast_fd, hello_fd;
static int ledger_udp, ledger_tcp, control_udp, control_tcp;
static bool welcomed;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec t;
    /* CLOCK_MONOTONIC stands still while the domain is suspended, and would not see the pause. */
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- configuration ------------------------------------------------------------------- */

static void set_number(const char *word, const char *key, uint64_t *value)
{
    size_t length = strlen(key);
    if (strncmp(word, key, length) == 0 && word[length] == '=')
        *value = strtoull(word + length + 1, NULL, 10);
}

static void read_config(int count, char **words)
{
    for (int i = 1; i < count; i++) {
        set_number(words[i], "dirty_kib_s", &config.dirty_kib_s);
        set_number(words[i], "dirty_mib", &config.dirty_mib);
        set_number(words[i], "chatter", &config.chatter_per_s);
        set_number(words[i], "number", &config.number);
        set_number(words[i], "vifs", &config.vifs);
        set_number(words[i], "loop_us", &config.loop_us);
        if (strncmp(words[i], "name=", 5) == 0)
            snprintf(config.name, sizeof config.name, "%s", words[i] + 5);
    }
    if (config.vifs > MAX_VIFS)
        config.vifs = MAX_VIFS;
    if (config.loop_us == 0)
        config.loop_us = 4000;
}

/* ---- memory -------------------------------------------------------------------------- */

static bool resize_memory(uint64_t mib)
{
    uint8_t *fresh = mib ? calloc(mib, 1 << 20) : NULL;
    if (mib && !fresh)
        return false;
    free(memory);
    memory = fresh;
    config.dirty_mib = mib;
    dirty_next = 0;
    return true;
}

static void dirty_for_one_tick(void)
{
    uint64_t pages = config.dirty_mib * ((1 << 20) / PAGE);
    dirty_debt += config.dirty_kib_s * 1024 / (1000000 / TICK_US);
    if (pages == 0)
        dirty_debt = 0;
    for (; dirty_debt >= PAGE; dirty_debt -= PAGE) {
        *(volatile uint64_t *)(memory + dirty_next * PAGE) = ticks;
        dirty_next = (dirty_next + 1) % pages;
    }
}

static void note_gap(uint64_t now)
{
    static uint64_t last;
    uint64_t gap = last ? now - last : 0;
    last = now;
    if (gap > gap_max_us)
        gap_max_us = gap;
    if (gap > GAP_FLOOR_US)
        gaps[gap_count++ % MAX_GAPS] = (struct gap){ now, gap };
}

/* ---- the ledger ---------------------------------------------------------------------- */

static struct account *account_of(const char *client)
{
    for (int i = 0; i < MAX_CLIENTS; i++) {
        if (!accounts[i].client[0])
            strcpy(accounts[i].client, client);
        if (strcmp(accounts[i].client, client) == 0)
            return &accounts[i];
    }
    return NULL;
}

static int ledger_answer(const char *line, char *answer, size_t size)
{
    char client[32];
    unsigned long long seq, amount;
    if (sscanf(line, "%31s %llu %llu", client, &seq, &amount) != 3)
        return snprintf(answer, size, "error syntax\n");
    struct account *account = account_of(client);
    if (!account)
        return snprintf(answer, size, "error full\n");
    if (seq < account->last_seq)
        return 0;
    if (seq > account->last_seq) {
        account->last_seq = seq;
        account->total += amount;
        account->count++;
        requests++;
    }
    return snprintf(answer, size, "%s %llu %llu %llu %llu\n", client, seq,
                    (unsigned long long)account->total, (unsigned long long)account->count,
                    (unsigned long long)ticks);
}

/* ---- control ------------------------------------------------------------------------- */

static void set_loop(void)
{
    long ns = (long)config.loop_us * 1000;
    struct itimerspec every = { .it_interval = { ns / 1000000000, ns % 1000000000 },
                                .it_value = { 0, 1 } };
    timerfd_settime(timer_fd, 0, &every, NULL);
}

static int stat_answer(char *answer, size_t size)
{
    struct sysinfo system;

    if (sysinfo(&system) < 0)
        die("sysinfo");
    return snprintf(answer, size,
                    "name=%s number=%llu ticks=%llu now_us=%llu requests=%llu gap_max_us=%llu "
                    "gaps=%llu dirty_kib_s=%llu dirty_mib=%llu chatter=%llu chatter_seq=%llu "
                    "free_kib=%llu\n",
                    config.name, (unsigned long long)config.number, (unsigned long long)ticks,
                    (unsigned long long)now_us(), (unsigned long long)requests,
                    (unsigned long long)gap_max_us, (unsigned long long)gap_count,
                    (unsigned long long)config.dirty_kib_s,
                    (unsigned long long)config.dirty_mib,
                    (unsigned long long)config.chatter_per_s, (unsigned long long)chatter_seq,
                    (unsigned long long)system.freeram * system.mem_unit / 1024);
}

static int gaps_answer(char *answer, size_t size)
{
    uint64_t first = gap_count > MAX_GAPS ? gap_count - MAX_GAPS : 0;
    size_t used = 0;
    for (uint64_t i = first; i < gap_count && used + 64 < size; i++)
        used += snprintf(answer + used, size - used, "%llu %llu\n",
                         (unsigned long long)gaps[i % MAX_GAPS].at_us,
                         (unsigned long long)gaps[i % MAX_GAPS].gap_us);
    return used + snprintf(answer + used, size - used, "end\n");
}

static int dirty_answer(const char *arguments, char *answer, size_t size)
{
    unsigned long long rate, mib = config.dirty_mib;
    if (sscanf(arguments, "%llu %llu", &rate, &mib) < 1)
        return snprintf(answer, size, "error syntax\n");
    if (mib != config.dirty_mib && !resize_memory(mib))
        return snprintf(answer, size, "error memory\n");
    config.dirty_kib_s = rate;
    return stat_answer(answer, size);
}

static void crash(void)
{
    int fd = open("/proc/sysrq-trigger", O_WRONLY);
    if (fd < 0 || write(fd, "c", 1) != 1)
        exit(1);
}

static int control_answer(const char *line, char *answer, size_t size)
{
    if (strncmp(line, "stat", 4) == 0)
        return stat_answer(answer, size);
    if (strncmp(line, "gaps", 4) == 0)
        return gaps_answer(answer, size);
    if (strncmp(line, "dirty ", 6) == 0)
        return dirty_answer(line + 6, answer, size);
    if (strncmp(line, "chatter ", 8) == 0)
        config.chatter_per_s = strtoull(line + 8, NULL, 10);
    else if (strncmp(line, "loop ", 5) == 0 && strtoull(line + 5, NULL, 10) > 0)
        config.loop_us = strtoull(line + 5, NULL, 10), set_loop();
    else if (strncmp(line, "reset", 5) == 0)
        gap_max_us = gap_count = 0;
    else if (strncmp(line, "welcome", 7) == 0)
        welcomed = true;
    else if (strncmp(line, "shutdown", 8) == 0)
        reboot(RB_POWER_OFF);
    else if (strncmp(line, "reboot", 6) == 0)
        reboot(RB_AUTOBOOT);
    else if (strncmp(line, "crash", 5) == 0)
        crash();
    else if (strncmp(line, "exit", 4) == 0)
        exit(0);
    else
        return snprintf(answer, size, "error command\n");
    return stat_answer(answer, size);
}

static int answer_line(bool control, const char *line, char *answer, size_t size)
{
    return control ? control_answer(line, answer, size) : ledger_answer(line, answer, size);
}

/* ---- sockets ------------------------------------------------------------------------- */

static void watch(int fd, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.fd = fd };
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl");
}

static int open_server(int type, uint16_t port)
{
    struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    int fd = socket(AF_INET6, type | SOCK_NONBLOCK, 0), off = 0, on = 1;
    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (void *)&any, sizeof any) != 0)
        die("bind");
    if (type == SOCK_STREAM && listen(fd, 64) != 0)
        die("listen");
    watch(fd, EPOLLIN);
    return fd;
}

static void serve_datagrams(int fd, bool control)
{
    char line[LINE], answer[1200];
    struct sockaddr_in6 peer;
    for (;;) {
        socklen_t length = sizeof peer;
        ssize_t got = recvfrom(fd, line, sizeof line - 1, 0, (void *)&peer, &length);
        if (got < 0)
            return;
        line[got] = 0;
        int size = answer_line(control, line, answer, sizeof answer);
        if (size > 0)
            sendto(fd, answer, size, 0, (void *)&peer, length);
    }
}

static void drop(struct connection *c)
{
    close(c->fd);
    free(c->out);
    *c = (struct connection){ .fd = -1 };
}

static void accept_one(int listener, bool control)
{
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0)
        return;
    for (int i = 0; i < MAX_CONNECTIONS; i++) {
        char *out = connections[i].fd < 0 ? malloc(OUT_BYTES) : NULL;
        if (!out)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[i] = (struct connection){ .fd = fd, .control = control, .out = out };
        watch(fd, EPOLLIN | EPOLLOUT | EPOLLET);
        return;
    }
    close(fd);
}

static bool flush(struct connection *c)
{
    ssize_t sent = c->out_used ? send(c->fd, c->out, c->out_used, MSG_NOSIGNAL) : 0;
    if (sent < 0)
        return errno == EAGAIN;
    memmove(c->out, c->out + sent, c->out_used - sent);
    c->out_used -= sent;
    return true;
}

static bool take_lines(struct connection *c)
{
    char *newline;
    c->in[c->in_used] = 0;
    while ((newline = memchr(c->in, '\n', c->in_used))) {
        *newline = 0;
        int size = answer_line(c->control, c->in, c->out + c->out_used, OUT_BYTES - c->out_used);
        if (size < 0 || (size_t)size >= OUT_BYTES - c->out_used)
            return false;
        c->out_used += size;
        c->in_used -= newline + 1 - c->in;
        memmove(c->in, newline + 1, c->in_used);
    }
    return c->in_used < LINE - 1;
}

static void serve_connection(struct connection *c)
{
    for (;;) {
        ssize_t got = recv(c->fd, c->in + c->in_used, LINE - 1 - c->in_used, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            drop(c);
            return;
        }
        if (got < 0)
            break;
        c->in_used += got;
        if (!take_lines(c)) {
            drop(c);
            return;
        }
    }
    if (!flush(c))
        drop(c);
}

static void serve(int fd)
{
    if (fd == ledger_udp || fd == control_udp) {
        serve_datagrams(fd, fd == control_udp);
    } else if (fd == ledger_tcp || fd == control_tcp) {
        accept_one(fd, fd == control_tcp);
    } else {
        for (int i = 0; i < MAX_CONNECTIONS; i++)
            if (connections[i].fd == fd)
                serve_connection(&connections[i]);
    }
}

/* ---- chatter ------------------------------------------------------------------------- */

static size_t put_record(uint8_t *at, uint8_t kind, uint8_t vif)
{
    uint64_t seq = htobe64(++chatter_seq), count = htobe64(ticks);
    uint8_t head[8] = { 'R', 'H', 'A', '1', kind, vif };
    memcpy(at, head, 8);
    memcpy(at + 8, &seq, 8);
    memcpy(at + 16, &count, 8);
    return 24;
}

static size_t put16(uint8_t *at, uint16_t value)
{
    at[0] = value >> 8;
    at[1] = value;
    return 2;
}

static void send_frame(const uint8_t *frame, size_t size, int vif)
{
    struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = vifs[vif].index,
                              .sll_halen = 6, .sll_addr = { 255, 255, 255, 255, 255, 255 } };
    sendto(packet_fd, frame, size, 0, (void *)&to, sizeof to);
}

static uint8_t *put_ethernet(uint8_t *at, int vif)
{
    memset(at, 0xff, 6);
    memcpy(at + 6, vifs[vif].mac, 6);
    return at + 12;
}

static void send_arp(int vif)
{
    uint8_t frame[80] = { 0 }, *at = put_ethernet(frame, vif);
    uint8_t address[4] = { 10, 99, vif, config.number };
    at += put16(at, ETHERTYPE_ARP);
    memcpy(at, "\0\1\10\0\6\4\0\1", 8);
    memcpy(at + 8, vifs[vif].mac, 6);
    memcpy(at + 14, address, 4);
    memcpy(at + 24, address, 4);
    at += 28;
    at += put_record(at, 1, vif);
    send_frame(frame, at - frame, vif);
}

static void send_vlan(int vif)
{
    uint8_t frame[80] = { 0 }, *at = put_ethernet(frame, vif);
    at += put16(at, ETHERTYPE_VLAN);
    at += put16(at, VLAN_ID);
    at += put16(at, LOCAL_ETHERTYPE);
    put_record(at, 2, vif);
    send_frame(frame, 64, vif);
}

static void send_multicast(int vif)
{
    uint8_t record[24];
    struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(CHATTER_PORT),
                               .sin6_scope_id = vifs[vif].index };
    inet_pton(AF_INET6, "ff02::7777", &to.sin6_addr);
    put_record(record, 3, vif);
    sendto(multicast_fd, record, sizeof record, 0, (void *)&to, sizeof to);
}

static void chatter(uint64_t now)
{
    static uint64_t next;
    static int kind;
    static void (*const send_one[])(int) = { send_arp, send_vlan, send_multicast };
    if (!config.chatter_per_s || now < next)
        return;
    next = now + 1000000 / config.chatter_per_s;
    for (uint64_t vif = 0; vif < config.vifs; vif++)
        send_one[kind](vif);
    kind = (kind + 1) % 3;
}

static void hello(uint64_t now)
{
    static uint64_t next, first;
    char text[64];
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(HELLO_PORT),
                              .sin_addr.s_addr = htonl(0x0a6300ff) };
    if (!first)
        first = now;
    if (welcomed || now < next || now > first + HELLO_FOR_US)
        return;
    next = now + HELLO_US;
    int size = snprintf(text, sizeof text, "hello %s", config.name);
    sendto(hello_fd, text, size, 0, (void *)&to, sizeof to);
}

/* ---- start and loop ------------------------------------------------------------------ */

static void open_vifs(void)
{
    struct ifreq request = { 0 };
    packet_fd = socket(AF_PACKET, SOCK_RAW, 0);
    multicast_fd = socket(AF_INET6, SOCK_DGRAM, 0);
    hello_fd = socket(AF_INET, SOCK_DGRAM, 0);
    int on = 1;
    setsockopt(hello_fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
    for (uint64_t vif = 0; vif < config.vifs; vif++) {
        snprintf(request.ifr_name, sizeof request.ifr_name, "eth%d", (int)vif);
        vifs[vif].index = if_nametoindex(request.ifr_name);
        if (ioctl(hello_fd, SIOCGIFHWADDR, &request) == 0)
            memcpy(vifs[vif].mac, request.ifr_hwaddr.sa_data, 6);
    }
}

static void open_all(void)
{
    epoll_fd = epoll_create1(0);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    watch(timer_fd, EPOLLIN);
    for (int i = 0; i < MAX_CONNECTIONS; i++)
        connections[i].fd = -1;
    ledger_udp = open_server(SOCK_DGRAM, LEDGER_PORT);
    ledger_tcp = open_server(SOCK_STREAM, LEDGER_PORT);
    control_udp = open_server(SOCK_DGRAM, CONTROL_PORT);
    control_tcp = open_server(SOCK_STREAM, CONTROL_PORT);
    open_vifs();
    set_loop();
}

static void on_time(uint64_t now)
{
    static uint64_t next_tick;
    if (now >= next_tick) {
        next_tick = next_tick && now < next_tick + 10 * TICK_US ? next_tick + TICK_US
                                                                : now + TICK_US;
        ticks++;
        dirty_for_one_tick();
    }
    chatter(now);
    hello(now);
}

int main(int count, char **words)
{
    struct epoll_event events[32];
    uint64_t expirations;
    signal(SIGPIPE, SIG_IGN);
    read_config(count, words);
    if (!resize_memory(config.dirty_mib))
        die("memory");
    open_all();
    printf("ledger: %s is up\n", config.name);
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, 32, -1);
        uint64_t now = now_us();
        note_gap(now);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd != timer_fd)
                serve(events[i].data.fd);
            else if (read(timer_fd, &expirations, sizeof expirations) > 0)
                on_time(now);
        }
    }
}
