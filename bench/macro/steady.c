// Honest clients at a steady rate: a request is due every 1/RATE seconds, whether the one before
// has been answered or not, and takes from when it was due to the end of its answer (open loop: a
// proxy that stands still makes all that were due meanwhile late).
// Usage: steady PORT RATE SECONDS CONNECTIONS   (127.0.0.1, HTTP/1.1 keep-alive; one line of JSON)
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
#include <time.h>
#include <unistd.h>

enum { kConnectionsMax = 1024, kRequestsMax = 10 * 1000 * 1000, kPatienceSeconds = 10 };

static const char kRequest[] = "GET /honest HTTP/1.1\r\nHost: bench.test\r\n\r\n";

struct connection {
  int fd;
  int busy;
  double due;
  char head[8192];
  size_t size;
};

static struct connection connections[kConnectionsMax];
static double* times;
static size_t done, errors, backlog_max;

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static int by_size(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;
  return x < y ? -1 : x > y;
}

static void dial(struct connection* connection, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int one = 1;
  connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  connection->busy = 0;
  connection->size = 0;
  if (connect(connection->fd, (struct sockaddr*)&address, sizeof address) < 0) {
    perror("connect");
    exit(1);
  }
  setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void watch(int loop, struct connection* connection) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
  epoll_ctl(loop, EPOLL_CTL_ADD, connection->fd, &event);
}

// 1: the answer is whole, 0: more must come, -1: it is none, or the connection is gone.
static int take(struct connection* connection) {
  ssize_t got = recv(connection->fd, connection->head + connection->size,
                     sizeof connection->head - 1 - connection->size, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return 0;
  if (got <= 0) return -1;
  connection->size += (size_t)got;
  connection->head[connection->size] = 0;
  if (connection->size >= 12 && memcmp(connection->head + 9, "200", 3) != 0) return -1;
  char* end = strstr(connection->head, "\r\n\r\n");
  if (!end) return connection->size + 1 < sizeof connection->head ? 0 : -1;
  char* length = strcasestr(connection->head, "content-length:");
  if (!length || length > end) return -1;
  size_t whole = (size_t)(end - connection->head) + 4 + (size_t)atol(length + 15);
  return connection->size >= whole ? 1 : 0;
}

static void answered(int loop, struct connection* connection, int port) {
  int what = take(connection);
  if (what == 0) return;
  if (what > 0) {
    times[done++] = (now() - connection->due) * 1e6;
    connection->busy = 0;
    connection->size = 0;
    return;
  }
  if (connection->busy) ++errors;
  close(connection->fd);
  dial(connection, port);
  watch(loop, connection);
}

static struct connection* idle_one(int count) {
  for (int i = 0; i < count; ++i)
    if (!connections[i].busy) return &connections[i];
  return NULL;
}

int main(int words, char** word) {
  if (words != 5) {
    fprintf(stderr, "usage: steady PORT RATE SECONDS CONNECTIONS\n");
    return 64;
  }
  int port = atoi(word[1]), count = atoi(word[4]);
  double rate = atof(word[2]), seconds = atof(word[3]);
  size_t wanted = (size_t)(rate * seconds), asked = 0;
  if (count < 1 || count > kConnectionsMax || wanted < 1 || wanted > kRequestsMax) return 64;
  times = malloc(wanted * sizeof *times);
  int loop = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < count; ++i) {
    dial(&connections[i], port);
    watch(loop, &connections[i]);
  }
  double begin = now(), end = begin + seconds + kPatienceSeconds;
  while (done + errors < wanted && now() < end) {
    struct connection* free_one;
    while (asked < wanted && now() >= begin + (double)asked / rate &&
           (free_one = idle_one(count))) {
      free_one->busy = 1;
      free_one->due = begin + (double)asked++ / rate;
      if (send(free_one->fd, kRequest, sizeof kRequest - 1, MSG_NOSIGNAL) < 0) errno = 0;
    }
    double due = begin + (double)asked / rate;
    size_t late = now() > due ? (size_t)((now() - due) * rate) : 0;
    if (late > backlog_max && asked < wanted) backlog_max = late;
    struct epoll_event events[64];
    struct timespec most = {0, 200 * 1000};
    int ready = epoll_pwait2(loop, events, 64, &most, NULL);
    for (int i = 0; i < ready; ++i) answered(loop, events[i].data.ptr, port);
  }
  errors += wanted - done - errors;  // what was never answered
  qsort(times, done, sizeof *times, by_size);
  size_t last = done ? done - 1 : 0;
  printf("{\"requests\":%zu,\"errors\":%zu,\"late_max\":%zu,\"p50\":%.0f,\"p99\":%.0f,"
         "\"p999\":%.0f,\"most\":%.0f}\n",
         done, errors, backlog_max, done ? times[done / 2] : 0, done ? times[done * 99 / 100] : 0,
         done ? times[done * 999 / 1000] : 0, done ? times[last] : 0);
  return 0;
}
