/* files.h - whether files that cannot be opened any more are why something fails. */
#ifndef FILES_H
#define FILES_H

/* Logs what has failed and why, and as its fix that the limit of open files is reached, where it (nearly) is. Called before anything
 * is closed for it. */
void files_log_failure(const char *what, const char *why);

#endif
