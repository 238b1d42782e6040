#!/bin/sh
# SPDX-License-Identifier: MIT
# build.sh OUT SOURCE.tar.xz - a kernel with process_memwatch, number 451, out of
# Debian's linux-source-6.1: memwatch.c, config, and the wiring below.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
work=$out.work
rm -rf "$work"
mkdir -p "$work"
tar -xf "$2" -C "$work" --strip-components=1
cd "$work"

cp "$here/memwatch.c" mm/
echo 'obj-y += memwatch.o' >>mm/Makefile
printf '451\tcommon\tprocess_memwatch\tsys_process_memwatch\n' >new
sed -i '/^450[[:space:]]/r new' arch/x86/entry/syscalls/syscall_64.tbl
grep -q '^451' arch/x86/entry/syscalls/syscall_64.tbl
cat >>include/linux/syscalls.h <<'P'
asmlinkage long sys_process_memwatch(int pidfd, void __user *start, int len,
				     unsigned int flags, loff_t __user *vec,
				     int vec_len);
P

make -s tinyconfig
scripts/kconfig/merge_config.sh -m .config "$here/config" >/dev/null
make -s olddefconfig
# each line of it has to be in force
missing=$(grep '^CONFIG' "$here/config" | while read -r line; do
	grep -qx "$line" .config || echo "$line"
done)
[ -z "$missing" ] || { echo "not in the configuration: $missing"; exit 1; }
make -s -j"$(nproc)" bzImage
cp arch/x86/boot/bzImage "$out.part"
mv "$out.part" "$out"
cd /
rm -rf "$work"
