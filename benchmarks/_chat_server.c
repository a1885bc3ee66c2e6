/* A chat completions server that costs less than any client: one thread, epoll, keep-alive, TLS.
 *
 *   _chat_server [certificate.pem key.pem]
 *
 * It prints two port numbers, for plain HTTP and for TLS (0 without a certificate), and ends when
 * its standard input does. A request's path says how it is answered: /d/100/... waits 100 ms; a
 * body with "stream":true gets 50 events, one every 2 ms from then on; /d/100/h/... is answered as
 * hosted APIs do, in a chunk and with some 25 headers. GET /stats tells how many connections were
 * opened and requests answered, and what the server cost in seconds of CPU.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

#define EVENTS 50
#define EVENT_GAP 2.0 /* ms */
#define MOST_TIMERS 65536

typedef struct Connection {
  int fd, events_left, is_waiting, generation, wants_write, is_hosted;
  char *in, *out;
  size_t in_used, in_room, out_used, out_sent, out_room;
#ifdef WITH_TLS
  SSL *tls;
#endif
} Connection;

typedef struct { double at; Connection *to; int generation; } Timer;

static Timer timers[MOST_TIMERS];
static int timer_count, epoll;
static long opened, answered;
static Connection *graveyard[65536];
static int dead_count;
#ifdef WITH_TLS
static SSL_CTX *context;
#endif

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void push(double at, Connection *to) {
  int place = timer_count++;
  if (timer_count >= MOST_TIMERS) abort();
  while (place && timers[(place - 1) / 2].at > at) {
    timers[place] = timers[(place - 1) / 2];
    place = (place - 1) / 2;
  }
  timers[place] = (Timer){at, to, to->generation};
}

static Timer pop(void) {
  Timer first = timers[0], last = timers[--timer_count];
  int place = 0, child;
  while ((child = 2 * place + 1) < timer_count) {
    if (child + 1 < timer_count && timers[child + 1].at < timers[child].at) child++;
    if (timers[child].at >= last.at) break;
    timers[place] = timers[child];
    place = child;
  }
  timers[place] = last;
  return first;
}

/* Connections are used again, never freed: a timer may still point to one. */
static void end(Connection *c) {
  if (c->fd < 0) return;
#ifdef WITH_TLS
  if (c->tls) { SSL_free(c->tls); c->tls = NULL; }
#endif
  close(c->fd);
  c->fd = -1;
  c->generation++;
  c->in_used = c->out_used = c->out_sent = 0;
  c->events_left = c->is_waiting = c->wants_write = 0;
  graveyard[dead_count++] = c;
}

