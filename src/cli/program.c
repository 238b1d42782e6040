/* SPDX-License-Identifier: MIT */
/*
 * program.c - can `writewatch run` load its object into a program, and if not,
 * why. An object that does not fit would break the program, or say so on its
 * standard error output.
 *
 * Called by run.c.
 */
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli.h"

#if UINTPTR_MAX > UINT32_MAX
typedef Elf64_Ehdr header_t;
typedef Elf64_Phdr segment_t;
typedef Elf64_Dyn dynamic_t;
#define OUR_CLASS ELFCLASS64
#else
typedef Elf32_Ehdr header_t;
typedef Elf32_Phdr segment_t;
typedef Elf32_Dyn dynamic_t;
#define OUR_CLASS ELFCLASS32
#endif

struct file {
	const char *text;
	size_t len;
};

static bool map_file(const char *path, struct file *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	void *text;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
	    st.st_size < (off_t)sizeof(header_t)) {
		close(fd);
		return false;
	}
	text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	*out = (struct file){ text, (size_t)st.st_size };
	return text != MAP_FAILED;
}

/* The next segment of a type, from number *i on, that is wholly in the file; NULL:
 * none. */
static const segment_t *segment(const struct file *f, unsigned type, size_t *i)
{
	const header_t *h = (const void *)f->text;

	for (; *i < h->e_phnum; (*i)++) {
		size_t at = h->e_phoff + *i * sizeof(segment_t);
		const segment_t *s = (const void *)(f->text + at);

		if (at > f->len || sizeof(*s) > f->len - at)
			break;
		if (s->p_type == type && s->p_offset < f->len && s->p_filesz &&
		    s->p_filesz <= f->len - s->p_offset)
			return s;
	}
	return NULL;
}

/* The dynamic linker that a file names; NULL: none. */
static const char *interpreter(const struct file *f)
{
	size_t i = 0;
	const segment_t *s = segment(f, PT_INTERP, &i);

	if (!s || f->text[s->p_offset + s->p_filesz - 1])
		return NULL;
	return f->text + s->p_offset;
}

/* The names of its dynamic symbols, each ended by a zero byte. */
static struct file dynamic_names(const struct file *f)
{
	size_t i = 0, n = 0, names = 0, bytes = 0;
	const segment_t *s = segment(f, PT_DYNAMIC, &i);
	const dynamic_t *d = s ? (const void *)(f->text + s->p_offset) : NULL;

	for (; d && n < s->p_filesz / sizeof(*d); n++) {
		if (d[n].d_tag == DT_STRTAB)
			names = d[n].d_un.d_ptr;
		if (d[n].d_tag == DT_STRSZ)
			bytes = d[n].d_un.d_val;
	}
	/* an address: where in the file? */
	for (i = 0; (s = segment(f, PT_LOAD, &i)); i++)
		if (names >= s->p_vaddr && names - s->p_vaddr < s->p_filesz &&
		    bytes <= s->p_filesz - (names - s->p_vaddr))
			return (struct file){ f->text + s->p_offset +
						      (names - s->p_vaddr),
					      bytes };
	return (struct file){ f->text, 0 };
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool has_our_linker(const char *linker)
{
	struct file self;
	const char *ours;
	bool same;

	if (!map_file("/proc/self/exe", &self))
		return true;
	ours = interpreter(&self);
	/* a command that is linked statically can not compare */
	same = !ours || !strcmp(last_part(ours), last_part(linker));
	munmap((void *)self.text, self.len);
	return same;
}

/* Does it have, or ask for, a symbol? */
static bool has_symbol(const struct file *f, const char *name)
{
	const struct file names = dynamic_names(f);
	const size_t len = strlen(name) + 1;
	const char *at = names.text, *end = names.text + names.len;

	while ((at = memmem(at, (size_t)(end - at), name, len))) {
		if (at > names.text && !at[-1])
			return true;
		at++;
	}
	return false;
}

static const char *why_not_file(const struct file *f, bool *load)
{
	const header_t *h = (const void *)f->text;
	const char *linker;

	if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
		return NULL; /* the kernel decides what it is */
	*load = false;
	if (h->e_ident[EI_CLASS] != OUR_CLASS)
		return OUR_CLASS == ELFCLASS64
			       ? "it is a 32-bit program; run it by a 32-bit writewatch"
			       : "it is a 64-bit program; run it by a 64-bit writewatch";
	linker = interpreter(f);
	if (!linker) {
		*load = true; /* for the programs that it starts */
		return "it is linked statically; link it dynamically, or let it "
		       "call libwritewatch";
	}
	if (!has_our_linker(linker))
		return strstr(linker, "musl")
			       ? "it uses another C library, musl; build writewatch with it"
			       : "it uses another dynamic linker than writewatch";
	if (has_symbol(f, "__asan_init") || has_symbol(f, "__tsan_init") ||
	    has_symbol(f, "__msan_init"))
		return "it is built with a sanitizer, which must be loaded "
		       "first; build it without";
	*load = true;
	return NULL;
}

/* Who is more than its caller ignores LD_PRELOAD. */
static const char *why_not_rights(const char *path)
{
	char caps[64];
	struct stat st;

	if (stat(path, &st) != 0)
		return NULL;
	if ((st.st_mode & S_ISUID && st.st_uid != geteuid()) ||
	    (st.st_mode & S_ISGID && st.st_gid != getegid()))
		return "it is set-user-ID or set-group-ID; run it as that user";
	if (getuid() != 0 &&
	    getxattr(path, "security.capability", caps, sizeof(caps)) > 0)
		return "it has file capabilities; run it as root";
	return NULL;
}

/* The interpreter of a script, "#!/bin/sh -e"; false: it is none. */
static bool script(const struct file *f, char *path, size_t room)
{
	size_t i = 2, n = 0;

	if (f->len < 3 || memcmp(f->text, "#!", 2) != 0)
		return false;
	while (i < f->len && (f->text[i] == ' ' || f->text[i] == '\t'))
		i++;
	while (i < f->len && n + 1 < room && !strchr(" \t\n", f->text[i]))
		path[n++] = f->text[i++];
	path[n] = '\0';
	return n > 0;
}

static bool find_in_path(const char *name, char *out, size_t room)
{
	const char *path = getenv("PATH"), *end;

	if (strchr(name, '/'))
		return snprintf(out, room, "%s", name) < (int)room;
	for (path = path ? path : "/bin:/usr/bin"; *path;
	     path = *end ? end + 1 : end) {
		end = strchrnul(path, ':');
		if (snprintf(out, room, "%.*s/%s", (int)(end - path), path,
			     name) < (int)room &&
		    access(out, X_OK) == 0)
			return true;
	}
	return false;
}

const char *cli_program_why_not(const char *name, bool *load)
{
	char path[PATH_MAX];
	const char *why = NULL;
	struct file f;
	int depth;

	*load = true;
	if (!find_in_path(name, path, sizeof(path)))
		return NULL; /* exec says why */
	for (depth = 0; depth < 4; depth++) {
		bool again;

		why = why_not_rights(path);
		if (why || !map_file(path, &f))
			break;
		again = script(&f, path, sizeof(path));
		if (!again)
			why = why_not_file(&f, load);
		munmap((void *)f.text, f.len);
		if (!again)
			break;
	}
	return why;
}
