#!/bin/sh
# SPDX-License-Identifier: MIT
# check-harm.sh COMMAND - `writewatch run` under conditions in which it did harm to
# programs, or said what was not so. Where nothing can be watched it says that, and
# the harm must not come either.
set -eu
command=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
WRITEWATCH_PRELOAD="$(dirname "$command")/writewatch-run.so"
export WRITEWATCH_PRELOAD
bad=0

fails() {
	echo "$*"
	cat "$tmp/out" "$tmp/err" 2>/dev/null || true
	bad=1
}

# status WANT NAME COMMAND...: in time, and with that status
status() {
	want=$1 name=$2 status=0
	shift 2
	timeout -s KILL 60 "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
	[ $status = "$want" ] || fails "$name: status $status, not $want"
}

# a caller that ignores SIGCHLD; the program ignores it, too
status 0 "SIGCHLD ignored" env --ignore-signal=CHLD "$command" run -q -- sh -c \
	'grep -q "^SigIgn:.*[13579bdf]....$" /proc/self/status; true'

# signals: each once, whether to the command or to all of the group
cat >"$tmp/count.py" <<'X'
import os, signal, subprocess, sys, time
up = sys.argv[1] + '/up'
child = '''
import signal, sys, time
n = {}
def count(s, f): n[s] = n.get(s, 0) + 1
for s in (15, 1, 10): signal.signal(s, count)
open(sys.argv[1], 'w').close()
end = time.time() + 20
while time.time() < end and len(n) < 3: time.sleep(.02)
time.sleep(.3)
print(sorted(n.items()))
'''
for whole in (True, False):
    p = subprocess.Popen(sys.argv[2:] + [sys.executable, '-c', child, up],
                         start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while not os.path.exists(up): time.sleep(.02)
    os.remove(up)
    for s in (15, 1, 10):
        if whole: os.killpg(p.pid, s)
        else: os.kill(p.pid, s)
        time.sleep(.1)
    out = p.communicate(timeout=50)[0].decode().strip()
    assert out == '[(1, 1), (10, 1), (15, 1)]', (whole, out)
X
status 0 "signals once" python3 "$tmp/count.py" "$tmp" "$command" run -q --

# one that ends the program at once
status 0 "a signal ends it" sh -c '"$1" run -q -- sleep 30 & p=$!; sleep 0.5
	kill -TERM $p; s=0; wait $p || s=$?; [ $s = 143 ]' - "$command"

# and the caller sees that it was a signal, or a status like one
status 0 "ends as the program" python3 -c 'import subprocess, sys
for end, want in (("kill -TERM $$", -15), ("kill -KILL $$", -9), ("exit 143", 143)):
    p = subprocess.run(sys.argv[1:] + ["sh", "-c", end], stderr=subprocess.DEVNULL)
    assert p.returncode == want, (end, p.returncode)' "$command" run -q --

# in another group, where a signal to the command's does not come; and one that the
# command was given by its caller's alarm
status 124 "a group of its own" timeout -k 20 2 "$command" run -q -- timeout 20 sleep 20
status 142 "an alarm" python3 -c 'import os, signal, sys
signal.alarm(1)
os.execvp(sys.argv[1], sys.argv[1:])' "$command" run -q -- sleep 20

# guard pages in shared memory
cat >"$tmp/guard.c" <<'C'
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void)
{
	char *p = mmap(0, 64 << 12, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	usleep(300000);
	alarm(20);
	madvise(p + 4096, 16 << 12, 102);
	madvise(p + 4096, 16 << 12, 103);
	p[0] = 1;
	return 0;
}
C
${CC:-cc} -o "$tmp/guard" "$tmp/guard.c"
status 0 "guard pages" "$command" run -q -- "$tmp/guard"

# functions of the program's own, by the names of libc's that the object needs
cat >"$tmp/own.c" <<'C'
#include <stdio.h>
#include <stdlib.h>
int connect(const char *s) { printf("connect %.9s\n", s); exit(3); }
int socket(void) { abort(); }
long recv(int *s) { return *s; }
long sendmsg(int *s) { return *s; }
int ftruncate(char *s) { return *s; }
int setsockopt(char *s) { return *s; }
int main(void) { return puts("done") < 0; }
C
${CC:-cc} -w -fno-builtin -o "$tmp/own" "$tmp/own.c"
status 0 "names of its own" "$command" run -q -- "$tmp/own"
grep -qx done "$tmp/out" || fails "names of its own"

# a library's constructor that becomes another program before ours has run
mkdir "$tmp/lib"
echo '#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void c(void)
{ if (!getenv("AGAIN")) { setenv("AGAIN", "1", 1); execlp("echo", "echo", "again", (char *)0); } }
int nothing;' >"$tmp/lib/c.c"
${CC:-cc} -shared -fPIC -o "$tmp/lib/libc1.so" "$tmp/lib/c.c"
echo 'extern int nothing; int main(void) { return nothing + 7; }' >"$tmp/lib/m.c"
${CC:-cc} -o "$tmp/lib/m" "$tmp/lib/m.c" -L"$tmp/lib" -lc1 -Wl,-rpath,"$tmp/lib"
status 0 "exec in a constructor" "$command" run -q -- "$tmp/lib/m"
grep -qx again "$tmp/out" || fails "exec in a constructor"

# limits are the program's, not the command's
status 7 "a limit of files" "$command" run -q -- bash -c '(ulimit -f 0; exec sh -c "exit 7")'
status 0 "a limit of processor time" bash -c 'ulimit -t 7; [ "$("$1" run -q -- sh -c "ulimit -St; ulimit -Ht" | tr "\n" " ")" = "7 7 " ]' - "$command"

# who reads what the program prints sees the end of it when the program closes it
status 0 "the end of a pipe" python3 -c 'import os, subprocess, sys, time
r, w = os.pipe()
os.set_inheritable(w, True)
p = subprocess.Popen(sys.argv[1:] + ["sh", "-c", "exec >&- 2>&-; exec %d>&-; exec sleep 20" % w],
	stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, close_fds=False)
os.close(w)
t = time.time()
p.stdout.read()
os.read(r, 1)
p.terminate()
p.wait()
assert time.time() - t < 15, time.time() - t' "$command" run -q --

# it closes all descriptors and uses the numbers anew: nobody writes to them
cat >"$tmp/closes.c" <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
static char memory[1 << 20];
int main(void)
{
	int pair[200][2], i, k, status;
	char c;

	for (i = 3; i < 1024; i++)
		close(i);
	for (i = 0; i < 200; i++)
		if (socketpair(AF_UNIX, i % 2 ? SOCK_STREAM : SOCK_SEQPACKET, 0, pair[i]))
			return 9;
	if (pair[0][0] != 3)
		return 8;
	for (i = 0; i < 4; i++) {
		memset(memory, i, sizeof(memory));
		usleep(100000);
		if (fork() == 0)
			exit(3); /* goodbye, by the functions that run at an exit */
		wait(&status);
		if (WEXITSTATUS(status) != 3)
			return 7;
	}
	for (i = 0; i < 200; i++)
		for (k = 0; k < 2; k++)
			if (recv(pair[i][k], &c, 1, MSG_DONTWAIT) != -1 || errno != EAGAIN)
				return 6;
	return 5;
}
C
${CC:-cc} -w -o "$tmp/closes" "$tmp/closes.c"
status 5 "closes descriptors" "$command" run -q -i 20 -j "$tmp/json" -- "$tmp/closes"
grep -q 'was not watched' "$tmp/err" || python3 - "$tmp/json" <<'X' || fails "not all that it wrote was seen"
import json, sys
assert sum(m['writes'] for m in json.load(open(sys.argv[1]))['mappings'] if m['process'] == 'closes') > 255
X

# fork with 20,000 mappings: a child does not wait until all are watched, and what it
# writes to the first of them is seen
cat >"$tmp/forks.c" <<'C'
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static char memory[65536] __attribute__((aligned(65536)));
int main(void)
{
	double least = 1e9, ms;
	struct timespec a, b;
	char *p;
	int i;

	for (i = 0; i < 20000; i++) {
		p = mmap(0, 65536, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			return 1;
		if (i % 2 == 0)
			*p = 1;
	}
	usleep(500000); /* it is looked at */
	for (i = 0; i < 20; i++) {
		clock_gettime(CLOCK_MONOTONIC, &a);
		if (fork() == 0) {
			memset(memory, 1, sizeof(memory));
			_exit(0);
		}
		wait(NULL);
		clock_gettime(CLOCK_MONOTONIC, &b);
		ms = (b.tv_sec - a.tv_sec) * 1e3 + (b.tv_nsec - a.tv_nsec) / 1e6;
		least = ms < least ? ms : least;
	}
	printf("%.0f %lu\n", least, (unsigned long)memory);
	return 0;
}
C
${CC:-cc} -w -o "$tmp/forks" "$tmp/forks.c"
status 0 "20,000 mappings, alone" "$tmp/forks"
read -r alone _ <"$tmp/out"
status 0 "20,000 mappings" "$command" run -q -c "$tmp/csv" -- "$tmp/forks"
read -r with memory <"$tmp/out"
# on a busy machine the command is slow, but not waited for
[ "$with" -lt $((2 * alone + 15)) ] ||
	grep -q 'ended before all of their mappings were watched' "$tmp/err" ||
	fails "a fork with 20,000 mappings took $with ms, alone $alone"
grep -q 'was not watched' "$tmp/err" || python3 - "$tmp/csv" "$memory" <<'X' || fails "children were not seen"
import csv, sys
at = int(sys.argv[2])
rows = [r for r in csv.DictReader(open(sys.argv[1])) if at <= int(r['start'], 16) < at + 65536]
assert len({r['pid'] for r in rows}) >= 10, rows
X

# its own LD_PRELOAD, longer than any buffer
far=$tmp
while [ ${#far} -lt 1500 ]; do
	far=$far/$(printf '%0200d' 1)
done
mkdir -p "$far"
echo 'int puts(const char *); __attribute__((constructor)) static void c(void) { puts("far"); }' |
	${CC:-cc} -w -x c -shared -fPIC -o "$far/far.so" -
echo 'int main(void) { return 0; }' | ${CC:-cc} -x c -o "$tmp/nothing" -
status 0 "a long LD_PRELOAD" env LD_PRELOAD="$far/far.so" "$command" run -q -- "$tmp/nothing"
grep -qx far "$tmp/out" && ! grep -q ERROR "$tmp/err" || fails "a long LD_PRELOAD"

# signals that are rare
for name in IO PROF VTALRM PWR; do
	n=$(bash -c "kill -l $name")
	status $((128 + n)) "SIG$name" sh -c '"$1" run -q -- sleep 30 & p=$!; sleep 0.5
		kill -$2 $p; s=0; wait $p || s=$?; exit $s' - "$command" $name
done

# what is no program is not waited for
mkfifo -m 777 "$tmp/fifo"
status 126 "a FIFO" "$command" run -q -- "$tmp/fifo"
# a file that can not be written is said before the program runs
status 125 "no such folder" "$command" run -q -o "$tmp/none/file" -- touch "$tmp/ran"
[ ! -e "$tmp/ran" ] || fails "it ran"
for what in --help probe; do
	status 125 "$what to a full disk" sh -c '"$1" "$2" >/dev/full' - "$command" $what
done

"$command" run -q -o "$tmp/rec" -- true 2>"$tmp/err"
if grep -q 'was not watched' "$tmp/err"; then
	cat "$tmp/err"
	exit $bad
fi

# one_page NAME: of a mapping of 64 MiB a page was written
one_page() {
	python3 - "$tmp/json" <<-'X' || fails "$1"
	import json, sys
	big = [m for m in json.load(open(sys.argv[1]))['mappings'] if m['size'] == 64 << 20]
	assert len(big) == 1 and 1 <= big[0]['pages'] <= 2, big
	X
}

# privileges that are dropped, by a parent of another process; and a daemon
cat >"$tmp/drops.c" <<'C'
#define _GNU_SOURCE
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static char memory[1 << 20];
int main(int argc, char **argv)
{
	int status;

	if (argc > 1) {
		if (fork()) {
			usleep(500000); /* the daemon is known */
			return 3;
		}
		setsid();
		sleep(2);
		return 0;
	}
	/* where root is nobody else: nothing is dropped */
	if (geteuid() == 0)
		setgroups(0, 0) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534);
	if (fork() == 0) { /* as a daemon: the parent of the one that writes is gone */
		if (fork())
			_exit(4);
		memset(memory, 1, sizeof(memory));
		usleep(300000);
		_exit(0);
	}
	wait(&status);
	usleep(200000);
	if (!getenv("AGAIN")) { /* and another program of the same process */
		setenv("AGAIN", "1", 1);
		execv("/proc/self/exe", argv);
	}
	return WEXITSTATUS(status);
}
C
${CC:-cc} -w -o "$tmp/drops" "$tmp/drops.c"
chmod 755 "$tmp" "$tmp/drops"
status 4 "dropped privileges" "$command" run -q -- "$tmp/drops"
grep -Eq '^writewatch: [4-6] processes|not permitted' "$tmp/err" || fails "a child is not seen"
mkdir -m 700 "$tmp/hidden"
cp "$WRITEWATCH_PRELOAD" "$tmp/hidden/"
status 4 "an object that others can not read" \
	env WRITEWATCH_PRELOAD="$tmp/hidden/$(basename "$WRITEWATCH_PRELOAD")" "$command" run -q -- "$tmp/drops"
grep -Eq '^writewatch: [4-6] processes|not permitted' "$tmp/err" && ! grep -q ERROR "$tmp/err" ||
	fails "a child is not seen, or ld.so speaks"
status 3 "a daemon" "$command" run -q -- "$tmp/drops" daemon
grep -q '1 process runs on' "$tmp/err" || fails "nobody speaks of the daemon"

# of new shared memory only what is written
status 0 "new shared memory" "$command" run -q -j "$tmp/json" -- python3 -S -c '
import mmap, time
m = mmap.mmap(-1, 64 << 20)
time.sleep(.4)
m[0] = 1
time.sleep(.3)'
one_page "shared memory"

# of a new private mapping of a file, too
truncate -s 64M "$tmp/file"
status 0 "a new mapping of a file" "$command" run -q -j "$tmp/json" -- python3 -S -c "
import mmap, time
f = open('$tmp/file', 'r+b')
time.sleep(.4)
m = mmap.mmap(f.fileno(), 64 << 20, flags=mmap.MAP_PRIVATE, prot=3)
time.sleep(.4)
m[0] = 1
time.sleep(.3)"
one_page "a private mapping"

# after exec it is another process by name, in the picture too
status 0 "names in the picture" "$command" run -q -s "$tmp/svg" -- sh -c \
	'x=$(seq 20000); exec python3 -S -c "x = bytearray(8 << 20)"'
grep -q 'class="process"[^<]*python3, process' "$tmp/svg" || fails "no python3 in the picture"

# a recording is read again: long lines, and names that begin with a blank or are none
long=$(printf '%09000d' 0)
status 0 "a long line" "$command" run -q -o "$tmp/rec" -c "$tmp/csv" -- sh -c ": $long"
status 0 "a long line again" "$command" report -c "$tmp/again" "$tmp/rec"
cmp "$tmp/csv" "$tmp/again" || fails "the recording differs"
# one that was cut is shown as far as it goes, and called so
head -n -1 "$tmp/rec" >"$tmp/cut"
status 125 "a cut recording" "$command" report "$tmp/cut"
grep -q 'it has no end' "$tmp/err" || fails "a cut recording"
grep -q '  all ' "$tmp/err" || fails "a cut recording is not shown"
for wrong in nan inf -5 1e300; do
	sed "s/^w [^ ]*/w $wrong/" "$tmp/rec" >"$tmp/cut"
	status 125 "a recording of $wrong" "$command" report "$tmp/cut"
done
for name in '' ' lead' "$(printf '\302\233m')"; do
	status 0 "a name" "$command" run -q -o "$tmp/rec" -c "$tmp/csv" -j "$tmp/json" -- python3 -S -c \
		"open('/proc/self/comm', 'w').write('''$name'''); import os
if os.fork() == 0: x = bytearray(4 << 20); os._exit(0)
os.wait()"
	! LC_ALL=C grep -q "$(printf '\302\233')" "$tmp/err" || fails "a control character"
	status 0 "the name again" "$command" report -c "$tmp/again" "$tmp/rec"
	cmp "$tmp/csv" "$tmp/again" || fails "the recording differs: '$name'"
	python3 -m json.tool "$tmp/json" >/dev/null || fails "no JSON: '$name'"
done
exit $bad
