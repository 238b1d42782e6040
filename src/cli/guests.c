/* SPDX-License-Identifier: MIT */
/*
 * guests.c - the socket to which programs connect, and what they send.
 *
 * Called by run.c. Nothing here waits for one of them: who does not send a hello
 * within PATIENCE seconds is shown out.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli.h"
#include "preload.h"

#define MOST 256
#define PATIENCE 1.0

struct cli_guests {
	int listening;
	struct {
		int connection;
		pid_t pid;
		double since;
	} guest[MOST];
	size_t n, refused;
	cli_guests_fn *may_join;
	void *arg; /* of it */
};

struct cli_guests *cli_guests_new(char *name, size_t room,
				  cli_guests_fn *may_join, void *arg)
{
	struct cli_guests *self = calloc(1, sizeof(*self));
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	uint64_t secret = 0;

	if (!self)
		return NULL;
	self->may_join = may_join;
	self->arg = arg;
	self->listening = socket(
		AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (syscall(SYS_getrandom, &secret, sizeof(secret), 0) !=
	    (long)sizeof(secret))
		secret = (uint64_t)(cli_now() * 1e9);
	snprintf(name, room, "writewatch-%d-%llx", (int)getpid(),
		 (unsigned long long)secret);
	memcpy(at.sun_path + 1, name, strlen(name));
	if (self->listening >= 0 &&
	    bind(self->listening, (struct sockaddr *)&at,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			     strlen(name))) == 0 &&
	    listen(self->listening, 128) == 0)
		return self;
	cli_guests_free(self);
	return NULL;
}

void cli_guests_free(struct cli_guests *self)
{
	while (self->n)
		close(self->guest[--self->n].connection);
	if (self->listening >= 0)
		close(self->listening);
	free(self);
}

static void accept_one(struct cli_guests *self)
{
	int c = accept4(self->listening, NULL, NULL,
			SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred who;
	socklen_t len = sizeof(who);

	if (c < 0)
		return;
	/* The socket's name is no secret, and anybody may send descriptors. */
	if (getsockopt(c, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0 ||
	    !self->may_join(self->arg, who.pid, who.uid)) {
		close(c);
		return;
	}
	if (self->n == MOST) {
		self->refused++;
		close(c);
		return;
	}
	self->guest[self->n].connection = c;
	self->guest[self->n].pid = who.pid;
	self->guest[self->n++].since = cli_now();
}

static void show_out(struct cli_guests *self, size_t i)
{
	close(self->guest[i].connection);
	self->guest[i] = self->guest[--self->n];
}

/* The page must be memory that the program can not cut off: a store to it would
 * end the command then. */
static struct preload_page *map_page(int fd)
{
	struct stat st;
	void *page;

	if (fstat(fd, &st) != 0 || st.st_size != sizeof(struct preload_page) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) != 0)
		return NULL;
	page = mmap(NULL, sizeof(struct preload_page), PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, 0);
	return page == MAP_FAILED ? NULL : page;
}

/* Two descriptors, and nothing but a hello. */
static bool hear(int connection, pid_t pid, struct cli_guest *out)
{
	union {
		char buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control;
	char what = 0;
	struct iovec iov = { &what, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	struct cmsghdr *c;
	int fds[2] = { -1, -1 };
	size_t n = 0;

	if (recvmsg(connection, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
		return false;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS) {
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), (n < 2 ? n : 2) * sizeof(int));
	}
	*out = (struct cli_guest){ connection, pid, fds[0], NULL };
	if (what == PRELOAD_HELLO && n == 2)
		out->page = map_page(fds[1]);
	if (fds[1] >= 0)
		close(fds[1]);
	if (out->page)
		return true;
	if (fds[0] >= 0)
		close(fds[0]);
	return false;
}

bool cli_guests_wait(struct cli_guests *self, double seconds,
		     struct cli_guest *out)
{
	struct pollfd p[MOST + 1];
	size_t i, n = self->n;

	for (i = 0; i < n; i++)
		p[i] = (struct pollfd){ self->guest[i].connection, POLLIN, 0 };
	p[n] = (struct pollfd){ self->listening, POLLIN, 0 };
	if (poll(p, n + 1, seconds > 0 ? (int)(seconds * 1000) + 1 : 0) < 0)
		return false;
	if (p[n].revents)
		accept_one(self);
	for (i = n; i--;) {
		if (p[i].revents &&
		    hear(self->guest[i].connection, self->guest[i].pid, out)) {
			/* the answer goes there */
			self->guest[i] = self->guest[--self->n];
			return true;
		}
		if (p[i].revents || cli_now() - self->guest[i].since > PATIENCE)
			show_out(self, i);
	}
	return false;
}

size_t cli_guests_refused(const struct cli_guests *self)
{
	return self->refused;
}

void cli_guests_answer(struct cli_guest *guest)
{
	if (guest->connection < 0)
		return;
	send(guest->connection, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(guest->connection);
	guest->connection = -1;
}
