// Opens connections that each make one request and then wait; says so, and ends with its input.
// Usage: idle PORT COUNT [tls]   (to 127.0.0.1, from 127.1.0.1 and the addresses behind it)
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { kPerAddress = 10000 };  // local ports of one address

static const char request[] =
    "GET / HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: idle\r\nAccept: */*\r\n"
    "Accept-Encoding: identity\r\nAccept-Language: en\r\nCookie: session=0123456789abcdef\r\n\r\n";

static void die(const char* what) {
  perror(what);
  exit(1);
}

static int dial(int port, int number) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  if (fd < 0) die("socket");
  struct sockaddr_in from = {.sin_family = AF_INET};
  from.sin_addr.s_addr = htonl(0x7f010001 + (unsigned)(number / kPerAddress));
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  if (bind(fd, (struct sockaddr*)&from, sizeof from) < 0) die("bind");
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(fd, (struct sockaddr*)&to, sizeof to) < 0) die("connect");
  return fd;
}

static int is_whole(const char* reply, long size) {
  const char* end = memmem(reply, (size_t)size, "\r\n\r\n", 4);
  return end != NULL && size - (end + 4 - reply) >= 128;
}

static void ask_plain(int fd) {
  char reply[4096];
  long got = 0;
  if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) < 0) die("send");
  while (!is_whole(reply, got)) {
    long some = recv(fd, reply + got, sizeof reply - (size_t)got, 0);
    if (some <= 0) die("recv");
    got += some;
  }
}

static void ask_tls(SSL_CTX* context, int fd) {
  char reply[4096];
  long got = 0;
  SSL* ssl = SSL_new(context);
  SSL_set_fd(ssl, fd);
  SSL_set_tlsext_host_name(ssl, "bench.test");
  if (SSL_connect(ssl) != 1) die("SSL_connect");
  if (SSL_write(ssl, request, sizeof request - 1) <= 0) die("SSL_write");
  while (!is_whole(reply, got)) {
    int some = SSL_read(ssl, reply + got, (int)(sizeof reply - (size_t)got));
    if (some <= 0) die("SSL_read");
    got += some;
  }
  SSL_set_quiet_shutdown(ssl, 1);
  SSL_free(ssl);  // the connection stays: only our memory of it goes
}

int main(int count, char** words) {
  if (count < 3) die("usage: idle PORT COUNT [tls]");
  SSL_CTX* context = NULL;
  if (count > 3) {
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  }
  int port = atoi(words[1]), most = atoi(words[2]);
  for (int i = 0; i < most; ++i) {
    int fd = dial(port, i);
    if (context) {
      ask_tls(context, fd);
    } else {
      ask_plain(fd);
    }
  }
  printf("open\n");
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) continue;
  return 0;
}
