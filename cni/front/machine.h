/* What a program without a C library needs of its machine: system calls, numbers, the first instruction. */
#ifndef MACHINE_H
#define MACHINE_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned u32;
typedef unsigned long u64;
typedef long i64;

#if defined __x86_64__

enum {
  SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_mmap = 9, SYS_mprotect = 10, SYS_sigaction = 13,
  SYS_pread = 17, SYS_pwrite = 18, SYS_socket = 41, SYS_connect = 42, SYS_sendto = 44, SYS_shutdown = 48,
  SYS_setsockopt = 54, SYS_fcntl = 72, SYS_clock_gettime = 228, SYS_exit_group = 231,
  SYS_openat = 257, SYS_ppoll = 271, SYS_dup3 = 292, SYS_pipe2 = 293, SYS_memfd_create = 319,
};
enum { ELF_MACHINE = 62 };

static inline i64 syscall6(i64 n, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f) {
  register i64 r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
  i64 result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

/* next = front(stack pointer, rdx), then there with both as they were: the ABI hands rdx to an entry. */
__asm__(
    ".section .start,\"ax\"\n.globl _start\n_start:\n"
    "  mov %rsp, %rdi\n  mov %rdx, %rsi\n  mov %rdx, %r12\n  mov %rsp, %rbx\n"
    "  and $-16, %rsp\n  call front\n"
    "  mov %rbx, %rsp\n  mov %r12, %rdx\n"
    "  xor %ebx, %ebx\n  xor %r12d, %r12d\n  xor %ebp, %ebp\n  jmp *%rax\n.text\n");

#elif defined __aarch64__

enum {
  SYS_dup3 = 24, SYS_fcntl = 25, SYS_openat = 56, SYS_close = 57, SYS_pipe2 = 59, SYS_read = 63, SYS_write = 64,
  SYS_pread = 67, SYS_pwrite = 68, SYS_ppoll = 73, SYS_exit_group = 94, SYS_clock_gettime = 113, SYS_sigaction = 134,
  SYS_socket = 198, SYS_connect = 203, SYS_sendto = 206, SYS_setsockopt = 208, SYS_shutdown = 210,
  SYS_mmap = 222, SYS_mprotect = 226, SYS_memfd_create = 279,
};
enum { ELF_MACHINE = 183 };

static inline i64 syscall6(i64 n, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f) {
  register i64 x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
                  x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory", "cc");
  return x0;
}

__asm__(
    ".section .start,\"ax\"\n.globl _start\n_start:\n"
    "  mov x19, x0\n  mov x1, x0\n  mov x0, sp\n  mov x29, xzr\n  mov x30, xzr\n  bl front\n"
    "  mov x16, x0\n  mov x0, x19\n  mov x19, xzr\n  mov x30, xzr\n  br x16\n.text\n");

#else
#error "x86-64 or aarch64"
#endif

#define sys(n, a, b, c) syscall6(n, (i64)(a), (i64)(b), (i64)(c), 0, 0, 0)
#define sys_mmap(at, length, protection, flags, fd, offset) \
  syscall6(SYS_mmap, (i64)(at), (i64)(length), protection, flags, fd, (i64)(offset))
/* The kernel's errors are the last page of numbers. */
#define failed(result) ((u64)(result) > -4096UL)

enum { PROT_R = 1, PROT_W = 2, PROT_X = 4 };
enum { MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000 };
enum {
  EPERM = 1, EINTR = 4, EIO = 5, ENOEXEC = 8, EBADF = 9, EAGAIN = 11, ENOMEM = 12, EACCES = 13,
  EPIPE = 32, ECONNRESET = 104,
};

#endif
