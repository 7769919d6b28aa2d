/* file.h - opens the database file, the way every connection of the engine needs it. */
#ifndef SQLITE_FILE_H
#define SQLITE_FILE_H

#include "base/fail.h"
#include "sqlite/engine.h"
#include "sqlite/functions.h"

struct sqlite3;

/* The file is looked at, put into WAL mode (unless settings say no, or another process has hold of it: logged), and the
 * functions and limits of the engine are set. `is_reader`: the connection refuses to write. On failure `why` says what to do. */
MUST_USE enum fail sqlite_file_open(const struct sqlite_settings *settings, bool is_reader, struct sqlite_clock *clock,
                                    struct sqlite3 **out, char *why, size_t why_bytes);

#endif
