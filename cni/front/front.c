/*
 * The native front door: a few kilobytes in the file of tortie itself that the kernel (or ld.so) starts
 * before Deno. A CNI call goes from here to the node service and is over; everything else, and every call
 * that is not quite ordinary, goes on to Deno, whose plugin (cni/plugin.ts) then does the whole of it. So
 * nothing is decided here that is not decided there, and README.md beside this file says how it is built,
 * and how to leave it out.
 *
 * What is ordinary: no argument; a short environment in ASCII without a name that stands twice; standard
 * input that ends and has at most 1 MiB, whose text names no socket of its own; a node service that takes
 * the connection. All of that is known before the first byte is sent. Where something is not so, what was
 * read of standard input is put back (a pipe or a memory file takes its place), and Deno reads it.
 *
 * No C library, no relocation, no writable data, x86-64 and aarch64. Constants come from TypeScript
 * (constants.h, which the build writes).
 */
#include "constants.h"
#include "machine.h"

/* What the build fills in when it knows the program: addresses in its image, as in the file's headers. */
struct place {
  char magic[8];
  i64 image;         /* where the image begins, as the distance from this struct */
  u64 entry;         /* the program's own entry */
  u64 interpreter;   /* with loader.h: its PT_INTERP, the path of ld.so */
  u64 interpreter_size;
  u64 relocations;   /* with relocate.h: those that ld.so does not see */
  u64 relocation_count;
  u64 sealed;        /* what ld.so has made read-only: PT_GNU_RELRO */
  u64 sealed_size;
};
__attribute__((section(".place"), used)) static const struct place PLACE = {
  .magic = { 'T', 'O', 'R', 'T', 'I', 'E', 'F', 'D' },
};

static const struct place *place(void) {
  const struct place *p = &PLACE;
  /* The values above are not those that will stand there. */
  __asm__("" : "+r"(p));
  return p;
}

static u64 in_memory(const struct place *p, u64 address) { return (u64)p + p->image + address; }

/* ---- texts ---- */

static u64 length_of(const char *text) {
  u64 n = 0;
  while (text[n]) n++;
  return n;
}

/* Compilers call these two where they copy and clear, also where there is no C library. */
void *memcpy(void *to, const void *from, u64 n) {
  for (u64 i = 0; i < n; i++) ((char *)to)[i] = ((const char *)from)[i];
  return to;
}

void *memset(void *to, int byte, u64 n) {
  for (u64 i = 0; i < n; i++) ((char *)to)[i] = byte;
  return to;
}

static char *put(char *at, const char *bytes, u64 n) {
  memcpy(at, bytes, n);
  return at + n;
}

static char *put_text(char *at, const char *text) { return put(at, text, length_of(text)); }

static char *put_number(char *at, u64 value) {
  char digits[20];
  int n = 0;
  do digits[n++] = '0' + value % 10;
  while (value /= 10);
  while (n) *at++ = digits[--n];
  return at;
}

static int begins(const char *text, const char *with) {
  while (*with)
    if (*text++ != *with++) return 0;
  return 1;
}

/* Where the word ends in the text for the first time behind `from`; 0: nowhere. */
static u64 find(const char *text, u64 from, u64 n, const char *word) {
  u64 m = length_of(word);
  for (u64 i = from; i + m <= n; i++)
    if (text[i] == *word && begins(text + i, word)) return i + m;
  return 0;
}

static int is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/*
 * Whether the configuration may name a socket of its own, which only who reads JSON can find: where it has
 * a key "tortie" at any depth, or an escape that could make one.
 */
static int may_name_socket(const char *text, u64 n) {
  if (find(text, 0, n, "\\u")) return 1;
  for (u64 at = 0; (at = find(text, at, n, "\"tortie\""));) {
    u64 next = at;
    while (next < n && is_space(text[next])) next++;
    if (next < n && text[next] == ':') return 1;
  }
  return 0;
}

/* Printable ASCII without quote and backslash: the same bytes for Deno, the kernel and JSON. */
static int is_plain(const char *text) {
  for (; *text; text++)
    if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\') return 0;
  return 1;
}

