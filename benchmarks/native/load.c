/* load HOST PORT NAME CONNECTIONS SECONDS: closed loop, keep-alive; one line of JSON:
 * {"requests":N,"errors":N,"seconds":S,"p50_us":…,"p90_us":…,"p99_us":…}. Latencies suffer coordinated omission
 * by construction: they are for c=1 and for comparing medians only. */
#include "net.h"

#define BUCKETS 100000 /* 1 us each; the last holds everything slower */

struct connection {
    int fd;
    uint64_t sent, left;
    int in_body;
    char head[4096];
    size_t filled;
};

static uint64_t histogram[BUCKETS], requests, errors;
static char request[512];
static size_t request_length;

static void ask(struct connection *c) {
    c->sent = now_ns();
    c->in_body = 0;
    c->filled = 0;
    send_all(c->fd, request, request_length);
}

static void finish(struct connection *c, int count) {
    uint64_t us = (now_ns() - c->sent) / 1000;
    if (count) histogram[us < BUCKETS ? us : BUCKETS - 1]++, requests++;
    ask(c);
}

/* Reads one answer; returns 1 when it is complete. Only 200 with a content-length counts as success. */
static int take(struct connection *c, const char *bytes, size_t length) {
    if (!c->in_body) {
        size_t room = sizeof c->head - 1 - c->filled, part = length < room ? length : room;
        memcpy(c->head + c->filled, bytes, part);
        c->head[c->filled + part] = 0;
        char *end = strstr(c->head, "\r\n\r\n");
        c->filled += part;
        if (!end) return 0;
        const char *field = strcasestr(c->head, "\r\ncontent-length:");
        if (strncmp(c->head + 9, "200", 3) || !field || field > end) errors++;
        uint64_t body = field && field < end ? strtoull(field + 17, NULL, 10) : 0;
        c->left = body - (c->filled - (size_t)(end + 4 - c->head)) - (length - part);
        c->in_body = 1;
        return c->left == 0;
    }
    c->left -= length < c->left ? length : c->left;
    return c->left == 0;
}

static uint64_t quantile(double share) {
    uint64_t wanted = (uint64_t)((double)requests * share), seen = 0;
    for (int i = 0; i < BUCKETS; i++)
        if ((seen += histogram[i]) > wanted) return (uint64_t)i;
    return BUCKETS;
}

int main(int count, char **arguments) {
    static char buffer[65536];
    struct epoll_event events[256];
    if (count != 6) return 2;
    int connections = atoi(arguments[4]), counting = 0, poll = epoll_create1(0);
    double seconds = atof(arguments[5]);
    struct connection *all = calloc((size_t)connections, sizeof *all);
    request_length = (size_t)snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n", arguments[3]);
    for (int i = 0; i < connections; i++) {
        all[i].fd = connect_to(arguments[1], atoi(arguments[2]));
        watch(poll, all[i].fd, (uint32_t)i);
        ask(&all[i]);
    }
    uint64_t warm = now_ns() + (uint64_t)(seconds * 2e8), begin = 0, end = warm + (uint64_t)(seconds * 1e9);
    for (uint64_t now = now_ns(); now < end; now = now_ns()) {
        if (!counting && now >= warm) counting = 1, begin = now, puts("warm"), fflush(stdout);
        int ready = epoll_wait(poll, events, 256, 100);
        for (int i = 0; i < ready; i++) {
            struct connection *c = &all[events[i].data.u32];
            ssize_t got = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) {
                fprintf(stderr, "the server closed a connection\n");
                return 1;
            }
            if (take(c, buffer, (size_t)got)) finish(c, counting);
        }
    }
    printf("{\"requests\":%lu,\"errors\":%lu,\"seconds\":%.3f,\"p50_us\":%lu,\"p90_us\":%lu,\"p99_us\":%lu}\n", requests, errors,
           (double)(now_ns() - begin) / 1e9, quantile(0.5), quantile(0.9), quantile(0.99));
}
