/* fault_proxy.h - what the files of the fault proxy know of each other. Its essay and its commands are in fault_proxy.c. */
#ifndef SUPPORT_FAULT_PROXY_H
#define SUPPORT_FAULT_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LINKS = 512, CONTROLS = 4 };
enum ending { NO_END, END_RST, END_FIN, END_DARK, END_HOLD, END_FATAL };

struct chunk {
    struct chunk *next;
    uint64_t due_ns;
    size_t len, at, cap;
    char data[];
};

struct flow {
    struct chunk *first, *last;
    size_t queued;
    uint64_t next_ns; /* of the next piece, where there is a rate */
    bool is_over;     /* its sender has closed */
};

/* Where in the server's stream of messages we are. */
struct wire {
    bool skips_byte; /* the one-byte answer to a request for TLS */
    bool has_begun;  /* the client's first packet has been looked at */
    unsigned char head[5];
    unsigned head_len, head_passed;
    size_t left; /* of the message's body */
};

struct link {
    int client, server; /* -1: none */
    bool is_dark;
    enum ending ending; /* once `down` is sent */
    uint64_t connect_at_ns;
    struct flow up, down;
    struct wire wire;
    unsigned seen;    /* messages of the armed type */
    size_t bytes;     /* since armed */
    size_t half_left; /* > 0: so much of the message is still to be passed on before the end */
};

struct rules {
    unsigned connect_delay_ms, delay_ms, down_rate, up_rate, down_fragment, up_fragment, down_hold, up_hold, deaf;
};

struct trap {
    bool is_armed, is_half;
    char type;                           /* 0: bytes */
    unsigned nth;
    size_t bytes;
    enum ending ending;
};

/* fault_proxy.c */
extern struct rules rules;
extern struct link links[LINKS];
extern uint64_t turn_ns;                 /* when the last wait ended */
extern unsigned accepted;
extern unsigned long long up_bytes, down_bytes;
extern bool is_ending;
static inline bool is_used(const struct link *link) { return link->client >= 0; }
int listen_on(uint16_t *number);         /* 0: any, and it is set. Ends the program when it cannot. */
void stop_listening(void);
void listen_again(void);
void end_all(enum ending ending);
bool can_darken(void);

/* fault_wire.c */
extern struct trap trap;
void flow_enqueue(struct flow *flow, const void *data, size_t len);
void flow_drop_first(struct flow *flow);
void flow_empty(struct flow *flow);
/* Bytes from the server, which are passed on up to the cut. */
void wire_take_down(struct link *link, const char *data, size_t len);
void wire_take_up(struct link *link, const char *data, size_t len);

/* fault_control.c */
extern int controls[CONTROLS];           /* sockets; -1: none */
void control_accept(int control_listener);
void control_read(int i);

#endif
