/* SPDX-License-Identifier: MIT */
/* preload.h - what `writewatch run` and the object in the program say. */
#ifndef PRELOAD_H
#define PRELOAD_H

#define PRELOAD_SOCKET "WRITEWATCH_RUN_SOCKET" /* abstract address */
#define PRELOAD_HELLO                                                          \
	'h'		/* with a userfaultfd; answered when all is watched    \
			 */
#define PRELOAD_BYE 'b' /* answered when it was looked at */

#endif
