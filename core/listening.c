/* listening.c - from the checked configuration to what the HTTP server wants to know.
 *
 * Path:   app > [listening] > script/vm
 */
#include "listening.h"

#include "base/log.h"
#include "options.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void listening_address(struct str text, char *host, size_t host_bytes, int *port)
{
    *port = 0;
    if (text.len > 0 && text.data[0] != '/') {
        size_t colon = text.len;
        while (colon > 0 && text.data[colon - 1] != ':')
            colon--;
        *port = atoi(text.data + colon);
        text.len = colon > 0 ? colon - 1 : 0;
        if (text.len >= 2 && text.data[0] == '[')
            text = str_make(text.data + 1, text.len - 2);
    }
    snprintf(host, host_bytes, "%.*s", (int)text.len, text.data ? text.data : "");
}

/* The schema has checked them; one that is refused all the same is not trusted. */
static void read_trust(struct script_vm *vm, struct http_trust *trust)
{
    size_t count = script_setting_count(vm, "http.trusted_proxies");
    for (size_t i = 1; i <= count; i++) {
        char path[64];
        snprintf(path, sizeof path, "http.trusted_proxies.%zu", i);
        struct str text = option_text(vm, path);
        if (http_trust_add(trust, text))
            log_line(LOG_ERROR, "http.trusted_proxies: this is no address, and is left out", LOG_STR("text", text));
    }
}

struct http_settings listening_http(struct script_vm *vm, const char *host)
{
    struct http_settings http;
    http_settings_default(&http);
    http.host = host;
    http.limits.line_bytes = (size_t)option_int(vm, "http.line_max", 8192);
    http.limits.head_bytes = (size_t)option_int(vm, "http.head_max", 32768);
    http.limits.fields_max = option_unsigned(vm, "http.fields_max");
    http.limits.body_bytes = (size_t)option_int(vm, "http.body_max", 1048576);
    http.header_ms = option_unsigned(vm, "http.header_timeout");
    http.body_ms = option_unsigned(vm, "http.body_timeout");
    http.idle_ms = option_unsigned(vm, "http.idle_timeout");
    http.write_ms = option_unsigned(vm, "http.write_timeout");
    http.conns_max = option_unsigned(vm, "http.connections_max");
    read_trust(vm, &http.trust);
    return http;
}

unsigned listening_workers(struct script_vm *vm)
{
    int64_t count;
    if (!script_setting_int(vm, "workers", &count))
        count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > WORKERS_MAX ? WORKERS_MAX : (unsigned)count;
}
