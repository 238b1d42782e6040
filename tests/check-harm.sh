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

# of new shared memory only what is written
status 0 "new shared memory" "$command" run -q -j "$tmp/json" -- python3 -S -c '
import mmap, time
m = mmap.mmap(-1, 64 << 20)
time.sleep(.4)
m[0] = 1
time.sleep(.3)'
python3 - "$tmp/json" <<'X' || fails "shared memory"
import json, sys
big = [m for m in json.load(open(sys.argv[1]))['mappings'] if m['size'] == 64 << 20]
assert len(big) == 1 and 1 <= big[0]['pages'] <= 2, big
X

# after exec it is another process by name, in the picture too
status 0 "names in the picture" "$command" run -q -s "$tmp/svg" -- sh -c \
	'x=$(seq 20000); exec python3 -S -c "x = bytearray(8 << 20)"'
grep -q 'class="process"[^<]*python3, process' "$tmp/svg" || fails "no python3 in the picture"

# a recording is read again: long lines, and names that begin with a blank or are none
long=$(printf '%09000d' 0)
status 0 "a long line" "$command" run -q -o "$tmp/rec" -c "$tmp/csv" -- sh -c ": $long"
status 0 "a long line again" "$command" report -c "$tmp/again" "$tmp/rec"
cmp "$tmp/csv" "$tmp/again" || fails "the recording differs"
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
