#!/bin/sh
# SPDX-License-Identifier: MIT
# check-command.sh COMMAND SOURCE - writewatch(1) answers, in JSON too, with the
# documented exit codes; the man pages have no warnings.
set -eu
command=$1 src=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"$command" probe >"$tmp/text"
grep -q 'usable, the one taken' "$tmp/text"
"$command" probe --json >"$tmp/json"
python3 - "$tmp/json" <<'X'
import json, sys
info = json.load(open(sys.argv[1]))
assert info['page'] >= 4096 and info['kernel'] and info['version'], info
assert info['taken'] in [b['name'] for b in info['backends'] if b['usable']], info
assert [b['name'] for b in info['backends']][-1] == 'mprotect', info
for b in info['backends']:
    assert b['usable'] == (b['errno'] == 0) and b['reason'], b
X
"$command" --help | grep -q '^usage: writewatch'
"$command" --version | grep -Eq '^writewatch [0-9]+\.[0-9]+\.[0-9]+$'
"$command" probe --require no-thread --require no-signal >"$tmp/text" || true
! grep -q '^uffd-sync .*the one taken' "$tmp/text"

# wrong STATUS WORD ARGUMENT...: it ends so, and one line has the word
wrong() {
	want=$1 word=$2 status=0
	shift 2
	"$command" "$@" 2>"$tmp/err" || status=$?
	[ $status = "$want" ] && grep -q -- "$word" "$tmp/err" &&
		[ "$(wc -l <"$tmp/err")" = 1 ] || {
		echo "$*: status $status"; cat "$tmp/err"; exit 1
	}
}
wrong 2 nonsense nonsense
wrong 2 missing
wrong 2 missing run
wrong 2 fast run -i fast true
wrong 2 --duration run --duration 3 true
wrong 2 abc watch abc
wrong 2 --sideways probe --sideways
wrong 2 size run --sort colour true
wrong 125 'No such file' report "$tmp/none"
status=0
WRITEWATCH_DISABLE=process_memwatch,uffd-async,soft-dirty,uffd-sync,mprotect \
	"$command" probe >"$tmp/text" || status=$?
[ $status = 1 ]
# --- run: a program of which it is known what it writes ---
WRITEWATCH_PRELOAD="$(dirname "$command")/writewatch-run.so"
export WRITEWATCH_PRELOAD
status=0
"$command" run -q -- "$tmp/nothing" 2>/dev/null || status=$?
[ $status = 127 ]
cat >"$tmp/writes.c" <<'C'
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
	char *p = mmap((void *)0x70000000, 1 << 20, 3, 34, -1, 0);
	int i, status;
	usleep(200000); /* it is mapped when it is looked at */
	for (i = 0; i < 10; i++)
		p[i * 8192] = 1;
	if (fork() == 0) {
		usleep(200000);
		p[200 * 4096] = 1;
		exit(5);
	}
	wait(&status);
	return WEXITSTATUS(status);
}
C
${CC:-cc} -o "$tmp/writes" "$tmp/writes.c"
${CC:-cc} -static -o "$tmp/static" "$tmp/writes.c"
# unwatched WORD PROGRAM...: it ran, its status is kept, and the reason is right
unwatched() {
	word=$1 alone=0 status=0
	shift
	"$@" >"$tmp/alone" 2>&1 || alone=$?
	"$command" run -q "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
	[ $status = $alone ] && grep -q "was not watched.*$word" "$tmp/err" &&
		! grep -q "was written" "$tmp/err" || {
		echo "$*: status $status, alone $alone"; cat "$tmp/err"; exit 1
	}
}

# same PROGRAM...: output, status and descriptors are what they are without us
same() {
	alone=0 status=0
	{ "$@" >"$tmp/alone" </dev/null || alone=$?; } 2>/dev/null
	"$command" run -q --top 1 -- "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
	[ $status = $alone ] && [ "$(cat "$tmp/alone")" = "$(cat "$tmp/out" | cat)" ] || {
		echo "$*: status $status, alone $alone"; diff "$tmp/alone" "$tmp/out"; exit 1
	}
}

