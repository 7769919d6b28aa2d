/* copy.h - COPY between a client and the server over a session: bytes in or out, never more in memory than the slower side takes.
 *
 *   in:   sql_copy_start -> on_room -> sql_copy_put -> on_room -> .. -> sql_copy_end -> on_done
 *   out:  sql_copy_start -> sql_copy_read -> on_chunk -> sql_copy_read -> .. -> on_done
 *
 * A COPY takes its turn among the calls of its session, and those behind it wait for its end. It is a call: copy->call has the text,
 * the deadline (from start to on_done) and the outcome, rows->changed says how many rows went over, and sql_cancel ends it. Also with a
 * lost connection, a session that is ended, and an error in the middle of a COPY IN, on_done comes once, and last. Text, CSV and
 * binary alike are bytes here (PostgreSQL 15: COPY, and 55.2.6 of the protocol).
 */
#ifndef SQL_COPY_H
#define SQL_COPY_H

#include "sql/engine.h"

enum sql_copy_way { SQL_COPY_IN, SQL_COPY_OUT };

struct sql_copy {
    struct sql_call call;                                           /* first. The caller sets text, timeout_ms, bytes_max, on_done, arg */
    void (*on_room)(struct sql_copy *copy);                         /* in: the last chunk has gone; the next one may come, or the end */
    void (*on_chunk)(struct sql_copy *copy, struct str chunk);      /* out: what was asked for, borrowed until it returns */
    enum sql_copy_way way;                                          /* set by sql_copy_start */
    const struct sql_copy_ops *ops;                                 /* likewise */
    void *engine_data;
    bool is_asked;                                                  /* for a chunk */
};

/* What an engine that knows COPY does for it. None of them calls back from within. */
struct sql_copy_ops {
    void (*start)(struct sql_session *session, struct sql_copy *copy);
    void (*put)(struct sql_copy *copy, struct str chunk);
    void (*end)(struct sql_copy *copy, const char *why);
    void (*read)(struct sql_copy *copy);
};

/* Exactly one statement, without parameters, COPY .. FROM STDIN or COPY .. TO STDOUT: files and programs of the server are none of it.
 * The text is read as PostgreSQL does with standard_conforming_strings on. FAIL_INVALID with a phrase for people. */
MUST_USE enum fail sql_copy_check(struct str text, enum sql_copy_way *way, const char **why);

/* FAIL_INVALID (with call.error set, and nothing to come) for a text that sql_copy_check refuses, and where the engine has no COPY. */
MUST_USE enum fail sql_copy_start(struct sql_session *session, struct sql_copy *copy);
/* Once for each on_room. The chunk is borrowed until the next on_room, or on_done. */
void sql_copy_put(struct sql_copy *copy, struct str chunk);
/* The data is complete (why NULL), or the whole is to fail with this text. After on_room, instead of a put. */
void sql_copy_end(struct sql_copy *copy, const char *why);
/* Asks for one chunk: on_chunk comes with some rows, as the server sends them, or on_done. Until it is asked nothing is
 * read. Once at a time. */
void sql_copy_read(struct sql_copy *copy);

#endif