/* ---- the environment ---- */

enum { MOST_VARIABLES = 32, MOST_WORDS = 8192 };

/* The value of the variable; 0 where there is none. */
static const char *variable(char **environment, const char *name) {
  u64 n = length_of(name);
  for (; *environment; environment++)
    if (begins(*environment, name) && (*environment)[n] == '=') return *environment + n + 1;
  return 0;
}

static int stands_twice(char **environment, const char *name) {
  u64 n = length_of(name);
  int count = 0;
  for (; *environment; environment++)
    if (begins(*environment, name) && (*environment)[n] == '=') count++;
  return count > 1;
}

static int same_name(const char *a, const char *b) {
  while (*a == *b && *a != '=') a++, b++;
  return *a == '=' && *b == '=';
}

/* The words before standard input, as request.ts has them; 0 where they are not ordinary ones. */
static u64 words(char *into, const char *argv0, char **environment) {
  const char *seen[MOST_VARIABLES], *name = argv0;
  int count = 0;
  char *at = put(into, REQUEST_WORDS, sizeof REQUEST_WORDS);
  for (; *argv0; argv0++)
    if (*argv0 == '/') name = argv0 + 1;
  u64 n = length_of(name) + 1;
  if (n == 1 || n > 256 || !is_plain(name)) return 0;
  at = put(at, name, n);
  for (; *environment; environment++) {
    const char *one = *environment;
    if (!begins(one, "CNI_")) continue;
    n = length_of(one) + 1;
    if (at + n >= into + MOST_WORDS || count == MOST_VARIABLES) return 0;
    int has_name = 0;
    for (const char *c = one; *c; c++) {
      if (*c == '=') has_name = 1;
      /* Text that is no ASCII is Deno's to judge. */
      if (*c & 0x80) return 0;
    }
    if (!has_name) return 0;
    for (int i = 0; i < count; i++)
      if (same_name(seen[i], one)) return 0;
    seen[count++] = one;
    at = put(at, one, n);
  }
  *at++ = 0;
  return at - into;
}

/* ---- standard output ---- */

__attribute__((noreturn)) static void quit(int code) {
  for (;;) sys(SYS_exit_group, code, 0, 0);
}

enum { SIGPIPE = 13, SIGXFSZ = 25 };

/* A reader who has gone, a file that would be too large: errors of a write, not the end of this process. */
struct action {
  void (*handler)(int);
  u64 flags;
  void (*restorer)(void);
  u64 mask;
};

static void ignore(int signal, struct action *before) {
  struct action action = { (void (*)(int))1, 0, 0, 0 };
  syscall6(SYS_sigaction, signal, (i64)&action, (i64)before, 8, 0, 0);
}

/* 0, or the error. A standard output that cannot be written at all is written to nowhere, as by Rust. */
static i64 print(const char *bytes, u64 n) {
  while (n) {
    i64 written = sys(SYS_write, 1, bytes, n);
    if (written == -EINTR) continue;
    if (written == -EBADF) return 0;
    if (written < 0) return written;
    bytes += written;
    n -= written;
  }
  return 0;
}

/* The specification's error object; `number`, where there is one, as Rust writes it. */
__attribute__((noreturn)) static void error_object(
    const char *code, const char *what, const char *path, const char *reason, u64 number, const char *end) {
  char text[1024], *at = put_text(text, "{\"cniVersion\":\"" LATEST_VERSION "\",\"code\":");
  at = put_text(put_text(put_text(at, code), ",\"msg\":\""), what);
  at = put_text(put_text(at, path), reason);
  if (number) at = put_text(put_number(put_text(at, " (os error "), number), ")");
  at = put_text(put_text(at, end), "\"}\n");
  print(text, at - text);
  quit(1);
}

static const char *text_of(i64 error) {
  switch (-error) {
    case EPERM: return "Operation not permitted";
    case EIO: return "Input/output error";
    case EACCES: return "Permission denied";
    case EPIPE: return "Broken pipe";
    case ECONNRESET: return "Connection reset by peer";
    default: return "the kernel refused";
  }
}

