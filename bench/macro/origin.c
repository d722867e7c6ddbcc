// The bench's origin: answers every GET at once with 128 bytes, 64 KiB for paths /64k… or
// 1 MiB for /1m… and /size…. A POST is read and never answered.
// Usage: origin PORT   (on 127.0.0.1; one thread, epoll, other requests without bodies only)
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  kHeadBytesMax = 16 * 1024,
  kEventsMax = 256,
  kSmall = 128,
  kLarge = 64 * 1024,
  kHuge = 1024 * 1024
};

struct reply {
  char* bytes;
  size_t size;
};

struct connection {
  int fd;
  char head[kHeadBytesMax];
  size_t size;
  const struct reply* sending;  // NULL: nothing to send
  size_t sent;
  int swallows;  // what comes is a body
};

static int loop;
static struct reply replies[3];

static void die(const char* what) {
  perror(what);
  exit(1);
}

static void prepare(struct reply* reply, size_t body) {
  reply->bytes = malloc(body + 256);
  if (!reply->bytes) die("malloc");
  int head = snprintf(reply->bytes, 256,
                      "HTTP/1.1 200 OK\r\nserver: origin\r\ncontent-type: text/plain\r\n"
                      "content-length: %zu\r\n\r\n",
                      body);
  memset(reply->bytes + head, 'x', body);
  reply->size = (size_t)head + body;
}

static void end(struct connection* connection) {
  close(connection->fd);
  free(connection);
}

static void watch(struct connection* connection, unsigned events) {
  struct epoll_event event = {.events = events, .data.ptr = connection};
  if (epoll_ctl(loop, EPOLL_CTL_MOD, connection->fd, &event) < 0) die("epoll_ctl");
}

// 1: all sent, 0: the socket is full, -1: the connection is gone.
static int push(struct connection* connection) {
  const struct reply* reply = connection->sending;
  while (connection->sent < reply->size) {
    ssize_t sent = send(connection->fd, reply->bytes + connection->sent,
                        reply->size - connection->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) return errno == EAGAIN ? 0 : -1;
    connection->sent += (size_t)sent;
  }
  connection->sending = NULL;
  connection->sent = 0;
  return 1;
}

// Answers every whole head in the buffer. Returns 0 when the connection is gone.
static int answer(struct connection* connection) {
  for (;;) {
    if (connection->sending) {
      int done = push(connection);
      if (done < 0) return 0;
      if (done == 0) {
        watch(connection, EPOLLOUT);
        return 1;
      }
      watch(connection, EPOLLIN);
    }
    if (connection->size >= 5 && !memcmp(connection->head, "POST ", 5)) connection->swallows = 1;
    if (connection->swallows) connection->size = 0;
    char* stop = memmem(connection->head, connection->size, "\r\n\r\n", 4);
    if (!stop) return connection->size < kHeadBytesMax;
    int large = !memcmp(connection->head, "GET /64k", 8)    ? 1
                : !memcmp(connection->head, "GET /1m", 7)   ? 2
                : !memcmp(connection->head, "GET /size", 9) ? 2
                                                            : 0;
    size_t used = (size_t)(stop - connection->head) + 4;
    memmove(connection->head, stop + 4, connection->size - used);
    connection->size -= used;
    connection->sending = &replies[large];
    int done = push(connection);
    if (done < 0) return 0;
    if (done == 0) {
      watch(connection, EPOLLOUT);
      return 1;
    }
  }
}

static void serve(struct connection* connection, unsigned events) {
  if (events & EPOLLIN) {
    ssize_t got = recv(connection->fd, connection->head + connection->size,
                       kHeadBytesMax - connection->size, MSG_DONTWAIT);
    if (got <= 0) {
      if (got < 0 && errno == EAGAIN) return;
      end(connection);
      return;
    }
    connection->size += (size_t)got;
  } else if (!(events & EPOLLOUT)) {
    end(connection);
    return;
  }
  if (!answer(connection)) end(connection);
}

static void accept_clients(int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct connection* connection = calloc(1, sizeof *connection);
    connection->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
  }
}

int main(int count, char** words) {
  if (count != 2) {
    fprintf(stderr, "usage: origin PORT\n");
    return 64;
  }
  prepare(&replies[0], kSmall);
  prepare(&replies[1], kLarge);
  prepare(&replies[2], kHuge);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_port = htons((unsigned short)atoi(words[1]));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (struct sockaddr*)&address, sizeof address) < 0) die("bind");
  if (listen(listener, 1024) < 0) die("listen");
  loop = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[kEventsMax];
  if (epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event) < 0) die("epoll_ctl");
  for (;;) {
    int ready = epoll_wait(loop, events, kEventsMax, -1);
    for (int i = 0; i < ready; ++i) {
      if (events[i].data.ptr)
        serve(events[i].data.ptr, events[i].events);
      else
        accept_clients(listener);
    }
  }
}
