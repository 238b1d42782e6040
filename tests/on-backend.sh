#!/bin/sh
# SPDX-License-Identifier: MIT
# on-backend.sh COMMAND PROGRAM [ARGUMENT]... - run a program that takes any
# backend on the one that WRITEWATCH_BACKEND names; skip if it is not usable here.
command=$1
shift
line=$("$command" probe | grep "^$WRITEWATCH_BACKEND ")
case $line in
*" usable"*) exec "$@" ;;
esac
echo "$line" >&2
exit 77