/* ---- the conversation ---- */

/* After the request has gone out there is no way back: the service may have done it. */
struct conversation {
  int socket;
  const char *path;
  i64 deadline; /* milliseconds of the monotonic clock */
};

__attribute__((noreturn)) static void fail(const struct conversation *c, const char *reason, u64 number) {
  char words[128];
  *put_text(put_text(words, " "), reason) = 0;
  error_object("11", "The node service at ", c->path, words, number, "; try again.");
}

__attribute__((noreturn)) static void fail_by(const struct conversation *c, i64 error) {
  fail(c, text_of(error), -error);
}

static i64 now(void) {
  i64 time[2];
  sys(SYS_clock_gettime, 1, time, 0);
  return time[0] * 1000 + time[1] / 1000000;
}

enum { POLLIN = 1, POLLOUT = 4 };

/* Waits until the socket is ready, as long as there is time. */
static void await(const struct conversation *c, short what) {
  struct { int fd; short events, revents; } poll = { c->socket, what, 0 };
  for (;;) {
    i64 left = c->deadline - now();
    if (left <= 0) fail(c, "did not answer within " ANSWER_SECONDS " s", 0);
    i64 time[2] = { left / 1000, left % 1000 * 1000000 };
    i64 ready = syscall6(SYS_ppoll, (i64)&poll, 1, (i64)time, 0, 8, 0);
    if (ready > 0) return;
    if (ready < 0 && ready != -EINTR) fail_by(c, ready);
  }
}

enum { MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000 };

static void send_all(const struct conversation *c, const char *bytes, u64 n) {
  while (n) {
    i64 sent = syscall6(SYS_sendto, c->socket, (i64)bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0);
    if (sent == -EINTR) continue;
    if (sent == -EAGAIN) {
      await(c, POLLOUT);
      continue;
    }
    if (sent < 0) fail_by(c, sent);
    bytes += sent;
    n -= sent;
  }
}

/* At least one byte; 0 where the service has closed the connection. */
static u64 receive(const struct conversation *c, char *into, u64 most) {
  for (;;) {
    await(c, POLLIN);
    i64 n = sys(SYS_read, c->socket, into, most);
    if (n == -EINTR) continue;
    if (n < 0) fail_by(c, n);
    return n;
  }
}

static void receive_up_to(const struct conversation *c, char *body, u64 *have, u64 end) {
  while (*have < end) {
    u64 n = receive(c, body + *have, end - *have);
    if (!n) fail(c, "broke off in the middle of its answer", 0);
    *have += n;
  }
}

/* 1 to `most` digits; -1 where there are none, or more. */
static i64 number(const char **at, int most) {
  i64 value = 0;
  int n = 0;
  for (; **at >= '0' && **at <= '9'; ++*at, n++) {
    if (n == most) return -1;
    value = value * 10 + (**at - '0');
  }
  return n ? value : -1;
}

/*
 * Prints the answer and ends. The last byte is read only when the rest is printed, so that the service
 * knows whether the caller has it (cni/plugin.ts).
 */
__attribute__((noreturn)) static void answer(struct conversation *c, char *buffer) {
  enum { HEAD = 16 };
  char head[HEAD + 1];
  u64 have = 0, line = 0;
  while (!line) {
    if (have == HEAD) fail(c, "sent something that is no answer", 0);
    u64 n = receive(c, head + have, HEAD - have);
    if (!n) fail(c, "broke off before its answer", 0);
    for (u64 i = have; i < have + n && !line; i++)
      if (head[i] == '\n') line = i + 1;
    have += n;
  }
  const char *at = head;
  i64 code = number(&at, 3), size = *at == ' ' ? (at++, number(&at, 8)) : -1;
  if (code < 0 || size < 0 || size > MAX_BYTES || at != head + line - 1)
    fail(c, "sent something that is no answer", 0);
  if (size) {
    u64 got = have - line < (u64)size ? have - line : (u64)size;
    put(buffer, head + line, got);
    receive_up_to(c, buffer, &got, size - 1);
    char last = got == (u64)size ? buffer[size - 1] : 0;
    buffer[size - 1] = '\n';
    if (print(buffer, size)) quit(1);
    c->deadline = now() + ANSWER_MILLISECONDS; /* the caller may have taken its time */
    if (got < (u64)size) receive_up_to(c, &last, &(u64){ 0 }, 1);
    if (last != '\n') print(&last, 1);
  }
  quit(code & 255);
}

