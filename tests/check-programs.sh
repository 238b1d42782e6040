#!/bin/sh
# SPDX-License-Identifier: MIT
# check-programs.sh COMMAND - real programs under `writewatch run`: output, status and
# the descriptors that each of their processes has at its end are what they are
# without it. Those that are not on this machine are named. Fewer than twenty is a
# failure in CI.
set -eu
command=$1
command=$(cd "$(dirname "$command")" && pwd)/$(basename "$command")
patterns=$(cd "$(dirname "$0")/../examples" && pwd)
examples=$(cd "$(dirname "$command")/../examples" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
WRITEWATCH_PRELOAD=$(dirname "$command")/writewatch-run.so
export WRITEWATCH_PRELOAD
bad=0 ran=0 absent=
"$command" run -q -- true 2>"$tmp/err"
watches=yes
! grep -q 'was not watched' "$tmp/err" || watches=

# The program's own preloaded object: what is open at the end of a process.
cat >"$tmp/fds.c" <<'C'
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
__attribute__((destructor)) static void list(void)
{
	const char *path = getenv("LIST_OF_DESCRIPTORS");
	DIR *dir = opendir("/proc/self/fd");
	FILE *f = path ? fopen(path, "a") : NULL;
	char line[4000] = "", name[32] = "";
	struct dirent *e;
	FILE *comm = fopen("/proc/self/comm", "r");

	if (comm && fscanf(comm, "%31s", name) != 1)
		*name = '\0';
	while (dir && f && comm && (e = readdir(dir))) {
		int fd = atoi(e->d_name);
		char link[32], to[64];
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, to, sizeof(to) - 1);
		if (n < 0 || *e->d_name == '.' || fd == dirfd(dir) ||
		    fd == fileno(f) || fd == fileno(comm))
			continue;
		to[n] = '\0';
		to[strcspn(to, "[")] = '\0'; /* pipe:, socket: */
		if (!strncmp(to, "/proc/", 6)) /* and a number */
			to[5] = '\0';
		if (strstr(to, "err.")) /* each way has its own */
			to[strcspn(to, ".")] = '\0';
		snprintf(line + strlen(line), sizeof(line) - strlen(line),
			 " %d=%s", fd, to);
	}
	if (f && *line)
		fprintf(f, "%s%s\n", name, line);
}
C
${CC:-cc} -w -shared -fPIC -o "$tmp/fds.so" "$tmp/fds.c"

# alike NAME COMMAND...: with it and without it
alike() {
	name=$1
	shift
	command -v "$name" >/dev/null 2>&1 || { absent="$absent $name"; return 0; }
	ran=$((ran + 1))
	for way in alone with; do
		status=0
		rm -rf "$tmp/work"
		mkdir "$tmp/work"
		[ $way = alone ] || set -- "$command" run -q -i 20 --top 1 -- "$@"
		(cd "$tmp/work" && LD_PRELOAD="$tmp/fds.so" LIST_OF_DESCRIPTORS="$tmp/fds" \
			timeout -s KILL 60 "$@") >"$tmp/out" 2>"$tmp/err.$way" \
			</dev/null || status=$?
		echo "status $status" >>"$tmp/out"
		mv "$tmp/out" "$tmp/out.$way"
		grep -v '^writewatch' "$tmp/fds" 2>/dev/null |
			sort -u >"$tmp/fds.$way" || true
		rm -f "$tmp/fds"
	done
	for what in out fds; do
		cmp -s "$tmp/$what.alone" "$tmp/$what.with" || {
			echo "$name: not alike:"
			diff "$tmp/$what.alone" "$tmp/$what.with" | head -n 10
			head -n 5 "$tmp/err.with"
			bad=$((bad + 1))
		}
	done
	[ -z "$watches" ] || grep -Eq '^writewatch: [0-9]+ process' "$tmp/err.with" || {
		echo "$name: nothing was watched:"
		head -n 5 "$tmp/err.with"
		bad=$((bad + 1))
	}
}

