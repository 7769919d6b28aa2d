/* settled.h - a world whose settings a spec changes before it opens it:
 *
 *   settings.max_size = 1;  open_it();
 */
#ifndef SPEC_POSTGRES_SETTLED_H
#define SPEC_POSTGRES_SETTLED_H

#include "world.h"

static struct postgres_settings settings;

static inline int set_up(void **state)
{
    (void)state;
    settings = settings_for(server_url() ? server_url() : "");
    world = (struct world){ .loop = NULL };
    return 0;
}

static inline void open_it(void) { open_world_and_admin(settings); }

#endif
