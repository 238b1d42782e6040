# SPDX-License-Identifier: MIT
# returns.awk HEADER - the @return lists of a header, as a C array for faults.c.
/^\/\*\*/ { list = ""; taking = 0 }
/@return/ { taking = 1 }
/Threads:|\*\/$/ && !/@return/ { taking = 0 }
taking {
	list = list " " $0
	if (match($0, /as ww_[a-z_]+\(/))
		like = substr($0, RSTART + 3, RLENGTH - 4)
}
/^(int|unsigned|const char) \**ww_[a-z_]+\(/ {
	match($0, /ww_[a-z_]+/)
	name = substr($0, RSTART, RLENGTH)
	codes[name] = ""
	while (match(list, /-E[A-Z]+/)) {
		codes[name] = codes[name] substr(list, RSTART, RLENGTH) ", "
		list = substr(list, RSTART + RLENGTH)
	}
	as[name] = like
	like = list = ""
}
END {
	for (name in codes)
		printf "{ \"%s\", { %s%s0 } },\n", name, codes[name], codes[as[name]]
}