more_of_run() {
	# what can not be watched
	unwatched statically "$tmp/static"
	if ${CC:-cc} -fsanitize=address -o "$tmp/asan" "$tmp/writes.c" 2>/dev/null; then
		unwatched sanitizer "$tmp/asan"
		same sh -c "$tmp/asan" # one that another starts
	fi
	${CC:-cc} -m32 -o "$tmp/narrow" "$tmp/writes.c" 2>/dev/null &&
		unwatched 32-bit "$tmp/narrow"
	command -v musl-gcc >/dev/null && musl-gcc -o "$tmp/musl" "$tmp/writes.c" &&
		unwatched musl "$tmp/musl"

	# programs as they are
	same sh -c 'ls /proc/self/fd | sort -n | tail -n +1 | wc -l'
	same python3 -c 'print(sum(len(str(i)) for i in range(200000)))'
	same sh -c 'echo a | sed s/a/b/ | cat; exit 3'
	same sh -c 'kill -TERM $$'
	same tar cf /dev/null "$src/doc"
	same awk 'BEGIN { for (i = 0; i < 100000; i++) a[i] = i; print length(a) }'
	same sort "$src/README.md"
	same gzip -c "$src/README.md"
	same perl -e '@a = map { $_ * 2 } 1 .. 50000; print scalar @a, "\n"'
	same make --version
	same git --version
	same "$command" --version
	"$command" run -q -i 10 -- "${CC:-cc}" -O2 -o "$tmp/writes" "$tmp/writes.c" 2>"$tmp/err"
	grep -q cc1 "$tmp/err"

	# one that watches its memory itself, and goes on doing so
	for example in checkpoint gc; do
		program=$(dirname "$command")/../examples/$example
		[ ! -x "$program" ] || "$command" run -q -- "$program" >/dev/null 2>"$tmp/err" || {
			cat "$tmp/err"; exit 1
		}
	done

	# and its memory is shown as its own tracker has it: four pages, then four
	# others, and nothing that was only reset or let go of. The command looks before
	# each execve(), also one that fails, so nothing depends on time.
	cat >"$tmp/watcher.c" <<-'C'
	#include <stdio.h>
	#include <string.h>
	#include <unistd.h>
	#include <writewatch.h>
	#define PAGES 64
	#define MOST 65536 /* bytes of a page */
	static char memory[PAGES * MOST] __attribute__((aligned(MOST)));
	static struct ww *ww;
	static size_t page;
	static int look(void)
	{
		char *none[] = { "none", NULL };
		return execv("/nonexistent", none) != -1;
	}
	static int write_and_get(size_t first)
	{
		void *pages[PAGES];
		size_t i, n = PAGES;
		for (i = first; i < first + 4; i++)
			((volatile char *)memory)[i * page] = 2;
		return look() || ww_get(ww, memory, PAGES * page, WW_RESET, pages, &n, NULL) || n != 4;
	}
	int main(void)
	{
		page = (size_t)sysconf(_SC_PAGESIZE);
		memset(memory, 1, PAGES * page);
		printf("%zu %zu\n", (size_t)memory, PAGES * page);
		return ww_open(&ww, NULL) || ww_watch(ww, memory, PAGES * page, 0) || look() ||
		       write_and_get(0) || write_and_get(8) || look() ||
		       ww_unwatch(ww, memory, PAGES * page, 0);
	}
	C
	lib=$(cd "$(dirname "$command")" && pwd)
	${CC:-cc} -w -o "$tmp/watcher" -I"$src/include" "$tmp/watcher.c" \
		"$lib/libwritewatch.so" -Wl,-rpath,"$lib"
	"$command" run -q --csv "$tmp/watcher.csv" -- "$tmp/watcher" >"$tmp/out" 2>"$tmp/err" || {
		cat "$tmp/err"; exit 1
	}
	grep -q 'shown as its own tracker has them' "$tmp/err"
	python3 - "$tmp/watcher.csv" $(cat "$tmp/out") <<-'PY'
	import csv, sys
	start, size = int(sys.argv[2]), int(sys.argv[3])
	rows = [r for r in csv.DictReader(open(sys.argv[1])) if start <= int(r["start"], 16) < start + size]
	# before it watches them, and then
	assert sum(int(r["pages"]) for r in rows) == 64 + 8, rows
	PY

	# memory that was mapped anew before the program watches it: the command knows the
	# old one, and must not reset what the program's own tracker has
	cat >"$tmp/anew.c" <<-'C'
	#include <string.h>
	#include <sys/mman.h>
	#include <unistd.h>
	#include <writewatch.h>
	#define PAGES 64
	static char memory[PAGES * 65536] __attribute__((aligned(65536)));
	int main(void)
	{
		size_t page = (size_t)sysconf(_SC_PAGESIZE), n = PAGES;
		char *none[] = { "none", NULL };
		void *pages[PAGES];
		struct ww *ww;
		munmap(memory, PAGES * page);
		if (mmap(memory, PAGES * page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != memory)
			return 1;
		memset(memory, 1, PAGES * page);
		if (ww_open(&ww, NULL) || ww_watch(ww, memory, PAGES * page, 0))
			return 2;
		((volatile char *)memory)[5 * page] = 2;
		execv("/nonexistent", none); /* the command looks */
		return ww_get(ww, memory, PAGES * page, WW_RESET, pages, &n, NULL) || n != 1 ? 3 : 0;
	}
	C
	${CC:-cc} -w -o "$tmp/anew" -I"$src/include" "$tmp/anew.c" \
		"$lib/libwritewatch.so" -Wl,-rpath,"$lib"
	"$command" run -q -- "$tmp/anew" 2>"$tmp/err" || {
		status=$?
		cat "$tmp/err"; echo "dirty state of the program is gone: $status"; exit 1
	}

	# signals that are ignored stay so, for the program, too
	(trap '' HUP; "$command" run -q -- sh -c 'kill -HUP $$; echo survived' 2>/dev/null) | grep -q survived

	# a process that nobody answers waits for nobody: not a second for each command
	cat >"$tmp/many.sh" <<-'SH'
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
		/bin/true
	done
	SH
	timeout 25 "$command" run -q --no-follow -- sh "$tmp/many.sh" 2>/dev/null

	# a child of another libc runs, though it is not watched
	[ ! -x "$tmp/musl" ] || {
		"$command" run -q -- sh -c "$tmp/musl; exit \$?" >"$tmp/out" 2>"$tmp/err" || status=$?
		[ "$status" = 5 ] && ! grep -q relocating "$tmp/err" || { cat "$tmp/err"; exit 1; }
	}

	# what is written right before the end is seen, however it ends
	cat >"$tmp/ends.c" <<-'C'
	#include <stdio.h>
	#include <stdlib.h>
	#include <string.h>
	#include <unistd.h>
	static char memory[1 << 20] __attribute__((aligned(65536)));
	int main(int argc, char **argv)
	{
		char *next[] = { "true", NULL };
		printf("%zu %zu\n", (size_t)memory, sizeof(memory));
		fflush(stdout);
		memset(memory, 1, sizeof(memory));
		if (!strcmp(argv[1], "_exit"))
			_exit(0);
		if (!strcmp(argv[1], "execve"))
			execve("/bin/true", next, NULL);
		if (!strcmp(argv[1], "execvp"))
			execvp("true", next);
		if (!strcmp(argv[1], "execl"))
			execl("/bin/true", "true", "and", "a", "word", NULL);
		if (!strcmp(argv[1], "execlp"))
			execlp("true", "true", NULL);
		if (!strcmp(argv[1], "execle"))
			execle("/bin/sh", "sh", "-c", "exit $status", NULL,
			       (char *[]){ "status=0", NULL });
		if (!strcmp(argv[1], "quick_exit"))
			quick_exit(0);
		return 0;
	}
	C
	${CC:-cc} -w -o "$tmp/ends" "$tmp/ends.c"
	for end in return _exit execve execvp execl execlp execle quick_exit; do
		"$command" run -q -i 60000 --csv "$tmp/ends.csv" -- "$tmp/ends" $end >"$tmp/out" 2>"$tmp/err" || {
			cat "$tmp/err"; exit 1
		}
		python3 - "$tmp/ends.csv" $end $(cat "$tmp/out") <<-'PY'
		import csv, mmap, sys
		start, size = int(sys.argv[3]), int(sys.argv[4])
		rows = [r for r in csv.DictReader(open(sys.argv[1])) if r["process"] == "ends"]
		seen = sum(int(r["pages"]) for r in rows
		           if start <= int(r["start"], 16) < start + size)
		assert seen >= size // mmap.PAGESIZE - 1, (sys.argv[2], seen, rows)
		PY
	done

	# an end by a signal that the program catches
	cat >"$tmp/catches.c" <<-'C'
	#include <signal.h>
	#include <stdlib.h>
	#include <unistd.h>
	static void end(int signo) { exit(signo == SIGTERM ? 7 : 8); }
	int main(void) { signal(SIGTERM, end); write(1, "up\n", 3); for (;;) pause(); }
	C
	${CC:-cc} -w -o "$tmp/catches" "$tmp/catches.c"
	"$command" run -q "$tmp/catches" >"$tmp/out" 2>/dev/null &
	pid=$!
	until grep -q up "$tmp/out"; do sleep 0.1; done
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	[ $status = 7 ]

	# a sandbox that allows nothing but to write and to end
	cat >"$tmp/sandbox.c" <<-'C'
	#include <linux/filter.h>
	#include <linux/seccomp.h>
	#include <stddef.h>
	#include <stdlib.h>
	#include <sys/prctl.h>
	#include <sys/syscall.h>
	#include <unistd.h>
	int main(void)
	{
		struct sock_filter f[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog p = { sizeof(f) / sizeof(f[0]), f };
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &p))
			return 9;
		write(1, "done\n", 5);
		exit(4);
	}
	C
	${CC:-cc} -w -o "$tmp/sandbox" "$tmp/sandbox.c"
	same "$tmp/sandbox"

	# names with anything in them, and all files
	cp "$tmp/writes" "$tmp/a \"<&> b"
	status=0
	"$command" run -q -o "$tmp/record" -s "$tmp/svg" -c "$tmp/csv" -j "$tmp/table" \
		"$tmp/a \"<&> b" 2>"$tmp/err" || status=$?
	[ $status = 5 ] || { cat "$tmp/err"; exit 1; }
	"$command" report -s "$tmp/svg2" -c "$tmp/csv2" -j "$tmp/table2" "$tmp/record" 2>"$tmp/err2"
	cmp "$tmp/csv" "$tmp/csv2"
	python3 - "$tmp" <<'X'
import csv, json, sys, xml.dom.minidom
folder = sys.argv[1]
for name in 'svg', 'svg2':
    svg = xml.dom.minidom.parse(f'{folder}/{name}')
    root = svg.documentElement
    assert root.getAttribute('viewBox') and root.getElementsByTagName('style')
    text = ' '.join(t.firstChild.data for t in svg.getElementsByTagName('text'))
    for word in 'Memory written by', 'uffd-async', 'time, seconds', 'iB/s', 'pages written':
        assert word in text, word
    assert len(svg.getElementsByTagName('title')) > 5
    # a page is written or not: its band has the shade of "all" alone
    small, shades = False, set()
    for node in root.childNodes:
        if node.nodeName == 'text':
            small = any('1 of 1 page written' in t.firstChild.data
                        for t in node.getElementsByTagName('title'))
        elif small and node.nodeName == 'rect':
            shades.add(node.getAttribute('class'))
    assert shades - {'band'} == {'h5'}, shades
table = json.load(open(f'{folder}/table'))
assert table['mappings'] == json.load(open(f'{folder}/table2'))['mappings']
assert all(m['pages'] <= m['writes'] and m['pages'] * table['page'] <= m['size'] for m in table['mappings'])
assert any('<&> b' in r['mapping'] for r in csv.DictReader(open(f'{folder}/csv')))
X
	"$command" report --top 1 --sort pages --mapping libc.so "$tmp/record" 2>"$tmp/err"
	[ "$(grep -c libc.so "$tmp/err")" = 1 ]
	echo rubbish >>"$tmp/record"
	sed -i 's/^w .*/w 1 99999 0 1/' "$tmp/record"
	wrong 125 'not of a recording' report "$tmp/record"

	# on a terminal: a ruler, and lines as wide as it is
	for columns in 60 100 200; do
		script -qec "stty cols $columns; exec $command run -i 50 --top 1 $tmp/writes" /dev/null \
			>"$tmp/tty" </dev/null || true
		grep -q '|.*pages *MiB/s' "$tmp/tty"
		awk -v n=$columns '{ gsub(/\033[^m]*m|\r/, "") } / s\|/ && length > n { exit 1 }' "$tmp/tty"
	done
	script -qec "env NO_COLOR=1 $command run -i 50 -- $tmp/writes" /dev/null >"$tmp/tty" </dev/null || true
	! grep -q "$(printf '\033')" "$tmp/tty"

	# somebody who connects and says nothing is not waited for
	"$command" run -q -- sh -c 'python3 - <<X
import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect("\0" + os.environ["WRITEWATCH_RUN_SOCKET"].split("/")[0])
time.sleep(1)
X
exit 6' 2>/dev/null || status=$?
	[ $status = 6 ]
}

