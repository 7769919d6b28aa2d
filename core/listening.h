/* listening.h - where the configuration says to listen, by how many workers, and within which limits. */
#ifndef LISTENING_H
#define LISTENING_H

#include "http/server.h"
#include "script/vm.h"

/* "127.0.0.1:8080", "[::1]:8080" or "/path" (port 0); the schema has checked the form. */
void listening_address(struct str text, char *host, size_t host_bytes, int *port);
/* host is borrowed for as long as the settings are used. */
struct http_settings listening_http(struct script_vm *vm, const char *host);
/* From 1 to WORKERS_MAX; as many as there are cores where the configuration names no number. */
unsigned listening_workers(struct script_vm *vm);

#endif
