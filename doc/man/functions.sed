# SPDX-License-Identifier: MIT
# functions.sed - what doxygen2man does not know: the parameters that every call
# has, which the headers explain once, and whose the pages are.
s/ *$//
s/^\.SH PARAMS/.SH PARAMETERS/
/^\\fBww  */s/(null)/the tracker/
/^\\fBstart  */s/(null)/where it begins: at a page, except for ww_mark, ww_hold and ww_release/
/^\\fBlen  */s/(null)/bytes; with WW_WINDOW 0 means up to the end of the address space/
/^\\fBflags  */s/(null)/0/
/^\\fBout  */s/(null)/filled; out->size is set by the caller to the size of the struct/
/^\\fBat  */s/(null)/any address; NULL to begin/
/^\\fBindex  */s/(null)/0, 1 and so on/
/^\\fBcap  */s/(null)/one WW_CAP_ bit/
/^\\fBranges  */s/(null)/an array of the caller's/
/^\\fBcount  */s/(null)/entries of the array; ww_get_ranges: in: room, out: stored/
/^\\fBsigno\|^\\fBsiginfo\|^\\fBucontext/s/(null)/the argument of an SA_SIGINFO handler/
s/(null)/as on Windows/
/^\.RE/d
s/ Threads: /\n.SH NOTES\nThreads: /
/^\.SH SEE ALSO/a\
.PP\
writewatch(3), writewatch(7)
/^\.SH "COPYRIGHT"/,$d
