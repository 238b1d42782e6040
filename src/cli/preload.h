/* SPDX-License-Identifier: MIT */
/* preload.h - messages between `writewatch run` and the program. */
#ifndef PRELOAD_H
#define PRELOAD_H

#define PRELOAD_SOCKET "WRITEWATCH_RUN_SOCKET" /* abstract address */
#define PRELOAD_HELLO                                                          \
	'h'		/* with a userfaultfd; answered when all is watched    \
			 */
#define PRELOAD_BYE 'b' /* answered after a last scan */

#endif
