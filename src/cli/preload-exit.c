/* SPDX-License-Identifier: MIT */
/*
 * preload-exit.c - the calls of libc that end a program, or replace it by another:
 * the command looks once more before each, so that what was written last is seen.
 *
 * Called by the program; calls preload.c and libc's own. Each does what it does
 * without us, also after an exec that failed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload.h"

/* libc's, or another object's. A constructor of the program's libraries may ask before
 * ours has looked for them (find()). */
static struct {
	void (*_exit)(int);
	void (*_Exit)(int);
	void (*quick_exit)(int);
	int (*execve)(const char *, char *const[], char *const[]);
	int (*execv)(const char *, char *const[]);
	int (*execvp)(const char *, char *const[]);
	int (*execvpe)(const char *, char *const[], char *const[]);
} next;

void writewatch_run_find_exits(void)
{
	*(void **)&next._exit = dlsym(RTLD_NEXT, "_exit");
	*(void **)&next._Exit = dlsym(RTLD_NEXT, "_Exit");
	*(void **)&next.quick_exit = dlsym(RTLD_NEXT, "quick_exit");
	*(void **)&next.execve = dlsym(RTLD_NEXT, "execve");
	*(void **)&next.execv = dlsym(RTLD_NEXT, "execv");
	*(void **)&next.execvp = dlsym(RTLD_NEXT, "execvp");
	*(void **)&next.execvpe = dlsym(RTLD_NEXT, "execvpe");
}

static void find(void)
{
	if (!next.execve)
		writewatch_run_find_exits();
}

static void before_exec(void)
{
	find();
	writewatch_run_last_look();
}

static _Noreturn void leave(void (*next_exit)(int), int status)
{
	writewatch_run_last_look();
	if (next_exit)
		next_exit(status);
	for (;;)
		syscall(SYS_exit_group, status);
}

__attribute__((visibility("default"))) _Noreturn void _exit(int status)
{
	leave(next._exit, status);
}

__attribute__((visibility("default"))) _Noreturn void _Exit(int status)
{
	leave(next._Exit, status);
}

/* What handlers of at_quick_exit() write is not seen. */
__attribute__((visibility("default"))) _Noreturn void quick_exit(int status)
{
	leave(next.quick_exit, status);
}

__attribute__((visibility("default"))) int
execve(const char *path, char *const argv[], char *const envp[])
{
	before_exec();
	return next.execve ? next.execve(path, argv, envp)
			   : (int)syscall(SYS_execve, path, argv, envp);
}

__attribute__((visibility("default"))) int execv(const char *path,
						 char *const argv[])
{
	before_exec();
	return next.execv ? next.execv(path, argv)
			  : (int)syscall(SYS_execve, path, argv, environ);
}

static int there_is_none(void)
{
	errno = ENOSYS;
	return -1;
}

__attribute__((visibility("default"))) int execvp(const char *file,
						  char *const argv[])
{
	before_exec();
	return next.execvp ? next.execvp(file, argv) : there_is_none();
}

__attribute__((visibility("default"))) int
execvpe(const char *file, char *const argv[], char *const envp[])
{
	before_exec();
	return next.execvpe ? next.execvpe(file, argv, envp) : there_is_none();
}

/* --- the same, with the words of argv as arguments --- */

/* next.execv, next.execvp or, with an environment behind the words, next.execve. The
 * length of argv is the caller's to choose, and a child of vfork() may not allocate
 * memory: it is on the stack, as in libc. */
static int exec_words(int (*next_exec)(const char *, char *const[]),
		      const char *file, const char *first, va_list *words)
{
	size_t n = 0, i;
	va_list copy;

	va_copy(copy, *words);
	/* clang-tidy 14 does not follow a va_list through a pointer */
	/* NOLINTBEGIN(clang-analyzer-valist.Uninitialized) */
	if (first)
		for (n = 1; va_arg(copy, char *); n++)
			;
	va_end(copy);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wvla"
	char *argv[n + 1];
#pragma GCC diagnostic pop

	argv[0] = (char *)first;
	for (i = 1; i <= n; i++)
		argv[i] = va_arg(*words, char *);
	writewatch_run_last_look();
	if (next_exec)
		return next_exec(file, argv);
	return next.execve
		       ? next.execve(file, argv, va_arg(*words, char *const *))
		       : there_is_none();
	/* NOLINTEND(clang-analyzer-valist.Uninitialized) */
}

__attribute__((visibility("default"))) int execl(const char *path,
						 const char *first, ...)
{
	va_list words;
	int r;

	find();
	va_start(words, first);
	r = next.execv ? exec_words(next.execv, path, first, &words)
		       : there_is_none();
	va_end(words);
	return r;
}

__attribute__((visibility("default"))) int execlp(const char *file,
						  const char *first, ...)
{
	va_list words;
	int r;

	find();
	va_start(words, first);
	r = next.execvp ? exec_words(next.execvp, file, first, &words)
			: there_is_none();
	va_end(words);
	return r;
}

__attribute__((visibility("default"))) int execle(const char *path,
						  const char *first, ...)
{
	va_list words;
	int r;

	find();
	va_start(words, first);
	r = exec_words(NULL, path, first, &words);
	va_end(words);
	return r;
}