/* ---- standard input ---- */

enum { SPACE = MAX_BYTES + 4096, PIPE_SPACE = 4096 };
enum { MFD_CLOEXEC = 1, O_CLOEXEC = 02000000, F_SETPIPE_SZ = 1031 };

__attribute__((noreturn)) static void fail_input(i64 error) {
  error_object("5", "Standard input cannot be read: ", "", text_of(error), -error, ".");
}

/* Waits for input where nobody else would: standard input may have come as one that does not block. */
static void await_input(void) {
  struct { int fd; short events, revents; } poll = { 0, POLLIN, 0 };
  syscall6(SYS_ppoll, (i64)&poll, 1, 0, 0, 8, 0);
}

/* All of it, at most one byte more than is allowed; -1 where Deno shall meet the same failure. */
static i64 read_input(char *into) {
  u64 size = 0;
  while (size <= MAX_BYTES) {
    i64 n = sys(SYS_read, 0, into + size, MAX_BYTES + 1 - size);
    if (n == 0) break;
    if (n == -EINTR) continue;
    if (n == -EAGAIN) {
      await_input();
      continue;
    }
    /* What was read would be missing, and a socket tells its failure only once. */
    if (n < 0 && (size || n == -ECONNRESET)) fail_input(n);
    if (n < 0) return -1;
    size += n;
  }
  return size;
}

/* A pipe that has all of it, so that nobody need read meanwhile; an error where none has so much room. */
static i64 in_pipe(const char *input, u64 size) {
  int ends[2];
  i64 made = sys(SYS_pipe2, ends, O_CLOEXEC, 0);
  if (failed(made)) return made;
  i64 room = size <= PIPE_SPACE ? PIPE_SPACE : sys(SYS_fcntl, ends[1], F_SETPIPE_SZ, size);
  i64 file = room >= (i64)size && sys(SYS_write, ends[1], input, size) == (i64)size ? ends[0] : -EIO;
  sys(SYS_close, ends[1], 0, 0);
  if (failed(file)) sys(SYS_close, ends[0], 0, 0);
  return file;
}

/* A limit to the size of files holds for this one too, as it does not for pipes. */
static i64 in_memory_file(const char *input, u64 size) {
  struct action before;
  ignore(SIGXFSZ, &before);
  i64 file = sys(SYS_memfd_create, "cni", MFD_CLOEXEC, 0);
  for (u64 at = 0; !failed(file) && at < size;) {
    i64 n = syscall6(SYS_pwrite, file, (i64)input + at, size - at, at, 0, 0);
    if (n > 0) at += n;
    else if (n != -EINTR) file = n ? n : -EIO;
  }
  syscall6(SYS_sigaction, SIGXFSZ, (i64)&before, 0, 8, 0, 0);
  return file;
}

/* What was read becomes standard input again. */
static void put_back(const char *input, u64 size) {
  i64 file = in_pipe(input, size);
  if (failed(file)) file = in_memory_file(input, size);
  i64 done = failed(file) ? file : sys(SYS_dup3, file, 0, 0);
  if (failed(done)) fail_input(done);
  sys(SYS_close, file, 0, 0);
}

/* ---- one call ---- */

enum { AF_UNIX = 1, SOCK_STREAM = 1, SOCK_CLOEXEC = 02000000 };
enum { SOL_SOCKET = 1, SO_SNDTIMEO = 21, SHUT_WR = 1 };

