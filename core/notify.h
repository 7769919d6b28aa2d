/* notify.h - tells systemd what state the process is in (sd_notify(3)), without its library. */
#ifndef NOTIFY_H
#define NOTIFY_H

/* state: "READY=1", "STOPPING=1", "STATUS=..." . Does nothing where NOTIFY_SOCKET is not set. */
void notify_send(const char *state);
/* How often systemd wants to hear WATCHDOG=1, in ms; 0: never. */
unsigned notify_watchdog_ms(void);

#endif
