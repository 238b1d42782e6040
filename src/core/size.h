/* SPDX-License-Identifier: MIT */
/*
 * size.h - structs that the caller and the library exchange: each begins with a
 * size_t, the size of the struct as the caller's compiler saw it.
 */
#ifndef WW_SIZE_H
#define WW_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The least size of a struct that is taken: all before a member. */
#define WW_LEAST(type, member) offsetof(type, member)

/* The caller's struct, or NULL, and the least size: may the library write to
 * it? */
static inline bool ww_size_is_good(const void *theirs, size_t least)
{
	size_t size;

	if (!theirs || (uintptr_t)theirs % _Alignof(size_t))
		return false;
	memcpy(&size, theirs, sizeof(size));
	return size >= least;
}

/* Copy our struct to the caller's, except its size. Members that only one of
 * the two knows are not written. */
static inline void ww_size_copy_out(void *theirs, const void *ours, size_t size)
{
	size_t their_size;

	memcpy(&their_size, theirs, sizeof(their_size));
	if (size > their_size)
		size = their_size;
	memcpy((char *)theirs + sizeof(size_t),
	       (const char *)ours + sizeof(size_t), size - sizeof(size_t));
}

/* Copy the caller's struct to ours: members that the caller does not know are
 * zero. False: the caller's is shorter than the least size, or is longer than
 * ours and not zero behind its end. */
static inline bool ww_size_copy_in(void *ours, size_t size, const void *theirs,
				   size_t least)
{
	const char *p = theirs;
	size_t their_size, i;

	if (!ww_size_is_good(theirs, least))
		return false;
	memcpy(&their_size, theirs, sizeof(their_size));
	for (i = size; i < their_size; i++)
		if (p[i])
			return false;
	memset(ours, 0, size);
	memcpy(ours, theirs, size < their_size ? size : their_size);
	return true;
}

#endif