/* A socket that the service has taken, or less than 0. */
static int connect_to(const char *path) {
  struct { u16 family; char path[108]; } address = { AF_UNIX, "" };
  u64 n = length_of(path);
  if (n >= sizeof address.path) return -1;
  put(address.path, path, n + 1);
  int socket = sys(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return -1;
  /* While the queue of connections is full the kernel waits so long for a place. */
  i64 patience[2] = { CONNECT_SECONDS, 0 };
  syscall6(SYS_setsockopt, socket, SOL_SOCKET, SO_SNDTIMEO, (i64)patience, sizeof patience, 0);
  /* Below 3: one of the standard descriptors is closed. */
  if (socket > 2 && sys(SYS_connect, socket, &address, 2 + n + 1) == 0) return socket;
  sys(SYS_close, socket, 0, 0);
  return -1;
}

static void cni_call(char **argv, char **environment, const char *command) {
  char head[MOST_WORDS], path[256];
  u64 head_size = words(head, argv[0], environment);
  const char *folder = variable(environment, "TORTIE_RUN_DIR");
  /* Which of two counts is not ours to say. */
  if (!head_size || stands_twice(environment, "TORTIE_RUN_DIR")) return;
  ignore(SIGPIPE, 0);
  if (begins(command, "VERSION") && !command[7]) quit(print(VERSION_ANSWER, sizeof VERSION_ANSWER - 1) ? 1 : 0);
  if (!folder || !*folder) folder = RUN_DIR;
  u64 n = length_of(folder);
  /*
   * Deno puts the current folder before a path that is relative, which may make it too long, and takes ".."
   * away with the name before it, which the kernel does not where that is a link.
   */
  if (*folder != '/' || find(folder, 0, n, "..")) return;
  if (n > sizeof path - sizeof SOCKET_NAME || !is_plain(folder)) return;
  *put_text(put_text(path, folder), SOCKET_NAME) = 0;

  char *input = (char *)sys_mmap(0, SPACE, PROT_R | PROT_W, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (failed(input)) return;
  i64 size = read_input(input);
  if (size < 0) return;
  if (size > MAX_BYTES) error_object("6", TOO_LARGE, "", "", 0, "");
  if (size + head_size <= MAX_BYTES && !may_name_socket(input, size)) {
    struct conversation c = { connect_to(path), path, 0 };
    if (c.socket >= 0) {
      c.deadline = now() + ANSWER_MILLISECONDS;
      send_all(&c, head, head_size);
      send_all(&c, input, size);
      sys(SYS_shutdown, c.socket, SHUT_WR, 0);
      answer(&c, input);
    }
  }
  put_back(input, size);
}

/* A value of the auxiliary vector, which stands behind the environment; 0 where there is none. */
static u64 *auxiliary(char **environment, u64 name) {
  while (*environment) environment++;
  for (u64 *aux = (u64 *)(environment + 1); aux[0]; aux += 2)
    if (aux[0] == name) return aux + 1;
  return 0;
}

enum { AT_PHDR = 3, AT_PHNUM = 5, AT_PAGESZ = 6, AT_BASE = 7, AT_ENTRY = 9 };

static u64 page_size(char **environment) {
  u64 *size = auxiliary(environment, AT_PAGESZ);
  return size ? *size : 4096;
}

#ifdef DIRECT
#include "loader.h"
#else
#include "relocate.h"
#endif

/*
 * `stack` as the kernel made it (or ld.so left it): argc, arguments, environment, auxiliary vector. `fini`
 * is what the ABI hands to an entry: 0 by the kernel, a function by ld.so. Returns where to go on.
 */
__attribute__((used)) u64 front(u64 *stack, u64 fini) {
  const struct place *p = place();
  u64 argc = stack[0];
  char **argv = (char **)(stack + 1), **environment = argv + argc + 1;
  const char *command = argc == 1 ? variable(environment, "CNI_COMMAND") : 0;
  if (command && *command) cni_call(argv, environment, command);
#ifdef DIRECT
  if (!fini && p->interpreter) return load_interpreter(p, environment);
#else
  (void)fini;
  relocate(p, page_size(environment));
#endif
  return in_memory(p, p->entry);
}