static void listen_for_room(Connection *c, int wants) {
  if (c->wants_write == wants) return;
  c->wants_write = wants;
  struct epoll_event e = {.events = EPOLLIN | (wants ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
}

static void flush(Connection *c) {
  while (c->fd >= 0 && c->out_sent < c->out_used) {
    ssize_t n;
#ifdef WITH_TLS
    if (c->tls) {
      n = SSL_write(c->tls, c->out + c->out_sent, c->out_used - c->out_sent);
      if (n <= 0) {
        int why = SSL_get_error(c->tls, n);
        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
          listen_for_room(c, 1);
          return;
        }
        end(c);
        return;
      }
    } else
#endif
    {
      n = send(c->fd, c->out + c->out_sent, c->out_used - c->out_sent, MSG_NOSIGNAL);
      if (n < 0) {
        if (errno == EAGAIN) { listen_for_room(c, 1); return; }
        end(c);
        return;
      }
    }
    c->out_sent += n;
  }
  if (c->fd < 0) return;
  c->out_used = c->out_sent = 0;
  listen_for_room(c, 0);
}

static void put(Connection *c, const char *text, size_t length) {
  if (c->out_used + length > c->out_room) {
    c->out_room = 2 * (c->out_used + length) + 4096;
    c->out = realloc(c->out, c->out_room);
  }
  memcpy(c->out + c->out_used, text, length);
  c->out_used += length;
}

static void reply(Connection *c, const char *body, size_t length) {
  char head[512];
  int n = snprintf(head, sizeof head,
                   "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
                   "content-type: application/json\r\ncontent-length: %zu\r\n"
                   "x-request-id: req_%016lx\r\nopenai-processing-ms: 97\r\nserver: bench\r\n\r\n",
                   length, answered++);
  put(c, head, n);
  put(c, body, length);
}

/* What OpenAI's API sends behind Cloudflare, cookies and limits included; in one segment. */
static void hosted_reply(Connection *c, const char *body, size_t length) {
  char head[2048];
  unsigned long number = answered++;
  int n = snprintf(head, sizeof head,
    "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/json\r\n"
    "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n"
    "access-control-expose-headers: X-Request-ID\r\nopenai-organization: user-abcdefghijklmnop\r\n"
    "openai-processing-ms: %lu\r\nopenai-project: proj_abcdefghijklmnop\r\n"
    "openai-version: 2020-10-01\r\nx-envoy-upstream-service-time: %lu\r\n"
    "x-ratelimit-limit-requests: 1000000\r\nx-ratelimit-limit-tokens: 500000000\r\n"
    "x-ratelimit-remaining-requests: %lu\r\nx-ratelimit-remaining-tokens: %lu\r\n"
    "x-ratelimit-reset-requests: %lums\r\nx-ratelimit-reset-tokens: %lums\r\n"
    "x-request-id: req_%032lx\r\nx-openai-proxy-wasm: v0.1\r\ncf-cache-status: DYNAMIC\r\n"
    "Set-Cookie: __cf_bm=%064lx; path=/; expires=Thu, 01-Jan-26 00:30:00 GMT; "
    "domain=.api.example.com; HttpOnly; Secure; SameSite=None\r\n"
    "Set-Cookie: _cfuvid=%048lx-0.0.1.1-604800000; path=/; domain=.api.example.com; HttpOnly; "
    "Secure; SameSite=None\r\n"
    "Strict-Transport-Security: max-age=31536000; includeSubDomains; preload\r\n"
    "X-Content-Type-Options: nosniff\r\nServer: cloudflare\r\nCF-RAY: %016lx-FRA\r\n"
    "alt-svc: h3=\":443\"; ma=86400\r\n\r\n%zx\r\n",
    80 + number % 37, 84 + number % 37, 999999 - number % 50, 499999000 - number % 9000,
    number % 50, number % 90, number, number, number, number, length);
  put(c, head, n);
  put(c, body, length);
  put(c, "\r\n0\r\n\r\n", 7);
}

static void answer(Connection *c) {
  char body[1024];
  /* 600 bytes, as chat completions of a sentence or two have. */
  int n = snprintf(body, sizeof body,
    "{\"id\":\"chatcmpl-%016lx\",\"object\":\"chat.completion\",\"created\":1767225600,"
    "\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
    "\"The quick brown fox jumps over the lazy dog, and then it does so once more.\","
    "\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{"
    "\"prompt_tokens\":19,\"completion_tokens\":17,\"total_tokens\":36,"
    "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
    "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
    "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}},"
    "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\"}", answered);
  (c->is_hosted ? hosted_reply : reply)(c, body, n);
  flush(c);
}

static void stats(Connection *c) {
  struct rusage used;
  char body[256];
  getrusage(RUSAGE_SELF, &used);
  double cpu = used.ru_utime.tv_sec + used.ru_utime.tv_usec / 1e6 + used.ru_stime.tv_sec
               + used.ru_stime.tv_usec / 1e6;
  int n = snprintf(body, sizeof body, "{\"connections\":%ld,\"requests\":%ld,\"cpu\":%.6f}",
                   opened, answered, cpu);
  reply(c, body, n);
  answered--;
  flush(c);
}

static void event(Connection *c) {
  char data[512], chunk[600];
  int n;
  if (c->events_left == EVENTS) {
    const char *head = "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
                       "content-type: text/event-stream; charset=utf-8\r\n"
                       "transfer-encoding: chunked\r\nserver: bench\r\n\r\n";
    put(c, head, strlen(head));
  }
  c->events_left--;
  if (c->events_left)
    n = snprintf(data, sizeof data,
      "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,"
      "\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{%s\"content\":\"word \"},"
      "\"logprobs\":null,\"finish_reason\":%s}],\"usage\":null}\n\n",
      c->events_left == EVENTS - 1 ? "\"role\":\"assistant\"," : "",
      c->events_left == 1 ? "\"stop\"" : "null");
  else
    n = snprintf(data, sizeof data,
      "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,"
      "\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":48,"
      "\"total_tokens\":67}}\n\ndata: [DONE]\n\n");
  int m = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n%s", n, data,
                   c->events_left ? "" : "0\r\n\r\n");
  put(c, chunk, m);
  if (!c->events_left) answered++;
  flush(c);
}

