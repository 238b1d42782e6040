/* SPDX-License-Identifier: MIT */
/*
 * arch.h - what differs between processors: the bare system call, the record
 * of a fault, the protection bits that only one of them has, and the TLB.
 *
 * The only file of src/ that names an architecture. The system calls are made
 * without libc, for three reasons: libc's functions store errno, which is
 * thread-local, and a 32-bit thread of a compatibility layer enters its SIGSEGV
 * handler with another thread pointer; a program may have interposed libc's
 * mprotect() and the like, and send them to this library; and some of libc's
 * functions are cancellation points.
 */
#ifndef WW_ARCH_H
#define WW_ARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef PROT_BTI
#define PROT_BTI 0x10 /* arm64: branch target identification */
#endif
#ifndef PROT_MTE
#define PROT_MTE 0x20 /* arm64: memory tags */
#endif

/* --- the bare system call: its result, or a negative errno value --- */

#if defined(__x86_64__)

static inline long ww_arch_call(long nr, long a, long b, long c, long d, long e,
				long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}

#elif defined(__i386__)

/* %ebx and %ebp may be the compiler's own: they are saved here. */
static inline long ww_arch_call(long nr, long a, long b, long c, long d, long e,
				long f)
{
	long args[3] = { nr, a, f };
	long r;

	__asm__ volatile("pushl %%ebp\n\t"
			 "pushl %%ebx\n\t"
			 "movl 4(%%eax), %%ebx\n\t"
			 "movl 8(%%eax), %%ebp\n\t"
			 "movl (%%eax), %%eax\n\t"
			 "int $0x80\n\t"
			 "popl %%ebx\n\t"
			 "popl %%ebp"
			 : "=a"(r)
			 : "0"(args), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "memory");
	return r;
}

#elif defined(__powerpc64__)

/* The summary overflow bit marks an error; its number is positive. */
static inline long ww_arch_call(long nr, long a, long b, long c, long d, long e,
				long f)
{
	register long r0 __asm__("r0") = nr;
	register long r3 __asm__("r3") = a;
	register long r4 __asm__("r4") = b;
	register long r5 __asm__("r5") = c;
	register long r6 __asm__("r6") = d;
	register long r7 __asm__("r7") = e;
	register long r8 __asm__("r8") = f;

	__asm__ volatile("sc\n\t"
			 "bns+ 1f\n\t"
			 "neg %1, %1\n"
			 "1:"
			 : "+r"(r0), "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6),
			   "+r"(r7), "+r"(r8)
			 :
			 : "r9", "r10", "r11", "r12", "cr0", "ctr", "memory");
	return r3;
}

#elif defined(__aarch64__) || defined(__arm__) || defined(__riscv) ||          \
	defined(__s390x__)

/* The result is where the first argument was. */
#if defined(__aarch64__)
#define WW_ARCH_TRAP "svc 0"
#define WW_ARCH_REGISTERS(in) in("x8", "x0", "x1", "x2", "x3", "x4", "x5")
#elif defined(__arm__) /* r7 may be the frame pointer: it is saved in ip */
#define WW_ARCH_TRAP "mov ip, r7\n\tmov r7, r6\n\tsvc 0\n\tmov r7, ip"
#define WW_ARCH_SPOILS , "ip"
#define WW_ARCH_REGISTERS(in) in("r6", "r0", "r1", "r2", "r3", "r4", "r5")
#elif defined(__riscv)
#define WW_ARCH_TRAP "ecall"
#define WW_ARCH_REGISTERS(in) in("a7", "a0", "a1", "a2", "a3", "a4", "a5")
#else
#define WW_ARCH_TRAP "svc 0"
#define WW_ARCH_REGISTERS(in) in("r1", "r2", "r3", "r4", "r5", "r6", "r7")
#endif
#ifndef WW_ARCH_SPOILS
#define WW_ARCH_SPOILS
#endif

static inline long ww_arch_call(long nr, long a, long b, long c, long d, long e,
				long f)
{
#define WW_ARCH_PUT(n, r0, r1, r2, r3, r4, r5)                                 \
	register long in_n __asm__(n) = nr;                                    \
	register long in_a __asm__(r0) = a, in_b __asm__(r1) = b;              \
	register long in_c __asm__(r2) = c, in_d __asm__(r3) = d;              \
	register long in_e __asm__(r4) = e, in_f __asm__(r5) = f
	WW_ARCH_REGISTERS(WW_ARCH_PUT);

	__asm__ volatile(WW_ARCH_TRAP
			 : "+r"(in_a)
			 : "r"(in_n), "r"(in_b), "r"(in_c), "r"(in_d),
			   "r"(in_e), "r"(in_f)
			 : "memory" WW_ARCH_SPOILS);
	return in_a;
}

