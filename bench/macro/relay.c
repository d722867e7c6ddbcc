// A bare epoll relay: what any proxy on this machine must at least spend. One thread, one upstream
// connection per client connection, bytes are moved and never looked at.
// Usage: relay LISTEN_PORT UPSTREAM_PORT   (both on 127.0.0.1)
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

enum { kBufferBytes = 64 * 1024, kEventsMax = 256 };

// One direction's end: bytes read from `fd` that the peer has not taken yet wait in `held`.
struct end {
  int fd;
  struct end* peer;
  char* held;
  size_t begin, size;
  int dead;
};

static int loop;
static char scratch[kBufferBytes];
static struct end* graveyard[2 * kEventsMax + 2];
static int graves;

static void die(const char* what) {
  perror(what);
  exit(1);
}

static struct sockaddr_in loopback(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static void watch(struct end* end, int how, unsigned events) {
  struct epoll_event event = {.events = events, .data.ptr = end};
  if (epoll_ctl(loop, how, end->fd, &event) < 0) die("epoll_ctl");
}

// Closes both ends; the memory goes when this round's events are done.
static void drop(struct end* end) {
  struct end* both[2] = {end, end->peer};
  for (int i = 0; i < 2; ++i) {
    if (both[i]->dead) continue;
    both[i]->dead = 1;
    close(both[i]->fd);
    graveyard[graves++] = both[i];
  }
}

static void accept_clients(int listener, int upstream_port) {
  for (int round = 0; round < 64; ++round) {
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(upstream_port);
    if (upstream < 0 || connect(upstream, (struct sockaddr*)&address, sizeof address) < 0) {
      close(client);
      if (upstream >= 0) close(upstream);
      continue;
    }
    int one = 1;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(upstream, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct end* a = calloc(1, sizeof *a);
    struct end* b = calloc(1, sizeof *b);
    *a = (struct end){.fd = client, .peer = b};
    *b = (struct end){.fd = upstream, .peer = a};
    watch(a, EPOLL_CTL_ADD, EPOLLIN);
    watch(b, EPOLL_CTL_ADD, EPOLLIN);
  }
}

static void readable(struct end* end) {
  ssize_t got = recv(end->fd, scratch, sizeof scratch, MSG_DONTWAIT);
  if (got <= 0) {
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    drop(end);
    return;
  }
  ssize_t sent = send(end->peer->fd, scratch, (size_t)got, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent == got) return;
  if (sent < 0 && errno != EAGAIN && errno != EINTR) {
    drop(end);
    return;
  }
  size_t done = sent > 0 ? (size_t)sent : 0;
  if (!end->held) end->held = malloc(kBufferBytes);
  end->begin = 0;
  end->size = (size_t)got - done;
  memcpy(end->held, scratch + done, end->size);
  watch(end, EPOLL_CTL_MOD, 0);  // read no more until the peer has taken this
  watch(end->peer, EPOLL_CTL_MOD, (end->peer->size ? 0 : EPOLLIN) | EPOLLOUT);
}

static void writable(struct end* end) {
  struct end* from = end->peer;
  if (!from->size) return;
  ssize_t sent = send(end->fd, from->held + from->begin, from->size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0) {
    if (errno != EAGAIN && errno != EINTR) drop(end);
    return;
  }
  from->begin += (size_t)sent;
  from->size -= (size_t)sent;
  if (from->size) return;
  watch(end, EPOLL_CTL_MOD, end->size ? 0 : EPOLLIN);
  watch(from, EPOLL_CTL_MOD, EPOLLIN | (end->size ? EPOLLOUT : 0));
}

int main(int count, char** words) {
  if (count != 3) {
    fprintf(stderr, "usage: relay LISTEN_PORT UPSTREAM_PORT\n");
    return 64;
  }
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = loopback(atoi(words[1]));
  if (bind(listener, (struct sockaddr*)&address, sizeof address) < 0) die("bind");
  if (listen(listener, 1024) < 0) die("listen");
  loop = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[kEventsMax];
  if (epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event) < 0) die("epoll_ctl");
  for (;;) {
    int ready = epoll_wait(loop, events, kEventsMax, -1);
    for (int i = 0; i < ready; ++i) {
      struct end* end = events[i].data.ptr;
      if (!end) {
        accept_clients(listener, atoi(words[2]));
        continue;
      }
      if (!end->dead && (events[i].events & EPOLLOUT)) writable(end);
      if (!end->dead && (events[i].events & EPOLLIN)) readable(end);
      if (!end->dead && (events[i].events & (EPOLLERR | EPOLLHUP)) && !end->size) drop(end);
    }
    while (graves) {
      struct end* end = graveyard[--graves];
      free(end->held);
      free(end);
    }
  }
}
