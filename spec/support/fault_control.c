/* fault_control.c - the commands of the fault proxy, one a line; fault_proxy.c lists them. */
#include "fault_proxy.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINE_BYTES = 512 };

int controls[CONTROLS] = { -1, -1, -1, -1 };
static char control_lines[CONTROLS][LINE_BYTES];
static size_t control_lens[CONTROLS];

static bool set_rule(const char *name, unsigned number)
{
    static const struct {
        const char *name;
        unsigned *value;
    } all[] = { { "connect_delay_ms", &rules.connect_delay_ms },
                { "delay_ms", &rules.delay_ms },
                { "down_rate", &rules.down_rate },
                { "up_rate", &rules.up_rate },
                { "down_fragment", &rules.down_fragment },
                { "up_fragment", &rules.up_fragment },
                { "down_hold", &rules.down_hold },
                { "up_hold", &rules.up_hold },
                { "deaf", &rules.deaf } };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i].name, name) == 0) {
            *all[i].value = number;
            return true;
        }
    return false;
}

static const char *set_rules(char *words)
{
    for (char *save, *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char *value = strchr(word, '='), *end = NULL;
        if (!value)
            return "error: NAME=NUMBER";
        *value++ = '\0';
        unsigned long number = strtoul(value, &end, 10);
        if (end == value || *end || !set_rule(word, (unsigned)number))
            return "error: no such rule, or no number";
    }
    return "ok";
}

static enum ending ending_of(const char *word)
{
    static const char *const words[] = { "", "rst", "fin", "dark", "hold", "fatal" };
    for (int i = END_RST; i <= END_FATAL; i++)
        if (strcmp(words[i], word) == 0)
            return (enum ending)i;
    return NO_END;
}

static const char *set_trap(const char *words)
{
    char what[24], place[8], word[8];
    if (sscanf(words, "%23s %7s %7s", what, place, word) != 3 || ending_of(word) == NO_END)
        return "error: on WHAT PLACE END";
    const char *colon = strchr(what, ':');
    bool counts_bytes = strncmp(what, "bytes:", 6) == 0;
    if (!counts_bytes && !isgraph((unsigned char)what[0]))
        return "error: no such WHAT";
    trap.type = counts_bytes ? '\0' : what[0];
    trap.nth = colon ? (unsigned)atoi(colon + 1) : 1;
    trap.bytes = trap.nth;
    trap.is_half = strcmp(place, "half") == 0;
    trap.ending = ending_of(word);
    trap.is_armed = true;
    for (int i = 0; i < LINKS; i++)
        links[i].seen = 0, links[i].bytes = 0;
    return "ok";
}

static const char *stat_line(void)
{
    static char line[160];
    int open = 0;
    for (int i = 0; i < LINKS; i++)
        open += is_used(&links[i]) && !links[i].is_dark;
    snprintf(line, sizeof line, "ok open=%d accepted=%u up=%llu down=%llu armed=%d darkens=%d", open, accepted,
             up_bytes, down_bytes, trap.is_armed, can_darken());
    return line;
}

static const char *obey(char *line)
{
    if (strncmp(line, "set ", 4) == 0)
        return set_rules(line + 4);
    if (strncmp(line, "on ", 3) == 0)
        return set_trap(line + 3);
    if (strcmp(line, "stat") == 0)
        return stat_line();
    if (strcmp(line, "refuse") == 0)
        stop_listening();
    else if (strcmp(line, "listen") == 0)
        listen_again();
    else if (strcmp(line, "quit") == 0)
        is_ending = true;
    else if (strcmp(line, "dark") == 0 && !can_darken())
        return "error: this user may drop no packets";
    else if (strcmp(line, "rst") == 0 || strcmp(line, "fin") == 0 || strcmp(line, "dark") == 0)
        end_all(ending_of(line));
    else
        return "error: no such command";
    return "ok";
}

static void close_control(int i)
{
    close(controls[i]);
    controls[i] = -1;
    control_lens[i] = 0;
}

void control_read(int i)
{
    ssize_t bytes = read(controls[i], control_lines[i] + control_lens[i], LINE_BYTES - 1 - control_lens[i]);
    if (bytes <= 0) {
        close_control(i);
        return;
    }
    control_lens[i] += (size_t)bytes;
    for (char *end; controls[i] >= 0 && (end = memchr(control_lines[i], '\n', control_lens[i]));) {
        *end++ = '\0';
        dprintf(controls[i], "%s\n", obey(control_lines[i]));
        control_lens[i] -= (size_t)(end - control_lines[i]);
        memmove(control_lines[i], end, control_lens[i]);
    }
}

void control_accept(int control_listener)
{
    int fd = accept4(control_listener, NULL, NULL, SOCK_CLOEXEC), at = 0;
    while (at < CONTROLS - 1 && controls[at] >= 0)
        at++;
    if (controls[at] >= 0)
        close_control(at);
    controls[at] = fd;
}