cat >"$tmp/p.c" <<'C'
#include <stdio.h>
int main(void) { for (int i = 0; i < 3; i++) puts("hello"); return 4; }
C
cat >"$tmp/Makefile" <<'M'
all: a b c d
%: ; @sh -c 'x=0; while [ $$x -lt 300 ]; do x=$$((x+1)); done; echo $$x' >/dev/null
M
cat >"$tmp/demo.sql" <<'S'
create table t(id integer primary key, n int);
with recursive c(i) as (select 1 union all select i + 1 from c where i < 30000)
	insert into t select i, i * 7919 % 10003 from c;
create index tn on t(n);
select count(*), sum(n) from t where n > 500;
S
seq 20000 >"$tmp/numbers"

alike bash bash -c 'diff <(sort -r "$1" | sort -n) "$1" && echo same; exit 7' - "$tmp/numbers"
alike dash dash -c 'for i in 1 2 3; do (exit $i) & done; wait; kill -TERM $$'
alike awk awk '{ s[$1 % 97] += $1 } END { for (i = 0; i < 97; i++) print i, s[i] }' "$tmp/numbers"
alike sed sed -n 's/^\(.\)\(.\)$/\2\1/p' "$tmp/numbers"
alike sort sort --parallel=2 -R --random-source="$tmp/numbers" "$tmp/numbers"
alike xargs xargs -a "$tmp/numbers" -n 5000 -P 1 sh -c 'echo $#'
alike find find /usr/include -maxdepth 1 -name 's*.h'
alike tar sh -c 'tar cf - -C / usr/include/linux | tar tf - | wc -l'
alike gzip sh -c 'gzip -c "$1" | gzip -dc | cksum' - "$tmp/numbers"
alike xz sh -c 'xz -T2 -c "$1" | xz -dc | cksum' - "$tmp/numbers"
alike perl perl -e 'for (1 .. 3) { if (!fork) { @a = map { $_ * 2 } 1 .. 20000; exit } } 1 while wait > 0; print "done\n"'
alike python3 python3 -c 'import concurrent.futures as c, subprocess
with c.ThreadPoolExecutor(4) as p: print(sum(p.map(lambda n: len(bytearray(n)), range(1, 200000, 999))))
print(subprocess.run(["echo", "child"], capture_output=True).stdout)'
alike sqlite3 sqlite3 my.db ".read $tmp/demo.sql"
alike gcc sh -c 'gcc -O2 -o p "$1" && ./p' - "$tmp/p.c"
alike g++ g++ -x c++ -fsyntax-only -include map -include string "$tmp/p.c"
alike make make -s -j 4 -f "$tmp/Makefile"
alike git sh -c 'git init -q . && cp "$1" n && git add n &&
	git -c user.name=a -c user.email=a@b -c commit.gpgsign=false commit -qm x --date 1970-01-02T00:00:00Z &&
	git ls-files -s && git fsck' - "$tmp/numbers"
alike node node -e 'const a = []; for (let i = 0; i < 1e5; i++) a.push({ i, s: "x" + i });
require("child_process").execSync("true"); console.log(a.length, process.memoryUsage.name)'
alike java sh -c 'java -Xmx64m -version 2>&1'
alike qemu-x86_64 qemu-x86_64 /bin/echo emulated
alike openssl openssl dgst -sha256 "$tmp/numbers"
alike bc sh -c 'echo "scale=200; 4*a(1)" | bc -l'
alike m4 sh -c "echo 'define(\`x', \`y')x' | m4"
alike jq jq -n '[range(20000)] | add'
alike ld ld --verbose
alike objdump sh -c 'objdump -d /bin/true | wc -l'
alike cmp cmp "$tmp/numbers" "$tmp/p.c"
alike env env -i LD_PRELOAD="$tmp/fds.so" LIST_OF_DESCRIPTORS="$tmp/fds" sh -c 'env | wc -l'
alike "$examples/rewind" sh -c '"$1" "$2" >/dev/null' - "$examples/rewind" "$patterns/gun.rle"
for example in checkpoint compat-layer dirty gc shared; do
	# what they print has times in it
	alike "$examples/$example" sh -c '"$1" >/dev/null' - "$examples/$example"
done
[ -z "$absent" ] || echo "not on this machine:$absent"
echo "$ran programs, $bad differences"
[ -z "${CI:-}" ] || [ $ran -ge 20 ]
[ $bad = 0 ]
