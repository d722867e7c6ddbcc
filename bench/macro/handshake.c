// TLS 1.3 connections one after the other, each with one request, for so many seconds; prints JSON.
// Usage: handshake PORT SECONDS [resume]   (127.0.0.1)
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static SSL_SESSION* ticket;

static int keep(SSL* ssl, SSL_SESSION* session) {
  (void)ssl;
  SSL_SESSION_free(ticket);
  ticket = session;
  return 1;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void die(const char* what) {
  fprintf(stderr, "handshake: %s\n", what);
  exit(1);
}

// 1 when the session was resumed.
static int connection(SSL_CTX* context, const struct sockaddr_in* address, int resume) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(fd, (const struct sockaddr*)address, sizeof *address) < 0) die("connect");
  SSL* ssl = SSL_new(context);
  SSL_set_fd(ssl, fd);
  SSL_set_tlsext_host_name(ssl, "bench.test");
  if (resume && ticket) SSL_set_session(ssl, ticket);
  if (SSL_connect(ssl) != 1) die("SSL_connect");
  static const char request[] = "GET / HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n";
  if (SSL_write(ssl, request, sizeof request - 1) <= 0) die("SSL_write");
  char reply[4096];
  int got = 0, some;
  while ((some = SSL_read(ssl, reply, sizeof reply)) > 0) got += some;
  if (got < 128 || memcmp(reply, "HTTP/1.1 200", 4) != 0) die("no answer");
  int reused = SSL_session_reused(ssl);
  SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(ssl);
  struct linger reset = {1, 0};  // no TIME_WAIT, of which there would be too many
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(fd);
  return reused;
}

static int compare(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;
  return x < y ? -1 : x > y;
}

int main(int count, char** words) {
  if (count < 3) die("usage: handshake PORT SECONDS [resume]");
  int resume = count > 3;
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, keep);
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((unsigned short)atoi(words[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  enum { kMost = 1 << 20 };
  double* times = malloc(kMost * sizeof *times);
  double begin = now(), end = begin + atof(words[2]) * 1e6, before = begin;
  size_t done = 0, reused = 0;
  while (before < end && done < kMost) {
    reused += (size_t)connection(context, &address, resume);
    double after = now();
    times[done++] = after - before;
    before = after;
  }
  // A few tickets may be late, or from before a key changed.
  if (resume ? reused * 10 < done * 9 : reused > 0) {
    fprintf(stderr, "handshake: %zu of %zu sessions were resumed\n", reused, done);
    return 1;
  }
  qsort(times, done, sizeof *times, compare);
  printf("{\"requests\":%zu,\"us\":%.0f,\"errors\":0,\"p50\":%.0f,\"p99\":%.0f,\"p999\":%.0f}\n",
         done, before - begin, times[done / 2], times[done * 99 / 100], times[done * 999 / 1000]);
  return 0;
}