#else /* libc's function: it stores errno, which is put back */

#include <errno.h>

static inline long ww_arch_call(long nr, long a, long b, long c, long d, long e,
				long f)
{
	int saved = errno;
	long r = syscall(nr, a, b, c, d, e, f);

	if (r < 0)
		r = -errno;
	errno = saved;
	return r;
}

#endif

/* mmap(2): of a file from its first byte on, or -1. */
static inline long ww_arch_map(long at, long len, long prot, long flags,
			       long fd)
{
#if defined(SYS_mmap2)
	return ww_arch_call(SYS_mmap2, at, len, prot, flags, fd, 0);
#elif defined(__s390x__) /* takes a pointer to its arguments */
	const long args[6] = { at, len, prot, flags, fd, 0 };

	return ww_arch_call(SYS_mmap, (long)args, 0, 0, 0, 0, 0);
#else
	return ww_arch_call(SYS_mmap, at, len, prot, flags, fd, 0);
#endif
}

/* A file offset, as arguments of pread64 behind the first three. */
#if __SIZEOF_LONG__ == 8
#define WW_ARCH_OFFSET(at) (long)(at), 0, 0
#elif defined(__arm__) || defined(__mips__) || defined(__powerpc__)
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define WW_ARCH_OFFSET(at) 0, (long)((at) >> 32), (long)(at)
#else
#define WW_ARCH_OFFSET(at) 0, (long)(at), (long)((at) >> 32)
#endif
#else
#define WW_ARCH_OFFSET(at) (long)(at), (long)((at) >> 32), 0
#endif

/* Has memory bits of protection besides the three that /proc/PID/maps tells? */
static inline bool ww_arch_may_have_more_prot(int prot)
{
#if defined(__aarch64__)
	unsigned long cpu = getauxval(AT_HWCAP2);

	/* MTE is for data; BTI means nothing where nothing is executed. */
	return cpu & 1ul << 18 || (cpu & 1ul << 17 && prot & PROT_EXEC);
#else
	(void)prot;
	return false;
#endif
}

/* --- the TLB --- */

/* The most pages that the kernel flushes one by one; for more it empties the TLB
 * (x86: tlb_single_page_flush_ceiling). 0: not known. */
#if defined(__x86_64__) || defined(__i386__)
#define WW_ARCH_FLUSH_PAGES 33u
#else
#define WW_ARCH_FLUSH_PAGES 0u
#endif

/* --- the record of a fault --- */

/* The address of the instruction; 0: not known. */
static inline uintptr_t ww_arch_pc(const ucontext_t *uc)
{
#if defined(__x86_64__)
	return (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
#elif defined(__i386__)
	return (uintptr_t)uc->uc_mcontext.gregs[REG_EIP];
#elif defined(__aarch64__)
	return (uintptr_t)uc->uc_mcontext.pc;
#elif defined(__arm__)
	return (uintptr_t)uc->uc_mcontext.arm_pc;
#elif defined(__riscv)
	return (uintptr_t)uc->uc_mcontext.__gregs[0];
#elif defined(__powerpc64__)
	return (uintptr_t)uc->uc_mcontext.gp_regs[32]; /* NIP */
#elif defined(__s390x__)
	return (uintptr_t)uc->uc_mcontext.psw.addr;
#else
	(void)uc;
	return 0;
#endif
}

/* Does the record of a fault tell a store from a fetch? */
#if defined(__riscv) || defined(__s390x__) ||                                  \
	!(defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) ||  \
	  defined(__arm__) || defined(__powerpc64__))
#define WW_ARCH_TELLS_STORES 0
#else
#define WW_ARCH_TELLS_STORES 1
#endif

/* Was it a store? True too where the record does not tell. */
static inline bool ww_arch_may_be_store(const ucontext_t *uc)
{
#if defined(__x86_64__) || defined(__i386__)
	return uc->uc_mcontext.gregs[REG_ERR] & 2;
#elif defined(__aarch64__)
	/* A chain of records { magic, size }; ESR_MAGIC's has the syndrome. */
	const unsigned char *p = uc->uc_mcontext.__reserved;

	for (;;) {
		const uint32_t *head = (const uint32_t *)(const void *)p;

		if (!head[0] || !head[1])
			return true;
		if (head[0] == 0x45535201u)
			return *(const uint64_t *)(const void *)(p + 8) >> 6 &
			       1; /* WnR */
		p += head[1];
	}
#elif defined(__arm__)
	return uc->uc_mcontext.error_code >> 11 & 1; /* FSR, WnR */
#elif defined(__powerpc64__)
	return uc->uc_mcontext.gp_regs[42] & 0x02000000; /* DSISR, store */
#else
	(void)uc;
	return true;
#endif
}

#endif
