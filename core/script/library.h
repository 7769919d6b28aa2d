/* library.h - the Lua files of the program as bytes, made by tools/embed.lua at build time. */
#ifndef SCRIPT_LIBRARY_H
#define SCRIPT_LIBRARY_H

#include <stddef.h>

struct library_file { const char *name; const char *data; size_t len; };   /* name: "wick.schema" */
extern const struct library_file library_files[];                          /* ends with a NULL name */

#endif
