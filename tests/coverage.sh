#!/bin/sh
# SPDX-License-Identifier: MIT
# coverage.sh BUILD - how many lines of src/ the suite ran there, without what this
# machine's kernel, or its page size, keeps from running. Fewer than README.md says:
# a failure.
floor=85
gcovr --root . --filter src/ --exclude 'src/.*(memwatch|softdirty|subpage)' \
	--exclude src/cli/ --fail-under-line $floor "$1" >"$1/coverage" 2>&1
status=$?
grep -E '^TOTAL|lines' "$1/coverage"
[ $status = 0 ] || { cat "$1/coverage"; echo "less than $floor % of src/ ran"; }
exit $status