static void take_requests(Connection *c) {
  while (c->fd >= 0 && !c->is_waiting && c->in_used) {
    c->in[c->in_used] = 0;
    char *head_end = strstr(c->in, "\r\n\r\n");
    if (!head_end) return;
    size_t head = head_end + 4 - c->in, length = 0;
    char *field = strcasestr(c->in, "\r\ncontent-length:");
    if (field && field < head_end) length = strtoul(field + 17, NULL, 10);
    if (c->in_used < head + length) return;
    char *delay = memmem(c->in, 64, " /d/", 4);
    c->is_hosted = memmem(c->in, 64, "/h/", 3) != NULL;
    double wait = delay ? strtod(delay + 4, NULL) : 0.0;
    int is_stats = !memcmp(c->in, "GET /stats", 10);
    char after = c->in[head + length];
    c->in[head + length] = 0;
    int is_stream = strstr(c->in + head, "\"stream\":true") || strstr(c->in + head, "\"stream\": true");
    c->in[head + length] = after;
    memmove(c->in, c->in + head + length, c->in_used - head - length);
    c->in_used -= head + length;
    if (is_stats) { stats(c); continue; }
    c->is_waiting = 1;
    c->events_left = is_stream ? EVENTS : 0;
    push(now() + wait, c);
  }
}

static void receive(Connection *c) {
  for (;;) {
    if (c->in_used + 4097 > c->in_room) {
      c->in_room = 2 * c->in_room + 8192;
      c->in = realloc(c->in, c->in_room);
    }
    ssize_t n;
#ifdef WITH_TLS
    if (c->tls) {
      n = SSL_read(c->tls, c->in + c->in_used, 4096);
      if (n <= 0) {
        int why = SSL_get_error(c->tls, n);
        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) break;
        end(c);
        return;
      }
    } else
#endif
    {
      n = recv(c->fd, c->in + c->in_used, 4096, 0);
      if (n < 0 && errno == EAGAIN) break;
      if (n <= 0) { end(c); return; }
    }
    c->in_used += n;
    if (n < 4096) {
#ifdef WITH_TLS
      if (c->tls && SSL_pending(c->tls)) continue;
#endif
      break;
    }
  }
  take_requests(c);
}

static void accept_all(int listener, int is_tls) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Connection *c = dead_count ? graveyard[--dead_count] : calloc(1, sizeof *c);
    c->fd = fd;
    opened++;
#ifdef WITH_TLS
    if (is_tls) {
      c->tls = SSL_new(context);
      SSL_set_fd(c->tls, fd);
      SSL_set_accept_state(c->tls);
    }
#endif
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
  }
}

static int open_port(int *fd) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof a;
  int on = 1;
  *fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(*fd, (struct sockaddr *)&a, sizeof a) || listen(*fd, 4096)) { perror("listen"); exit(1); }
  getsockname(*fd, (struct sockaddr *)&a, &size);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = fd};
  epoll_ctl(epoll, EPOLL_CTL_ADD, *fd, &e);
  return ntohs(a.sin_port);
}

int main(int count, char **arguments) {
  int plain, secure = -1, input = 0, port, secure_port = 0;
  struct rlimit files;
  signal(SIGPIPE, SIG_IGN);
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  epoll = epoll_create1(0);
  struct epoll_event closing = {.events = EPOLLIN, .data.ptr = &input};
  epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &closing);
  port = open_port(&plain);
#ifdef WITH_TLS
  if (count > 2) {
    context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (SSL_CTX_use_certificate_chain_file(context, arguments[1]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, arguments[2], SSL_FILETYPE_PEM) != 1) {
      fprintf(stderr, "the certificate or its key cannot be read\n");
      return 1;
    }
    secure_port = open_port(&secure);
  }
#else
  (void)count, (void)arguments;
#endif
  printf("%d %d\n", port, secure_port);
  fflush(stdout);
  struct epoll_event ready[512];
  for (;;) {
    double at = now();
    while (timer_count && timers[0].at <= at) {
      Timer t = pop();
      Connection *c = t.to;
      if (c->fd < 0 || c->generation != t.generation) continue;
      if (c->events_left) {
        event(c);
        if (c->fd >= 0 && c->events_left) { push(t.at + EVENT_GAP, c); continue; }
      } else {
        answer(c);
      }
      c->is_waiting = 0;
      take_requests(c);
    }
    int wait = -1;
    if (timer_count) {
      double left = timers[0].at - now();
      wait = left <= 0 ? 0 : (int)left + 1;
    }
    int n = epoll_wait(epoll, ready, 512, wait);
    for (int i = 0; i < n; i++) {
      void *what = ready[i].data.ptr;
      if (what == &input) {
        char byte;
        if (read(0, &byte, 1) <= 0) return 0;
      } else if (what == &plain) {
        accept_all(plain, 0);
      } else if (what == &secure) {
        accept_all(secure, 1);
      } else {
        Connection *c = what;
        if (c->fd >= 0 && (ready[i].events & EPOLLOUT)) flush(c);
        if (c->fd >= 0 && (ready[i].events & ~EPOLLOUT)) receive(c);
      }
    }
  }
}
