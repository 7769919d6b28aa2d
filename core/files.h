/* files.h - whether files that cannot be opened any more are why something fails. */
#ifndef FILES_H
#define FILES_H

#include <stdbool.h>
#include <stddef.h>

/* True: the limit of open files is (nearly) reached; why says so, and what to do. Asked where something has just failed, before
 * anything is closed for it. */
bool files_are_used_up(char *why, size_t why_bytes);

#endif
