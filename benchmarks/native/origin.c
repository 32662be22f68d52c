/* origin PORT BYTES: answers every HTTP/1.1 request with a body of BYTES, as fast as one epoll loop can. */
#include "net.h"

#define CONNECTIONS 20000

static char reply[1 << 21];
static size_t reply_length;

static void make_reply(size_t body) {
    int head = snprintf(reply, 200, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n\r\n", body);
    memset(reply + head, 'x', body);
    reply_length = (size_t)head + body;
}

/* Requests have no body: each ends at an empty line. Counts ends, across reads, by a four-byte window. */
static void answer(int fd, uint32_t *window) {
    char buffer[16384];
    ssize_t got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        close(fd);
        return;
    }
    for (ssize_t i = 0; i < got; i++) {
        *window = *window << 8 | (unsigned char)buffer[i];
        if (*window == 0x0d0a0d0a) send_all(fd, reply, reply_length);
    }
}

int main(int count, char **arguments) {
    static uint32_t windows[CONNECTIONS];
    struct epoll_event events[256];
    if (count != 3) return 2;
    make_reply((size_t)atol(arguments[2]));
    int listener = listen_on(atoi(arguments[1])), poll = epoll_create1(0);
    watch(poll, listener, 0);
    for (;;) {
        int ready = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.u32 != 0) {
                answer((int)events[i].data.u32, &windows[events[i].data.u32]);
                continue;
            }
            int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd < 0 || fd >= CONNECTIONS) continue;
            no_delay(fd);
            windows[fd] = 0;
            watch(poll, fd, (uint32_t)fd);
        }
    }
}
