/* SPDX-License-Identifier: MIT */
/*
 * preload.c - the object that `writewatch run` has loaded into each program: it
 * makes a userfaultfd there, hands it to the command over a socket, and waits
 * until the command has registered what is mapped. At the end it says so and
 * waits again, so that the last writes are seen. The program does nothing more.
 *
 * If anything fails the program just runs, unwatched.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "kernel/uapi/userfaultfd.h"
#include "preload.h"

static int connection = -1;
static char address[64];

static int connect_to_command(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t len = strlen(address);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), high;

	if (fd < 0)
		return -1;
	/* abstract: it begins with a zero byte, and needs no file */
	memcpy(to.sun_path + 1, address, len);
	if (connect(fd, (struct sockaddr *)&to,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
				len)) != 0) {
		close(fd);
		return -1;
	}
	/* not a low number, which the program may count on */
	high = fcntl(fd, F_DUPFD_CLOEXEC, 900);
	if (high < 0)
		return fd;
	close(fd);
	return high;
}

/* Send a byte, with a descriptor unless it is -1; wait for a byte. */
static int say(char what, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec iov = { &what, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;
	ssize_t n;

	if (fd >= 0) {
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	if (sendmsg(connection, &msg, MSG_NOSIGNAL) != 1)
		return -1;
	do
		n = recv(connection, &what, 1, 0);
	while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : -1;
}

static void hand_over(void)
{
	int saved = errno;
	int uffd = (int)syscall(SYS_userfaultfd,
				UFFD_USER_MODE_ONLY | O_CLOEXEC | O_NONBLOCK);

	connection = connect_to_command();
	if (connection >= 0 && say(PRELOAD_HELLO, uffd) != 0) {
		close(connection);
		connection = -1;
	}
	if (uffd >= 0)
		close(uffd);
	errno = saved;
}

/* The child's memory is its own, and needs a userfaultfd of its own. */
static void in_child(void)
{
	if (connection >= 0)
		close(connection);
	hand_over();
}

__attribute__((constructor)) static void at_start(void)
{
	const char *name = getenv(PRELOAD_SOCKET);

	if (!name || strlen(name) >= sizeof(address))
		return;
	strcpy(address, name);
	pthread_atfork(NULL, NULL, in_child);
	hand_over();
}

__attribute__((destructor)) static void at_end(void)
{
	if (connection >= 0)
		say(PRELOAD_BYE, -1);
}