async=$(python3 -c 'import json, sys
print([b["usable"] for b in json.load(open(sys.argv[1]))["backends"] if b["name"] == "uffd-async"][0])' "$tmp/json")
if [ "$async" = True ]; then
	status=0
	"$command" run -i 20 --svg "$tmp/svg" --csv "$tmp/csv" "$tmp/writes" \
		2>"$tmp/err" || status=$?
	[ $status = 5 ] || { cat "$tmp/err"; exit 1; }
	python3 - "$tmp/csv" <<'X'
import csv, sys
rows = [r for r in csv.DictReader(open(sys.argv[1]))
        if 0x70000000 <= int(r['start'], 16) < 0x70100000]
pids = sorted({int(r['pid']) for r in rows})
assert len(pids) == 2, pids  # it, and the child that it forked
first = {int(r['start'], 16) for r in rows if int(r['pid']) == pids[0]}
assert {0x70000000 + i * 8192 for i in range(10)} <= first, first
assert any(int(r['start'], 16) == 0x700c8000 for r in rows if int(r['pid']) == pids[1]), rows
X
	grep -q 'pages, .* MiB/s' "$tmp/err"
	python3 -c 'import sys, xml.dom.minidom
assert len(xml.dom.minidom.parse(sys.argv[1]).getElementsByTagName("rect")) > 10' "$tmp/svg"
	more_of_run
fi

# --- watch ---
status=0
"$command" watch 999999999 2>"$tmp/err" || status=$?
[ $status = 125 ] && grep -qi 'no such process' "$tmp/err"
sleep 60 &
pid=$!
status=0
"$command" watch -q -d 0.3 $pid 2>"$tmp/err" || status=$?
kill $pid
[ $status = 0 ] || grep -q 'writewatch run' "$tmp/err"

# --- bench, completion ---
status=0
WRITEWATCH_DISABLE=process_memwatch,uffd-async,soft-dirty,uffd-sync,mprotect \
	"$command" bench >"$tmp/out" 2>&1 || status=$?
[ $status = 1 ]
"$command" bench >"$tmp/out" 2>"$tmp/err"
grep -q '^mprotect .*(.*x)' "$tmp/out"
[ ! -s "$tmp/err" ]
if command -v bash >/dev/null 2>&1; then
	bash -c '. "$1/src/cli/completion.bash"
		COMP_WORDS=(writewatch ru) COMP_CWORD=1; _writewatch
		[ "${COMPREPLY[*]}" = run ] || exit 1
		COMP_WORDS=(writewatch run --sv) COMP_CWORD=2; _writewatch
		[ "${COMPREPLY[*]}" = --svg ] || exit 1' - "$src"
fi

for option in $("$command" --help | grep -oE -- '--[a-z-]+' | sort -u); do
	for file in cli/completion.bash cli/completion.zsh cli/completion.fish; do
		grep -q -- "${option#--}" "$src/src/$file" || { echo "$file lacks $option"; exit 1; }
	done
	grep -q -- "${option#--}" "$src/doc/man/writewatch.1" || { echo "writewatch(1) lacks $option"; exit 1; }
done
if command -v zsh >/dev/null 2>&1; then zsh -n "$src/src/cli/completion.zsh"; fi
if command -v fish >/dev/null 2>&1; then fish -n "$src/src/cli/completion.fish"; fi

if command -v mandoc >/dev/null 2>&1; then
	mandoc -T lint -W warning "$src"/doc/man/*.[137]
else
	echo "mandoc is not installed: the man pages were not linted"
fi
