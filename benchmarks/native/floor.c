/* floor out PORT PEER FOLDER | floor in PEER APPLICATION FOLDER: the least a pair of sidecars can do.
 *
 * Every application connection travels framed (identifier, length) over one mutual-TLS connection that is written
 * once per turn of the loop. No policy, no metrics, no HTTP, no flow control: a line to be measured against. */
#include "net.h"
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#define CONNECTIONS 20000
#define QUEUE (1 << 20)
#define LISTENER 0xffffffffu
#define LINK 0xfffffffeu

struct frame {
    uint32_t connection, length; /* length 0 closes the connection */
};

static int sockets[CONNECTIONS], poll_fd, application_port, is_client;
static char outgoing[QUEUE], incoming[QUEUE];
static size_t outgoing_length, incoming_length;
static SSL *link_tls;

static void tls_fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static SSL *make_tls(const char *folder) {
    char certificate[512], key[512], anchors[512];
    const char *name = is_client ? "client" : "server";
    snprintf(certificate, sizeof certificate, "%s/%s.pem", folder, name);
    snprintf(key, sizeof key, "%s/%s.key", folder, name);
    snprintf(anchors, sizeof anchors, "%s/anchors.pem", folder);
    SSL_CTX *context = SSL_CTX_new(is_client ? TLS_client_method() : TLS_server_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, 65536);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 || SSL_CTX_load_verify_locations(context, anchors, NULL) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        tls_fail("certificates");
    return SSL_new(context);
}

static void flush(void) {
    for (size_t at = 0; at < outgoing_length;) {
        size_t part = outgoing_length - at < 16384 ? outgoing_length - at : 16384;
        int wrote = SSL_write(link_tls, outgoing + at, (int)part);
        if (wrote > 0)
            at += (size_t)wrote;
        else if (SSL_get_error(link_tls, wrote) == SSL_ERROR_SYSCALL || SSL_get_error(link_tls, wrote) == SSL_ERROR_SSL)
            exit(0);
    }
    outgoing_length = 0;
}

static void queue(uint32_t connection, const char *bytes, size_t length) {
    struct frame frame = {connection, (uint32_t)length};
    memcpy(outgoing + outgoing_length, &frame, sizeof frame);
    memcpy(outgoing + outgoing_length + sizeof frame, bytes, length);
    outgoing_length += sizeof frame + length;
    if (outgoing_length > QUEUE / 2) flush();
}

static void drop(uint32_t connection) {
    if (sockets[connection] >= 0) close(sockets[connection]);
    sockets[connection] = -1;
}

static void deliver(struct frame frame, const char *bytes) {
    if (frame.connection >= CONNECTIONS) exit(1);
    if (frame.length == 0) {
        drop(frame.connection);
        return;
    }
    if (sockets[frame.connection] < 0 && !is_client) {
        sockets[frame.connection] = connect_to("127.0.0.1", application_port);
        watch(poll_fd, sockets[frame.connection], frame.connection);
    }
    if (sockets[frame.connection] >= 0) send_all(sockets[frame.connection], bytes, frame.length);
}

static void read_link(void) {
    do {
        int got = SSL_read(link_tls, incoming + incoming_length, (int)(QUEUE - incoming_length));
        if (got <= 0) {
            if (SSL_get_error(link_tls, got) != SSL_ERROR_WANT_READ) exit(0);
            break;
        }
        incoming_length += (size_t)got;
    } while (SSL_has_pending(link_tls));
    size_t at = 0;
    for (struct frame frame; incoming_length - at >= sizeof frame; at += sizeof frame + frame.length) {
        memcpy(&frame, incoming + at, sizeof frame);
        if (incoming_length - at - sizeof frame < frame.length) break;
        deliver(frame, incoming + at + sizeof frame);
    }
    memmove(incoming, incoming + at, incoming_length - at);
    incoming_length -= at;
}

static void read_application(uint32_t connection) {
    static char buffer[65536];
    if (sockets[connection] < 0) return;
    ssize_t got = recv(sockets[connection], buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        drop(connection);
        got = 0;
    }
    queue(connection, buffer, (size_t)got);
}

static void accept_one(int listener) {
    static uint32_t next;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    while (sockets[next % CONNECTIONS] >= 0) next++;
    no_delay(fd);
    sockets[next % CONNECTIONS] = fd;
    watch(poll_fd, fd, next++ % CONNECTIONS);
}

int main(int count, char **arguments) {
    struct epoll_event events[256];
    if (count != 5) return 2;
    is_client = !strcmp(arguments[1], "out");
    memset(sockets, -1, sizeof sockets);
    link_tls = make_tls(arguments[4]);
    int first = atoi(arguments[2]), second = atoi(arguments[3]), listener = listen_on(first);
    application_port = second;
    int link = is_client ? connect_to("127.0.0.1", second) : accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    no_delay(link);
    SSL_set_fd(link_tls, link);
    if ((is_client ? SSL_connect(link_tls) : SSL_accept(link_tls)) != 1) tls_fail("handshake");
    SSL_set_mode(link_tls, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    poll_fd = epoll_create1(0);
    watch(poll_fd, link, LINK);
    if (is_client) watch(poll_fd, listener, LISTENER);
    fcntl(link, F_SETFL, O_NONBLOCK);
    for (;;) {
        int ready = epoll_wait(poll_fd, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            uint32_t key = events[i].data.u32;
            if (key == LISTENER)
                accept_one(listener);
            else if (key == LINK)
                read_link();
            else
                read_application(key);
        }
        if (outgoing_length) flush();
    }
}
